"""Stacks as npz: the shipped example, and any that was written here."""

import importlib.resources
import os
from typing import Any

import numpy as np

from al_jax.core.stack import Images, InputError, Stack, make_images, make_stack
from al_jax.files.atomic import write_npz
from al_jax.files.claims import check_archive
from al_jax.files.reading import full_path, naming, reading

ARRAYS = ("images", "inside", "truth", "names", "sections", "colours")


def load_default() -> Stack:
    """The shipped stack: 24 coronal sections of Colin27, nine classes (see data/PROVENANCE.md)."""
    resource = importlib.resources.files("al_jax").joinpath("data", "colin27.npz")
    with importlib.resources.as_file(resource) as path:
        return read_stack(path)


def read_stack(path: str | os.PathLike) -> Stack:
    """Reads a stack that `write_stack` wrote.

    Args:
      path: npz with `images`, `inside`, `truth`, `names`, `sections` and `colours` as in `Stack`;
        `inside` (every pixel is inside), `sections` and `colours` may be left out.

    Raises:
      InputError: the file is missing, damaged, no npz, lacks an array, or `make_stack` refuses it.
    """
    images, names, parts = _read(path, ("images", "truth", "names"))
    truth = parts.pop("truth")
    with naming(path):
        return make_stack(images, truth, names, **parts)


def read_stack_images(path: str | os.PathLike) -> Images:
    """Reads an npz as `read_stack` does, without its truth, which may be missing."""
    images, names, parts = _read(path, ("images", "names"))
    parts.pop("truth", None)
    with naming(path):
        return make_images(images, names, **parts)


def write_stack(path: str | os.PathLike, stack: Images) -> None:
    """Writes sections, with their truth if they are a `Stack`, as a compressed npz, atomically.

    Equal stacks give equal bytes.
    """
    found = {name: getattr(stack, name, None) for name in ARRAYS}
    if stack.sections == tuple(map(str, range(stack.num_sections))):
        del found["sections"]  # their numbers, as they are without
    write_npz(path, {name: value for name, value in found.items() if value is not None})


def _read(
    path: str | os.PathLike, needed: tuple[str, ...]
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """Images, names, and what else there is."""
    check_archive(path)
    with reading(path, "an npz file"), np.load(full_path(path), allow_pickle=False) as archive:
        found = {name: archive[name] for name in ARRAYS if name in archive}
    for key in needed:
        if key not in found:
            raise InputError(f"{path}: has no array '{key}'; write the stack with write_stack")
    for key in ("names", "sections"):
        if key in found and (found[key].ndim != 1 or found[key].dtype.kind != "U"):
            raise InputError(f"{path}: '{key}' is not a list of strings; write it with write_stack")
    if "colours" in found and (found["colours"].ndim != 2 or found["colours"].shape[1] != 3):
        raise InputError(f"{path}: 'colours' is not a list of colours; write it with write_stack")
    parts = {key: value.tolist() for key, value in found.items() if key in ("sections", "colours")}
    parts |= {key: found[key] for key in ("inside", "truth") if key in found}
    return found["images"], found["names"].tolist(), parts
