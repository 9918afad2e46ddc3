"""Prediction against NumPy, section by section."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy.special import entr, softmax

from al_jax.core.boundary import shared_lengths
from al_jax.core.posterior import class_entropy
from al_jax.model import networks, prediction
from al_jax.model.config import ModelConfig, Training
from al_jax.model.inputs import Sections, network_input, normalise
from al_jax.model.resolution import downsample_section
from al_jax.model.upsampling import Coarse

CLASSES, COUNT = tiny.CLASSES, 5
PIXELWISE = tiny.Pixelwise(CLASSES)
SMALL = networks.small(CLASSES)
# Compilation is most of the time; where only values matter, no fast code is needed.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def _stack():
    return tiny.partly_labelled(COUNT)


@functools.cache
def _predict(network, entropy, samples):
    sections, partial, _ = _stack()
    model = ModelConfig(network, Training(crop=32, batch=2))

    @quick
    def run(key, params, partial=partial):
        return prediction.predict(
            key,
            params,
            sections,
            partial,
            model,
            reduce_fn=lambda found, _: found,
            uncertainty=class_entropy if entropy else None,
            dropout_samples=samples,
        )

    return run


def _assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def _logits(network, params, key=None):
    """Logits [H, W, C] of each section, one after the other; `key` draws dropout masks [S]."""
    sections = _stack()[0]

    @quick
    def section(image, low, high, keys):
        x = network_input(normalise(image, low, high), "plain")[None]
        if keys is None:
            return network.apply({"params": params}, x)[0]
        return jax.lax.map(lambda k: network.apply({"params": params}, x, k)[0], keys)

    for n in range(COUNT):
        keys = None if key is None else jax.random.split(jax.random.fold_in(key, n), 3)
        found = section(sections.images[n], sections.low[n], sections.high[n], keys)
        yield np.asarray(found).astype(np.float64)


def _posterior(logits, labels, compatible):
    p = softmax(np.where(compatible, logits, -np.inf), -1)
    return np.where((labels >= 0)[..., None], np.eye(CLASSES)[labels], p)


def _dice(a, b, inside):
    found = np.ones(CLASSES)
    for c in range(CLASSES):
        x, y = (a == c) & inside, (b == c) & inside
        if x.any() or y.any():
            found[c] = 2 * (x & y).sum() / (x.sum() + y.sum())
    return found


@pytest.mark.parametrize("network", [SMALL, PIXELWISE], ids=["small", "pixelwise"])
def test_prediction_is_the_loop_over_sections(network):
    params = tiny.weights(network, 1, heads=True)
    found = _predict(network, True, 0)(jax.random.key(8), params)
    sections, partial, _ = _stack()
    for n, logits in enumerate(_logits(network, params)):
        inside, labels = np.asarray(sections.inside[n]), np.asarray(partial.labels[n])
        alone = np.where(partial.in_range[n], logits, -np.inf).argmax(-1)
        clamped = np.where(partial.compatible[n], logits, -np.inf).argmax(-1)
        clamped = np.where(labels >= 0, labels, clamped)
        np.testing.assert_array_equal(found.unclamped[n], alone)
        np.testing.assert_array_equal(found.segmentation[n], clamped)
        np.testing.assert_allclose(found.fit[n], _dice(alone, labels, inside), rtol=1e-5)
        np.testing.assert_array_equal(
            found.labelled[n], [((labels == c) & inside).any() for c in range(CLASSES)]
        )
        posterior = _posterior(logits, labels, np.asarray(partial.compatible[n]))
        np.testing.assert_allclose(found.confidence[n], posterior.max(-1), rtol=1e-4)
        entropy = entr(posterior)[inside].mean(0)
        np.testing.assert_allclose(found.uncertainty[n], entropy, rtol=1e-4, atol=1e-7)
    assert found.labelled.dtype == bool and found.fit.shape == (COUNT, CLASSES)
    assert found.segmentation.dtype == found.unclamped.dtype == jnp.int16


def test_one_section_is_what_the_stack_has():
    params = tiny.weights(PIXELWISE, 1, heads=True)
    whole = _predict(PIXELWISE, True, 0)(jax.random.key(8), params)
    sections, partial, _ = _stack()
    at = functools.partial(jax.tree.map, lambda leaf: leaf[3])
    one = prediction.predict_section(
        jax.random.key(1),
        params,
        at(sections),
        at(partial),
        ModelConfig(PIXELWISE),
        uncertainty=class_entropy,
    )
    np.testing.assert_array_equal(one.segmentation, whole.segmentation[3])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, at(whole))


def test_a_downsampled_section_is_said_of_whole():
    """Where blocks are of one intensity each nothing is lost, and any size comes out whole."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 2, (10, 12))
    whole = np.kron(blocks, np.ones((3, 3), int))[:29, :34]
    image, inside = (255 * whole[..., None]).astype(np.uint8), np.ones(whole.shape, bool)
    params = tiny.weights(PIXELWISE, 1, heads=True)
    nothing = jax.tree.map(lambda leaf: leaf[0], _stack()[1])
    partial = nothing.replace(labels=jnp.full(whole.shape, -1, jnp.int16))

    section = Sections(image, inside, jnp.float32(0), jnp.float32(255))

    def alone(factor):
        seen = downsample_section(section, factor)
        model, key = ModelConfig(PIXELWISE), jax.random.key(1)
        return prediction.predict_section(key, params, seen, partial, model).unclamped

    as_it_is = alone(1)
    assert len(np.unique(as_it_is)) == 2
    np.testing.assert_array_equal(alone(3), as_it_is)


