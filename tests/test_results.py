"""The figures of the results' page are those of its CSVs."""

import csv
import pathlib
import re
import statistics

import pytest

RESULTS = pathlib.Path(__file__).parents[1] / "experiments" / "results"
STACKS = {
    "scan 1000": "mri_1000_nine",
    "scan 1006": "mri_1006_nine",
    "scan 1010": "mri_1010_nine",
    "frog": "frog",
    "mouse 1 (FVB)": "fvb_1",
    "histology Br5292": "histology_Br5292",
    "histology Br5595": "histology_Br5595",
    "macaque (INIA19)": "inia19",
}
FORMER = {"FVB, mouse 1": "mouse 1 (FVB)"}  # names of the page of history
FORMER |= {f"histology, {donor}": f"histology {donor}" for donor in ("Br5292", "Br5595")}
SEEDS = ("0", "1", "2", "3", "4")
FORMER_SEEDS = SEEDS[:3]  # of the page of history

Runs = dict[tuple[str, str, str], dict[str, str]]


def _read(name: str) -> list[dict[str, str]]:
    with open(RESULTS / name, newline="") as file:
        return list(csv.DictReader(file))


def _by_pair(rows: list[dict[str, str]]) -> Runs:
    """(stack, seed, method) -> its row, the last of equals."""
    return {(row["stack"], row["seed"], row["method"]): row for row in rows}


@pytest.fixture(scope="module")
def former_runs() -> Runs:
    """Those of the page of history."""
    names = ("nine_runs.csv", "histology_runs.csv", "pairs_runs.csv")
    return _by_pair([row for name in names for row in _read(name) if row["setting"] == "main"])


@pytest.fixture(scope="module")
def runs(former_runs: Runs) -> Runs:
    """BDa of all seeds, and SEr."""
    former = {key: row for key, row in former_runs.items() if key[2] == "BDa"}
    seeds = [row for row in _read("five_runs.csv") if row["method"] == "BDa"]
    return former | _by_pair([*seeds, *_read("ser_runs.csv"), *_read("inia19_runs.csv")])


@pytest.fixture(scope="module")
def by_shape() -> Runs:
    """SEr of before what the network proposes took part in its cost."""
    return _by_pair(_read("shape_runs.csv"))


def _section(page: str, title: str) -> str:
    text = (RESULTS / page).read_text().replace("*", "")
    return re.split(r"\n##+ ", text.split(f"# {title}\n")[1])[0]


