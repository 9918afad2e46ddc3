"""Figures of learning curves, Dice over effort, and statistics that compare them over stacks.

A learning curve is a pair of arrays with a row per query; row 0 is the initial annotations. Units
are the caller's; effort never falls from one row to the next. Dice is a step function of effort:
between two rows it is that of the earlier one.

Dice, effort, targets and budgets are compared in float32, as the simulation does that stops at a
target: a run that stopped there has reached it.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000
"""Of a bootstrap."""


def effort_at(effort: np.ndarray, dice: np.ndarray, target: float) -> float:
    """The effort after which a Dice was first reached (the paper's Tables 4 and 5).

    Args:
      effort: [T], effort spent up to and with each row.
      dice: [T], Dice after each row; a NaN reaches nothing.
      target: in the units of `dice`.

    Returns:
      The effort of the first row whose Dice is at least `target`, NaN if there is none.

    Example:
      >>> effort_at(np.array([5.0, 9.0, 12.0]), np.array([0.6, 0.9, 0.8]), 0.8)
      9.0
    """
    effort, dice = _rows(effort, dice)
    reached = np.flatnonzero(dice.astype(np.float32) >= np.float32(target))
    return float(effort[reached[0]]) if reached.size else float("nan")


def dice_at(effort: np.ndarray, dice: np.ndarray, budget: float) -> float:
    """The Dice that a budget buys (the paper's Tables 2 and 3).

    Args:
      effort: [T], effort spent up to and with each row.
      dice: [T], Dice after each row.
      budget: in the units of `effort`.

    Returns:
      The Dice of the last row whose effort is at most `budget`, NaN if the first row is over it.

    Example:
      >>> dice_at(np.array([5.0, 9.0, 12.0]), np.array([0.6, 0.9, 0.8]), 10.0)
      0.9
    """
    effort, dice = _rows(effort, dice)
    within = np.flatnonzero(effort.astype(np.float32) <= np.float32(budget))
    return float(dice[within[-1]]) if within.size else float("nan")


def area(effort: np.ndarray, dice: np.ndarray, start: float, stop: float) -> float:
    """The normalised area under a learning curve: mean Dice while effort goes from start to stop.

    Args:
      effort: [T], effort spent up to and with each row.
      dice: [T], Dice after each row; the last one holds for all efforts beyond.
      start: at least the first effort.
      stop: at least `start`; where they are equal, the result is the Dice there.

    Raises:
      ValueError: `start` is before the first row, or after `stop`.

    Example:
      >>> area(np.array([5.0, 9.0, 12.0]), np.array([0.5, 1.0, 0.8]), 5.0, 13.0)
      0.725
    """
    effort, dice = _rows(effort, dice)
    if not effort.size or not effort[0] <= start <= stop:
        raise ValueError(f"start {start}, stop {stop}: the curve begins at {effort[:1]}")
    if start == stop:
        return dice_at(effort, dice, start)
    edges = np.append(effort, np.inf).clip(start, stop)
    return float(np.diff(edges) @ dice / (stop - start))


def bootstrap(
    groups: Sequence[np.ndarray], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the median of values that are nested in groups.

    Groups are drawn with replacement, and then as many values of each as it has: seeds of one stack
    are no stacks of their own. Equal inputs give equal intervals.

    Args:
      groups: [n] each, at least one value.
      level: of the interval.
      seed: of the resamples.
    """
    rng, sizes = np.random.default_rng(seed), np.array([len(group) for group in groups])
    values = np.full((len(groups), sizes.max()), np.nan)
    for row, group in zip(values, groups, strict=True):
        row[: len(group)] = group
    drawn = rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    within = rng.integers(sizes[drawn][..., None], size=(*drawn.shape, sizes.max()))
    found = values[drawn[..., None], within]
    found[np.arange(sizes.max()) >= sizes[drawn][..., None]] = np.nan
    tail = (1 - level) / 2
    medians = np.nanmedian(found.reshape(RESAMPLES, -1), 1)
    low, high = np.quantile(medians, (tail, 1 - tail))
    return float(low), float(high)


def signed_rank(values: np.ndarray, others: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on pairs.

    Pairs without a difference are dropped, as Wilcoxon did. SciPy's p is exact up to 50 pairs
    without ties and up to 13 with ties, and a normal approximation beyond.

    Args:
      values, others: [n], paired.

    Returns:
      p; 1 if no pair differs (also if there is none).
    """
    from scipy.stats import wilcoxon  # takes a second to import, which nothing else here needs

    difference = np.asarray(values, np.float64) - np.asarray(others, np.float64)
    difference = difference[difference != 0]
    return float(wilcoxon(difference).pvalue) if difference.size else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of a family of p-values, [m] -> [m] in the same order.

    The smallest p is multiplied by m, the next by m - 1 and so on; none may be less than one before
    it, nor above 1. A NaN is not of the family and stays.

    Example:
      >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
      [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    corrected = np.full(p.shape, np.nan)
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected


def _rows(effort: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as [T] arrays of float64."""
    effort, dice = np.asarray(effort, np.float64), np.asarray(dice, np.float64)
    if effort.ndim != 1 or effort.shape != dice.shape:
        raise ValueError(f"effort {effort.shape}, dice {dice.shape}: must be vectors of one length")
    return effort, dice
