"""The smart brush: a stroke that grows up to edges of the image; no window is needed.

Under the brush, the stroke's centre line and what lies around the brush flood the section from two
sides, and meet on the ridge between them: a watershed (Meyer 1991) of pixels and the cracks between
them, whose height is how much of an edge there is (`scissors.edge_image`). Height also rises with
the distance from the line, so that where there is no edge the stroke grows as wide as the brush,
and edges far from the line count less than those close by.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import watershed

from al_jax.core.stack import UNLABELLED
from al_jax.window.scissors import edge_image

RISE = 0.06  # of the height, from the line to the rim of the brush
FADE = 0.6  # of an edge at the rim
AROUND = 13  # pixels around the brush in which edges are compared (`scissors.AROUND`)
REACH = 16  # pixels from the line to the rim; wider brushes see, and grow, by blocks of pixels
SIDE = 256  # pixels along a side of what is grown at once

_BESIDE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.int8)


def grow(
    path: np.ndarray, width: float, image: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that a stroke grows to, its own among them.

    They are within the brush's circle around the centre line, on its side of the edges, connected
    to it and without holes, but for pixels labelled before, of which there is none.

    Args:
      path: [K, 2], the centre line, rows and columns; it may leave the section.
      width: of the brush, in pixels, as napari's.
      image: [H, W, 1 or 3] of any type.
      labels: [H, W], what was annotated before, else `UNLABELLED`.
    """
    radius = width // 2 + 0.5
    step = int(-(-radius // REACH))
    pixels = stroke(path, labels.shape)
    if not len(pixels):
        return pixels[:, 0], pixels[:, 1]
    reach = int(radius) + 1
    first = np.maximum(pixels.min(0) - reach, 0)
    end = np.minimum(pixels.max(0) + reach + 1, labels.shape)
    found = np.zeros(end - first, bool)
    for low, high in _tiles(first, end, SIDE * step):
        near = ((pixels >= low - reach) & (pixels < high + reach)).all(1)
        if near.any():
            part = _grown(pixels[near], radius, image, labels, low, high, step)
            found[tuple(map(slice, low - first, high - first))] = part
    rows, columns = np.nonzero(found)
    return rows + first[0], columns + first[1]


def stroke(path: np.ndarray, shape: tuple[int, ...], width: int = 1) -> np.ndarray:
    """[K, 2] int, the pixels of a section [H, W] under a brush that follows a path [L, 2]."""
    steps = np.maximum(np.ceil(np.abs(np.diff(path, axis=0)).max(1)), 1)
    knots = np.append(0, steps.cumsum())
    along = [np.interp(np.arange(knots[-1] + 1), knots, axis) for axis in path.T]
    at = np.rint(along).astype(int).T[:, None] + np.argwhere(disk(width // 2)) - width // 2
    at = at.reshape(-1, 2)
    at = at[((at >= 0) & (at < shape)).all(1)]
    return np.stack(np.unravel_index(np.unique(np.ravel_multi_index(at.T, shape)), shape), 1)


def _tiles(first: np.ndarray, end: np.ndarray, side: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Where parts of a rectangle begin and end, at most `side` long."""
    for row in range(first[0], end[0], side):
        for column in range(first[1], end[1], side):
            low = np.array([row, column])
            yield low, np.minimum(low + side, end)


def _grown(
    pixels: np.ndarray,
    radius: float,
    image: np.ndarray,
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    step: int,
) -> np.ndarray:
    """[h, w] bool, what grows from `pixels` [K, 2] between `low` and `high`."""
    margin = int(radius) + 2 + AROUND
    first = np.maximum(low - margin, 0)
    window = tuple(map(slice, first, np.minimum(high + margin, labels.shape)))
    free = labels[window] == UNLABELLED
    on = np.zeros(free.shape, bool)
    on[tuple((pixels - first).T)] = True
    if step == 1:
        grown = _flooded(image[window], on, free, radius)
    else:
        seen, line, some = (_coarser(each, step) for each in (image[window], on, free))
        flooded = _flooded(seen, line > 0, some > 0, radius / step)
        grown = np.kron(flooded, np.ones((step, step), bool))[: on.shape[0], : on.shape[1]]
    part = tuple(map(slice, low - first, high - first))
    return grown[part] & free[part]


def _flooded(image: np.ndarray, on: np.ndarray, free: np.ndarray, radius: float) -> np.ndarray:
    """[h, w] bool, what is flooded from the line `on` rather than from around the brush."""
    off = ndimage.distance_transform_edt(~on)
    under, pixels = off <= radius, np.s_[::2, ::2]
    known = _between(free & (off <= radius + 1.5)) == 1
    far = np.minimum(_between(off / radius), 1)
    edges = _between(edge_image(image))[1:-1, 1:-1]
    edges[pixels] = 0
    markers = np.zeros(edges.shape, np.int32)
    markers[pixels] = np.where(on, 1, np.where(under, 0, 2))
    heights = edges * (1 - FADE * far) + RISE * far
    found = watershed(heights, markers, mask=known)[pixels] == 1
    return _smooth(found, on, under & free)


def _between(values: np.ndarray) -> np.ndarray:
    """[2 H - 1, 2 W - 1] float32, values [H, W], and their means between one and the next."""
    for axis in (0, 1):
        twice = np.moveaxis(np.repeat(values.astype(np.float32), 2, axis), axis, 0)
        values = np.moveaxis((twice[:-1] + twice[1:]) / 2, 0, axis)
    return values


def _smooth(found: np.ndarray, on: np.ndarray, within: np.ndarray) -> np.ndarray:
    """[h, w] bool, without spikes, notches, holes, and what the line `on` does not reach."""
    beside = ndimage.convolve(found.astype(np.int8), _BESIDE, mode="nearest")
    found = np.where(beside < 2, False, found | (beside > 2)) & within | (on & found)
    gaps, _ = ndimage.label(np.pad(~found, 1, constant_values=True))
    open_gaps = np.unique(gaps[np.pad(~within, 1, constant_values=True)])
    holes = ~found & ~np.isin(gaps[1:-1, 1:-1], open_gaps)
    parts, _ = ndimage.label(found | holes)
    return np.isin(parts, np.unique(parts[on & found]))


def _coarser(values: np.ndarray, step: int) -> np.ndarray:
    """The mean of each block of values [H, W, ...], float32."""
    blocks = values.astype(np.float32)
    for axis in (0, 1):
        beyond = [(0, 0)] * values.ndim
        beyond[axis] = (0, -values.shape[axis] % step)
        blocks = np.pad(blocks, beyond, mode="edge")
        blocks = np.add.reduceat(blocks, np.arange(0, blocks.shape[axis], step), axis)
    return blocks / step**2
