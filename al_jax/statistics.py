"""What a trace of queries says: the effort that a Dice needs, the Dice that a budget buys.

A trace is a pair of arrays over its rows, in the order of the queries: row 0 is the initial
annotations. Units are the caller's; effort never falls from one row to the next.
"""

import numpy as np


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
    reached = np.flatnonzero(dice >= target)
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
    within = np.flatnonzero(effort <= budget)
    return float(dice[within[-1]]) if within.size else float("nan")


def _rows(effort: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as [T] arrays of float64.

    Raises:
      ValueError: they are not two vectors of one length.
    """
    effort, dice = np.asarray(effort, np.float64), np.asarray(dice, np.float64)
    if effort.ndim != 1 or effort.shape != dice.shape:
        raise ValueError(f"effort {effort.shape}, dice {dice.shape}: must be vectors of one length")
    return effort, dice