def test_aux_comes_section_by_section():
    params = tiny.weights(PIXELWISE, 1, heads=True)
    sections, partial, truth = _stack()
    aux = {"truth": jnp.asarray(truth), "number": jnp.arange(COUNT)}

    def reduce_fn(found, aside):
        return (found.segmentation == aside["truth"]).sum(), aside["number"]

    right, number = prediction.predict(
        jax.random.key(0),
        params,
        sections,
        partial,
        ModelConfig(PIXELWISE),
        reduce_fn=reduce_fn,
        aux=aux,
    )
    whole = _predict(PIXELWISE, False, 0)(jax.random.key(0), params)
    np.testing.assert_array_equal(right, (np.asarray(whole.segmentation) == truth).sum((1, 2)))
    np.testing.assert_array_equal(number, np.arange(COUNT))


def test_without_entropy_the_rest_is_the_same():
    params = tiny.weights(PIXELWISE, 1, heads=True)
    key = jax.random.key(8)
    full = _predict(PIXELWISE, True, 0)(key, params)
    found = _predict(PIXELWISE, False, 0)(key, params)
    assert not np.asarray(found.uncertainty).any() and np.asarray(full.uncertainty).any()
    _assert_same(found.replace(uncertainty=full.uncertainty), full)


@pytest.mark.parametrize("network", [SMALL, PIXELWISE], ids=["small", "pixelwise"])
def test_monte_carlo_dropout_is_the_entropy_of_the_mean_posterior(network):
    params = tiny.weights(network, 1, heads=True)
    key = jax.random.key(9)
    found = _predict(network, True, 3)(key, params)
    sections, partial, _ = _stack()
    labels, compatible = np.asarray(partial.labels), np.asarray(partial.compatible)
    for n, samples in enumerate(_logits(network, params, key)):
        mean = np.mean([_posterior(z, labels[n], compatible[n]) for z in samples], 0)
        entropy = entr(mean)[np.asarray(sections.inside[n])].mean(0)
        np.testing.assert_allclose(found.uncertainty[n], entropy, rtol=1e-4, atol=1e-7)
    _assert_same(found, _predict(network, True, 3)(key, params))
    other = _predict(network, True, 3)(jax.random.key(10), params)
    assert not np.allclose(other.uncertainty, found.uncertainty)
    without = _predict(network, True, 0)(key, params)
    assert not np.allclose(without.uncertainty, found.uncertainty)
    _assert_same(
        found.replace(uncertainty=without.uncertainty), without
    )  # dropout is for entropy only


