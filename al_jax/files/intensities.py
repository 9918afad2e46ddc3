"""Intensities of any depth as 8 bits."""

import os

import numpy as np

from al_jax.stack import InputError


def to_uint8(volume: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Scales minimum to 0 and the 99.9th percentile to 255, all values alike; uint8 is kept."""
    if volume.dtype == np.uint8:
        return volume
    volume = volume.astype(np.float64)
    low, high = volume.min(), np.percentile(volume, 99.9)
    if high <= low:  # all but a few voxels are empty
        high = volume.max()
    if not 0 < high - low < np.inf:
        raise InputError(
            f"{path}: all intensities are {low:.6g}; give an image that shows something"
        )
    return np.rint((volume - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)
