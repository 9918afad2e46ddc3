"""Eqs. 3, 4 and 8 by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import al_jax as P
from al_jax.core.posterior import expected_error

SHAPE, CLASSES = (4, 5), 4
COMPATIBLE = np.array([True, False, True, True])
variants = pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])


def _image(seed):
    """Random (logits, labels): pixels of class 1 traced, the rest unlabelled."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (*SHAPE, CLASSES)).astype(np.float32)
    return logits, np.where(rng.random(SHAPE) < 0.3, 1, -1).astype(np.int16)


def _reference(logits, labels, compatible):
    """Eq. 3 in float64."""
    z = np.where(compatible, logits.astype(np.float64), -np.inf)
    return np.where((labels >= 0)[..., None], np.eye(CLASSES)[labels], softmax(z, -1))


@variants
@pytest.mark.parametrize("seed", range(2))
def test_posterior_is_eq_3(wrap, seed):
    logits, labels = _image(seed)
    found = np.asarray(wrap(P.class_posterior)(logits, labels, COMPATIBLE))
    np.testing.assert_allclose(found, _reference(logits, labels, COMPATIBLE), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert not found[labels < 0][:, ~COMPATIBLE].any()
    np.testing.assert_array_equal(found[labels >= 0], np.eye(CLASSES)[labels[labels >= 0]])


def test_posterior_by_hand():
    f = np.array([[[0.5, 0.25, 0.125, 0.125], [0.5, 0.25, 0.125, 0.125]]])
    found = P.class_posterior(jnp.log(f), np.array([[-1, 3]]), np.array([False, True, True, False]))
    np.testing.assert_allclose(found, [[[0, 2 / 3, 1 / 3, 0], [0, 0, 0, 1]]], rtol=1e-6)


def test_posterior_of_half_precision_is_single():
    # The logits are numbers that bfloat16 has, the answers are not.
    logits = jnp.array([[[0, 1, 2, 3]]], jnp.bfloat16)
    found = P.class_posterior(logits, np.array([[-1]]), COMPATIBLE)
    assert found.dtype == jnp.float32
    expected = np.exp([0, -np.inf, 2, 3])
    np.testing.assert_allclose(found[0, 0], expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    "shapes",
    [((4, 5, 4), (1, 5), (4,)), ((4, 5, 4), (4, 5), (1,)), ((4, 5, 4), (4, 5), (5, 4))],
    ids=["labels", "classes", "classes of rows"],
)
@pytest.mark.parametrize("f", [P.class_posterior, P.segment])
def test_shapes_that_would_broadcast_are_refused(f, shapes):
    logits, labels, compatible = shapes
    with pytest.raises(AssertionError):
        f(np.zeros(logits, np.float32), np.full(labels, -1), np.ones(compatible, bool))


@variants
def test_posterior_of_extreme_logits(wrap):
    rng = np.random.default_rng(2)
    _, labels = _image(2)
    logits = rng.choice([-1e4, 1e4], (*SHAPE, CLASSES)).astype(np.float32)
    logits[0] = [-1e4, 1e4, -1e4 + 1, -1e4]  # f is zero in float32 on the whole of C_n
    labels[0] = -1
    found = np.asarray(wrap(P.class_posterior)(logits, labels, COMPATIBLE))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, _reference(logits, labels, COMPATIBLE), atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert (np.asarray(wrap(P.segment)(logits, labels, COMPATIBLE))[0] == 2).all()
    assert np.isfinite(P.class_entropy(found, np.ones(SHAPE, bool))).all()


@variants
def test_one_class_left_is_implied(wrap):
    logits, labels = _image(3)
    only = np.array([False, False, True, False])
    found = np.asarray(wrap(P.class_posterior)(logits, labels, only))
    segmented = np.asarray(wrap(P.segment)(logits, labels, only))
    np.testing.assert_array_equal(segmented, np.where(labels < 0, 2, labels))
    np.testing.assert_allclose(
        found[labels < 0], np.eye(CLASSES)[[2] * (labels < 0).sum()], atol=1e-7
    )
    np.testing.assert_allclose(P.class_entropy(found, np.ones(SHAPE, bool)), 0, atol=1e-7)


def test_nothing_compatible_gives_no_nan():
    logits, labels = _image(4)
    found = np.asarray(P.class_posterior(logits, labels, np.zeros(CLASSES, bool)))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[labels >= 0], np.eye(CLASSES)[labels[labels >= 0]])


@variants
@pytest.mark.parametrize("seed", range(2))
def test_segment_is_eq_4(wrap, seed):
    logits, labels = _image(seed)
    found = wrap(P.segment)(logits, labels, COMPATIBLE)
    assert found.dtype == jnp.int32 and found.shape == SHAPE
    np.testing.assert_array_equal(found, _reference(logits, labels, COMPATIBLE).argmax(-1))


