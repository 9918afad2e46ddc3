"""What a header claims, compared with what the file can hold, before any memory is taken."""

import math
import os
import zipfile

import numpy as np
import psutil

from al_jax.core.stack import InputError
from al_jax.files.reading import full_path, reading

FREE = 2**26
"""Bytes that may be claimed without a look; a reader notices itself that they are not there."""

DEFLATE = 1032
"""What a byte of gzip, zip or PNG can hold at most, in bytes."""

PACKED = 50_000
"""The same of any other compression of blank data."""


def check_claim(
    path: str | os.PathLike, claimed: int, held: int | None = None, ratio: int = 1
) -> None:
    """Compares what a header claims with its file and with the memory that is free.

    Args:
      path: of the file.
      claimed: bytes of its numbers.
      held: bytes of the file; None: of `path`.
      ratio: what a byte of it can hold, at most.

    Raises:
      InputError: they are more.
    """
    if claimed <= FREE:
        return
    held = os.path.getsize(full_path(path)) if held is None else held
    if claimed > ratio * held:
        raise InputError(
            f"{path}: its header claims {_bytes(claimed)}, which a file of {_bytes(held)} cannot "
            "hold; it is damaged: write or copy it again"
        )
    room = psutil.virtual_memory().available
    if claimed > room:
        raise InputError(
            f"{path}: needs {_bytes(claimed)} of memory, of which {_bytes(room)} are free; crop "
            "it, or make it smaller"
        )


def check_archive(path: str | os.PathLike) -> None:
    """The same of an npz, for each of its arrays and all of them together.

    Raises:
      InputError: see `check_claim`; or it is none.
    """
    total = 0
    with reading(path, "an npz file"), zipfile.ZipFile(full_path(path)) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as stream:
                version = np.lib.format.read_magic(stream)
                first = version == (1, 0)
                header = np.lib.format
                read = header.read_array_header_1_0 if first else header.read_array_header_2_0
                shape, _, dtype = read(stream)
            claimed = math.prod(shape) * dtype.itemsize
            check_claim(path, claimed, entry.file_size)
            check_claim(path, entry.file_size, entry.compress_size, DEFLATE)
            total += claimed
    check_claim(path, total, total)


def _bytes(count: int) -> str:
    """A number of bytes in words."""
    for size, unit in ((2**30, "GB"), (2**20, "MB"), (2**10, "kB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
