"""Formats of volumes: voxels as they are stored, and where the header places them.

NIfTI, MGH, Analyze and MINC are read by nibabel, NRRD by pynrrd.
"""

import gzip
import math
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import nibabel
import nrrd
import numpy as np
from nibabel.arrayproxy import ArrayLike
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage

from al_jax.core.stack import InputError
from al_jax.files.claims import DEFLATE, PACKED, check_claim
from al_jax.files.reading import note

MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}
"""NIfTI's units of length; without one, they are mm."""

TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "ras": (1, 1, 1),
    "las": (-1, 1, 1),
    "lps": (-1, -1, 1),
}
"""Signs that turn the axes of a NRRD's space into RAS order."""


SERIES = ("list", "time")
"""Kinds of a NRRD's axis along which volumes follow each other; along others numbers do."""


def load_nibabel(path: pathlib.Path) -> tuple[ArrayLike, np.ndarray]:
    """Voxels, which are decoded when they are used, and [4, 4], from a voxel to mm in RAS order."""
    _check_pair(path)
    _check_gzip(path)
    try:
        loaded = nibabel.load(path)
    except ImageFileError as error:
        raise InputError(
            f"{path}: is not a volume that is read ({str(error)[:120]}); give NIfTI, NRRD or MGH"
        ) from error
    if not isinstance(loaded, SpatialImage):
        raise InputError(f"{path}: is a {type(loaded).__name__}; give a volume")
    _check_claim(path, loaded)
    affine = np.asarray(loaded.affine, np.float64)
    header = loaded.header
    if isinstance(header, nibabel.Nifti1Header):
        if not affine[:3, :3].any():
            affine = np.asarray(header.get_qform(coded=False), np.float64)
            note(f"{path}: its sform is all zeros; placed by its qform")
        scale = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        affine = np.diag([scale, scale, scale, 1]) @ affine
    return loaded.dataobj, affine


def load_nrrd(path: pathlib.Path) -> tuple[ArrayLike, np.ndarray]:
    """The same of a NRRD."""
    _check_nrrd(path, nrrd.read_header(str(path)))
    data, header = nrrd.read(str(path))
    kinds = [str(kind).lower() for kind in header.get("kinds", [""] * data.ndim)]
    first = data.ndim == 4 and kinds[0] not in ("domain", "space")
    if first:
        if path.name.lower().endswith(".seg.nrrd"):
            raise InputError(
                f"{path}: holds {data.shape[0]} layers of segments that overlap; in 3D Slicer "
                "export it as one label map"
            )
        data = np.moveaxis(data, 0, -1)
    if data.ndim == 4 and kinds[0 if first else 3] not in SERIES:
        data = data[..., None, :]
    directions = header.get("space directions")
    if directions is None:
        spacings = np.append(np.asarray(header.get("spacings", [1, 1, 1]), np.float64)[-3:], 1)
        return data, np.diag(spacings)
    axes = np.asarray(directions, np.float64)
    axes = axes[np.isfinite(axes).all(1)]  # the axis of colours has none
    space = str(header.get("space", "left-posterior-superior")).lower()
    if space not in TO_RAS or axes.shape != (3, 3):
        raise InputError(
            f"{path}: has the space '{space}' with {len(axes)} axes, which is not read; save it in "
            "left-posterior-superior"
        )
    affine = np.eye(4)
    affine[:3, :3] = axes.T
    affine[:3, 3] = header.get("space origin", (0, 0, 0))
    return data, np.diag([*TO_RAS[space], 1]) @ affine


def _check_claim(path: pathlib.Path, loaded: SpatialImage) -> None:
    """Raises InputError if the files of a volume cannot hold what its header claims."""
    names = {holder.filename for holder in loaded.file_map.values() if holder.filename}
    held = sum(os.path.getsize(name) for name in names if os.path.isfile(name))
    kinds = {(".nii",): 1, (".img", ".hdr", ".mgh"): 1, (".gz", ".mgz"): DEFLATE}
    found = [ratio for ends, ratio in kinds.items() if path.name.lower().endswith(ends)]
    numbers = math.prod(loaded.shape)
    check_claim(path, numbers * loaded.get_data_dtype().itemsize, held, (*found, PACKED)[0])


def _check_nrrd(path: pathlib.Path, header: Mapping[str, Any]) -> None:
    """The same of a NRRD, whose voxels may be in a file beside."""
    ratios = {"raw": 1, "gzip": DEFLATE, "gz": DEFLATE}
    kind = str(header.get("type", ""))
    bits = re.search(r"(8|16|32|64)", kind)
    wide = {"short": 2, "float": 4, "int": 4, "double": 8, "long": 8}
    named = [size for name, size in wide.items() if name in kind]
    size = int(bits[1]) // 8 if bits else max(named, default=1)
    beside = header.get("data file", header.get("datafile"))
    file = path if beside is None else path.parent / str(beside)
    if file.is_file():  # else the reader says so
        claimed = math.prod(int(length) for length in header["sizes"]) * size
        ratio = ratios.get(str(header.get("encoding")).lower(), PACKED)
        check_claim(path, claimed, os.path.getsize(file), ratio)


def _check_pair(path: pathlib.Path) -> None:
    """Raises InputError if the header or the voxels of a pair of files are missing."""
    other = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    if other is not None and path.is_file() and not path.with_suffix(other).is_file():
        missing = path.with_suffix(other).name
        raise InputError(f"{path}: its other half {missing} is missing; put both in one folder")


def _check_gzip(path: pathlib.Path) -> None:
    """Reads a compressed file to its end, where the checksum is; nibabel may stop before."""
    named = path.name.lower().endswith((".gz", ".mgz"))
    with open(path, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    if named != compressed:
        what = "is compressed" if compressed else "is not compressed"
        raise InputError(f"{path}: {what} though its name says otherwise; rename it")
    if not compressed:
        return
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):
            raise
        note(f"{path}: bytes follow the end of the compressed data; they are ignored")
