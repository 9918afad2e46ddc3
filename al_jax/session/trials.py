"""What a network showed just before each answer, kept by pair: an undone answer takes its own back.

A trial is made once, before the network learns from a pair for the first time. An answer that is
undone and given again, or corrected, is no second one: the network has learnt from it. It counts
as long as an answer to its pair does.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from al_jax.learner.learner import Learner

Pair = tuple[int, int]
"""Section and structure."""


class Trials(NamedTuple):
    """The trials of a network, and where they began.

    Attributes:
      start: [5, C] float32, `Learner.trials` and `Learner.dice` before the first of them.
      shown: [3] float32 of each pair that the network has learnt from, in that order: what its
        trial adds to `Learner.trials` of the structure; zeros if there was none.
    """

    start: np.ndarray
    shown: Mapping[Pair, np.ndarray]


NONE = np.zeros(3, np.float32)


def start_from(learner: Learner, pairs: Iterable[Pair] = ()) -> Trials:
    """No trial yet, of a network that has learnt from `pairs`."""
    start = np.concatenate([learner.trials, learner.dice]).astype(np.float32)
    return Trials(start, dict.fromkeys(pairs, NONE))


def untried(num_classes: int) -> Trials:
    """Those of a network that has learnt nothing, of which no Dice is known."""
    nothing = np.zeros((3, num_classes), np.float32)
    return Trials(np.concatenate([nothing, np.full_like(nothing[:2], np.nan)]), {})


def with_trials(learner: Learner, trials: Trials, pairs: Iterable[Pair]) -> Learner:
    """The learner with the trials of `pairs` alone, as `record_answer` would make it.

    Args:
      learner: of any trials.
      trials: of it.
      pairs: that are answered and there, in the order of their answers.
    """
    sums, history = trials.start[:3].copy(), trials.start[3:].copy()
    for pair in pairs:
        one, c = trials.shown[pair], pair[1]
        if one[2] > 0:
            sums[:, c] = sums[:, c] / 2 + one
            latest = history[0, c]
            history[:, c] = one[0], one[0] if np.isnan(latest) else latest
    return learner.replace(trials=sums, dice=history)


def to_array(trials: Trials) -> np.ndarray:
    """[C + K, 5] float64, of K pairs, for a checkpoint."""
    rows = [(*pair, *one) for pair, one in trials.shown.items()]
    return np.concatenate([trials.start.T.astype(float), np.array(rows, float).reshape(-1, 5)])


def from_array(rows: np.ndarray, num_classes: int) -> Trials:
    """The trials that `to_array` made rows of."""
    start, shown = rows[:num_classes].T.astype(np.float32), rows[num_classes:]
    return Trials(start, {(int(n), int(c)): np.array(one, np.float32) for n, c, *one in shown})
