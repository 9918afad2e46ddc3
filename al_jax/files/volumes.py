"""Volumes: one file as an array in RAS order."""

import gzip
import os

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import SpatialImage

from al_jax.files.reading import by, reading
from al_jax.stack import InputError


def load_volume(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Reads a volume in RAS order: voxels [X, Y, Z], affine [4, 4], voxel size in mm."""
    with reading(path, "a NIfTI volume"):
        _check_gzip(path)
        loaded = nibabel.load(path)
        if not isinstance(loaded, SpatialImage):
            raise InputError(f"{path}: is a {type(loaded).__name__}; give a NIfTI volume")
        if len(loaded.shape) < 3 or any(n != 1 for n in loaded.shape[3:]) or 0 in loaded.shape:
            raise InputError(
                f"{path}: has {by(loaded.shape)} voxels; give one volume of three axes"
            )
        affine = np.asarray(loaded.affine, np.float64)
        if affine.shape != (4, 4) or not abs(np.linalg.det(affine)) > 1e-9:  # NaN included
            raise InputError(f"{path}: the header gives no valid orientation; correct it")
        if loaded.get_data_dtype().kind not in "iuf":
            raise InputError(
                f"{path}: has voxels of type {loaded.get_data_dtype()}; give one number a voxel"
            )
        # Trailing axes of length one (a single time point) are dropped before turning.
        data = np.asanyarray(loaded.dataobj).reshape(loaded.shape[:3])
        turn = orientations.io_orientation(affine)
        affine = affine @ orientations.inv_ornt_aff(turn, data.shape)
        data = orientations.apply_orientation(data, turn)
        zooms = tuple(float(z) for z in voxel_sizes(affine))
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        where = np.argwhere(~np.isfinite(data))[0]
        raise InputError(
            f"{path}: the voxel {tuple(int(w) for w in where)} (RAS order) is not finite; "
            "replace NaN and infinity"
        )
    return data, affine, zooms


def _check_gzip(path: str | os.PathLike) -> None:
    """Reads a compressed file to its end, where the checksum is; nibabel may stop before."""
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass
