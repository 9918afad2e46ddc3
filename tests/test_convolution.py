"""The convolution and both of its gradients against JAX's own, in and out of a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.convolution import convolution


def _plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


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
        ((2, 4, 16, 64), (3, 3, 64, 64)),  # many features, by rows
        ((2, 4, 32, 65), (5, 3, 65, 66)),
        ((2, 3, 36, 64), (1, 7, 64, 66)),
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
            _value_and_gradients(_plain, *args),
            _value_and_gradients(convolution, *args),
            jax.lax.scan(in_loop, None, jax.tree.map(lambda a: jnp.stack([a, 2 * a]), args))[1],
        )

    expected, found, looped = both(x, kernel, direction)
    for e, f, in_scan in zip(expected, found, looped, strict=True):
        assert e.shape == f.shape and e.dtype == f.dtype
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(in_scan[0], e, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(in_scan[1], 4 * e, rtol=1e-4, atol=4e-4)


def test_convolution_under_vmap_of_the_kernels():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 1, 5, 6, 3)).astype(np.float32)
    kernel = rng.normal(size=(2, 3, 3, 3, 4)).astype(np.float32)
    direction = rng.normal(size=(2, 1, 5, 6, 4)).astype(np.float32)

    @jax.jit
    def both(*args):
        def f(convolve):
            return jax.vmap(functools.partial(_value_and_gradients, convolve))(*args)

        return f(convolution), f(_plain)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        *both(x, kernel, direction),
    )
