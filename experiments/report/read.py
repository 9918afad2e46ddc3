"""The runs of a sweep as a table, and what is wrong with those that cannot be used.

A sweep directory holds `runs/<digest>/`, each with `config.json`, and once finished `queries.csv`,
`surfaces.csv` (older runs have none), `result.json` and `stack.npz`; a run that failed has an
`error.json` instead of `result.json`.
"""

import csv
import itertools
import json
import pathlib
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from al_jax.commands.folders import as_flags
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES, unread_lengths
from al_jax.files.reading import reading
from al_jax.files.spreadsheets import as_name
from al_jax.learner.config import FORMER, Config, to_json
from experiments.sweeps import identity

PROPOSED = "BDa"
ABLATIONS = ("BDa_CE", "Da", "HBDa", "HB", "HDa")  # section 3.2.3
COMPETING = ("H", "H_dropout", "Rand", "Uniform")  # section 3.2.2
ORDER = (PROPOSED, *ABLATIONS, *COMPETING)  # of the rows of the paper's tables
WITHOUT_OUTLINES = {"Da", "HDa", "H", "H_dropout", "Rand", "Uniform"}
WITHOUT_OUTLINES |= {"Oracle", "Lengths", "RandC", "Neighbour"}  # of runs that do not say it
REQUIRED = ("strategy", "seed", "stack")
APART = {*REQUIRED, "strategy_reads", "strategy_digest"}  # may differ between runs of one setting
PLACE = ["method", "stack", "seed"]  # of a run in its setting
PROBLEM = ["kind", *PLACE, "run", "why", "setting"]
LAST = "dice_unclamped"  # columns of queries.csv that come after it are of classes, in two kinds
NUMBERS = {
    "effort": "effort_own_percent",
    "effort_once": "effort_percent",
    "dice": "dice",
    "unclamped": LAST,
    "predicted": "predicted_length",
    "actual": "actual_length",
    "expected": "predicted_dice",
}
SURFACES = ("hd95_px", "mean_px", "hd95_mm", "mean_mm")  # columns of surfaces.csv


