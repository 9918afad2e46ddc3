"""The runs of a sweep as the report reads them, and what is wrong with those it cannot use.

A sweep directory holds `runs/<digest>/`, each with `config.json`, and once finished `queries.csv`,
`result.json` and `stack.npz`; a run that failed has an `error.json` instead of `result.json`.
"""

import csv
import dataclasses
import itertools
import json
import pathlib
from collections import Counter
from typing import Any

import numpy as np

from al_jax.commands.folders import flatten
from al_jax.core.stack import InputError
from al_jax.files.reading import reading
from al_jax.learner.config import Config
from experiments.sweeps.identity import unread

PROPOSED = "BDa"
ABLATIONS = ("BDa_CE", "Da", "HBDa", "HB", "HDa")  # section 3.2.3
COMPETING = ("H", "H_dropout", "Rand", "Uniform")  # section 3.2.2
ORDER = (PROPOSED, *ABLATIONS, *COMPETING)  # of the rows of the paper's tables
APART = ("strategy", "seed", "stack")  # what runs of one setting may differ in
LAST = "dice_unclamped"
READ = (
    "strategy",
    "section",
    "structure",
    "predicted_dice",
    "predicted_length",
    "actual_length",
    "effort_percent",
    "effort_own_percent",
    "dice",
    LAST,
)
"""Columns of queries.csv that are read; those after `LAST` are of classes, in two kinds."""

