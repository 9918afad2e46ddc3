"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import contextlib
import errno
import io
import os
import pathlib
import secrets
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from al_jax.core.stack import InputError
from al_jax.files.reading import full_path

TEMPORARY = "." + "[0-9a-f]" * 16 + ".tmp"
"""What files are called before they are complete, as a pattern: leftovers of killed writers."""


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or of a share of it, that is full: another place on it is no help."""


def temporary_beside(path: pathlib.Path) -> pathlib.Path:
    """A new name of `TEMPORARY` in the folder of `path`."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` under a temporary name in the same folder, then renames it to `path`.

    Both the bytes and the name are on the disk when this returns.

    Raises:
      InputError: the folder is missing or cannot be written; nothing is left behind.
    """
    path = full_path(path)
    temporary = temporary_beside(path)
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            to_disk(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        what = "make room" if error.errno in FULL else "choose another place"
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); {what}"
        ) from error


def to_disk(path: str | os.PathLike) -> None:
    """Brings a file, or the names in a folder, from memory to the disk.

    Folders that may not be read, or are of a file system that cannot do this, are left to it.

    Raises:
      OSError: the disk refused it.
    """
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)


def write_npz(path: str | os.PathLike, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Writes arrays as a compressed npz, atomically; equal ones give equal bytes.

    Raises:
      InputError: see `write_atomic`.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
    write_atomic(path, buffer.getvalue())
