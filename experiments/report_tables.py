"""The numbers of a report: from runs to rows of tables, as plain records.

The unit is the stack: seeds of a (method, stack) are averaged first, and means, standard deviations
(ddof 1), tests and intervals are over stacks. A value that is only a bound counts as its bound, and
how many runs gave bounds is kept beside every mean. Efforts and Dice are in %.
"""

import csv
import io
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from al_jax.stack import InputError
from al_jax.statistics import area, bootstrap, dice_at, effort_at, holm, signed_rank
from experiments.report_runs import PROPOSED, Run, Setting, methods

TARGETS = (90, 95)  # % Dice, of Tables 4 and 5
BUDGETS = {"mri": (15, 20, 40, 70, 90), "histology": (35, 40, 50, 70, 90)}  # %, Tables 2 and 3
DAGGER = 0.001  # above it, the paper's tables have a dagger

Record = dict[str, Any]
Paper = dict[tuple[str, int, str], tuple[float, float]]
"""(metric, %, method) -> mean, standard deviation."""


class Value(NamedTuple):
    """A number of one run. `bound`: 1, the truth is at least that; -1, at most; 0, it is exact."""

    value: float
    bound: int = 0


class Average(NamedTuple):
    """Seeds of a (method, stack) averaged, with the number of runs and of bounds among them."""

    value: float
    runs: int
    at_least: int
    at_most: int


Averages = dict[str, dict[str, Average]]
"""Method -> stack -> average."""


def read_paper(dataset: str) -> Paper:
    """Tables 2 and 4 ('mri') or 3 and 5 ('histology') of Atzeni et al. 2022; of 'none', nothing."""
    with open(pathlib.Path(__file__).with_name("paper_tables.csv"), newline="") as file:
        return {
            (row["metric"], int(row["at_percent"]), row["method"]): (
                float(row["mean_percent"]),
                float(row["std_percent"]),
            )
            for row in csv.DictReader(file)
            if row["dataset"] == dataset
        }


# Numbers of a run.


def effort_of(run: Run, target: int) -> Value:
    """Effort at a Dice; where it was never reached, the last effort, which is a lower bound."""
    effort = effort_at(run.effort, run.dice, target / 100)
    return Value(float(run.effort[-1]), 1) if np.isnan(effort) else Value(effort)


def dice_of(run: Run, budget: float) -> Value:
    """Dice at an effort.

    A run that ended before it has at least its last Dice (exactly that if it is 1); one that starts
    beyond it has at most its first.
    """
    if budget < run.effort[0]:
        return Value(100 * float(run.dice[0]), -1)
    ended = bool(run.effort[-1] < budget and run.dice[-1] < 1)
    return Value(100 * dice_at(run.effort, run.dice, budget), int(ended))


def windows(runs: list[Run], until: float | None) -> dict[tuple[str, int], tuple[float, float]]:
    """From where to where the area of each (stack, seed) goes, in % effort.

    All methods have one start; the end is the smallest last effort among them, or `until`. Without
    the proposed method (where others have it) a pair is left out: its window would be another one.

    Raises:
      InputError: `until` comes before a start.
    """
    pairs: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        pairs.setdefault((run.stack, run.seed), []).append(run)
    needed = {PROPOSED} & {run.strategy for run in runs}
    found = {}
    for pair, members in pairs.items():
        if not needed <= {run.strategy for run in members}:
            continue
        start = max(float(run.effort[0]) for run in members)
        if until is not None and until < start:
            raise InputError(
                f"--until={until:g}: {pair[0]}, seed {pair[1]} starts at {start:.2f}%; give more"
            )
        last = min(float(run.effort[-1]) for run in members)
        found[pair] = start, max(start, last) if until is None else until
    return found


def area_of(run: Run, window: tuple[float, float]) -> Value:
    """Mean Dice over the window; a run that ended within it keeps its last Dice, a lower bound."""
    ended = bool(run.effort[-1] < window[1] and run.dice[-1] < 1)
    return Value(100 * area(run.effort, run.dice, *window), int(ended))


# Over seeds, then over stacks.


def average(runs: list[Run], read: Callable[[Run], Value]) -> Averages:
    """Means over the seeds of each method and stack."""
    values: dict[str, dict[str, list[Value]]] = {}
    for run in runs:
        values.setdefault(run.strategy, {}).setdefault(run.stack, []).append(read(run))
    return {
        method: {stack: _average(found) for stack, found in sorted(values[method].items())}
        for method in methods(runs)
    }