def test_prediction_where_nothing_is_compatible_is_finite():
    params = tiny.weights(PIXELWISE, 1, heads=True)
    partial = _stack()[1]
    partial = partial.replace(compatible=jnp.zeros((COUNT, CLASSES), bool))
    for samples in (0, 3):
        found = _predict(PIXELWISE, True, samples)(jax.random.key(0), params, partial)
        jax.tree.map(lambda leaf: np.testing.assert_(np.isfinite(leaf).all()), found)
        assert not np.asarray(found.uncertainty).any()


def test_sections_that_are_not_wanted_are_zero_and_the_others_the_same():
    params = tiny.weights(PIXELWISE, 1, heads=True)
    sections, partial, _ = _stack()
    where = jnp.array([True, False, True, False, False])

    def run(where):
        return prediction.predict(
            jax.random.key(8),
            params,
            sections,
            partial,
            ModelConfig(PIXELWISE),
            reduce_fn=lambda found, _: (found.segmentation, found.fit),
            where=where,
        )

    whole, some = quick(lambda: run(None))(), quick(run)(where)
    for one, other in zip(some, whole, strict=True):
        np.testing.assert_array_equal(one[where], other[where])
        assert not one[~where].any() and other[~where].any()


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("number", [0, 3])  # the last one has no label
@pytest.mark.parametrize("network", [SMALL, PIXELWISE], ids=["small", "pixelwise"])
def test_a_large_section_is_predicted_in_strips_of_rows(network, number, samples, monkeypatch):
    params = tiny.weights(network, 1, heads=True)
    section, partial = (jax.tree.map(lambda leaf: leaf[number], part) for part in _stack()[:2])
    height, width = partial.labels.shape
    prior = np.random.default_rng(1).normal(size=(-(-height // 3), -(-width // 3), CLASSES))

    def run(uncertainty):
        return prediction.predict_section(
            jax.random.key(1),
            params,
            downsample_section(section, 2),
            partial,
            ModelConfig(network),
            uncertainty=uncertainty,
            dropout_samples=samples,
            length="crack",
            log_prior=lambda classes: Coarse(jnp.asarray(prior, jnp.float32)[..., classes], 3),
        )

    def third(posterior, inside):
        return class_entropy(posterior[::3, ::3], inside[::3, ::3])

    whole = quick(lambda: run(third))()
    values = height * width * CLASSES
    monkeypatch.setattr(prediction, "LARGE", values - 1)
    monkeypatch.setattr(prediction, "STRIP", values // 8)
    monkeypatch.setattr(prediction, "SAMPLE", values // 8)  # every third pixel, of both axes
    found = quick(lambda: run(class_entropy))()
    for name in ("segmentation", "unclamped", "labelled"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert np.asarray(whole.labelled).any() == (number == 0)
    fit = np.where(whole.labelled, whole.fit, 0)
    np.testing.assert_array_equal(np.where(found.labelled, found.fit, 0), fit)
    assert not number or not np.asarray(found.fit).any()
    np.testing.assert_allclose(found.confidence, whole.confidence, rtol=1e-5)
    np.testing.assert_allclose(found.uncertainty, whole.uncertainty, rtol=1e-4, atol=1e-6)
    rows, domain = whole.segmentation, section.inside
    for one, every in ((whole, 1), (found, 3)):
        drawn = shared_lengths(rows[::every, ::every], domain[::every, ::every], CLASSES)
        np.testing.assert_array_equal(one.outlines, every * np.diagonal(drawn))
    assert np.asarray(found.outlines).any()
