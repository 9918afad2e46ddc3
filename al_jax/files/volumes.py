"""Volumes: one file as an array in RAS order, with its place in mm.

NIfTI, MGH, Analyze and MINC are read by nibabel, NRRD by pynrrd.
"""

import os
import pathlib
import zlib
from typing import NamedTuple

import nibabel
import nrrd
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage

from al_jax.core.stack import InputError
from al_jax.files.reading import by, full_path, note, reading

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


class Volume(NamedTuple):
    """A volume in RAS order.

    Attributes:
      path: of its file.
      voxels: [X, Y, Z], or [X, Y, Z, K] with K numbers a voxel.
      affine: [4, 4], from voxel to mm.
      zooms: size of a voxel in mm along X, Y and Z.
      stored: shape of the array in the file, its first three axes.
      stored_affine: [4, 4], from a voxel of that array to mm.
      axes: which way these run, such as LPS.
    """

    path: str | os.PathLike
    voxels: np.ndarray
    affine: np.ndarray
    zooms: tuple[float, float, float]
    stored: tuple[int, int, int]
    stored_affine: np.ndarray
    axes: str


def load_volume(path: str | os.PathLike) -> Volume:
    """Reads a volume, and turns it to the closest RAS order.

    A structured type (R, G, B) and axes after the third become the last axis; a fourth number,
    opacity, is dropped.

    Raises:
      InputError: the file is missing, damaged or of another kind, holds no volume, or its header
        does not place it.
    """
    file = full_path(path)
    with reading(path, "a volume"):
        if file.is_dir():
            raise IsADirectoryError
        if file.name.lower().endswith((".nrrd", ".nhdr")):
            loaded = _load_nrrd(path, file)
        else:
            _check_pair(path, file)
            _check_gzip(path, file)
            loaded = _load_nibabel(path, file)
        if len(loaded.shape) < 3 or 0 in loaded.shape:
            raise InputError(
                f"{path}: has {by(loaded.shape)} voxels; give one volume of three axes"
            )
        stored_affine = np.asarray(loaded.affine, np.float64)
        sizes = voxel_sizes(stored_affine)
        # Relative to the size of a voxel: those of a microscope are far below 1 mm. NaN included.
        if not abs(np.linalg.det(stored_affine[:3, :3])) > 1e-6 * np.prod(sizes) > 0:
            raise InputError(f"{path}: the header gives no valid orientation; correct it")
        axes = "".join(nibabel.aff2axcodes(stored_affine))
        turned = nibabel.as_closest_canonical(loaded)
        voxels = _numbers(path, np.asanyarray(turned.dataobj))
        affine = np.asarray(turned.affine, np.float64)
        zooms = tuple(float(size) for size in voxel_sizes(affine))
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        where = np.argwhere(~np.isfinite(voxels))[0]
        raise InputError(
            f"{path}: the voxel {tuple(int(w) for w in where)} (RAS order) is not finite; replace "
            "NaN and infinity (with np.nan_to_num, or fslmaths in -nan out)"
        )
    i, j, k = (int(length) for length in loaded.shape[:3])
    return Volume(
        path, voxels, affine, (zooms[0], zooms[1], zooms[2]), (i, j, k), stored_affine, axes
    )


def _load_nibabel(path: str | os.PathLike, file: pathlib.Path) -> SpatialImage:
    try:
        loaded = nibabel.load(file)
    except ImageFileError as error:
        raise InputError(
            f"{path}: is no volume that is read ({str(error)[:120]}); give NIfTI, NRRD or MGH"
        ) from error
    if not isinstance(loaded, SpatialImage):
        raise InputError(f"{path}: is a {type(loaded).__name__}; give a volume")
    affine = np.asarray(loaded.affine, np.float64)
    header = loaded.header
    if isinstance(header, nibabel.Nifti1Header):
        if not affine[:3, :3].any():
            affine = np.asarray(header.get_qform(coded=False), np.float64)
            note(f"{path}: its sform is all zeros; placed by its qform")
        scale = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        affine = np.diag([scale, scale, scale, 1]) @ affine
    return SpatialImage(loaded.dataobj, affine)


def _load_nrrd(path: str | os.PathLike, file: pathlib.Path) -> SpatialImage:
    data, header = nrrd.read(str(file))
    if data.ndim == 4 and header.get("kinds", [""])[0] not in ("domain", "space"):
        if file.name.lower().endswith(".seg.nrrd"):
            raise InputError(
                f"{path}: holds {data.shape[0]} layers of segments that overlap; in 3D Slicer "
                "export it as one label map"
            )
        data = np.moveaxis(data, 0, -1)
    directions = header.get("space directions")
    if directions is None:
        spacings = np.append(np.asarray(header.get("spacings", [1, 1, 1]), np.float64)[-3:], 1)
        return SpatialImage(data, np.diag(spacings))
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
    return SpatialImage(data, np.diag([*TO_RAS[space], 1]) @ affine)


def _numbers(path: str | os.PathLike, voxels: np.ndarray) -> np.ndarray:
    """[X, Y, Z] or [X, Y, Z, K] numbers; a record of numbers becomes the last axis."""
    if voxels.dtype.names:
        names = voxels.dtype.names[:3]
        voxels = np.stack([voxels[name] for name in names], -1)
    if voxels.dtype.kind not in "iuf":
        raise InputError(f"{path}: has voxels of type {voxels.dtype}; give one number a voxel")
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    rest = [length for length in voxels.shape[3:] if length != 1]
    if len(rest) > 1:
        raise InputError(f"{path}: has {by(voxels.shape)} voxels; give one volume of three axes")
    return voxels.reshape(*voxels.shape[:3], *rest)


def _check_pair(path: str | os.PathLike, file: pathlib.Path) -> None:
    """Raises InputError if the header or the voxels of a pair of files are missing."""
    other = {".hdr": ".img", ".img": ".hdr"}.get(file.suffix.lower())
    if other is not None and file.is_file() and not file.with_suffix(other).is_file():
        missing = file.with_suffix(other).name
        raise InputError(f"{path}: its other half {missing} is missing; put both in one folder")


def _check_gzip(path: str | os.PathLike, file: pathlib.Path) -> None:
    """Reads a compressed file to its end, where the checksum is; nibabel may stop before.

    By hand, because the module gzip takes what follows the end for damage.
    """
    named = file.name.lower().endswith((".gz", ".mgz"))
    with open(file, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
        if named != compressed:
            what = "is compressed" if compressed else "is not compressed"
            raise InputError(f"{path}: {what} though its name says otherwise; rename it")
        if not compressed:
            return
        stream.seek(0)
        left = b""
        while True:
            part = zlib.decompressobj(wbits=31)
            while not part.eof:
                data = left or stream.read(1 << 16)
                left = b""
                if not data:
                    raise EOFError("the compressed data end too early")
                part.decompress(data)
            left = part.unused_data or stream.read(1 << 16)
            if not left.startswith(b"\x1f\x8b"):  # else another part follows
                break
        if left.strip(b"\0"):
            note(f"{path}: bytes follow the end of the compressed data; they are ignored")