def _average(values: list[Value]) -> Average:
    bounds = [bound for _, bound in values]
    mean = float(np.mean([value for value, _ in values]))
    return Average(mean, len(values), bounds.count(1), bounds.count(-1))


def summarise(averages: dict[str, Average]) -> Record:
    """Mean and standard deviation over stacks, and what went into them."""
    values = [a.value for a in averages.values()]
    return {
        "stacks": len(values),
        "runs": sum(a.runs for a in averages.values()),
        "mean_percent": float(np.mean(values)),
        "std_percent": float(np.std(values, ddof=1)) if len(values) > 1 else np.nan,
        "at_least_runs": sum(a.at_least for a in averages.values()),
        "at_most_runs": sum(a.at_most for a in averages.values()),
    }


def comparable(runs: list[Run], settings: set[Setting]) -> list[Run]:
    """Runs on the stacks and seeds that a method has under all of these settings it has at all."""
    mine = [run for run in runs if run.setting in settings]
    places: dict[str, dict[Setting, set[tuple[str, int]]]] = {}
    for run in mine:
        places.setdefault(run.strategy, {}).setdefault(run.setting, set()).add(
            (run.stack, run.seed)
        )
    shared = {method: set.intersection(*found.values()) for method, found in places.items()}
    return [run for run in mine if (run.stack, run.seed) in shared[run.strategy]]


