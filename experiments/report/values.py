"""Numbers of runs: of each, over its seeds, and over the stacks.

The unit is the stack: seeds of a (method, stack) are averaged first, and means and standard
deviations (ddof 1) are over stacks. A value that is only a bound counts as its bound, and how many
runs gave bounds is kept beside every mean. Efforts and Dice are in %.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from al_jax.core.stack import InputError
from al_jax.core.statistics import area, dice_at, effort_at
from experiments.report.runs import PROPOSED, FinishedRun, Setting, methods

TARGETS = (90, 95)  # % Dice, of Tables 4 and 5
Record = dict[str, Any]


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


def first_reached(run: FinishedRun, target: int) -> int | None:
    """The row at which a run first had a Dice of `target` %, if it ever had."""
    row = effort_at(np.arange(len(run.dice)), run.dice, target / 100)
    return None if np.isnan(row) else int(row)


def effort_of(run: FinishedRun, target: int) -> Value:
    """Effort at a Dice; where it was never reached, the last effort, which is a lower bound."""
    return _at(run.effort, first_reached(run, target))


def effort_once_of(run: FinishedRun, target: int) -> Value:
    """The same with each outline once."""
    return _at(run.effort_once, first_reached(run, target))


def _at(effort: np.ndarray, row: int | None) -> Value:
    return Value(float(effort[-1]), 1) if row is None else Value(float(effort[row]))


def dice_of(run: FinishedRun, budget: float, dice: np.ndarray | None = None) -> Value:
    """Dice at an effort: the mean one, or that of a structure as in `run.class_dice`.

    A run that ended before it has at least its last Dice (exactly that if it is 1); one that starts
    beyond it has at most its first.
    """
    dice = run.dice if dice is None else dice
    effort, share = run.effort / 100, budget / 100  # fractions, as `statistics` compares them
    bought = dice_at(effort, dice, share)
    if np.isnan(bought):
        return Value(100 * float(dice[0]), -1)
    ended = bool(np.float32(effort[-1]) < np.float32(share) and run.dice[-1] < 1)
    return Value(100 * bought, int(ended))


def windows_of(
    runs: list[FinishedRun], until: float | None
) -> dict[tuple[str, int], tuple[float, float]]:
    """From where to where the area of each (stack, seed) goes, in % effort.

    All methods have one start; the end is the smallest last effort among them, or `until`. Without
    the proposed method (where others have it) a pair is left out: its window would be another one.

    Raises:
      InputError: `until` comes before a start.
    """
    pairs: dict[tuple[str, int], list[FinishedRun]] = {}
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


def area_of(run: FinishedRun, window: tuple[float, float]) -> Value:
    """Mean Dice over the window; a run that ended within it keeps its last Dice, a lower bound."""
    ended = bool(run.effort[-1] < window[1] and run.dice[-1] < 1)
    return Value(100 * area(run.effort, run.dice, *window), int(ended))


def average(runs: list[FinishedRun], read: Callable[[FinishedRun], Value]) -> Averages:
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


def comparable(runs: list[FinishedRun], settings: set[Setting]) -> list[FinishedRun]:
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
