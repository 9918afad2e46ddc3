"""How far the outlines of a segmentation lie from the true ones: HD95 and mean surface distance.

Computed on the host by SciPy's distance transform, once a run.
"""

from typing import NamedTuple

import chex
import numpy as np

from al_jax.core.stack import Place, Stack


class Surfaces(NamedTuple):
    """Distances of each class, means over the sections that show it in truth and segmentation.

    Attributes:
      sections: [C] int, the sections of the truth that show it.
      missed: [C] int, those of them on which the segmentation has none of it; in no distance.
      hd95: [C] 95th percentile of the distances from either outline to the other; NaN for none.
      mean: [C] mean surface distance, the mean of both directions; NaN for none.
    """

    sections: np.ndarray
    missed: np.ndarray
    hd95: np.ndarray
    mean: np.ndarray


def pixel_size(place: Place | None) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, or None for sections that are in no place."""
    if place is None:
        return None
    columns = (np.array(place.affine) @ np.array(place.cut))[:3]
    width, height = np.linalg.norm(columns[:, 0]), np.linalg.norm(columns[:, 1])
    return float(height), float(width)


def surface_distances(
    segmented: np.ndarray, truth: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """HD95 and mean surface distance between two structures of one section.

    The surface of a structure is its pixels with a neighbour (of four) outside of it, as in MedPy;
    beyond the image is outside.

    Args:
      segmented, truth: [H, W] bool; both have a pixel.
      pixel: height and width of a pixel, the unit of the result.

    Returns:
      The 95th percentile of all distances from a pixel of either surface to the other one, and the
      mean of the two directions' means.

    Raises:
      ValueError: either is empty.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt  # not by importing al_jax

    chex.assert_equal_shape([segmented, truth])
    if not (segmented.any() and truth.any()):
        raise ValueError("a surface distance needs a pixel on both sides")
    ours, theirs = (mask & ~binary_erosion(mask) for mask in (segmented, truth))
    to_theirs = distance_transform_edt(~theirs, sampling=pixel)[ours]
    to_ours = distance_transform_edt(~ours, sampling=pixel)[theirs]
    hd95 = np.percentile(np.concatenate([to_theirs, to_ours]), 95)
    return float(hd95), float(to_theirs.mean() + to_ours.mean()) / 2


def stack_surfaces(
    segmentation: np.ndarray, stack: Stack, pixel: tuple[float, float] = (1.0, 1.0)
) -> Surfaces:
    """The distances of all classes of a stack, section by section.

    Args:
      segmentation: [N, H, W] classes; outside the image domain it counts nowhere.
      stack: with the truth.
      pixel: height and width of a pixel, the unit of the result.
    """
    from scipy.ndimage import find_objects

    chex.assert_equal_shape([segmentation, stack.truth])
    sections, missed = np.zeros((2, stack.num_classes), int)
    found: list[list[tuple[float, float]]] = [[] for _ in range(stack.num_classes)]
    for ours, theirs, inside in zip(segmentation, stack.truth, stack.inside, strict=True):
        # From 1, as 0 is nothing to `find_objects`.
        both = [np.where(inside, labels, -1).astype(np.int32) + 1 for labels in (ours, theirs)]
        boxes = [find_objects(labels, stack.num_classes) for labels in both]
        for c, (own, true) in enumerate(zip(*boxes, strict=True)):
            if true is None:
                continue
            sections[c] += 1
            if own is None:
                missed[c] += 1
                continue
            box = tuple(
                slice(min(a.start, b.start), max(a.stop, b.stop))
                for a, b in zip(own, true, strict=True)
            )
            # Within the box, beyond which is outside, as beyond the image.
            segmented, truth = (labels[box] == c + 1 for labels in both)
            found[c].append(surface_distances(segmented, truth, pixel))
    means = [np.mean(pairs, 0) if pairs else (np.nan, np.nan) for pairs in found]
    return Surfaces(sections, missed, *np.array(means).T)
