"""Efforts and Dice read off a trace, by hand."""

import math

import numpy as np
import pytest

from al_jax import statistics

EFFORT = np.array([5.0, 9.0, 9.0, 12.0, 20.0])
DICE = np.array([0.6, 0.9, 0.85, 0.8, 0.95])


@pytest.mark.parametrize(
    "target, expected", [(0.5, 5.0), (0.6, 5.0), (0.7, 9.0), (0.9, 9.0), (0.91, 20.0), (0.95, 20.0)]
)
def test_effort_at_is_the_first_row_that_reaches_the_target(target, expected):
    assert statistics.effort_at(EFFORT, DICE, target) == expected


def test_effort_at_is_nan_if_never_reached():
    assert math.isnan(statistics.effort_at(EFFORT, DICE, 0.96))
    assert math.isnan(statistics.effort_at(np.array([]), np.array([]), 0.5))


def test_effort_at_passes_over_nan():
    assert statistics.effort_at([1.0, 2.0], [np.nan, 0.7], 0.5) == 2.0


@pytest.mark.parametrize(
    "budget, expected", [(5.0, 0.6), (8.9, 0.6), (9.0, 0.85), (12.0, 0.8), (19.0, 0.8), (100, 0.95)]
)
def test_dice_at_is_the_last_row_within_the_budget(budget, expected):
    assert statistics.dice_at(EFFORT, DICE, budget) == expected


def test_dice_at_is_nan_before_the_first_row():
    assert math.isnan(statistics.dice_at(EFFORT, DICE, 4.9))
    assert math.isnan(statistics.dice_at(np.array([]), np.array([]), 4.9))


@pytest.mark.parametrize("f", [statistics.effort_at, statistics.dice_at])
def test_results_are_plain_floats(f):
    assert type(f(EFFORT.astype(np.float32), DICE.astype(np.float32), 0.5)) is float


@pytest.mark.parametrize("f", [statistics.effort_at, statistics.dice_at])
def test_lengths_that_disagree_are_an_error(f):
    with pytest.raises(ValueError, match="one length"):
        f(EFFORT, DICE[:-1], 0.5)
