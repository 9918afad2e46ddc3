"""Eq. 2 and the cross entropy over labelled pixels, against float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from al_jax.core import losses

SHAPE, CLASSES = (4, 5), 4
EVERY = np.ones(CLASSES, bool)
variants = pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])


def _mean(loss):
    """A loss as the mean over what it counts in a section."""

    def mean(logits, labels, compatible, inside):
        total, count = loss(logits, labels, compatible, inside)
        return total / jnp.maximum(count, 1)

    return mean


partial = _mean(losses.partial_cross_entropy)
labelled = _mean(losses.cross_entropy)
both = pytest.mark.parametrize("loss", [partial, labelled], ids=["partial", "labelled"])


def _image(seed, fully=False):
    """Random (logits, labels, compatible, inside) of one section."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (*SHAPE, CLASSES)).astype(np.float32)
    labels = rng.integers(0 if fully else -1, 2, SHAPE).astype(np.int16)
    compatible = np.array([False, False, True, True])
    return logits, labels, compatible, rng.random(SHAPE) < 0.8


def _reference(logits, labels, compatible, inside):
    """Eq. 2 in float64, pixel by pixel, divided by the number of inside pixels."""
    total = 0.0
    for z, label, seen in zip(
        logits.reshape(-1, logits.shape[-1]).astype(np.float64),
        labels.ravel(),
        inside.ravel(),
        strict=True,
    ):
        if not seen:
            continue
        if label >= 0:
            total -= z[label] - logsumexp(z)
        elif compatible.any():
            total -= logsumexp(z[compatible]) - logsumexp(z)
    return total / inside.sum()


def _reference_gradient(logits, labels, compatible, inside):
    """Softmax minus the label (or minus softmax over C_n), in float64."""
    z = logits.astype(np.float64)
    target = np.eye(z.shape[-1])[np.maximum(labels, 0)]
    merged = softmax(np.where(compatible, z, -np.inf), -1) if compatible.any() else softmax(z, -1)
    target = np.where((labels >= 0)[..., None], target, merged)
    return (softmax(z, -1) - target) * inside[..., None] / inside.sum()


@variants
@pytest.mark.parametrize("seed", range(3))
def test_partial_cross_entropy_is_eq_2(wrap, seed):
    args = _image(seed)
    found = wrap(partial)(*args)
    assert found.shape == ()
    np.testing.assert_allclose(found, _reference(*args), rtol=1e-5)


def test_partial_cross_entropy_by_hand():
    # A pixel labelled as class 0 with f = 1/2, one unlabelled with f(C_n) = 1/4 + 1/8, one outside.
    f = np.array([[[0.5, 0.25, 0.25], [0.625, 0.25, 0.125], [0.98, 0.01, 0.01]]])
    found = partial(
        jnp.log(f),
        np.array([[0, -1, 1]]),
        np.array([False, True, True]),
        np.array([[True, True, False]]),
    )
    np.testing.assert_allclose(found, -(np.log(0.5) + np.log(0.375)) / 2, rtol=1e-6)


def test_a_loss_is_a_sum_and_a_count():
    f = np.array([[[0.5, 0.25, 0.25], [0.625, 0.25, 0.125], [0.98, 0.01, 0.01]]])
    args = (
        jnp.log(f),
        np.array([[0, -1, 1]]),
        np.array([False, True, True]),
        np.array([[True, True, False]]),
    )
    total, count = losses.partial_cross_entropy(*args)
    np.testing.assert_allclose(total, -np.log(0.5) - np.log(0.375), rtol=1e-6)
    assert count == 2
    total, count = losses.cross_entropy(*args)
    np.testing.assert_allclose(total, -np.log(0.5), rtol=1e-6)
    assert count == 1 and total.dtype == jnp.float32


def test_one_pixel_inside_is_not_halved():
    f = np.array([[[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]]])
    labels, inside = np.array([[1, 1]]), np.array([[True, False]])
    found = partial(jnp.log(f), labels, np.ones(3, bool), inside)
    np.testing.assert_allclose(found, np.log(4), rtol=1e-6)
    np.testing.assert_allclose(
        labelled(jnp.log(f), labels, np.ones(3, bool), inside), np.log(4), rtol=1e-6
    )


