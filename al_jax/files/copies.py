"""Copies among the pictures of a folder: by what they are called, and by what they hold."""

import contextlib
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from al_jax.core.stack import InputError
from al_jax.files.reading import file_digest, listed, note, reading
from al_jax.files.registry import PICTURES, find

MARK = re.compile(r" \(\d+\)|[ ._(-].*(?:conflict|copy|kopie|copie|copia).*", re.IGNORECASE)
"""What is put after the name of a file to name its copy, in some languages."""

BEFORE = re.compile(r"(?:copy of|kopie von|copie de|copia d[ei]) (.+)", re.IGNORECASE)
"""The same before it."""

PART = 1 << 16
"""Bytes that tell most files of one size apart."""


def note_copies(folder: str | os.PathLike, files: Mapping[str, pathlib.Path]) -> None:
    """A note of the pictures that hold what another one does, or are called like its copy.

    Those of one colour alone, as slices beyond the ends of an object, are no copies.

    Args:
      folder: that holds them.
      files: by the names of their sections.
    """
    of = {name: original for name in files if (original := _original(name, files)) is not None}
    names = {path: name for name, path in files.items()}
    for group in _alike(files.values()):
        if _is_blank(group[0]):
            continue
        first, *more = sorted((names[path] for path in group), key=lambda name: name in of)
        of |= {name: first for name in more if name not in of}
    if of:
        shown = listed(
            (f"{files[one].name} of {files[other].name}" for one, other in of.items()), 4
        )
        note(
            f"{folder}: sections look like copies of others ({shown}); if they are, take "
            "them out of the folder and begin again"
        )


def _original(name: str, names: Iterable[str]) -> str | None:
    """The one of some names that a name is called like a copy of."""
    known = {other.casefold(): other for other in names}
    ends = [at for at in range(1, len(name)) if MARK.fullmatch(name, at)]
    found = [name[:at] for at in reversed(ends)]
    if before := BEFORE.fullmatch(name):
        found.append(before[1])
    return next((known[one.casefold()] for one in found if one.casefold() in known), None)


def _alike(paths: Iterable[pathlib.Path]) -> list[list[pathlib.Path]]:
    """Groups of files that hold the same; empty ones hold nothing."""
    groups = [list(paths)]
    for key in (os.path.getsize, _middle, file_digest):
        groups = [same for group in groups for same in _grouped(group, key)]
    return groups


def _is_blank(path: pathlib.Path) -> bool:
    read = find(PICTURES, path)
    with contextlib.suppress(InputError), reading(path, "a picture"):  # whoever needs it says so
        if read is not None:
            samples = read(path).decode()
            return bool((samples == samples[:1, :1]).all())
    return False


def _grouped(
    paths: Iterable[pathlib.Path], key: Callable[[pathlib.Path], Any]
) -> list[list[pathlib.Path]]:
    found: dict[Any, list[pathlib.Path]] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # whoever reads it says why it cannot
            found.setdefault(key(path), []).append(path)
    return [group for value, group in found.items() if value and len(group) > 1]


def _middle(path: pathlib.Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - PART) // 2)
        return file.read(PART)