def paired(averages: Averages, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of a method and of the proposed one on the stacks that have both, [n] each."""
    mine, ours = averages[method], averages.get(PROPOSED, {})
    stacks = [stack for stack in mine if stack in ours]
    return np.array([mine[s].value for s in stacks]), np.array([ours[s].value for s in stacks])


def _bounds_alone(averages: Averages, method: str) -> np.ndarray:
    """Which pairs of `paired` are bounds in one direction on both sides, [n] bool."""
    mine, ours = averages[method], averages.get(PROPOSED, {})
    pairs = [(mine[stack], ours[stack]) for stack in mine if stack in ours]
    least = [a.at_least == a.runs and b.at_least == b.runs for a, b in pairs]
    most = [a.at_most == a.runs and b.at_most == b.runs for a, b in pairs]
    return np.array(least, bool) | np.array(most, bool)


def compare(metric: str, at: int, averages: Averages, paper: Paper) -> list[Record]:
    """One column of the paper's tables: a record per method, tested against the proposed method.

    Where both of a pair are bounds in one direction nobody knows which is larger: no difference.
    `p_least` is the smallest p that so many pairs can give; Holm's family is the column.
    """
    records = []
    for method, stacks in averages.items():
        values, ours = paired(averages, method)
        bounds = _bounds_alone(averages, method)
        tested = method != PROPOSED and values.size > 0
        theirs = paper.get((metric, at, method), (np.nan, np.nan))
        records.append(
            {
                "metric": metric,
                "at_percent": at,
                "method": method,
                **summarise(stacks),
                "paper_mean_percent": theirs[0],
                "paper_std_percent": theirs[1],
                "pairs": values.size if tested else "",
                "p": signed_rank(np.where(bounds, ours, values), ours) if tested else np.nan,
                "p_least": 0.5 ** (values.size - 1) if tested else np.nan,
            }
        )
    corrected = holm(np.array([record["p"] for record in records]))
    for record, p in zip(records, corrected, strict=True):
        record["p_holm"] = float(p)
        record["dagger"] = int(record["p"] > DAGGER)
    return records


def columns(
    metric: str, ats: tuple[int, ...], averages: dict[int, Averages], paper: Paper
) -> list[Record]:
    """Records of all columns of one of the paper's tables."""
    return [r for at in ats for r in compare(metric, at, averages[at], paper)]


def summarise_areas(averages: Averages) -> list[Record]:
    """Area and paired difference to the proposed method, with 95% bootstrap intervals."""
    records = []
    for method, stacks in averages.items():
        values, ours = paired(averages, method)
        compared = method != PROPOSED and values.size > 0
        record = {"method": method, **summarise(stacks)}
        _add_interval(record, "", np.array([a.value for a in stacks.values()]))
        record["pairs"] = values.size if compared else ""
        record["difference_percent"] = float((values - ours).mean()) if compared else np.nan
        _add_interval(record, "difference_", values - ours if compared else np.array([]))
        records.append(record)
    return records


def _add_interval(record: Record, prefix: str, values: np.ndarray) -> None:
    # One stack says nothing about others.
    interval = bootstrap(values) if values.size > 1 else (np.nan, np.nan)
    record[f"{prefix}low_percent"], record[f"{prefix}high_percent"] = interval


def rank(efforts: list[Record], areas: list[Record]) -> tuple[list[Record], list[Record]]:
    """The order of the methods by effort at 90% Dice and by area, beside the paper's.

    Args:
      efforts: of `compare` at 90% Dice.
      areas: of `summarise_areas`, perhaps of fewer methods.

    Returns:
      A record per method with its ranks (1 is best), and one per measure of agreement.
    """
    from scipy.stats import kendalltau, rankdata, spearmanr

    names = [r["method"] for r in efforts]
    found = {r["method"]: r["mean_percent"] for r in areas}
    effort = np.array([r["mean_percent"] for r in efforts])
    by_area = np.array([found.get(name, np.nan) for name in names])
    theirs = np.array([r["paper_mean_percent"] for r in efforts])
    ranked = [
        {
            "method": name,
            "stacks": efforts[i]["stacks"],
            "effort_at_90_percent": effort[i],
            "rank_by_effort": rankdata(effort)[i],
            "area_percent": by_area[i],
            "rank_by_area": rankdata(-by_area, nan_policy="omit")[i],
            "paper_effort_at_90_percent": theirs[i],
            "paper_rank": rankdata(theirs, nan_policy="omit")[i],
        }
        for i, name in enumerate(names)
    ]
    agreement = []
    for name, ours in (("effort_at_90", effort), ("area", -by_area)):
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        for statistic, function in (("spearman", spearmanr), ("kendall", kendalltau)):
            known = both.sum() > 2
            value = float(function(ours[both], theirs[both])[0]) if known else np.nan
            agreement.append(
                {"ours": name, "statistic": statistic, "methods": int(both.sum()), "value": value}
            )
    return ranked, agreement


def ratios_of(averages: dict[int, Averages], paper: Paper) -> list[Record]:
    """Effort of Rand over that of the proposed method on the stacks that have both."""
    records = []
    for at, found in averages.items():
        values, ours = paired(found, "Rand") if "Rand" in found else (np.array([]), np.array([]))
        if not values.size:
            continue
        keys = [("effort_at_dice", at, method) for method in ("Rand", PROPOSED)]
        rand, proposed = (paper.get(key, (np.nan, np.nan))[0] for key in keys)
        records.append(
            {
                "at_percent": at,
                "stacks": values.size,
                "ratio": float(values.mean() / ours.mean()),
                "rand_at_least_runs": summarise(found["Rand"])["at_least_runs"],
                "ours_at_least_runs": summarise(found[PROPOSED])["at_least_runs"],
                "paper_ratio": rand / proposed,
            }
        )
    return records


# Structures, lengths, settings.


def structures(runs: list[Run], budget: float) -> list[Record]:
    """Dice of each structure (background left out) at an effort: seeds, then stacks averaged.

    A structure counts on the stacks that have it; `worst` marks the lowest of each method.
    """
    records: list[Record] = []
    for method in methods(runs):
        mine = [run for run in runs if run.strategy == method]
        names = dict.fromkeys(name for run in mine for name in run.names[1:])
        rows = []
        for name in names:
            having = [run for run in mine if name in run.names]

            def read(run: Run, name: str = name) -> Value:
                dice = run.class_dice[:, run.names.index(name)]
                if budget < run.effort[0]:
                    return Value(100 * float(dice[0]), -1)
                return Value(100 * dice_at(run.effort, dice, budget), dice_of(run, budget).bound)

            shown = [run for run in having if not np.isnan(read(run).value)]
            if shown:
                found = summarise(average(shown, read)[method])
                rows.append({"method": method, "structure": name, "at_percent": budget, **found})
        lowest = min((row["mean_percent"] for row in rows), default=np.nan)
        records += [{**row, "worst": int(row["mean_percent"] == lowest)} for row in rows]
    return records


def lengths(runs: list[Run]) -> tuple[list[Record], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """How well B foretold the outline of each answer, for the methods that go by it.

    Answers that cost nothing have no logarithm and no relative error: they are counted apart.

    Returns:
      A record per method, and method -> predicted, actual outline in pixels of the others.
    """
    records, points = [], {}
    for method in methods(runs):
        mine = [run for run in runs if run.strategy == method]
        predicted = np.concatenate([run.predicted for run in mine])
        actual = np.concatenate([run.actual for run in mine])
        if "B" not in method or not predicted.size:
            continue
        counted = (actual > 0) & (predicted > 0)
        x, y = predicted[counted], actual[counted]
        spread = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        records.append(
            {
                "method": method,
                "answers": len(actual),
                "cost_nothing": int((~counted).sum()),
                "log_correlation": float(np.corrcoef(np.log(x), np.log(y))[0, 1])
                if spread
                else np.nan,
                "median_relative_error": float(np.median(abs(x - y) / y)) if len(x) else np.nan,
            }
        )
        points[method] = x, y
    return records, points


def starts(runs: list[Run]) -> list[Record]:
    """What the initial annotations cost on each stack: mean and range over its seeds."""
    records = []
    for stack in sorted({run.stack for run in runs}):
        seeds = {run.seed: float(run.effort[0]) for run in runs if run.stack == stack}
        values = list(seeds.values())
        records.append(
            {
                "stack": stack,
                "seeds": len(values),
                "mean_percent": float(np.mean(values)),
                "least_percent": min(values),
                "most_percent": max(values),
            }
        )
    return records


def varied(settings: Iterable[Setting], main: Setting) -> dict[str, dict[str, Setting]]:
    """Key -> value -> setting that differs from the main one in that key alone; `alpha` first.

    The main setting is among the values of every key. Settings that differ in more are not here.
    """
    found: dict[str, dict[str, Setting]] = {}
    for setting in settings:
        apart = differing(setting, main)
        if len(apart) == 1:
            (key,) = apart
            values = found.setdefault(key, {dict(main).get(key, "unset"): main})
            values[apart[key]] = setting
    return {
        key: dict(sorted(found[key].items(), key=lambda item: _in_order(item[0])))
        for key in sorted(found, key=lambda key: (key != "alpha", key))
    }


def differing(setting: Setting, main: Setting) -> dict[str, str]:
    """What a setting has otherwise than the main one."""
    mine, other = dict(setting), dict(main)
    keys = sorted(mine.keys() | other.keys())
    return {k: mine.get(k, "unset") for k in keys if mine.get(k) != other.get(k)}


def _in_order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def run_records(
    runs: list[Run], names: dict[Setting, str], budgets: tuple[int, ...]
) -> list[Record]:
    """A record per run of all settings, with the numbers that everything else is made of."""
    records = []
    for run in runs:
        record: dict[str, Any] = {
            "setting": names[run.setting],
            "stack": run.stack,
            "seed": run.seed,
            "method": run.strategy,
            "queries": len(run.asked),
            "initial_effort_percent": float(run.effort[0]),
            "final_effort_percent": float(run.effort[-1]),
            "final_dice_percent": 100 * float(run.dice[-1]),
        }
        for at in TARGETS:
            value, bound = effort_of(run, at)
            record |= {f"effort_at_dice_{at}": value, f"effort_at_dice_{at}_bound": bound}
        for at in budgets:
            value, bound = dice_of(run, at)
            record |= {f"dice_at_effort_{at}": value, f"dice_at_effort_{at}_bound": bound}
        records.append(record)
    return records


def stack_records(averages: dict[tuple[str, str], Averages]) -> list[Record]:
    """A record per (metric, %, method, stack): what the tests and intervals are made of."""
    return [
        {
            "metric": metric, "at_percent": at, "method": method, "stack": stack, "runs": a.runs,
            "value_percent": a.value, "at_least_runs": a.at_least, "at_most_runs": a.at_most,
        }
        for (metric, at), found in averages.items()
        for method, stacks in found.items()
        for stack, a in stacks.items()
    ]  # fmt: skip


# Files.


def as_csv(records: list[Record]) -> bytes:
    """A table with a row per record: floats in full, NaN as nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records[0])
    for record in records:
        assert list(record) == list(records[0])
        writer.writerow(_cell(value) for value in record.values())
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, float):  # np.float64 is one, and prints otherwise
        return "" if np.isnan(value) else repr(float(value))
    return value