def test_logits_of_half_precision_are_summed_in_single():
    # f of class 0 is 1 / (1 + 3 exp(-5)), of classes 1 and 2 twice exp(-5) of it.
    logits = jnp.array([[[5, 0, 0, 0], [5, 0, 0, 0]]], jnp.bfloat16)
    labels, inside = np.array([[0, -1]]), np.ones((1, 2), bool)
    found = partial(logits, labels, np.array([False, True, True, False]), inside)
    assert found.dtype == jnp.float32
    both_terms = np.log1p(3 * np.exp(-5.0))
    np.testing.assert_allclose(found, (2 * both_terms + 5 - np.log(2)) / 2, rtol=1e-5)
    found = labelled(logits, labels, EVERY, inside)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, both_terms, rtol=1e-5)


@variants
def test_fully_annotated_is_cross_entropy(wrap):
    logits, labels, compatible, inside = _image(3, fully=True)
    found = wrap(partial)(logits, labels, compatible, inside)
    expected = wrap(labelled)(logits, labels, compatible, inside)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    picked = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), labels[..., None].astype(int), -1
    )
    np.testing.assert_allclose(found, -picked[..., 0][inside].mean(), rtol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_gradient_against_finite_differences(seed):
    logits, labels, compatible, inside = _image(seed)
    gradient = np.asarray(jax.jit(jax.grad(partial))(logits, labels, compatible, inside))
    logits, step, differences = logits.astype(np.float64), 1e-5, np.zeros_like(gradient)
    for index in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = step
        up, down = (_reference(logits + s, labels, compatible, inside) for s in (shift, -shift))
        differences[index] = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient, differences, atol=2e-6)


def test_gradient_by_check_grads():
    logits, labels, compatible, inside = _image(4)
    loss = jax.jit(lambda z: partial(z, labels, compatible, inside))
    jax.test_util.check_grads(loss, (jnp.asarray(logits),), 1, modes=["rev"], atol=1e-2, rtol=1e-2)


