"""Which reader reads what: one table for pictures, one for stacks of them, one for volumes.

A key is how a name ends, in lower case, or a function that looks into the file; the longest ending
that fits wins. A format of one's own is one call of `register_reader`, or one more line in a table.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from nibabel.arrayproxy import ArrayLike

from al_jax.files.pictures import Picture, array_pages
from al_jax.files.rasters import open_raster
from al_jax.files.reading import reading
from al_jax.files.tiffs import is_tiff, open_pages, open_tiff
from al_jax.files.voxels import load_nibabel, load_nrrd

Key = str | Callable[[pathlib.Path], bool]
Pages = contextlib.AbstractContextManager[Sequence[Picture]]
Found = TypeVar("Found")


def open_picture(path: pathlib.Path) -> Picture:
    """Reads the header of a PNG, JPEG, BMP or TIFF; its content says which it is, not its name.

    Raises:
      InputError: it is none of these, or is not read (README.md in this folder).
    """
    return open_tiff(path) if is_tiff(path) else open_raster(path)


PICTURES: dict[Key, Callable[[pathlib.Path], Picture]] = dict.fromkeys(
    (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"), open_picture
)
"""Files of a folder with one section each."""

STACKS: dict[Key, Callable[[pathlib.Path], Pages]] = {is_tiff: open_pages}
"""Files, or folders that are one image, with all sections. Decoded while the context is open."""

VOLUMES: dict[Key, Callable[[pathlib.Path], tuple[ArrayLike, np.ndarray]]] = {
    **dict.fromkeys((".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".mnc"), load_nibabel),
    **dict.fromkeys((".nrrd", ".nhdr"), load_nrrd),
}
"""Voxels [I, J, K], [I, J, K, times] or [I, J, K, times, colours], and [4, 4], from a voxel to mm
in RAS order."""


def find(readers: Mapping[Key, Found], path: pathlib.Path) -> Found | None:
    """The reader of a file in one of the tables, or None.

    Example:
      >>> find(VOLUMES, pathlib.Path("scan.NII.gz")).__name__
      'load_nibabel'
    """
    name = path.name.lower()
    endings = [key for key in readers if isinstance(key, str) and name.endswith(key)]
    if endings:
        return readers[max(endings, key=len)]
    probes = (key for key in readers if not isinstance(key, str))
    return next((readers[probe] for probe in probes if probe(path)), None)


def register_reader(ending: str, read: Callable[[pathlib.Path], np.ndarray]) -> None:
    """Adds a format of files, or of folders, that hold all sections of a stack.

    Args:
      ending: of their names, such as '.ome.zarr'.
      read: gives the numbers as they are stored, [N, H, W] or [N, H, W, K], of images and of labels
        alike; what it raises becomes one line about the file.
    """

    @contextlib.contextmanager
    def opened(path: pathlib.Path) -> Iterator[list[Picture]]:
        with reading(path, f"a stack ({ending})"):
            pages = array_pages(path, read(path))
        yield pages

    STACKS[ending.lower()] = opened
