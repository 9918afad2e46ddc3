"""What only a compiler needs: the same results without it, but slower or in more memory.

Depends on no other part of al_jax, so that an equation may call a helper by what it gives.
"""

from al_jax.xla.compiler import (
    compiler_options,
    count,
    row_sums,
    shared_map,
    stored_map,
    trim_memory,
    use_compilation_cache,
    without_axes_types,
    write_row,
)

__all__ = [
    "compiler_options",
    "count",
    "row_sums",
    "shared_map",
    "stored_map",
    "trim_memory",
    "use_compilation_cache",
    "without_axes_types",
    "write_row",
]
