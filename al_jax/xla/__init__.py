"""What only XLA needs: without it results are the same, but slower or in more memory.

It depends on no other part of al_jax, so that equations may call its helpers.
"""

from al_jax.xla.compiler import (
    compile_once,
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
from al_jax.xla.half import from_half, to_half

__all__ = [
    "compile_once",
    "compiler_options",
    "count",
    "from_half",
    "row_sums",
    "shared_map",
    "stored_map",
    "to_half",
    "trim_memory",
    "use_compilation_cache",
    "without_axes_types",
    "write_row",
]
