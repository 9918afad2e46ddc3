"""The convolution and both of its gradients against JAX's own, in and out of a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import direct_convolution

from al_jax.xla.convolution import _for_winograd, convolution


def _error(x, kernel, expected):
    """What Winograd's filters may be off by (see test_winograd), and the direct forms."""
    if _for_winograd(x, kernel.shape[:2], kernel.shape[2:]):
        return 2e-5 * np.abs(expected).max()
    return 1e-4


def _value_and_gradients(convolve, x, kernel, direction):
    value, pull = jax.vjp(convolve, x, kernel)
    return value, *pull(direction)


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((2, 8, 10, 3), (3, 3, 3, 5)),
        ((1, 5, 4, 2), (7, 7, 2, 3)),
        ((3, 6, 7, 4), (1, 1, 4, 2)),
        ((1, 1, 1, 2), (3, 3, 2, 1)),
        ((2, 9, 3, 1), (3, 7, 1, 2)),
        ((2, 6, 8, 12), (3, 3, 12, 3)),  # few outputs
        ((2, 4, 6, 5), (3, 3, 5, 11)),  # few inputs
        ((1, 6, 8, 10), (3, 3, 10, 9)),  # neither
        ((2, 5, 8, 3), (3, 3, 3, 4)),  # even columns, odd rows
        ((2, 6, 8, 3), (5, 1, 3, 4)),
        ((2, 6, 8, 3), (1, 5, 3, 4)),
        ((2, 4, 16, 64), (3, 3, 64, 64)),  # many features, by Winograd's filters
        ((2, 6, 8, 64), (3, 3, 64, 65)),
        ((2, 5, 8, 64), (3, 3, 64, 64)),  # odd rows, which they do not fit
        ((2, 4, 32, 65), (5, 3, 65, 66)),  # nor another kernel
        ((2, 3, 36, 64), (1, 7, 64, 66)),
        ((2, 4, 4, 3), (7, 7, 3, 5)),  # a kernel larger than the image
        ((2, 3, 3, 4), (3, 3, 4, 5)),  # as large
        ((2, 3, 6, 4), (3, 3, 4, 5)),  # only as high
        ((1, 4, 6, 3), (3, 3, 3, 64)),  # few inputs, many outputs
    ],
)
def test_convolution_and_its_gradients_are_jaxs(x, kernel):
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(*x[:3], kernel[3])).astype(np.float32)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in (x, kernel))

    @jax.jit
    def both(*args):
        def in_loop(_, args):
            return None, _value_and_gradients(convolution, *args)

        return (
            _value_and_gradients(direct_convolution, *args),
            _value_and_gradients(convolution, *args),
            jax.lax.scan(in_loop, None, jax.tree.map(lambda a: jnp.stack([a, 2 * a]), args))[1],
        )

    expected, found, looped = both(x, kernel, direction)
    for e, f, in_scan in zip(expected, found, looped, strict=True):
        assert e.shape == f.shape and e.dtype == f.dtype
        error = _error(x, kernel, e)
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=error)
        np.testing.assert_allclose(in_scan[0], e, rtol=1e-4, atol=error)
        np.testing.assert_allclose(in_scan[1], 4 * e, rtol=1e-4, atol=4 * error)


@pytest.mark.parametrize(("size", "features"), [((5, 6), (3, 4)), ((16, 8), (64, 66))])
def test_convolution_under_vmap_of_the_kernels(size, features):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 1, *size, features[0])).astype(np.float32)
    kernel = rng.normal(size=(2, 3, 3, *features)).astype(np.float32)
    direction = rng.normal(size=(2, 1, *size, features[1])).astype(np.float32)

    @jax.jit
    def both(*args):
        def f(convolve):
            return jax.vmap(functools.partial(_value_and_gradients, convolve))(*args)

        return f(convolution), f(direct_convolution)

    for found, expected in zip(*both(x, kernel, direction), strict=True):
        error = _error(x[0], kernel[0], expected)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=error)


@pytest.mark.parametrize(
    ("x", "features", "dtype", "chosen"),
    [
        ((2, 8, 8), 64, jnp.float32, True),
        ((2, 8, 8), 64, jnp.bfloat16, False),  # too short
        ((2, 8, 8), 63, jnp.float32, False),
        ((2, 9, 8), 64, jnp.float32, False),  # no tile fills it
        ((1, 8, 8), 64, jnp.float32, False),  # four tiles
    ],
)
def test_wide_layers_of_enough_tiles_are_winograds(x, features, dtype, chosen):
    x = jax.ShapeDtypeStruct((*x, features), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, features, features), dtype)
    assert ("dot_general" in str(jax.make_jaxpr(convolution)(x, kernel))) == chosen