def test_segment_keeps_what_is_traced_and_leaves_the_excluded():
    logits = np.broadcast_to(
        np.float32([0, 9, 1, 2]), (*SHAPE, CLASSES)
    )  # class 1 wins, but is excluded
    labels = np.full(SHAPE, -1, np.int16)
    labels[1, 2] = 1
    found = np.asarray(P.segment(logits, labels, COMPATIBLE))
    assert found[1, 2] == 1 and (np.delete(found.ravel(), 7) == 3).all()


def test_entropy_by_hand():
    # A traced pixel, one split in halves, one in quarters, and one outside.
    p = np.array([[[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3]]])
    inside = np.array([[True, True, True, False]])
    found = P.class_entropy(jnp.asarray(p, jnp.float32), inside)
    half, quarter = 0.5 * np.log(2), 0.25 * np.log(4)
    np.testing.assert_allclose(
        found, np.array([half + quarter, half + quarter, half]) / 3, rtol=1e-6
    )


def test_entropy_of_one_pixel_and_of_none():
    p = jnp.array([[[0.5, 0.5], [0.25, 0.75]]])
    one = P.class_entropy(p, np.array([[True, False]]))
    np.testing.assert_allclose(one, [0.5 * np.log(2)] * 2, rtol=1e-6)
    np.testing.assert_array_equal(P.class_entropy(p, np.zeros((1, 2), bool)), 0)


@variants
def test_entropy_is_eq_8(wrap):
    logits, labels = _image(5)
    inside = np.random.default_rng(6).random(SHAPE) < 0.8
    p = _reference(logits, labels, COMPATIBLE)
    found = wrap(P.class_entropy)(jnp.asarray(p, jnp.float32), inside)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, -p * np.log(p), 0)
    assert found.shape == (CLASSES,)
    np.testing.assert_allclose(found, terms[inside].sum(0) / inside.sum(), rtol=1e-5, atol=1e-8)


def test_traced_pixels_and_pixels_outside_have_no_entropy():
    logits, _ = _image(7)
    inside = np.random.default_rng(8).random(SHAPE) < 0.8
    traced = P.class_posterior(logits, np.ones(SHAPE, np.int16), COMPATIBLE)
    np.testing.assert_array_equal(P.class_entropy(traced, inside), 0)
    blank = P.class_posterior(logits, np.full(SHAPE, -1, np.int16), COMPATIBLE)
    moved = jnp.where(inside[..., None], blank, 0.25)
    np.testing.assert_array_equal(P.class_entropy(blank, inside), P.class_entropy(moved, inside))


def test_permuting_the_classes_permutes_everything():
    logits, labels = _image(9)
    order = np.array([2, 0, 3, 1])  # class c becomes order[c]
    where = np.argsort(order)
    args = (logits[..., where], np.where(labels >= 0, order[labels], -1), COMPATIBLE[where])
    p = P.class_posterior(logits, labels, COMPATIBLE)
    np.testing.assert_allclose(P.class_posterior(*args), p[..., where], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(P.segment(*args), order[P.segment(logits, labels, COMPATIBLE)])


def test_vmapped_is_looped():
    logits, labels = map(np.stack, zip(*(_image(seed) for seed in range(3)), strict=True))
    masks = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    vmapped = jax.vmap(P.class_posterior)(logits, labels, masks)
    looped = [P.class_posterior(*x) for x in zip(logits, labels, masks, strict=True)]
    np.testing.assert_allclose(vmapped, np.stack(looped), rtol=1e-6)


def test_expected_error_by_hand():
    """Two pixels are 0.8 and 0.6 of class 0, one 0.9 of class 1; what is outside counts nowhere."""
    p = jnp.asarray([[[0.8, 0.2, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0, 0, 1]]], jnp.float32)
    inside = jnp.asarray([[True, True, True, False]])
    found = expected_error(p, inside)
    # Claimed 2 px, expected 1.5, both 1.4; claimed 1, expected 1.5, both 0.9.
    np.testing.assert_allclose(found, [1 - 2.8 / 3.5, 1 - 1.8 / 2.5, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(expected_error)(p, inside), found, rtol=1e-6)
    certain = jax.nn.one_hot(jnp.asarray([[0, 1, 1, 2]]), 3)
    np.testing.assert_allclose(expected_error(certain, jnp.ones((1, 4), bool)), 0, atol=1e-6)


def test_expected_error_is_what_draws_from_the_posterior_find():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.3, 0.3, 0.3], (20, 20)).astype(np.float32)
    best = p.argmax(-1)
    draws = np.array([[rng.choice(3, p=q / q.sum()) for q in row] for row in p.astype(float)])
    overlap = [(best == c)[draws == c].sum() for c in range(3)]
    areas = [(best == c).sum() + (draws == c).sum() for c in range(3)]
    found = expected_error(jnp.asarray(p), jnp.ones((20, 20), bool))
    np.testing.assert_allclose(found, 1 - 2 * np.array(overlap) / areas, atol=0.05)
