"""Structures, predicted lengths, starts and settings, as records."""

from collections.abc import Iterable

import numpy as np

from al_jax.core.strategies import STRATEGIES, drawing, drawing_shaped, remaining, shaped
from experiments.report.runs import FinishedRun, Setting, methods
from experiments.report.values import Record, Value, average, dice_of, summarise

BY_OUTLINES = (remaining, shaped, drawing, drawing_shaped)
"""Costs that B predicts."""


def structures(runs: list[FinishedRun], budget: float) -> list[Record]:
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

            def read(run: FinishedRun, name: str = name) -> Value:
                return dice_of(run, budget, run.class_dice[:, run.names.index(name)])

            shown = [run for run in having if not np.isnan(read(run).value)]
            if shown:
                found = summarise(average(shown, read)[method])
                rows.append({"method": method, "structure": name, "at_percent": budget, **found})
        lowest = min((row["mean_percent"] for row in rows), default=np.nan)
        records += [{**row, "worst": int(row["mean_percent"] == lowest)} for row in rows]
    return records


def lengths(
    runs: list[FinishedRun],
) -> tuple[list[Record], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """How well B predicted the outline of each answer, for the methods that go by it.

    Answers that cost nothing have no logarithm and no relative error: they are counted apart.

    Returns:
      A record per method, and method -> predicted, actual outline in pixels of the others.
    """
    records, points = [], {}
    for method in methods(runs):
        mine = [run for run in runs if run.strategy == method]
        predicted = np.concatenate([run.predicted for run in mine])
        actual = np.concatenate([run.actual for run in mine])
        if STRATEGIES[method].cost not in BY_OUTLINES or not predicted.size:
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


def starts(runs: list[FinishedRun]) -> list[Record]:
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
