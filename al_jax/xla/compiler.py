"""The CPU compiler's options, and loops, counts and writes in the form that XLA does best."""

import contextlib
import ctypes
import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

# By default INDIVIDUAL_DOT, INDIVIDUAL_CONVOLUTION and REDUCE; only one can be named here. DOT also
# fuses what is next to a product.
_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"
}


def compiler_options() -> dict[str, str | bool]:
    """The `compiler_options` of `jax.jit` with which programs that train or predict are faster.

    XLA of jaxlib 0.10 gives a CPU's convolutions with more than 16 input or output features to
    YNNPACK, which does those of 64 outputs and fewer on one core however many there are; with these
    options all cores share them. Empty on one core, where YNNPACK is the faster, on other devices,
    and for an XLA that does not know the option.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    if jax.default_backend() != "cpu" or cores == 1:
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(_OPTIONS)


def use_compilation_cache() -> None:
    """Keeps compiled programs on the disk, unless JAX was told where.

    The small ones, too, unless the environment says otherwise: a program begins with dozens of
    them, of some kB each.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if chosen is None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "al_jax"))
    least = "jax_persistent_cache_min_compile_time_secs"
    if least.upper() not in os.environ:
        jax.config.update(least, 0.0)
    # Where the cache cannot be written, everything works but for its speed.
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache")


def write_row(array: jax.Array, index: jax.Array, row: jax.Array, read: Any) -> jax.Array:
    """`array` [N, ...] with `row` [...] written at `index`; an index beyond N writes nothing.

    It is written in place. XLA copies the whole array unless it is sure that all reads of it come
    before the write: so the index depends on every array in `read`, which must be all that was
    computed from the old row apart from the new one.
    """
    done = sum(jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(read))
    place = index + jnp.isnan(done).astype(jnp.int32)
    return array.at[place].set(row, mode="drop")


compile_once = functools.partial(jax.jit, inline=True)
"""For a function with a loop that is called outside of jit, too: each call would compile anew."""


@compile_once
def row_sums(flags: jax.Array) -> jax.Array:
    """How many of each row are True; [N, ...] bool -> [N] int32.

    Row by row: XLA's sum over all of them makes an int32 of each flag first.
    """
    return jax.lax.map(lambda row: jnp.sum(row, dtype=jnp.int32), flags)


def count(numbers: jax.Array, size: int) -> jax.Array:
    """How often each of 0 to size-1 occurs among `numbers` (int32); others do not count; [size]."""

    def compare(numbers: jax.Array) -> jax.Array:
        return jnp.sum(numbers.ravel()[:, None] == jnp.arange(size), 0, dtype=jnp.int32)

    def add(numbers: jax.Array) -> jax.Array:
        # Out of bounds, as a negative index counts from the end.
        bins = jnp.where(numbers >= 0, numbers, size).ravel()
        return jnp.zeros(size, jnp.int32).at[bins].add(1, mode="drop")

    # Adding does not grow with the size, but many threads would add to few bins at once.
    return jax.lax.platform_dependent(numbers, cpu=add, default=compare)


def stored_map(function: Callable, inputs: chex.ArrayTree) -> chex.ArrayTree:
    """`jax.vmap` of a function whose results are read more than once.

    On a CPU it is done in two halves, as a loop's results are stored; else XLA computes them again
    wherever they are used.
    """
    half = -(-jax.tree.leaves(inputs)[0].shape[0] // 2)
    return jax.lax.platform_dependent(
        inputs,
        cpu=functools.partial(jax.lax.map, function, batch_size=half),
        default=jax.vmap(function),
    )


def without_axes_types(mesh: Mesh | None) -> Mesh | None:
    """The same devices, with shardings that follow the data.

    `jax.make_mesh` asks for explicit shardings of every operation.
    """
    return None if mesh is None else Mesh(mesh.devices, mesh.axis_names)


def shared_map(
    function: Callable, inputs: chex.ArrayTree, mesh: Mesh | None = None
) -> chex.ArrayTree:
    """`jax.lax.map` over the leading axis [N], shared among the devices of a mesh.

    Every device has all of `inputs`, and gets all of the result. Where N is not a multiple of the
    number of devices, the last ones repeat the last element.
    """
    if mesh is None:
        return jax.lax.map(function, inputs)
    count = jax.tree.leaves(inputs)[0].shape[0]
    share = -(-count // mesh.size)

    def part(inputs: chex.ArrayTree) -> chex.ArrayTree:
        numbers = jax.lax.axis_index(mesh.axis_names) * share + jnp.arange(share)
        own = jax.lax.map(
            lambda n: function(jax.tree.map(lambda leaf: leaf[n], inputs)),
            jnp.minimum(numbers, count - 1),
        )
        return jax.lax.all_gather(own, mesh.axis_names, tiled=True)

    # Inputs split by `in_specs` would be split in the loop around this too, where each answer then
    # gathers the stack, and each batch its sections. The check wants constants that loops in
    # `function` begin with marked as different on each device.
    copied = PartitionSpec()
    mapped = jax.shard_map(part, mesh=mesh, in_specs=copied, out_specs=copied, check_vma=False)
    return jax.tree.map(lambda leaf: leaf[:count], mapped(inputs))


def trim_memory() -> None:
    """Returns memory that glibc's malloc holds after compiling: hundreds of MiB for a training.

    It does nothing with other C libraries.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
