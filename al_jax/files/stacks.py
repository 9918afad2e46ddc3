"""Stacks as npz: the shipped example, and any that was written here."""

import importlib.resources
import io
import os

import numpy as np

from al_jax.files.reading import naming, reading
from al_jax.files.whole import write_whole
from al_jax.stack import InputError, Stack, make_stack


def load_default() -> Stack:
    """The shipped stack: 24 coronal sections of Colin27, nine classes (see data/PROVENANCE.md)."""
    resource = importlib.resources.files("al_jax").joinpath("data", "colin27.npz")
    with importlib.resources.as_file(resource) as path:
        return read_stack(path)


def read_stack(path: str | os.PathLike) -> Stack:
    """Reads a stack that `write_stack` wrote.

    Args:
      path: npz with `images`, `inside`, `truth` and `names` as in `Stack`; `inside` may be left out
        (every pixel is inside).

    Raises:
      InputError: the file is missing, damaged, no npz, lacks an array, or `make_stack` refuses it.
    """
    with reading(path, "an npz file"), np.load(path, allow_pickle=False) as archive:
        found = {k: archive[k] for k in ("images", "inside", "truth", "names") if k in archive}
    for key in ("images", "truth", "names"):
        if key not in found:
            raise InputError(f"{path}: has no array '{key}'; write the stack with write_stack")
    if found["names"].ndim != 1 or found["names"].dtype.kind != "U":
        raise InputError(f"{path}: 'names' is no list of strings; write it with write_stack")
    with naming(path):
        return make_stack(
            found["images"], found["truth"], found["names"].tolist(), found.get("inside")
        )


def write_stack(path: str | os.PathLike, stack: Stack) -> None:
    """Writes a stack as a compressed npz, whole; equal stacks give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=np.asarray(stack.images),
        inside=np.asarray(stack.inside),
        truth=np.asarray(stack.truth),
        names=np.array(stack.names),
    )
    write_whole(path, buffer.getvalue())