Setting = tuple[tuple[str, str], ...]
"""All settings but `APART`, sorted; values as JSON."""


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run of T queries on a stack of C classes.

    Attributes:
      folder: where it lies.
      strategy, seed, stack: which run of its setting; the stack's name.
      setting: everything else.
      start: (section, structure) of each initial annotation.
      asked: [T] (section, structure) of each query.
      effort: [T + 1] % of whole outlines, as the paper counts; row 0 is the initial annotations.
      effort_once: [T + 1] % of all outlines, what two structures share counted once.
      dice, unclamped: [T + 1] mean Dice, fractions: what was traced kept, and of the network alone.
      names: C classes, background first.
      class_dice: [T + 1, C] fractions, NaN where a class is on no section.
      predicted, actual: [T] outline of each answer, pixels.
      expected, alone: [T] Dice of the structure asked for: as D expected it of the network, NaN
        where nothing was, and as it was by the network alone just before, on all sections.
    """

    folder: pathlib.Path
    strategy: str
    seed: int
    stack: str
    setting: Setting
    start: list[tuple[int, str]]
    asked: list[tuple[int, str]]
    effort: np.ndarray
    effort_once: np.ndarray
    dice: np.ndarray
    unclamped: np.ndarray
    names: tuple[str, ...]
    class_dice: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    expected: np.ndarray
    alone: np.ndarray


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """A run that is not in the report: failed, unfinished, unreadable, repeated or missing."""

    kind: str
    strategy: str
    stack: str
    seed: str
    run: str
    text: str
    setting: Setting = ()


def read_sweep(path: str) -> tuple[list[FinishedRun], list[Problem]]:
    """All finished runs, sorted, and the problems of the others.

    Raises:
      InputError: it is no sweep directory, or no run of it is finished and readable.
    """
    folder = pathlib.Path(path)
    if not (folder / "runs").is_dir():
        raise InputError(f"{path}: is no sweep, it has no folder 'runs'; correct --sweep")
    configured: dict[pathlib.Path, dict[str, Any]] = {}
    results: dict[pathlib.Path, dict[str, Any]] = {}
    problems: list[Problem] = []
    for run in sorted(p for p in (folder / "runs").iterdir() if p.is_dir()):
        try:
            configured[run] = _configuration(run / "config.json")
            if (run / "result.json").exists():
                results[run] = _json(run / "result.json")
        except InputError as error:
            found = configured.pop(run, {})
            text = str(error).replace(str(run), run.name)
            problems.append(_problem("unreadable", run, found, {}, text))
    titles = _titles(configured, results)

    runs: dict[tuple, FinishedRun] = {}
    for run, configuration in configured.items():
        if run not in results:
            problems.append(_unfinished(run, configuration, titles))
            continue
        if "misfit" in results[run]:
            text = results[run]["misfit"]
            problems.append(_problem("begun from scratch", run, configuration, titles, text))
            continue
        try:
            found_run = _read_run(run, configuration, titles, results[run])
        except InputError as error:
            text = str(error).replace(str(run), run.name)
            problems.append(_problem("unreadable", run, configuration, titles, text))
            continue
        key = (found_run.setting, *_place(found_run))
        if key in runs:
            text = f"the same configuration as {runs[key].folder.name}, which is used"
            problems.append(_problem("repeated", run, configuration, titles, text))
        else:
            runs[key] = found_run
    if not runs:
        more = f"; {problems[0].run}: {problems[0].text}" if problems else ""
        raise InputError(f"{path}: has no finished run that can be read{more}; finish the sweep")
    ordered = _stand_in([runs[key] for key in sorted(runs)])
    return ordered, sorted(problems + _missing(ordered, problems))


def main_setting(runs: list[FinishedRun]) -> Setting:
    """The setting with the most runs; of equals, the one closest to the defaults.

    A run counts for every setting from which it differs only in what its strategy does not read.
    """
    counts = {
        strategy: Counter(_read(run.setting, strategy) for run in runs if run.strategy == strategy)
        for strategy in methods(runs)
    }
    default = {k: json.dumps(v) for k, v in flatten(dataclasses.asdict(Config())).items()}

    def rank(setting: Setting) -> tuple[int, int, Setting]:
        count = sum(found[_read(setting, strategy)] for strategy, found in counts.items())
        own = sum(value != default.get(key, value) for key, value in setting)
        return -count, own, setting

    return min({run.setting for run in runs}, key=rank)


def _read(setting: Setting, strategy: str) -> Setting:
    """What of a setting a strategy reads."""
    without = unread(strategy)
    return tuple((key, value) for key, value in setting if key not in without)


def _stand_in(runs: list[FinishedRun]) -> list[FinishedRun]:
    """The runs; those that would be the same under the main setting, and are missing there, in it.

    So a run of Rand, which reads no alpha, stands beside the runs of any alpha.
    """
    main = dict(main_setting(runs))
    taken = {(run.setting, *_place(run)) for run in runs}
    found = []
    for run in runs:
        without = unread(run.strategy) & main.keys()
        values = dict(run.setting) | {key: main[key] for key in without}
        setting = tuple(sorted(values.items()))
        if (setting, *_place(run)) not in taken:
            taken.add((setting, *_place(run)))
            run = dataclasses.replace(run, setting=setting)
        found.append(run)
    return sorted(found, key=lambda run: (run.setting, *_place(run)))


def methods(runs: list[FinishedRun]) -> list[str]:
    """The strategies of these runs, in the order of the paper's"""
    found = {run.strategy for run in runs}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def _place(run: FinishedRun) -> tuple[str, int, int, str]:
    """Sorts by stack and seed, then as the paper's"""
    order = ORDER.index(run.strategy) if run.strategy in ORDER else len(ORDER)
    return run.stack, run.seed, order, run.strategy


def _json(path: pathlib.Path) -> dict[str, Any]:
    with reading(path, "a JSON object"):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise InputError(f"{path}: is no JSON object")
        return content


def _configuration(path: pathlib.Path) -> dict[str, Any]:
    configuration = flatten(_json(path))
    for key in APART:
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


def _problem(
    kind: str,
    run: pathlib.Path,
    configuration: dict[str, Any],
    titles: dict[str, str],
    text: str,
) -> Problem:
    digest = str(configuration.get("stack", ""))
    strategy, seed = (str(configuration.get(key, "")) for key in ("strategy", "seed"))
    stack, setting = titles.get(digest, digest), _setting(configuration)
    return Problem(kind, strategy, stack, seed, run.name, text, setting)


def _setting(configuration: dict[str, Any]) -> Setting:
    return tuple(sorted((k, json.dumps(v)) for k, v in configuration.items() if k not in APART))


