"""Dice overlaps, by hand and against NumPy."""

import jax
import numpy as np
import pytest

from al_jax.core import metrics

PREDICTION = np.array([[0, 1, 1], [0, 1, 2], [0, 0, 2]])
TRUTH = np.array([[0, 1, 1], [0, 0, 2], [0, 0, 2]])
variants = pytest.mark.parametrize("wrap", [lambda f, **_: f, jax.jit], ids=["plain", "jit"])


@variants
def test_dice_by_hand(wrap):
    dice = wrap(metrics.dice, static_argnums=3)
    everywhere = np.ones((3, 3), bool)
    # 0: 2*4/(4+5); 1: 2*2/(3+2); 2: 2*2/(2+2); 3 is on neither map.
    np.testing.assert_allclose(
        dice(PREDICTION, TRUTH, everywhere, 4), [8 / 9, 4 / 5, 1, 1], rtol=1e-6
    )
    # Without the centre, the one pixel that differs, everything agrees.
    elsewhere = everywhere.copy()
    elsewhere[1, 1] = False
    np.testing.assert_array_equal(dice(PREDICTION, TRUTH, elsewhere, 4), 1)


def test_dice_of_a_class_on_one_map_alone_is_zero():
    everywhere = np.ones((2, 2), bool)
    found = metrics.dice(np.array([[0, 0], [0, 1]]), np.array([[0, 0], [0, 2]]), everywhere, 3)
    np.testing.assert_array_equal(found, [1, 0, 0])


def test_dice_of_nothing_inside_is_one():
    found = metrics.dice(PREDICTION, TRUTH, np.zeros((3, 3), bool), 3)
    np.testing.assert_array_equal(found, 1)


@pytest.mark.parametrize(("dtype", "classes"), [(np.uint8, 256), (np.int8, 128), (np.int16, 3)])
def test_areas_of_narrow_labels(dtype, classes):
    labels = np.array([[0, 1, 2], [2, 2, 0]], dtype)
    inside = np.array([[True, True, False], [True, True, True]])
    found = metrics.class_areas(jax.numpy.asarray(labels), inside, classes)
    np.testing.assert_array_equal(found, [2, 1, 2] + [0] * (classes - 3))


@pytest.mark.parametrize("counted", ["cpu", "default"])
def test_areas_leave_out_the_unlabelled_and_the_outside(monkeypatch, counted):
    # Both ways of counting, whichever is this platform's.
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, **ways: ways[counted](*args))
    labels = np.array([[0, 2, 2, -1], [-1, 1, 2, 3], [0, 0, 1, -1]], np.int16)
    inside = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]], bool)
    for classes, expected in ((4, [2, 2, 2, 1]), (2, [2, 2])):  # a class beyond the last is none
        found = metrics.class_areas(jax.numpy.asarray(labels), jax.numpy.asarray(inside), classes)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int32


@variants
def test_presence_is_a_pixel_inside(wrap):
    labels = np.array([[[0, 0, 2]], [[1, -1, 2]], [[1, 1, 1]]], np.int16)
    inside = np.array([[[1, 1, 1]], [[1, 1, 0]], [[1, 1, 1]]], bool)
    found = wrap(metrics.presence, static_argnums=2)(labels, inside, 4)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]])


def test_overlap_by_hand():
    # The centre differs; the right column, where both agree, is outside.
    inside = np.array([[True, True, False]] * 3)
    found = metrics.overlap(PREDICTION, TRUTH, inside, 3)
    assert found.shape == (2, 3) and found.dtype == np.int32
    np.testing.assert_array_equal(found, [[4, 1, 0], [9, 3, 0]])


@variants
def test_dice_against_numpy(wrap):
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 4, (2, 6, 7))
    inside = rng.random((6, 7)) < 0.8
    found = np.asarray(wrap(metrics.dice, static_argnums=3)(prediction, truth, inside, 5))
    for c in range(4):
        a, b = (prediction == c) & inside, (truth == c) & inside
        assert found[c] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), rel=1e-6)
    assert found[4] == 1
    np.testing.assert_allclose(metrics.dice(truth, prediction, inside, 5), found)  # symmetric


def test_dice_of_many_pixels_is_exact():
    # Counts beyond 2**24 pixels would round in float32; a section has fewer, and no half precision.
    truth = np.zeros((300, 300), np.int16)
    prediction = truth.copy()
    prediction[0, 0] = 1
    found = metrics.dice(prediction, truth, np.ones_like(truth, bool), 2)
    np.testing.assert_allclose(1 - np.asarray(found, np.float64)[0], 1 / 179999, rtol=0.02)


@variants
def test_mean_dice_by_hand(wrap):
    scores = np.array([[0.5, 1.0, 0.2], [0.7, 1.0, 0.4], [0.9, 0.6, 1.0]], np.float32)
    present = np.array([[True, False, False], [True, False, False], [False, True, False]])
    found = np.asarray(wrap(metrics.mean_dice)(scores, present))
    np.testing.assert_allclose(found, [0.6, 0.6, np.nan], rtol=1e-6)


def test_mean_dice_ignores_what_stands_where_a_class_is_absent():
    scores = np.array([[0.5], [np.nan]], np.float32)
    np.testing.assert_allclose(metrics.mean_dice(scores, np.array([[True], [False]])), [0.5])


def test_the_dice_of_a_stack_of_more_pixels_than_int32_counts():
    # 4,400 sections of 512 x 512: one class fills all of them, the other half of each prediction.
    full = 512 * 512
    overlaps = np.tile(np.array([[full, full // 2], [2 * full, full + full // 2]]), (4400, 1, 1))
    total = jax.jit(metrics.pooled)(jax.numpy.asarray(overlaps, jax.numpy.int32))
    np.testing.assert_array_equal(total, overlaps.astype(np.float64).sum(0))
    np.testing.assert_allclose(metrics.dice_of(total), [1, 2 / 3], rtol=1e-6)


def test_pooling_is_a_sum():
    overlaps = np.random.default_rng(0).integers(0, 2**20, (7, 2, 3)).astype(np.int32)
    np.testing.assert_allclose(metrics.pooled(overlaps), overlaps.sum(0), rtol=1e-7)