def read_sweep(path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All finished runs, and the problems of the others (`PROBLEM`); a row each, sorted.

    The columns of a run of T queries on a stack of C classes:
      folder, made: where it lies; the source and the machine that made it.
      method, stack, seed, setting: its strategy, the stack's name, and all other settings.
      unread, by_outlines: settings that its strategy does not read; whether it goes by B.
      start, asked: (section, structure) of each initial annotation, and [T] of each query.
      effort, effort_once: [T + 1] % of whole outlines, and of all outlines, each once; row 0 is the
        initial annotations.
      dice, unclamped: [T + 1] mean Dice, fractions: what was traced kept, and of the network alone.
      names, class_dice: C classes, background first; [T + 1, C] fractions, NaN for one that is on
        no section.
      predicted, actual: [T] outline of each answer, pixels.
      surfaces: of the segmentation at the end, means over its structures by name (`SURFACES`), and
        the % of pairs that it lacks; NaN where the run does not say it.
      expected, alone: [T] Dice of the structure asked for: as D expected it of the network, NaN
        where nothing was, and as it was by the network alone just before, on all sections.

    Raises:
      InputError: it is no sweep directory, or no run of it is finished and readable.
    """
    folder = pathlib.Path(path)
    if not (folder / "runs").is_dir():
        raise InputError(f"{path}: is no sweep, it has no folder 'runs'; correct --sweep")
    folders = sorted(p for p in (folder / "runs").iterdir() if p.is_dir())
    configured: dict[pathlib.Path, dict[str, Any]] = {}
    results: dict[pathlib.Path, dict[str, Any]] = {}
    wrong: dict[pathlib.Path, tuple[str, str]] = {}
    for run in folders:
        try:
            configured[run] = _configuration(run / "config.json")
            if (run / "result.json").exists():
                results[run] = _json(run / "result.json")
        except InputError as error:
            wrong[run] = "unreadable", str(error)
    titles, labels = _titles(configured, results), _labels(configured)

    def place(run: pathlib.Path) -> dict[str, Any]:
        configuration = configured.get(run, {})
        digest = str(configuration.get("stack", ""))
        return {
            "method": labels.get(_strategy(configuration), ""),
            "stack": titles.get(digest, digest),
            "seed": configuration.get("seed", ""),
            "setting": _setting(configuration),
        }

    found: dict[tuple, dict[str, Any]] = {}
    for run in folders:
        try:
            if run in wrong:
                continue
            if run not in results:
                wrong[run] = _unfinished(run)
            elif "misfit" in results[run]:
                wrong[run] = "begun from scratch", results[run]["misfit"]
            else:
                row = place(run) | _read_run(run, configured[run], results[run])
                first = found.setdefault(tuple(row[key] for key in ("setting", *PLACE)), row)
                if first is not row:
                    same = f"the same configuration as {first['folder'].name}, which is used"
                    wrong[run] = "repeated", same
        except InputError as error:
            wrong[run] = "unreadable", str(error)
    rows = [
        {"kind": kind, **place(run), "run": run.name, "why": why.replace(str(run), run.name)}
        for run, (kind, why) in wrong.items()
    ]
    if not found:
        more = f"; {rows[0]['run']}: {rows[0]['why']}" if rows else ""
        raise InputError(f"{path}: has no finished run that can be read{more}; finish the sweep")
    runs = _stand_in(_sorted(pd.DataFrame(found.values())))
    problems = pd.DataFrame(rows, columns=PROBLEM).astype({"seed": str})
    problems = pd.concat([problems, _missing(runs, problems)])
    return runs, problems.sort_values(PROBLEM, ignore_index=True)


def main_setting(runs: pd.DataFrame) -> str:
    """The setting with the most runs; of equals, the one closest to the defaults.

    A run counts for every setting from which it differs only in what its strategy does not read.
    """
    unread = dict(zip(runs.method, runs.unread, strict=True))
    counts = Counter((r.method, _without(r.setting, unread[r.method])) for r in runs.itertuples())
    default = {k: json.dumps(v) for k, v in as_flags(to_json(Config())).items()}

    def rank(setting: str) -> tuple[int, int, str]:
        count = sum(counts[name, _without(setting, without)] for name, without in unread.items())
        own = sum(value != default.get(key, value) for key, value in json.loads(setting).items())
        return -count, own, setting

    return min(set(runs.setting), key=rank)


def differing(setting: str, main: str) -> dict[str, str]:
    """What a setting has otherwise than the main one: key -> value as JSON."""
    mine, other = json.loads(setting), json.loads(main)
    keys = sorted(mine.keys() | other.keys())
    return {k: mine.get(k, "unset") for k in keys if mine.get(k) != other.get(k)}


def methods(runs: pd.DataFrame) -> list[str]:
    """The methods of these runs, in the order of the paper's."""
    found = set(runs.method)
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def _sorted(runs: pd.DataFrame) -> pd.DataFrame:
    """By setting, stack and seed, then as the paper's methods."""
    order = {name: i for i, name in enumerate(methods(runs))}
    keys = ["setting", "stack", "seed", "method"]
    by = {"key": lambda column: column.map(order) if column.name == "method" else column}
    return runs.sort_values(keys, ignore_index=True, **by)


def _stand_in(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs; those that would be the same under the main setting, and are missing there, in it.

    So a run of Rand, which reads no alpha, stands beside the runs of any alpha.
    """
    main = json.loads(main_setting(runs))
    taken = {(run.setting, run.method, run.stack, run.seed) for run in runs.itertuples()}
    settings = []
    for run in runs.itertuples():
        same = {key: main[key] for key in run.unread & main.keys()}
        setting = json.dumps(json.loads(run.setting) | same, sort_keys=True)
        if (setting, run.method, run.stack, run.seed) in taken:
            setting = run.setting
        taken.add((setting, run.method, run.stack, run.seed))
        settings.append(setting)
    return _sorted(runs.assign(setting=settings))


def _missing(runs: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The combinations of method, stack and seed that a setting lacks of its own grid."""
    known = pd.concat([runs, problems[problems.setting.isin(runs.setting)]])
    rows = []
    for setting, there in known.astype({"seed": str}).groupby("setting"):
        grid = itertools.product(*(sorted(set(there[key])) for key in PLACE))
        had = set(there[PLACE].itertuples(index=False, name=None))
        rows += [
            ("missing", *p, "", "the sweep has no such run", setting) for p in grid if p not in had
        ]
    return pd.DataFrame(rows, columns=PROBLEM)


def _without(setting: str, keys: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in json.loads(setting).items() if key not in keys)


def _json(path: pathlib.Path) -> dict[str, Any]:
    with reading(path, "a JSON object"):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise InputError(f"{path}: is no JSON object")
        return content


def _configuration(path: pathlib.Path) -> dict[str, Any]:
    content = _json(path)
    configuration = {FORMER.get(k, k): value for k, value in as_flags(content).items()}
    configuration["strategy_reads"] = content.get("strategy_reads")
    for key in REQUIRED:
        if key not in configuration:
            raise InputError(f"{path}: has no '{key}'")
    return configuration


def _titles(
    configured: dict[pathlib.Path, dict[str, Any]], results: dict[pathlib.Path, dict[str, Any]]
) -> dict[str, str]:
    """Digest of a stack -> its name: the stem of its file, with the digest where two share it."""
    stems: dict[str, str] = {}
    for run, result in results.items():
        given = result.get("input") if isinstance(result.get("input"), dict) else {}
        name = (given or {}).get("stack") or (given or {}).get("images") or "colin27"
        stems.setdefault(str(configured[run]["stack"]), pathlib.Path(str(name)).stem)
    shared = Counter(stems.values())
    return {d: f"{stem} ({d[:6]})" if shared[stem] > 1 else stem for d, stem in stems.items()}


def _strategy(configuration: dict[str, Any]) -> tuple[str, str]:
    """Its name, and the digest of its source; '' where a run does not say it."""
    name, digest = (configuration.get(key) for key in ("strategy", "strategy_digest"))
    return str(name or ""), str(digest or "")


def _labels(configured: dict[pathlib.Path, dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(strategy, digest) -> its row in the tables: the name, and all digests but the usual one."""
    counts = Counter(_strategy(configuration) for configuration in configured.values())
    usual: dict[str, str] = {}
    for name, digest in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        if digest:
            usual.setdefault(name, digest)
    return {
        (name, digest): f"{name} (digest {digest[:4]})"
        if digest not in ("", usual.get(name))
        else name
        for name, digest in counts
    }


def _setting(configuration: dict[str, Any]) -> str:
    """All other settings, sorted: JSON of key -> value as JSON."""
    content = {k: json.dumps(v) for k, v in configuration.items() if k not in APART}
    return json.dumps(content, sort_keys=True)


def _unread(configuration: dict[str, Any]) -> frozenset[str]:
    """The settings that have no effect on what a run asks for."""
    reads = configuration["strategy_reads"]
    if reads is None:
        return identity.unread(configuration["strategy"])
    names = set(unread_lengths(reads))
    if "dropout" not in reads:
        names.add("dropout_samples")
    known = STRATEGIES.get(configuration["strategy"])
    if known is not None and not known.neighbours:
        names.add("neighbours")
    if "priority" in reads and "dice" not in reads:  # otherwise D breaks ties
        names |= {"alpha", "dice_estimate"}
    return frozenset(names)


def _unfinished(run: pathlib.Path) -> tuple[str, str]:
    if not (run / "error.json").exists():
        return "unfinished", "has not ended; go on with the sweep"
    try:
        return "failed", str(_json(run / "error.json").get("error", "says nothing"))
    except InputError as error:
        return "failed", str(error)


def _read_run(
    run: pathlib.Path, configuration: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """Raises InputError if a file of it is missing or not what `experiments.simulate` writes."""
    path, strategy = run / "queries.csv", configuration["strategy"]
    with reading(path, "a table of queries"), open(path, newline="") as file:
        header, *rows = csv.reader(file, strict=True)
        first = header.index(LAST) + 1 if LAST in header else 0
        count, odd = divmod(len(header) - first, 2)
        needed = {"strategy", "section", "structure", *NUMBERS.values()}
        if not needed <= set(header[:first]) or odd or not rows:
            raise InputError(f"{path}: is no table of queries; run it again")
        columns = dict(zip(header[:first], zip(*rows, strict=True), strict=False))
        if set(columns["strategy"]) != {strategy}:
            raise InputError(f"{path}: is not of {strategy} alone; run it again")
        numbers = {key: _floats(columns[column]) for key, column in NUMBERS.items()}
        for key in ("effort", "effort_once"):
            if not (np.isfinite(numbers[key]).all() and (np.diff(numbers[key]) >= 0).all()):
                raise InputError(f"{path}: {NUMBERS[key]} falls, or lacks a number; run it again")
        if not np.isfinite(numbers["dice"]).all():
            raise InputError(f"{path}: dice lacks a number; run it again")
        if {len(row) for row in rows} != {len(header)}:
            raise InputError(f"{path}: its rows differ in length; run it again")
        asked = list(zip(columns["section"], columns["structure"], strict=True))[1:]
        names = tuple(name.removeprefix("dice_") for name in header[first : first + count])
        by_class = np.array([_floats(row[first:]) for row in rows]).reshape(len(rows), 2, count)
        structures = [names.index(as_name(name)) for _, name in asked]
        reads = configuration["strategy_reads"]
        return numbers | {
            "folder": run,
            "made": _made(configuration, result),
            "seed": int(configuration["seed"]),
            "unread": _unread(configuration),
            "by_outlines": strategy not in WITHOUT_OUTLINES
            and "boundary" in (["boundary"] if reads is None else reads),
            "start": [(int(section), str(name)) for section, name in result["start"]],
            "asked": [(int(section), name) for section, name in asked],
            "names": names,
            "class_dice": by_class[:, 0],
            "surfaces": _surfaces(run / "surfaces.csv"),
            "predicted": numbers["predicted"][1:],
            "actual": numbers["actual"][1:],
            "expected": numbers["expected"][1:],
            "alone": by_class[np.arange(len(asked)), 1, structures],
        }


def _surfaces(path: pathlib.Path) -> dict[str, float]:
    """Means over the structures, background left out; Dice weighs them alike, too."""
    if not path.exists():
        return dict.fromkeys((*SURFACES, "lacking_percent"), np.nan)
    with reading(path, "a table of surface distances"):
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        if not {"structure", "sections", "missed", *SURFACES} <= set(table) or len(table) < 2:
            raise InputError(f"{path}: is no table of surface distances; run it again")
        structures = table.iloc[1:]
        lacking = 100 * structures.missed.sum() / max(structures.sections.sum(), 1)
        means = {name: float(structures[name].astype(float).mean()) for name in SURFACES}
        return means | {"lacking_percent": float(lacking)}


def _made(configuration: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """By what source, when, how and on what a run was made; '' where it does not say it."""
    record = result.get("record", {})
    found = {key: record.get(key, "") for key in ("commit", "dirty", "started", "seconds")}
    found |= {key: record.get("machine", {}).get(key, "") for key in ("cores", "processor")}
    versions = result.get("versions", {})
    return found | {
        "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
        "strategy_digest": configuration.get("strategy_digest", ""),
        "plugins": " ".join(f"{name}={own}" for name, own in record.get("plugins", {}).items()),
        "command": result.get("command", ""),
    }


def _floats(cells: Any) -> np.ndarray:
    return np.array([float(cell or "nan") for cell in cells])
