"""A scripted hand that paints along the inside of an outline, and what its brushes cover."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from al_jax.core.stack import UNLABELLED
from al_jax.window.lines import enclosed
from al_jax.window.scissors import enclosed_pixels
from al_jax.window.smart_brush import grow, stroke

STEP = 0.25  # pixels, by which a point is moved inwards
TAIL = 8  # more steps than lead to the depth, as not all go straight
BEYOND = 2  # pixels around a mask, so that its outline has an outside


class Hand(NamedTuple):
    """How a person paints.

    Attributes:
      depth: pixels from the outline to the stroke; less where the structure is narrower.
      width: of the brush, in pixels, as napari's.
      spacing: pixels of outline in which the tremor changes from one value to another.
      tremor: pixels, a standard deviation, along rows and along columns.
    """

    depth: float
    width: float
    spacing: float
    tremor: float


def inwards(outline: np.ndarray, mask: np.ndarray, depth: float) -> np.ndarray:
    """[K, 2], points of an outline moved into its mask [H, W], up to its middle line."""
    padded = np.pad(mask, BEYOND)
    far = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    far -= 0.5 * np.sign(far)  # from the cracks, not from pixels
    slopes = np.gradient(ndimage.gaussian_filter(far, 1.0))
    at = outline + BEYOND
    for _ in range(int(depth / STEP) + TAIL):
        ways = np.stack([_at(slope, at) for slope in slopes], 1)
        further = at + STEP * ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-6)
        now = _at(far, at)
        at = np.where(((now < depth) & (_at(far, further) > now))[:, None], further, at)
    return at - BEYOND


def trembling(outline: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """[K, 2], how far a hand is off that follows a closed outline [K, 2]."""
    along = np.append(0, np.linalg.norm(np.diff(outline, axis=0), axis=1).cumsum())
    count = max(3, round(along[-1] / hand.spacing))
    off = hand.tremor * rng.standard_normal((count, 2))
    knots = np.arange(count + 1) * along[-1] / count
    return np.stack([np.interp(along, knots, np.append(axis, axis[0])) for axis in off.T], 1)


def painted(
    outline: np.ndarray, mask: np.ndarray, image: np.ndarray, hand: Hand, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[H, W] bool each, what is filled by a fine brush, a wide one, and the smart one.

    The fine brush goes along the outline [K, 2] itself, the others along the inside of the mask
    [H, W], all with the same tremor. What an outline around the structure encloses is filled, as in
    the window; a hole is not.
    """
    off, nothing = trembling(outline, hand, rng), np.full(mask.shape, UNLABELLED)
    path = inwards(outline, mask, hand.depth) + off
    fine, wide, smart = (np.zeros(mask.shape, bool) for _ in range(3))
    fine[enclosed_pixels(outline + off, mask.shape)] = True
    wide[tuple(stroke(path, mask.shape, int(hand.width)).T)] = True
    smart[grow(path, hand.width, image, nothing)] = True
    if _goes_around(outline, mask):
        wide, smart = wide | enclosed(wide), smart | enclosed(smart)
    return fine, wide, smart


def _at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(values, points.T, order=1, mode="nearest"))


def _goes_around(outline: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the structure is inside a closed outline, which is not that of a hole."""
    inner = np.zeros(mask.shape, bool)
    inner[enclosed_pixels(outline, mask.shape)] = True
    rim = inner & ~ndimage.binary_erosion(inner, np.ones((3, 3)))
    return bool(mask[rim].mean() > 0.5)
