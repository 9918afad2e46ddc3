"""Where sections lie in mm, and volumes that lie on one of them.

Sections that were cut out of a volume lie where they were cut (`stack.Place`): each has an affine
of its own, [4, 4], from (column, row, 0) to mm in RAS order, as in NIfTI, and the whole stack lies
in a volume like the one it was cut out of, so that slices may be left out at any distance. Without
a place, a section shows as it is in an axial view of any viewer: columns run to the patient's left,
rows to the back, sections upwards.
"""

import os
from typing import NamedTuple, NoReturn

import numpy as np

from al_jax.core.stack import InputError, Place
from al_jax.files.reading import by
from al_jax.files.volumes import without_shear

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns mm in RAS order into LPS order, and back."""

TOLERANCE = 0.25
"""Farthest, in pixels, that a voxel may be from the middle of a pixel.

Headers of NIfTI are float32; half a pixel would be a mistake.
"""


class Grid(NamedTuple):
    """Where the sections of a file are.

    Attributes:
      affine: [4, 4], from (column, row, section) to mm (RAS).
      downsample: pixels of a full-resolution image along a pixel of a section.
    """

    affine: np.ndarray
    downsample: float = 1.0


class InStack(NamedTuple):
    """Where a section is among others, for files of a whole stack.

    Attributes:
      number, total: of the section, from 0, and how many there are; 0: nobody knows.
      first: both as the session began with them.
      turned: it was mirrored or turned since.
    """

    number: int = 0
    total: int = 0
    first: tuple[int, int] = (0, 0)
    turned: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is where it was: files of now and of then agree about it."""
        return self.number == self.first[0] and not self.turned

    def page(self, pages: int, path: str | os.PathLike) -> int | None:
        """Which of so many pages shows it; None: they are not those of the stack.

        Raises:
          InputError: nobody knows whether they are those of now or of then.
        """
        now, then = pages == self.total, pages == self.first[1]
        if not (now or then):
            return None
        if self.turned or (now and then and not self.kept):
            self.refuse(path)
        return self.number if now else self.first[0]

    def refuse(self, path: str | os.PathLike) -> NoReturn:
        """Raises InputError: `path` is of the whole stack, which was another one then."""
        raise InputError(
            f"{path}: is of the whole stack, whose sections were left out, ordered or turned "
            "since; save this section alone, drawn on the image of the question"
        )


ALONE = InStack()
"""Of a file that is of no stack."""


def stack_affine(pixel: float = 1.0, spacing: float = 1.0) -> np.ndarray:
    """The place of a stack that has none: square pixels and sections at equal distances, in mm."""
    return np.diag([-pixel, -pixel, spacing, 1.0])


def section_affine(affine: np.ndarray, section: int) -> np.ndarray:
    """The place of one section of a stack, counted from 0: its own third index is 0."""
    shift = np.eye(4)
    shift[2, 3] = section
    return np.asarray(affine, float) @ shift


def own_place(shape: tuple[int, int, int]) -> Place:
    """The place of a stack [N, H, W] that has none: a volume of its own, a slice a section."""
    count, height, width = shape
    affine, cut = (tuple(map(tuple, a.tolist())) for a in (stack_affine(), np.eye(4, dtype=int)))
    return Place((width, height, count), affine, cut, tuple(range(count)))


def affine_on(place: Place | None, section: int) -> np.ndarray:
    """[4, 4], from (column, row, 0) of a section to mm; without a place, that of `stack_affine`."""
    if place is None:
        return section_affine(stack_affine(), section)
    return np.array(place.affine) @ section_affine(np.array(place.cut), place.slices[section])