def _unfinished(
    run: pathlib.Path, configuration: dict[str, Any], titles: dict[str, str]
) -> Problem:
    if not (run / "error.json").exists():
        text = "has not ended; go on with the sweep"
        return _problem("unfinished", run, configuration, titles, text)
    try:
        text = str(_json(run / "error.json").get("error", "says nothing"))
    except InputError as error:
        text = str(error).replace(str(run), run.name)
    return _problem("failed", run, configuration, titles, text)


def _read_run(
    run: pathlib.Path,
    configuration: dict[str, Any],
    titles: dict[str, str],
    result: dict[str, Any],
) -> FinishedRun:
    """Raises InputError if a file of it is missing or not what `experiments.simulate` writes."""
    path = run / "queries.csv"
    with reading(path, "a table of queries"), open(path, newline="") as file:
        header, *rows = csv.reader(file, strict=True)
        first = header.index(LAST) + 1 if LAST in header else 0
        count, odd = divmod(len(header) - first, 2)
        if not set(READ) <= set(header[:first]) or odd or not rows:
            raise InputError(f"{path}: is no table of queries; run it again")
        columns = dict(zip(header[:first], zip(*rows, strict=True), strict=False))
        if set(columns["strategy"]) != {configuration["strategy"]}:
            raise InputError(f"{path}: is not of {configuration['strategy']} alone; run it again")

        def numbers(column: str) -> np.ndarray:
            return np.array([float(cell or "nan") for cell in columns[column]])

        effort, once = numbers("effort_own_percent"), numbers("effort_percent")
        for name, values in (("effort_own_percent", effort), ("effort_percent", once)):
            if not (np.isfinite(values).all() and (np.diff(values) >= 0).all()):
                raise InputError(f"{path}: {name} falls, or lacks a number; run it again")
        dice = numbers("dice")
        if not np.isfinite(dice).all():
            raise InputError(f"{path}: dice lacks a number; run it again")
        if {len(row) for row in rows} != {len(header)}:
            raise InputError(f"{path}: its rows differ in length; run it again")
        asked = list(zip(columns["section"], columns["structure"], strict=True))[1:]
        start = [(int(section), str(name)) for section, name in result["start"]]
        names = tuple(name.removeprefix("dice_") for name in header[first : first + count])
        by_class = np.array(
            [[float(cell or "nan") for cell in row[first:]] for row in rows]
        ).reshape(len(rows), 2, count)
        structures = [names.index(name) for _, name in asked]
        return FinishedRun(
            folder=run,
            strategy=str(configuration["strategy"]),
            seed=int(configuration["seed"]),
            stack=titles[str(configuration["stack"])],
            setting=_setting(configuration),
            start=start,
            asked=[(int(section), name) for section, name in asked],
            effort=effort,
            effort_once=once,
            dice=dice,
            unclamped=numbers("dice_unclamped"),
            names=names,
            class_dice=by_class[:, 0],
            predicted=numbers("predicted_length")[1:],
            actual=numbers("actual_length")[1:],
            expected=numbers("predicted_dice")[1:],
            alone=by_class[np.arange(len(asked)), 1, structures],
        )


def _missing(runs: list[FinishedRun], problems: list[Problem]) -> list[Problem]:
    """The combinations of strategy, stack and seed that a setting lacks of its own grid."""
    found: dict[Setting, set[tuple[str, str, str]]] = {run.setting: set() for run in runs}
    for run in runs:
        found[run.setting].add((run.strategy, run.stack, str(run.seed)))
    for problem in problems:
        if problem.setting in found:
            found[problem.setting].add((problem.strategy, problem.stack, problem.seed))
    missing = [
        (setting, *place)
        for setting, there in found.items()
        for place in itertools.product(*(sorted(set(part)) for part in zip(*there, strict=True)))
        if place not in there
    ]
    text = "the sweep has no such run"
    return [
        Problem("missing", strategy, stack, seed, "", text, setting)
        for setting, strategy, stack, seed in missing
    ]
