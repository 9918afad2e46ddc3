"""What only the compiler needs: the same results as without it."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import xla
from al_jax.xla import compiler_options
from al_jax.xla.convolution import convolution


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_a_row_is_written_where_it_belongs_or_nowhere(wrap):
    array, row = jnp.arange(12, dtype=jnp.int16).reshape(3, 4), jnp.full(4, 7, jnp.int16)
    write = wrap(lambda index: xla.write_row(array, index, row, read=(row, jnp.ones(2, bool))))
    for index in range(3):
        expected = np.array(array)
        expected[index] = 7
        np.testing.assert_array_equal(write(jnp.int32(index)), expected)
    np.testing.assert_array_equal(write(jnp.int32(3)), array)


@pytest.mark.parametrize("size", [1, 5, 300])
def test_count_is_bincount(size):
    numbers = np.random.default_rng(0).integers(-3, size + 3, (20, 30)).astype(np.int32)
    known = numbers[(numbers >= 0) & (numbers < size)]
    found = jax.jit(xla.count, static_argnums=1)(numbers, size)
    np.testing.assert_array_equal(found, np.bincount(known, minlength=size))
    assert found.dtype == jnp.int32


@pytest.mark.parametrize("count", [1, 4, 7])
def test_maps_are_vmap(count):
    inputs = (jnp.arange(count), jnp.linspace(0, 1, count * 6).reshape(count, 2, 3))

    def function(x):
        return x[0] * x[1], x[1].sum()

    expected = jax.vmap(function)(inputs)
    for found in (xla.stored_map(function, inputs), xla.shared_map(function, inputs)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def _compiled(options):
    shapes = (
        jax.ShapeDtypeStruct((8, 12, 12, 32), jnp.float32),
        jax.ShapeDtypeStruct((3, 3, 32, 32), jnp.float32),
    )

    def step(x, kernel):
        value, gradients = jax.vjp(convolution, x, kernel)
        return value, *gradients(x)

    return jax.jit(step).lower(*shapes).compile(options)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the options are those of a CPU")
def test_compiler_options_share_convolutions_among_all_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    default, found = _compiled({}), _compiled(compiler_options())
    if "ynn" not in default.as_text():
        pytest.skip("this XLA leaves convolutions to Eigen by itself")
    assert "ynn" not in found.as_text()
    rng = np.random.default_rng(2)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((8, 12, 12, 32), (3, 3, 32, 32)))
    for value, expected in zip(found(x, kernel), default(x, kernel), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)


def test_there_are_no_compiler_options_on_one_core_or_where_xla_knows_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("al_jax.xla.compiler._OPTIONS", {"xla_no_such_option": "true"})
    assert compiler_options() == {}
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert compiler_options() == {}


def test_half_precision_is_that_of_numpy():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    found = np.asarray(jax.jit(xla.from_half)(finite))
    np.testing.assert_array_equal(found, finite.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(finite))
    rng = np.random.default_rng(0)
    between = np.float32([2.0**-25, 3 * 2.0**-25, 1 + 2.0**-11, 1 + 3 * 2.0**-11])  # to the even
    drawn = (10.0 ** rng.uniform(-9, 4, 100_000)).astype(np.float32)
    given = np.concatenate([finite[finite >= 0].astype(np.float32), between, drawn])
    rounded = np.asarray(jax.jit(xla.to_half)(given))
    assert rounded.dtype == np.float16
    np.testing.assert_array_equal(rounded, given.astype(np.float16))


@pytest.mark.parametrize("given", [None, "0.5"])
def test_small_programs_are_kept_on_the_disk_too(given, tmp_path):
    """Unless JAX was told otherwise; the next start finds them."""
    name = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
    env = {k: v for k, v in os.environ.items() if k != name} | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path)
    }
    env |= {} if given is None else {name: given}
    code = (
        "import jax; from al_jax.xla import use_compilation_cache as use; use(); "
        "jax.jit(lambda x: x + 1)(1.0).block_until_ready()"
    )
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert any(tmp_path.iterdir()) == (given is None)