def _cells(section: str) -> dict[str, list[str]]:
    """Of each row of a table, by its first cell, the others."""
    lines = re.findall(r"^\| ([^|]+) \|(.+)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}


def _of(runs: Runs, stack: str, method: str) -> list[dict[str, str]]:
    found = (runs.get((stack, seed, method)) for seed in SEEDS)
    return [row for row in found if row is not None]


def _efforts(runs: Runs, stack: str, method: str, dice: int, kind: str = "effort") -> list[float]:
    return [float(row[f"{kind}_at_dice_{dice}"]) for row in _of(runs, stack, method)]


def test_only_the_macaque_ended_early(runs):
    """Else bands and ratios need a sign."""
    for (stack, _, method), row in runs.items():
        if method == "SEr":
            assert row["effort_at_dice_90_bound"] == "0"
            assert (row["effort_at_dice_95_bound"] == "0") != (stack == "inia19")


def _few(runs: Runs, stack: str, method: str, all_of: int = len(SEEDS)) -> str:
    count = len(_of(runs, stack, method))
    return "" if count == all_of else f", n = {count}"


def _median(rows: list[dict[str, str]], dice: int, kind: str = "effort") -> str:
    """A sign where a run ended before it had the Dice."""
    least = any(row[f"effort_at_dice_{dice}_bound"] != "0" for row in rows)
    median = statistics.median(float(row[f"{kind}_at_dice_{dice}"]) for row in rows)
    return "≥ " * least + f"{median:.1f}"


def _medians(runs: Runs, stack: str, method: str, kind: str = "effort") -> str:
    return " / ".join(_median(_of(runs, stack, method), dice, kind) for dice in (90, 95))


def _both(rows: list[dict[str, str]], dices: tuple[int, ...] = (90, 95)) -> str:
    """Both countings."""
    kinds = ("effort", "effort_once")
    return "; ".join(" / ".join(_median(rows, d, kind) for d in dices) for kind in kinds)


def _band(runs: Runs, stack: str) -> str:
    if len(_of(runs, stack, "SEr")) < 2:
        return ""
    found = [_efforts(runs, stack, "SEr", dice) for dice in (90, 95)]
    return " / ".join(_range(own) for own in found)


def _practice(stack: str) -> list[list[float]]:
    """The least that any method and number of sections takes, whole and once, for 90 and 95%."""
    rows = [row for row in _read("practice.csv") if row["stack"] == f"{stack}.npz"]
    return [
        [
            100 * min(float(row[kind]) for row in rows if float(row["dice"]) >= dice)
            for dice in (0.9, 0.95)
        ]
        for kind in ("effort_own", "effort")
    ]


@pytest.mark.parametrize("name", STACKS)
def test_how_much_tracing_is_saved(runs, name):
    stack = STACKS[name]
    cells = _cells(_section("README.md", "How much tracing is saved"))[name]
    assert cells[:2] == [
        _both(_of(runs, stack, method)) + _few(runs, stack, method) for method in ("BDa", "SEr")
    ]
    assert cells[2] == _band(runs, stack)
    best = _practice(stack)
    assert cells[3] == "; ".join(f"{at_90:.1f} / {at_95:.1f}" for at_90, at_95 in best)
    own = _efforts(runs, stack, "SEr", 90)
    assert cells[4] == (f"{statistics.median(own) / best[0][0]:.2f}" if own else "")


@pytest.mark.parametrize("name, kind", [("seven mice", "fvb_"), ("seven scans", "mri_")])
def test_further_stacks(name, kind):
    cells = _cells(_section("README.md", "Further stacks"))[name]
    rows = [row for row in _read("unseen_runs.csv") if row["stack"].startswith(kind)]
    own, others = ([row for row in rows if row["method"] == m] for m in ("SEr", "BDa"))
    stacks = [row["stack"] for row in own]
    assert len({*stacks}) == 7 and {*stacks}.isdisjoint(STACKS.values())
    assert sorted(stacks) == sorted(row["stack"] for row in others)
    assert all(row["seed"] == "0" for row in rows)
    assert not any(row[f"effort_at_dice_{d}_bound"] != "0" for row in own for d in (90, 95))
    assert cells[:2] == [_both(others), _both(own)]
    found = [[float(row[f"effort_at_dice_{dice}"]) for row in own] for dice in (90, 95)]
    assert cells[2] == " / ".join(_range(one) for one in found)
    best = [_practice(stack)[0][0] for stack in stacks]
    assert cells[3] == f"{statistics.median(best):.1f} ({_range(best)})"
    ratios = [effort / least for effort, least in zip(found[0], best, strict=True)]
    assert cells[4] == f"{statistics.median(ratios):.2f} ({_range(ratios, 2)})"
    assert all(_less(own, others, dice) for dice in (90, 95))


def _range(numbers: list[float], digits: int = 1) -> str:
    return f"{min(numbers):.{digits}f}-{max(numbers):.{digits}f}"


def _less(own: list[dict[str, str]], others: list[dict[str, str]], dice: int) -> bool:
    """On every stack."""
    name = f"effort_at_dice_{dice}"
    by_stack = {row["stack"]: float(row[name]) for row in others}
    return all(float(row[name]) < by_stack[row["stack"]] for row in own)


def test_parts_and_opponents(runs, by_shape):
    cells = _cells(_section("README.md", "Parts and opponents"))
    without, opponents = (_by_pair(_read(f"{name}_runs.csv")) for name in ("without", "opponents"))
    assert len(without) == 7 and len(opponents) == 10
    assert all("--neighbours=False" in row["command"] for row in without.values())
    for name, stack, seeds in (
        ("frog, seeds 0 to 2", "frog", "012"),
        ("mouse 1, seeds 0 to 2", "fvb_1", "012"),
        ("macaque, seed 0", "inia19", "0"),
    ):
        tables = (runs, by_shape, without)
        found = [[table[stack, seed, "SEr"] for seed in seeds] for table in tables]
        expected = [_both(rows, (90,)) for rows in found]
        if found[0] == found[1]:  # of before proposals
            expected[0] = "not run"
        assert cells[name] == expected
    scans = [stack for name, stack in STACKS.items() if name.startswith("scan")]
    for name, stacks in (
        ("three scans, median", scans),
        ("frog", ["frog"]),
        ("mouse 1", ["fvb_1"]),
    ):
        methods = (runs, "SEr"), (opponents, "sections"), (opponents, "clasp")
        found = [[table[s, "0", method] for s in stacks] for table, method in methods]
        assert cells[name] == [_both(rows, (90,)) for rows in found]


def test_the_page_is_short_and_names_no_folder_of_a_machine():
    assert len((RESULTS / "README.md").read_bytes()) <= 12 * 1024
    for path in RESULTS.glob("*_runs.csv"):
        assert not any(re.search(r"[=,]/", row.get("command") or "") for row in _read(path.name))


def _compared(runs: Runs, reference: str, dice: int) -> tuple[int, int, float]:
    """In how many pairs of stack and seed SEr needs less, of how many, and the median ratio."""
    others = {key: row for key, row in runs.items() if key[2] == reference}
    return _compared_to(runs, others, dice)


def _compared_to(runs: Runs, others: Runs, dice: int) -> tuple[int, int, float]:
    """The same against other runs.

    Pairs where neither came to the Dice do not count; where SEr alone did not, it needs more.
    """
    name, shares = f"effort_at_dice_{dice}", []
    by_place = {key[:2]: row for key, row in others.items()}
    for (stack, seed, method), row in runs.items():
        if method != "SEr" or (stack, seed) not in by_place:
            continue
        other = by_place[stack, seed]
        ended = [one[f"{name}_bound"] != "0" for one in (row, other)]
        if not all(ended):
            share = float(row[name]) / float(other[name])
            shares.append(max(share, 1.0) if ended[0] else share)
    return sum(share < 1 for share in shares), len(shares), statistics.median(shares)


def test_pairs_of_stack_and_seed(runs):
    section = _section("README.md", "How much tracing is saved")
    less, count, median = _compared(runs, "BDa", 90)
    told = f"at 90% in {less} of {count} pairs of stack and seed (median ratio {median:.2f})"
    assert told in section
    less, count, median = _compared(runs, "BDa", 95)
    assert f"at 95% in {less} of {count} ({median:.2f})" in section


def test_what_proposals_save(runs, by_shape):
    section = _section("history.md", "Outlines that the network proposes")
    cells = _cells(section)
    unseen = _by_pair([row for row in _read("unseen_runs.csv") if row["method"] == "SEr"])
    now = {key: row for key, row in (runs | unseen).items() if key in by_shape}
    now = {key: row for key, row in now.items() if row["commit"] != by_shape[key]["commit"]}
    kinds = {name: {stack} for name, stack in STACKS.items()}
    for name, kind in (("seven mice", "fvb_"), ("seven scans", "mri_")):
        kinds[name] = {key[0] for key in unseen if key[0].startswith(kind)}
    for name, stacks in kinds.items():
        keys = [key for key in now if key[0] in stacks]
        if not keys:
            assert name not in cells
            continue
        found = [
            " / ".join(_median([table[key] for key in keys], dice) for dice in (90, 95))
            for table in (by_shape, now)
        ]
        assert cells[name] == found
    for dice in (90, 95):
        less, count, ratio = _compared_to(now, by_shape, dice)
        assert f"{less} of {count} pairs of stack and seed (median ratio {ratio:.2f})" in section


def test_the_table_of_one_dice_for_each_pair(former_runs):
    runs = former_runs
    section = _section("history.md", "One Dice for each pair")
    cells = _cells(section)
    for name, stack in STACKS.items():
        if not _of(runs, stack, "SEr"):
            continue
        former = next((was for was, now in FORMER.items() if now == name), name)
        found = [_efforts(runs, stack, "SEr", dice) for dice in (90, 95)]
        told = (f"{statistics.median(x):.1f} ({min(x):.1f} to {max(x):.1f})" for x in found)
        assert cells[former][0] == " / ".join(told)
        assert cells[former][1] == _medians(runs, stack, "SEr", "effort_once")
        others = [
            _medians(runs, stack, m) + _few(runs, stack, m, len(FORMER_SEEDS))
            for m in ("SDr", "BDa")
        ]
        assert cells[former][2:4] == others
    for reference in ("SDr", "BDa"):
        for dice in (90, 95):
            less, count, median = _compared(runs, reference, dice)
            told = f"{less} of {count} pairs of stack and seed (median ratio {median:.2f})"
            assert told in section


def _over_scans(rows: list[dict[str, str]], column: str, spread: bool = True) -> str:
    """Mean ± standard deviation over stacks, seeds averaged first."""
    stacks = {row["stack"] for row in rows}
    means = [statistics.mean(float(r[column]) for r in rows if r["stack"] == s) for s in stacks]
    bound = f"effort_at_dice_{column[-2:]}_bound"
    told = "≥ " * any(row[bound] != "0" for row in rows) + f"{statistics.mean(means):.1f}"
    return told + f" ± {statistics.stdev(means):.1f}" * spread


def test_the_methods_of_the_paper():
    cells = _cells(_section("README.md", "The ten methods of the paper"))
    rows = [row for row in _read("nine_runs.csv") if row["setting"] == "main"]
    methods = [name.strip("`") for name in cells if name.startswith("`")]
    assert len(methods) == 10
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        found = cells[f"`{method}`"]
        assert found[0] == _over_scans(own, "effort_at_dice_90")
        assert found[2] == _over_scans(own, "effort_at_dice_95")
        once = [_over_scans(own, f"effort_once_at_dice_{dice}", spread=False) for dice in (90, 95)]
        assert found[4] == " / ".join(once)


def test_earlier_stacks_before_neighbours():
    cells = _cells(_section("history.md", "Earlier stacks and corrections"))
    rows = _read("carried_runs.csv")
    asked = {
        "BDa, from scratch": ("BDa", False),
        "SDr, warm start": ("SDr", True),
        "KSDr, both": ("KSDr", True),
    }
    for name, (method, warm) in asked.items():
        own = [r for r in rows if r["method"] == method and r["setting"].count("from=") == warm]
        assert len(own) == 10
        assert cells[name][1:3] == [_over_scans(own, f"effort_at_dice_{d}") for d in (90, 95)]


def _told(rows: list[dict[str, str]], dice: int) -> str:
    """The median and the range; of runs that have not all come to it nothing."""
    if any(row[f"effort_at_dice_{dice}_bound"] != "0" for row in rows):
        return "not reached"
    own = [float(row[f"effort_at_dice_{dice}"]) for row in rows]
    return f"{statistics.median(own):.1f} ({_range(own)})"


def test_earlier_stacks_and_corrections(by_shape):
    section = _section("README.md", "With earlier stacks, with corrections")
    cells, rows = _cells(section), _read("warm_runs.csv")
    scans = [stack for name, stack in STACKS.items() if name.startswith("scan")]
    corrected = [row for row in rows if "correct=true" in row["setting"]]
    asked = {
        "SEr, from scratch": [by_shape[s, n, "SEr"] for s in scans for n in ("0", "1", "2")],
        "SEr, warm start": [row for row in rows if row not in corrected],
        "SEr, warm start, proposals corrected by a hand within a pixel": corrected,
    }
    for name, own in asked.items():
        assert len(own) == 9
        told = [_told(own, dice) for dice in (90, 95)]
        once = [
            f"{statistics.median(float(row[f'effort_once_at_dice_{dice}']) for row in own):.1f}"
            for dice, said in zip((90, 95), told, strict=True)
            if said != "not reached"
        ]
        assert cells[name] == [*told, " / ".join(once) if once[1:] else f"{once[0]} /"]
    ends = [float(row["final_dice_percent"]) for row in corrected]
    assert f"the mean was {min(ends):.1f} to {max(ends):.1f}% when" in section
