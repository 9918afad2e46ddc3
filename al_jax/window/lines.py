"""Outlines and lines of masks, as arrays."""

import numpy as np
from scipy import ndimage

from al_jax.core.stack import UNLABELLED


def enclosed(mask: np.ndarray) -> np.ndarray:
    """[H, W] bool, the pixels that a mask encloses (4-neighbours) and does not hold itself."""
    found, rows, columns = np.zeros_like(mask), *map(np.flatnonzero, (mask.any(1), mask.any(0)))
    if not len(rows):
        return found
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    parts, _ = ndimage.label(np.pad(~mask[window], 1, constant_values=True))
    found[window] = (parts > 1)[1:-1, 1:-1]  # the first one lies around all of it
    return found


def is_line(mask: np.ndarray, brush: float) -> bool:
    """Whether a mask is no area but a line of a brush so wide, as an outline that is not filled."""
    rows, columns = map(np.flatnonzero, (mask.any(1), mask.any(0)))
    if not len(rows):
        return False
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if np.hypot(*part.shape) <= 3 * brush + 2:
        return False
    thick = ndimage.distance_transform_edt(np.pad(part, 1)).max()
    return bool(thick <= (brush + 1) / 2)


def cracks(classes: np.ndarray, inside: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The cracks between 4-neighbours of different classes, both inside the image.

    Args:
      classes: [H, W], any type that can be compared.
      inside: [H, W] bool.
      counts: [H, W] bool, only cracks at such a pixel; None: all.

    Returns:
      [K, 2, 2] float32, for each crack where it begins and where it goes from there: row and
      column in pixels, whole numbers at their centres, as napari draws them.

    Example:
      >>> cracks(np.array([[0, 1]]), np.ones((1, 2), bool)).tolist()
      [[[-0.5, 0.5], [1.0, 0.0]]]
    """
    counting = np.ones(classes.shape, bool) if counts is None else counts
    found = []
    for axis in (0, 1):
        one, other = (slice(None, -1), slice(None)), (slice(1, None), slice(None))
        if axis:
            one, other = one[::-1], other[::-1]
        differ = (classes[one] != classes[other]) & inside[one] & inside[other]
        places = np.argwhere(differ & (counting[one] | counting[other]))
        across = np.eye(2)[axis]
        start = places + across - 0.5
        found.append(np.stack([start, np.broadcast_to(1 - across, start.shape)], 1))
    return np.concatenate(found).astype(np.float32)


def labelled_outline(labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The outlines of the labels [H, W] of a section, as `cracks`."""
    return cracks(labels, inside, labels != UNLABELLED)


def outline_left(mask: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The outline of a mask [H, W] where it borders on unlabelled pixels, as `cracks`."""
    free = inside & (labels == UNLABELLED)
    return cracks(mask & free, free)
