"""Winograd's convolution against JAX's direct one: exact in float64, so errors are of rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import direct_convolution

from al_jax.xla import winograd as winograd

SHAPES = [
    ((1, 2, 2, 1), 1),  # one tile of 2x2
    ((1, 4, 4, 2), 3),  # one of 4x4
    ((3, 8, 12, 2), 5),
    ((2, 6, 4, 3), 2),  # 2x2, as 6 is no multiple of 4
    ((2, 16, 8, 1), 4),
]


def _both(x, outputs, dtype):
    """Output and gradients, directly and by Winograd's filters, of random arrays."""
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(3, 3, x[-1], outputs)), dtype)
    direction = jnp.asarray(rng.normal(size=(*x[:3], outputs)), dtype)
    x = jnp.asarray(rng.normal(size=x), dtype)
    value, pull = jax.vjp(direct_convolution, x, kernel)
    found = (
        # Wrapped, as a jitted function is not traced again for other TILES.
        jax.jit(lambda *a: winograd.convolve(*a))(x, kernel),
        jax.jit(lambda *a: winograd.convolve(*a, transposed=True))(direction, kernel),
        jax.jit(lambda *a: winograd.kernel_gradient(*a))(x, direction),
    )
    return (value, *pull(direction)), found


# Strips, whole images, groups of them.
@pytest.mark.parametrize(
    "tiles", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 6)), 1000]
)
@pytest.mark.parametrize(("x", "outputs"), SHAPES)
def test_in_float64_it_is_thedirect_convolution_convolution(x, outputs, tiles, monkeypatch):
    monkeypatch.setattr(winograd, "TILES", tiles)
    with jax.enable_x64(True):
        for expected, found in zip(*_both(x, outputs, jnp.float64), strict=True):
            assert found.dtype == jnp.float64
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("x", [(2, 24, 24, 64), (3, 6, 6, 128)])
def test_in_float32_it_is_as_exact_as_its_docstring_says(x):
    for expected, found in zip(*_both(x, 64, jnp.float32), strict=True):
        assert found.dtype == jnp.float32
        assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_tiles_fill_the_image():
    assert winograd.tile_size(8, 12) == 4
    assert winograd.tile_size(8, 6) == 2
    assert winograd.tile_size(8, 5) is None
    with pytest.raises(ValueError, match="8 x 5"):
        winograd.convolve(jnp.ones((1, 8, 5, 1)), jnp.ones((3, 3, 1, 1)))


def test_strips_and_groups_take_every_row_of_tiles():
    assert winograd._cut((8, 96, 96, 64)) == (1, 12, 4)  # 24 x 24 tiles: half an image
    assert winograd._cut((8, 24, 24, 64)) == (8, 6, 4)  # all images at a time
    assert winograd._cut((8, 48, 48, 64)) == (2, 12, 4)
    assert winograd._cut((1, 4, 4000, 1)) == (1, 1, 4)  # a row longer than a strip
    assert winograd._cut((1, 76, 76, 1)) == (1, 19, 4)  # 19 rows have no divisor near
