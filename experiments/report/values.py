"""Numbers of runs: of each, over its seeds, and over the stacks.

In the paper's tables the unit is the stack: seeds of a (method, stack) are averaged first, and
means and standard deviations (ddof 1) are over stacks. Medians are over pairs of stack and seed,
with intervals in which seeds are nested in stacks. A value that is only a bound counts as its
bound, and how many runs gave bounds is kept beside every mean. Efforts and Dice are in %.

A run is a row of `read_sweep`, as `itertuples` gives it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from al_jax.core.stack import InputError
from al_jax.core.statistics import area, bootstrap, dice_at, effort_at
from experiments.report.read import methods

TARGETS = (90, 95)  # % Dice, of Tables 4 and 5
COUNTS = ["runs", "at_least_runs", "at_most_runs"]
Window = tuple[float, float]


class Value(NamedTuple):
    """A number of one run. `bound`: 1, the truth is at least that; -1, at most; 0, it is exact."""

    value: float
    bound: int = 0


def first_reached(run: Any, target: int) -> int | None:
    """The row at which a run first had a Dice of `target` %, if it ever had."""
    row = effort_at(np.arange(len(run.dice)), run.dice, target / 100)
    return None if np.isnan(row) else int(row)


def effort_of(run: Any, target: int, kind: str = "effort") -> Value:
    """Effort at a Dice; where it was never reached, the last effort, which is a lower bound."""
    effort, row = getattr(run, kind), first_reached(run, target)
    return Value(float(effort[-1]), 1) if row is None else Value(float(effort[row]))


def dice_of(run: Any, budget: float, dice: np.ndarray | None = None) -> Value:
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


def area_of(run: Any, window: Window) -> Value:
    """Mean Dice over the window; a run that ended within it keeps its last Dice, a lower bound."""
    ended = bool(run.effort[-1] < window[1] and run.dice[-1] < 1)
    return Value(100 * area(run.effort, run.dice, *window), int(ended))


def windows_of(
    runs: pd.DataFrame, until: float | None, reference: str
) -> dict[tuple[str, int], Window]:
    """From where to where the area of each (stack, seed) goes, in % effort.

    All methods have one start; the end is the smallest last effort among them, or `until`. Without
    the reference (where others have it) a pair is left out: its window would be another one.

    Raises:
      InputError: `until` comes before a start.
    """
    needed, found = {reference} & set(runs.method), {}
    for (stack, seed), members in runs.groupby(["stack", "seed"]):
        if not needed <= set(members.method):
            continue
        start = max(float(effort[0]) for effort in members.effort)
        if until is not None and until < start:
            raise InputError(
                f"--until={until:g}: {stack}, seed {seed} starts at {start:.2f}%; give more"
            )
        last = min(float(effort[-1]) for effort in members.effort)
        found[stack, seed] = start, max(start, last) if until is None else until
    return found


def measure(runs: pd.DataFrame, read: Callable[[Any], Value], **keys: Any) -> pd.DataFrame:
    """A number of each run, a row each, ordered by method."""
    rows = runs.sort_values("stack", kind="stable")
    by_method = [run for name in methods(runs) for run in rows[rows.method == name].itertuples()]
    values = [read(run) for run in by_method]
    return pd.DataFrame(
        {
            **keys,
            "method": [run.method for run in by_method],
            "stack": [run.stack for run in by_method],
            "seed": [run.seed for run in by_method],
            "runs": 1,
            "value_percent": [value for value, _ in values],
            "at_least_runs": [int(bound > 0) for _, bound in values],
            "at_most_runs": [int(bound < 0) for _, bound in values],
        }
    )


def per_stack(values: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of each stack, everything else equal."""
    keys = [key for key in values if key not in ("seed", *COUNTS, "value_percent")]
    # pandas' own mean of groups is summed in another way, and so rounded in another.
    how = {"runs": "sum", "value_percent": pd.Series.mean} | dict.fromkeys(COUNTS[1:], "sum")
    return values.groupby(keys, sort=False, as_index=False).agg(how)


def over_stacks(stacks: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over stacks, and what went into them."""
    keys = [key for key in stacks if key not in ("stack", *COUNTS, "value_percent")]
    return stacks.groupby(keys, sort=False, as_index=False).agg(
        stacks=("stack", "size"),
        runs=("runs", "sum"),
        mean_percent=("value_percent", pd.Series.mean),
        std_percent=("value_percent", pd.Series.std),
        at_least_runs=("at_least_runs", "sum"),
        at_most_runs=("at_most_runs", "sum"),
    )


def over_pairs(values: pd.Series, stacks: pd.Series) -> dict[str, float]:
    """Median and quartiles of pairs of stack and seed, and the median's 95% bootstrap interval.

    `stacks` has the stack of each value; one stack says nothing about others, and has no interval.
    """
    low, middle, high = values.quantile([0.25, 0.5, 0.75]) if len(values) else [np.nan] * 3
    groups = [own.to_numpy() for _, own in values.groupby(stacks.to_numpy())]
    interval = bootstrap(groups) if len(groups) > 1 else (np.nan, np.nan)
    names = ("median", "lower_quartile", "upper_quartile", "low", "high")
    return dict(zip(names, (middle, low, high, *interval), strict=True))
