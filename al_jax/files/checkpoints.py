"""Checkpoints of pytrees with Orbax: atomic writes, the latest one found again after any stop."""

import errno
import os
import pathlib
from logging import LogRecord

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from al_jax.core.stack import InputError

FORM = 1
"""Number of a checkpoint's form, which stands in it; a later one is not read by this version."""


def _is_news(record: LogRecord) -> bool:
    """Nothing is said twice: Orbax logs what it raises, in threads of its own at any time later."""
    return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)


logging.get_absl_logger().addFilter(_is_news)


def open_checkpoints(
    folder: str | os.PathLike, *, read_only: bool = False
) -> ocp.CheckpointManager:
    """The checkpoints in a folder (made if missing); the two latest are kept.

    What a killed writer left half-done is removed, unless they are only read: the writer may live.

    Raises:
      InputError: the folder cannot be made or read.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InputError(f"{folder}: is no folder; move it away")
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=not read_only,  # Orbax's own `read_only` warns of what it implies
    )
    try:
        return ocp.CheckpointManager(pathlib.Path(folder).resolve(), options=options)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; make room or repair it") from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder}: is damaged ({reason}); move it away") from error


def save(checkpoints: ocp.CheckpointManager, step: int, tree: chex.ArrayTree) -> None:
    """Writes `tree` (arrays and typed keys) as checkpoint `step`, unless that exists.

    Raises:
      InputError: it cannot be written.
    """
    if step in checkpoints.all_steps():
        return
    try:
        # NumPy arrays, as others are read back onto as many devices as they were on.
        arrays = jax.device_get(_plain(tree)) | {"form": np.array(FORM)}
        checkpoints.save(step, args=ocp.args.StandardSave(arrays))
        checkpoints.wait_until_finished()
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        full = os.strerror(errno.ENOSPC)  # which is at the end of a long line
        reason = full if full in str(error) else str(error).splitlines()[0]
        raise InputError(
            f"{checkpoints.directory}: a checkpoint cannot be written ({reason}); make room or "
            "repair it"
        ) from error


def restore(
    checkpoints: ocp.CheckpointManager, like: chex.ArrayTree, step: int | None = None
) -> tuple[int, chex.ArrayTree] | None:
    """A checkpoint as (step, tree of NumPy arrays and keys), or None if there is none.

    Args:
      checkpoints: from `open_checkpoints`.
      like: a tree of the same structure, dtypes and shapes but for the leading axis of a leaf.
      step: which; None: the latest.

    Raises:
      InputError: the checkpoint is damaged, of another structure, or of a newer version.
    """
    step = checkpoints.latest_step() if step is None else step
    if step is None:
        return None
    place = f"{checkpoints.directory}/{step}"
    try:
        stored = checkpoints.restore(step, args=ocp.args.StandardRestore())
        form = int(stored.pop("form", 0))  # older ones have none
        layout = _layout(stored)
    except Exception as error:  # Orbax raises nearly anything where a file of it is damaged
        raise InputError(
            f"{place}: this checkpoint is damaged; remove it, and the one before is used"
        ) from error
    if form > FORM or layout != _layout(_plain(like)):
        raise InputError(
            f"{place}: was written by another version; remove it, and the run begins again"
        )
    return step, _typed(stored, like)


def _is_key(leaf: chex.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: chex.ArrayTree) -> dict[str, jax.Array]:
    leaves = (jax.random.key_data(x) if _is_key(x) else x for x in jax.tree.leaves(tree))
    return {f"{index:04}": leaf for index, leaf in enumerate(leaves)}


def _layout(leaves: dict[str, jax.Array]) -> dict[str, tuple]:
    """What must agree: the dtype and all but the first axis."""
    return {k: (np.dtype(v.dtype), np.ndim(v), np.shape(v)[1:]) for k, v in leaves.items()}


def _typed(stored: dict[str, jax.Array], like: chex.ArrayTree) -> chex.ArrayTree:
    leaves = [
        jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(x)) if _is_key(x) else leaf
        for leaf, x in zip(
            (stored[name] for name in sorted(stored)), jax.tree.leaves(like), strict=True
        )
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