@variants
@both
def test_extreme_logits_stay_finite(wrap, loss):
    rng = np.random.default_rng(5)
    _, labels, compatible, inside = _image(5)
    logits = rng.choice([-1e4, 1e4], (*SHAPE, CLASSES)).astype(np.float32)
    logits[0] = [1e4, 1e4, -1e4, -1e4]  # f underflows on the whole of C_n
    labels[0] = -1
    inside[0] = True
    if loss is partial:
        value, gradient = wrap(jax.value_and_grad(partial))(logits, labels, compatible, inside)
        np.testing.assert_allclose(value, _reference(logits, labels, compatible, inside), rtol=1e-5)
        expected = _reference_gradient(logits, labels, compatible, inside)
        np.testing.assert_allclose(gradient, expected, atol=1e-6)
        assert np.abs(gradient[0]).max() > 0  # and it still pulls towards C_n
    else:
        value, gradient = wrap(jax.value_and_grad(labelled))(logits, labels, compatible, inside)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@variants
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_nothing_compatible_leaves_no_term(wrap, scale):
    logits, labels, _, inside = _image(6)
    logits = np.sign(logits) * scale if scale > 1 else logits
    nothing = np.zeros(CLASSES, bool)
    value, gradient = wrap(jax.value_and_grad(partial))(logits, labels, nothing, inside)
    np.testing.assert_allclose(value, _reference(logits, labels, nothing, inside), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[(labels < 0) | ~inside].any()
    empty = np.full(SHAPE, -1, np.int16)
    value, gradient = wrap(jax.value_and_grad(partial))(logits, empty, nothing, inside)
    assert value == 0 and not np.asarray(gradient).any()


def test_everything_compatible_costs_nothing():
    logits, _, _, inside = _image(7)
    value, gradient = jax.value_and_grad(partial)(
        logits, np.full(SHAPE, -1, np.int16), np.ones(CLASSES, bool), inside
    )
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_pixels_outside_do_not_count():
    logits, labels, compatible, inside = _image(8)
    rng = np.random.default_rng(9)
    other = np.where(inside[..., None], logits, 1e4 * rng.normal(size=logits.shape)).astype(
        np.float32
    )
    elsewhere = np.where(inside, labels, rng.integers(-1, 4, SHAPE)).astype(np.int16)
    for loss in (partial, labelled):
        value, gradient = jax.value_and_grad(loss)(other, elsewhere, compatible, inside)
        np.testing.assert_allclose(value, loss(logits, labels, compatible, inside), rtol=1e-6)
        assert not np.asarray(gradient)[~inside].any()


@both
def test_nothing_inside_is_zero(loss):
    logits, labels, compatible, _ = _image(10)
    value, gradient = jax.value_and_grad(loss)(logits, labels, compatible, np.zeros(SHAPE, bool))
    assert value == 0 and not np.asarray(gradient).any()


def test_vmapped_is_looped():
    batch = [_image(seed) for seed in range(3)]
    batch[1] = (*batch[1][:2], np.zeros(CLASSES, bool), batch[1][3])
    stacked = [np.stack(x) for x in zip(*batch, strict=True)]
    vmapped = jax.jit(jax.vmap(partial))(*stacked)
    looped = [partial(*x) for x in batch]
    np.testing.assert_allclose(vmapped, looped, rtol=1e-6)


def test_permuting_the_classes_changes_nothing():
    logits, labels, compatible, inside = _image(11)
    order = np.array([2, 0, 3, 1])  # class c becomes order[c]
    where = np.argsort(order)
    renamed = np.where(labels >= 0, order[labels], -1).astype(np.int16)
    np.testing.assert_allclose(
        partial(logits[..., where], renamed, compatible[where], inside),
        partial(logits, labels, compatible, inside),
        rtol=1e-6,
    )


@variants
def test_cross_entropy_is_the_mean_over_labelled_pixels(wrap):
    logits, labels, _, inside = _image(12)
    value, gradient = wrap(jax.value_and_grad(labelled))(logits, labels, EVERY, inside)
    counted = inside & (labels >= 0)
    z = logits[counted].astype(np.float64)
    picked = np.take_along_axis(z, labels[counted][:, None].astype(int), 1)[:, 0]
    np.testing.assert_allclose(value, (logsumexp(z, axis=1) - picked).mean(), rtol=1e-5)
    assert not np.asarray(gradient)[~counted].any()


@variants
def test_cross_entropy_of_nothing_labelled_is_zero(wrap):
    logits, _, _, inside = _image(13)
    value, gradient = wrap(jax.value_and_grad(labelled))(
        logits, np.full(SHAPE, -1, np.int16), EVERY, inside
    )
    assert value == 0 and not np.asarray(gradient).any()


def _batch(seed=0):
    """Logits, labels, compatible, inside of three sections, one of them nearly all outside."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (3, 6, 7, CLASSES)).astype(np.float32)
    labels = rng.integers(-1, 2, (3, 6, 7)).astype(np.int16)
    compatible = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]], bool)
    inside = rng.random((3, 6, 7)) < np.array([0.9, 0.1, 0.5])[:, None, None]
    return logits, labels, compatible, inside


@pytest.mark.parametrize("loss", [losses.partial_cross_entropy, losses.cross_entropy])
def test_batch_mean_is_the_mean_over_all_counted_pixels(loss):
    logits, labels, compatible, inside = _batch()
    terms = []
    for n, y, x in np.argwhere(inside):
        z = logits[n, y, x].astype(np.float64)
        if labels[n, y, x] >= 0:
            terms.append(logsumexp(z) - z[labels[n, y, x]])
        elif loss is losses.partial_cross_entropy:
            terms.append(logsumexp(z) - logsumexp(z[compatible[n]]))
    found = losses.batch_mean(loss, logits, labels, compatible, inside)
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)
    # A section counts by its pixels: not the mean of the sections' means.
    single = [float(losses.batch_mean(loss, *(x[n : n + 1] for x in _batch()))) for n in range(3)]
    assert abs(np.mean(single) - found) > 1e-2


@pytest.mark.parametrize("loss", [losses.partial_cross_entropy, losses.cross_entropy])
def test_batches_without_anything_to_learn_are_finite(loss):
    logits, labels, compatible, inside = _batch()
    gradient = jax.jit(jax.value_and_grad(functools.partial(losses.batch_mean, loss)))
    nothing = np.zeros_like(compatible)
    for args in (
        (logits, np.full_like(labels, -1), nothing, inside),
        (logits, labels, compatible, np.zeros_like(inside)),
    ):
        value, slope = gradient(*args)
        assert value == 0 and not np.asarray(slope).any()
    value, slope = gradient(logits, labels, nothing, inside)
    assert np.isfinite(value) and np.isfinite(slope).all()
