"""Volumes: one file as an array in RAS order, with its place in mm."""

import os
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import SpatialImage

from al_jax.core.stack import InputError
from al_jax.files.reading import by, full_path, reading
from al_jax.files.registry import VOLUMES, find
from al_jax.files.voxels import load_nibabel


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
      times: K numbers a voxel follow each other in time: none is a colour.
    """

    path: str | os.PathLike
    voxels: np.ndarray
    affine: np.ndarray
    zooms: tuple[float, float, float]
    stored: tuple[int, int, int]
    stored_affine: np.ndarray
    axes: str
    times: bool = False


def load_volume(path: str | os.PathLike) -> Volume:
    """Reads a volume, and turns it to the closest RAS order.

    A structured type (R, G, B) and axes after the third become the last axis; a fourth number,
    opacity, is dropped. As in NIfTI, the fourth axis is time, and only a fifth one of colours.

    Raises:
      InputError: the file is missing, damaged or of another kind, holds no volume, or its header
        does not place it.
    """
    file = full_path(path)
    with reading(path, "a volume"):
        load = find(VOLUMES, file) or load_nibabel  # which knows more formats, by their content
        loaded = SpatialImage(*load(file))
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
        voxels, times = _numbers(path, np.asanyarray(turned.dataobj))
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
        path, voxels, affine, (zooms[0], zooms[1], zooms[2]), (i, j, k), stored_affine, axes, times
    )


def without_shear(affine: np.ndarray) -> np.ndarray:
    """The nearest place [4, 4] whose axes are at right angles, as the qform of a NIfTI has it.

    ITK knows no others: of a volume with shear it saves this one.
    """
    header = nibabel.Nifti1Header()
    header.set_qform(affine, code="scanner")
    return np.asarray(header.get_qform(), float)


def _numbers(path: str | os.PathLike, voxels: np.ndarray) -> tuple[np.ndarray, bool]:
    """[X, Y, Z] or [X, Y, Z, K] numbers, and whether K are times; records are the last axis."""
    times = voxels.ndim > 3 and voxels.shape[3] > 1
    if voxels.dtype.names:
        names = voxels.dtype.names[:3]
        voxels = np.stack([voxels[name] for name in names], -1)
    if voxels.dtype.kind not in "iuf":
        raise InputError(f"{path}: has voxels of type {voxels.dtype}; give one number a voxel")
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    rest = [length for length in voxels.shape[3:] if length != 1]
    if len(rest) > 1:
        raise InputError(f"{path}: has {by(voxels.shape)} voxels; give one volume of three axes")
    return voxels.reshape(*voxels.shape[:3], *rest), times
