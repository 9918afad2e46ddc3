"""Bilinear upsampling by hand and against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.model.upsampling import Coarse, upsample


def test_upsample_by_hand():
    x = jnp.array([0.0, 4.0, 8.0]).reshape(1, 1, 3, 1)
    found = upsample(x, 2)
    assert found.shape == (1, 2, 6, 1)
    np.testing.assert_allclose(found[0, :, :, 0], [[0, 1, 3, 5, 7, 8]] * 2, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsample_keeps_a_ramp_where_it_is(factor):
    # A pixel of the coarse grid covers `factor` fine ones: its centre is at (k + 1/2) factor - 1/2.
    y, x = np.mgrid[:5, :6].astype(np.float32)
    coarse = 3 * ((y + 0.5) * factor - 0.5) - 2 * ((x + 0.5) * factor - 0.5)
    fine = upsample(coarse[None, :, :, None], factor)[0, :, :, 0]
    y, x = np.mgrid[: 5 * factor, : 6 * factor]
    interior = np.s_[factor:-factor, factor:-factor]
    np.testing.assert_allclose(fine[interior], (3 * y - 2 * x)[interior], atol=1e-4)


@pytest.mark.parametrize(("size", "factor"), [((1, 1), 2), ((3, 5), 8), ((6, 4), 3)])
def test_upsample_and_its_gradient_are_jaxs(size, factor):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    shape = (2, factor * size[0], factor * size[1], 3)
    direction = rng.normal(size=shape).astype(np.float32)

    def both(upsample):
        value, pull = jax.vjp(upsample, x)
        return value, *pull(direction)

    expected = both(lambda x: jax.image.resize(x, shape, "bilinear"))
    found = jax.jit(lambda: both(lambda x: upsample(x, factor)))()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_some_pixels_are_those_of_all(factor):
    rng = np.random.default_rng(2)
    coarse = Coarse(rng.normal(size=(4, 5, 3)).astype(np.float32), factor)
    size = (4 * factor - factor // 2, 5 * factor - 1)
    whole = coarse.whole(size)
    assert whole.shape == (*size, 3)
    rows, columns = jnp.array([size[0] - 1, 0, 2]), jnp.arange(0, size[1], 3)
    found = coarse.at(rows, columns)
    np.testing.assert_allclose(found, whole[np.ix_(rows, columns)], rtol=1e-6, atol=1e-6)
