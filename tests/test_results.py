"""The figures of the results' page are those of its CSVs."""

import csv
import pathlib
import re
import statistics

RESULTS = pathlib.Path(__file__).parents[1] / "experiments" / "results"
STACKS = {
    "scan 1000": "mri_1000_nine",
    "scan 1006": "mri_1006_nine",
    "scan 1010": "mri_1010_nine",
    "frog": "frog",
    "FVB, mouse 1": "fvb_1",
    "histology, Br5292": "histology_Br5292",
    "histology, Br5595": "histology_Br5595",
}
SEEDS = ("0", "1", "2")


def _runs(name: str) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(RESULTS / name, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["setting"] == "main"]
    return {(row["stack"], row["seed"], row["method"]): row for row in rows}


def _efforts(runs: dict, stack: str, method: str, dice: int, kind: str = "effort") -> list[float]:
    found = (runs.get((stack, seed, method)) for seed in SEEDS)
    return [float(row[f"{kind}_at_dice_{dice}"]) for row in found if row is not None]


def _least(runs: dict, stack: str, method: str, dice: int) -> str:
    """A sign where a run ended before it had the Dice."""
    found = (runs.get((stack, seed, method)) for seed in SEEDS)
    return "≥ " * any(row and row[f"effort_at_dice_{dice}_bound"] != "0" for row in found)


def _medians(runs: dict, stack: str, method: str, kind: str = "effort") -> str:
    found = {dice: _efforts(runs, stack, method, dice, kind) for dice in (90, 95)}
    count = len(found[90])
    few = "" if count == len(SEEDS) else f", n = {count}"
    told = (
        _least(runs, stack, method, dice) + f"{statistics.median(own):.1f}"
        for dice, own in found.items()
    )
    return " / ".join(told) + few


def _ranges(runs: dict, stack: str) -> str:
    found = [_efforts(runs, stack, "SEr", dice) for dice in (90, 95)]
    assert all(len(own) == len(SEEDS) for own in found)
    told = (f"{statistics.median(own):.1f} ({min(own):.1f} to {max(own):.1f})" for own in found)
    return " / ".join(told)


def test_the_table_of_one_dice_for_each_pair():
    page = (RESULTS / "README.md").read_text()
    section = page.split("### One Dice for each pair")[1].split("\n### ")[0]
    runs = _runs("nine_runs.csv") | _runs("histology_runs.csv") | _runs("pairs_runs.csv")
    lines = re.findall(r"^\| ([^|]+) \|(.+)\|$", section.replace("*", ""), re.MULTILINE)
    cells = {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}
    for name, stack in STACKS.items():
        assert cells[name][0] == _ranges(runs, stack)
        assert cells[name][1] == _medians(runs, stack, "SEr", "effort_once")
        assert cells[name][2:4] == [_medians(runs, stack, method) for method in ("SDr", "BDa")]
    for reference in ("SDr", "BDa"):
        for dice in (90, 95):
            shares = [
                own / other
                for stack in STACKS.values()
                for seed in SEEDS
                if (stack, seed, reference) in runs
                for own, other in [
                    [
                        float(runs[stack, seed, method][f"effort_at_dice_{dice}"])
                        for method in ("SEr", reference)
                    ]
                ]
            ]
            less = sum(share < 1 for share in shares)
            median = statistics.median(shares)
            told = f"{less} of {len(shares)} pairs of stack and seed (median ratio {median:.2f})"
            assert told in section
