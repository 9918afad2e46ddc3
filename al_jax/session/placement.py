"""Where sections lie in mm, and volumes that lie on one of them.

An affine is [4, 4], from (column, row, section) to mm in RAS order, as of NIfTI. Without one, a
section shows as it is in an axial view of any viewer: columns run to the patient's left, rows to
the back, sections upwards, so that each section has a place of its own.
"""

import os

import numpy as np

from al_jax.files.reading import by
from al_jax.stack import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns mm in RAS order into LPS order, and back."""

TOLERANCE = 0.25
"""Farthest, in pixels, that a voxel may be from the middle of a pixel.

Headers of NIfTI are float32; half a pixel would be a mistake.
"""


def stack_affine(pixel: float = 1.0, spacing: float = 1.0) -> np.ndarray:
    """The place of a stack that has none: square pixels and sections at equal distances, in mm."""
    return np.diag([-pixel, -pixel, spacing, 1.0])


def section_affine(affine: np.ndarray, section: int) -> np.ndarray:
    """The place of one section of a stack, counted from 0: its own third index is 0."""
    shift = np.eye(4)
    shift[2, 3] = section
    return np.asarray(affine, float) @ shift


def onto_section(
    voxels: np.ndarray,
    affine: np.ndarray,
    section: np.ndarray,
    shape: tuple[int, int],
    path: str | os.PathLike,
) -> np.ndarray:
    """What a volume shows of a section that it fills a part of: placed by headers alone.

    The axes of the volume may run in any order and direction; nothing is resampled.

    Args:
      voxels: [I, J, K], 0 where there is nothing.
      affine: [4, 4], from its voxels to mm (RAS).
      section: [4, 4], from (column, row, 0) of the section to mm (RAS).
      shape: (H, W) of the section.
      path: of the volume, for messages.

    Returns:
      [H, W] of the type of `voxels`.

    Raises:
      InputError: the volume has other voxel sizes or directions, or what it shows lies elsewhere.
    """
    moved = np.linalg.inv(section) @ affine
    turn, shift = np.rint(moved[:3, :3]).astype(int), np.rint(moved[:3, 3]).astype(int)
    permutes = (abs(turn).sum(0) == 1).all() and (abs(turn).sum(1) == 1).all()
    drift = abs(moved[:3, :3] - turn) @ (np.array(voxels.shape) - 1)  # of the last voxel
    if not permutes or drift.max() > TOLERANCE:
        raise InputError(
            f"{path}: its header gives other voxel sizes or directions than the section's; trace "
            "on the image of the question itself, without resampling"
        )
    if abs(moved[:3, 3] - shift).max() > TOLERANCE:
        raise InputError(
            f"{path}: its header places it {abs(moved[:3, 3] - shift).max():.2g} px beside the "
            "pixels of the section; trace on the image of the question itself"
        )
    filled = np.argwhere(voxels != 0)
    columns, rows, slices = (filled @ turn.T + shift).T
    if slices.any():
        wrong = slices[slices != 0][0]
        side = "below" if wrong < 0 else "above"
        raise InputError(
            f"{path}: its header places it {abs(wrong)} sections {side} the one asked for; give "
            "the answer of this question"
        )
    height, width = shape
    beyond = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    if beyond.any():
        raise InputError(
            f"{path}: its header places {beyond.sum()} px of it beyond the section of "
            f"{by(shape)} px; trace on the image of the question itself"
        )
    placed = np.zeros(shape, voxels.dtype)
    placed[rows, columns] = voxels[tuple(filled.T)]
    return placed
