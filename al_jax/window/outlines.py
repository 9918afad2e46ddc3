"""Outlines to look at: the cracks between pixels, as lines of a Vectors layer."""

import numpy as np

from al_jax.core.stack import UNLABELLED


def cracks(classes: np.ndarray, inside: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The cracks between 4-neighbours of different classes, both inside the image.

    Args:
      classes: [H, W], any type that can be compared.
      inside: [H, W] bool.
      counts: [H, W] bool, only cracks beside such a pixel; None: all.

    Returns:
      [K, 2, 2] float32, for each crack where it begins and where it goes from there: row and
      column in pixels, whole numbers at their centres, as napari draws them.

    Example:
      >>> cracks(np.array([[0, 1]]), np.ones((1, 2), bool)).tolist()
      [[[-0.5, 0.5], [1.0, 0.0]]]
    """
    beside = np.ones(classes.shape, bool) if counts is None else counts
    found = []
    for axis in (0, 1):
        one, other = (slice(None, -1), slice(None)), (slice(1, None), slice(None))
        if axis:
            one, other = one[::-1], other[::-1]
        differ = (classes[one] != classes[other]) & inside[one] & inside[other]
        places = np.argwhere(differ & (beside[one] | beside[other]))
        across = np.eye(2)[axis]
        start = places + across - 0.5
        found.append(np.stack([start, np.broadcast_to(1 - across, start.shape)], 1))
    return np.concatenate(found).astype(np.float32)


def traced_outline(labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What has been traced on a section [H, W], as `cracks`."""
    return cracks(labels, inside, labels != UNLABELLED)


def outline_left(mask: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The outline of a mask [H, W] where nothing has been traced beside it, as `cracks`."""
    free = inside & (labels == UNLABELLED)
    return cracks(mask & free, free)