def in_volume(pixels: np.ndarray, place: Place) -> np.ndarray:
    """Sections in the volume of their place, which is 0 elsewhere; pixels beyond it are left out.

    Args:
      pixels: [N, H, W].
      place: of the N sections.

    Returns:
      [K, J, I] of the type of `pixels`; its affine, from (i, j, k), is `place.affine`.
    """
    volume = np.zeros(place.shape[::-1], pixels.dtype)
    across, down, through, shift = np.array(place.cut)[:3].T[..., None, None]
    rows, columns = np.indices(pixels.shape[1:])
    first = across * columns + down * rows + through * place.slices[0] + shift  # [3, H, W]
    held = ((first >= 0) & (first < np.reshape(place.shape, (3, 1, 1)))).all(0)
    # Along the flat volume, slices are at equal distances.
    strides = np.cumprod((1, *place.shape[:2]))
    at, step = strides @ first[:, held], strides @ through[:, 0, 0]
    for number, section in zip(place.slices, pixels, strict=True):
        volume.reshape(-1)[at + step * (number - place.slices[0])] = section[held]
    return volume


def onto_section(
    voxels: np.ndarray,
    affine: np.ndarray,
    section: np.ndarray,
    shape: tuple[int, int],
    path: str | os.PathLike,
) -> np.ndarray:
    """What a volume shows of a section: placed by headers alone.

    It may fill a part of the section, or hold other slices beside it, which are left out. Its axes
    may run in any order and direction; nothing is resampled.

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
    turn, shift = _turned(voxels.shape, affine, section, path)
    filled = np.argwhere(voxels != 0)
    columns, rows, slices = (filled @ turn.T + shift).T
    if slices.size and slices.all():
        wrong = slices[0]
        side = "below" if wrong < 0 else "above"
        raise InputError(
            f"{path}: its header places it {abs(wrong)} slices {side} the section asked for; give "
            "the answer of this question"
        )
    filled, columns, rows = filled[slices == 0], columns[slices == 0], rows[slices == 0]
    height, width = shape
    beyond = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    if beyond.any():
        raise InputError(
            f"{path}: its header places {beyond.sum()} px of it beyond the section of "
            f"{by(shape)} px; draw on the image of the question itself"
        )
    placed = np.zeros(shape, voxels.dtype)
    placed[rows, columns] = voxels[tuple(filled.T)]
    return placed


def reach(
    voxels: tuple[int, ...],
    affine: np.ndarray,
    section: np.ndarray,
    shape: tuple[int, int],
    path: str | os.PathLike,
) -> np.ndarray:
    """[H, W] bool, the pixels of a section that a volume of [I, J, K] `voxels` has.

    The rest: see `onto_section`.
    """
    turn, shift = _turned(voxels, affine, section, path)
    ends = np.stack([shift, turn @ (np.array(voxels) - 1) + shift])
    low, high = ends.min(0), ends.max(0) + 1
    found = np.zeros(shape, bool)
    if low[2] <= 0 < high[2]:
        found[max(low[1], 0) : max(high[1], 0), max(low[0], 0) : max(high[0], 0)] = True
    return found


def _turned(
    voxels: tuple[int, ...], affine: np.ndarray, section: np.ndarray, path: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """[3, 3] and [3] whole numbers: voxel v lies at (column, row, slice) turn @ v + shift."""
    try:
        return _fitted(voxels, affine, section, path)
    except InputError:
        upright = without_shear(section)
        if np.allclose(upright[:3, :3], section[:3, :3], atol=1e-5 * abs(section[:3, :3]).max()):
            raise
        return _fitted(voxels, affine, upright, path)


def _fitted(
    voxels: tuple[int, ...], affine: np.ndarray, section: np.ndarray, path: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """`_turned` for a section at that very place."""
    moved = np.linalg.inv(section) @ affine
    turn, shift = np.rint(moved[:3, :3]).astype(int), np.rint(moved[:3, 3]).astype(int)
    permutes = (abs(turn).sum(0) == 1).all() and (abs(turn).sum(1) == 1).all()
    drift = abs(moved[:3, :3] - turn) @ (np.array(voxels) - 1)  # of the last voxel
    if not permutes or drift.max() > TOLERANCE:
        raise InputError(
            f"{path}: its header gives other voxel sizes or directions than the section's; trace "
            "on the image of the question itself, without resampling"
        )
    if abs(moved[:3, 3] - shift).max() > TOLERANCE:
        raise InputError(
            f"{path}: its header places it {abs(moved[:3, 3] - shift).max():.2g} px beside the "
            "pixels of the section; draw on the image of the question itself"
        )
    return turn, shift
