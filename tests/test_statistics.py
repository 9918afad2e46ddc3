"""Efforts and Dice read off a trace, by hand."""

import math

import numpy as np
import pytest

from al_jax.core import statistics

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


@pytest.mark.parametrize(
    ("f", "value", "expected"), [(statistics.effort_at, 0.7, 9.0), (statistics.dice_at, 12.0, 0.8)]
)
def test_results_are_plain_floats(f, value, expected):
    found = f(EFFORT.astype(np.float32), DICE.astype(np.float32), value)
    assert type(found) is float and found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("f", [statistics.effort_at, statistics.dice_at])
def test_lengths_that_disagree_are_an_error(f):
    with pytest.raises(ValueError, match="one length"):
        f(EFFORT, DICE[:-1], 0.5)


@pytest.mark.parametrize(
    "start, stop, expected",
    [
        (5.0, 9.0, 0.6),  # the first step alone
        (5.0, 12.0, (4 * 0.6 + 3 * 0.85) / 7),  # of two rows at one effort the later one counts
        (7.0, 14.0, (2 * 0.6 + 3 * 0.85 + 2 * 0.8) / 7),
        (12.0, 30.0, (8 * 0.8 + 10 * 0.95) / 18),  # the last Dice is kept
        (25.0, 30.0, 0.95),
        (9.0, 9.0, 0.85),
    ],
)
def test_area_by_hand(start, stop, expected):
    assert statistics.area(EFFORT, DICE, start, stop) == pytest.approx(expected, abs=1e-12)


def test_area_refuses_what_is_before_the_trace_or_backwards():
    for start, stop in ((4.9, 9.0), (9.0, 8.0)):
        with pytest.raises(ValueError, match="begins"):
            statistics.area(EFFORT, DICE, start, stop)


def test_bootstrap_of_a_constant_is_that_constant():
    assert statistics.bootstrap([np.array([3.25, 3.25]), np.array([3.25])]) == (3.25, 3.25)


def test_bootstrap_of_two_values_by_hand():
    """Medians are low, middle, high with chances 1/4, 1/2, 1/4: tails of 2.5% and 30% differ."""
    values = [np.array([0.0]), np.array([1.0])]
    assert statistics.bootstrap(values) == (0.0, 1.0)
    assert statistics.bootstrap(values, level=0.4) == (0.5, 0.5)


def test_seeds_of_a_stack_are_no_stacks_in_a_bootstrap():
    """However many agree, one stack of three is drawn three times in one of nine resamples."""
    nested = [np.zeros(50), np.zeros(50), np.ones(50)]
    assert statistics.bootstrap(nested, level=0.94) == (0, 1)  # at most one: 20 of 27 resamples
    apart = [np.zeros(1)] * 100 + [np.ones(1)] * 50
    assert statistics.bootstrap(apart) == (0, 0)


def test_bootstrap_repeats_itself_and_is_near_the_normal_interval():
    values = np.random.default_rng(1).normal(5, 2, (400, 1))
    low, high = statistics.bootstrap([*values])
    assert (low, high) == statistics.bootstrap([*values])
    assert (low, high) != statistics.bootstrap([*values], seed=1)
    half = 1.96 * values.std() / 20 * np.sqrt(np.pi / 2)  # of a median
    middle = np.median(values)
    np.testing.assert_allclose([low, high], middle + np.array([-half, half]), atol=0.1)


@pytest.mark.parametrize(
    "difference, expected",
    [
        ([1.0, 2.0, 3.0], 2 / 8),  # all of one sign, either sign
        ([-1.0, -2.0, -3.0, -4.0, -5.0], 2 / 32),
        ([1.0, 2.0, -3.0], 1.0),  # ranks 3 against 3
        ([-1.0, 2.0, 3.0, 4.0], 2 * 2 / 16),  # W = 1: {}, {1}
        ([0.0, 1.0, 2.0, 3.0], 2 / 8),  # no difference, no pair
        ([2.0, 2.0, 2.0], 2 / 8),  # tied
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_signed_rank_by_counting_signs(difference, expected):
    others = np.arange(len(difference), dtype=float)
    assert statistics.signed_rank(difference + others, others) == pytest.approx(expected)


def test_holm_by_hand():
    p = [0.01, 0.04, 0.03, 0.005]  # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04
    np.testing.assert_allclose(statistics.holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.4, 0.6]), [0.8, 0.8])
    np.testing.assert_allclose(statistics.holm([0.7, 0.6]), [1.0, 1.0])


def test_holm_leaves_nan_out_of_the_family():
    found = statistics.holm([0.02, np.nan, 0.03])
    np.testing.assert_allclose(found, [0.04, np.nan, 0.04])
    assert statistics.holm([]).shape == (0,)


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.7, 1 / 3])
def test_what_stopped_at_a_target_in_float32_has_reached_it(target):
    # float32(0.9) is less than 0.9: a run that stops there must not be reported as never there.
    dice = np.array([0.1, np.float32(target)], np.float32)
    effort = np.array([0.2, np.float32(target)], np.float32)
    assert statistics.effort_at(effort, dice, target) == effort[1]
    assert statistics.dice_at(effort, dice, target) == dice[1]
    below = np.nextafter(np.float32(target), np.float32(0))
    assert np.isnan(statistics.effort_at(effort, np.array([0.1, below]), target))
    # ... and neither does the table of its queries lose it.
    assert float(f"{dice[1]:.9g}") == pytest.approx(float(dice[1]), abs=1e-9)
    assert (
        statistics.effort_at(effort, np.array([0.1, float(f"{dice[1]:.9g}")]), target) == effort[1]
    )
