"""Intelligent scissors: an outline that follows edges from click to click; no window is needed.

A livewire (Mortensen and Barrett 1995) along the corners of pixels: corner [i, j] is where pixel
[i, j] and the one above and left of it meet, at row i - 0.5, column j - 0.5. The path between two
clicks is the cheapest one. It is cheap along edges of the image, near the outline of the network's
proposal where the clicks agree with that, and near a smooth curve through the clicks, which leads
it where nothing else does. Equal clicks give equal paths.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.draw import polygon
from skimage.graph import MCP_Geometric

from al_jax.core.stack import UNLABELLED

FINE = 0.6  # pixels, the smoothing before gradients
AROUND = 25  # pixels, the side of the square whose edges an edge is compared with
THIN = 0.5  # of an edge beside its crest
# The cost of a step: FLOOR + exp(-STEEP edge) + PROPOSED (0 to 1) + BENT (off the curve)^2, the
# latter as a share of the way between the clicks.
FLOOR, STEEP, PROPOSED, BENT = 0.03, 8.0, 0.5, 1.8
NARROW = 15.0  # pixels between clicks up to which the curve leads by pixels, then by their share
NEAR = 3.0  # pixels from the proposal's outline at which it no longer leads
AGREES, DISAGREES = 1.0, 3.0  # pixels from it at which a click trusts it wholly, and not at all
SNAP, PULL = 2, 0.3  # pixels that a click may move to an edge, and what each of their squares costs
MARGIN = 6  # pixels around two clicks that the path may use at least
SIDE = 160  # corners along a side of where a path is sought; further apart they are taken coarser

# Paths run off pixel centres, so that a centre on a diagonal belongs to one of its sides only.
_OFF_CENTRE = np.array([0.0017, 0.0031])

Corner = tuple[int, int]


class Guide(NamedTuple):
    """What leads an outline on one section.

    Attributes:
      edges: [H + 1, W + 1] float32, 0 to 1, how much of an edge there is at each corner.
      proposed: [H + 1, W + 1] bool, the corners on the outline of the network's proposal.
    """

    edges: np.ndarray
    proposed: np.ndarray


def make_guide(image: np.ndarray, labels: np.ndarray, proposal: np.ndarray | None) -> Guide:
    """What leads the outlines of a question; once a question, as it reads the whole section.

    Args:
      image: [H, W, 1 or 3] of any type.
      labels: [H, W], what was annotated before, else `UNLABELLED`: its outlines are edges.
      proposal: [H, W] bool, or None where there is none.
    """
    edges = edge_image(image)
    edges[_on_outline(labels, labels != UNLABELLED)] = 1
    alone = Guide(edges, np.zeros(edges.shape, bool))
    return alone if proposal is None else propose(alone, proposal)


def propose(guide: Guide, proposal: np.ndarray) -> Guide:
    """The guide that is also led by a proposal [H, W] bool, in place of any before."""
    return guide._replace(proposed=_on_outline(proposal, np.ones(proposal.shape, bool)))


def edge_image(image: np.ndarray) -> np.ndarray:
    """[H + 1, W + 1] float32, 0 to 1: edges of an image [H, W, K] at the corners of its pixels.

    The gradient of all channels together (Di Zenzo 1986), over that of the surroundings, so that
    weak edges count where there are no others; less where it is not the crest of an edge.
    """
    size = (image.shape[0] + 1, image.shape[1] + 1)
    down, across, both = (np.zeros(size, np.float32) for _ in range(3))
    for channel in np.moveaxis(image, -1, 0):
        smooth = ndimage.gaussian_filter(channel.astype(np.float32), FINE, mode="nearest")
        at = np.pad(smooth, 1, mode="edge")
        falling = at[1:, 1:] - at[:-1, :-1], at[1:, :-1] - at[:-1, 1:]
        rows, columns = (falling[0] + falling[1]) / 2, (falling[0] - falling[1]) / 2
        down += rows**2
        across += columns**2
        both += rows * columns
    square = (down + across + np.sqrt((down - across) ** 2 + 4 * both**2)) / 2
    mean = np.maximum(ndimage.uniform_filter(square, AROUND, mode="nearest"), 0)
    gradient = np.sqrt(square)
    usual = np.sqrt(mean) + 0.3 * np.sqrt(square.mean()) + 1e-9
    edges = np.minimum(gradient / (2 * usual), 1)
    return np.where(_crests(gradient), edges, THIN * edges).astype(np.float32)


def hold(guide: Guide, point: Sequence[float]) -> Corner:
    """The corner that holds a click at a point, row and column: an edge near by, if there is one.

    The point may be anywhere; the corner is on the section.
    """
    last = np.array(guide.edges.shape) - 1
    place = np.clip(np.asarray(point, float) + 0.5, 0, last)
    middle = np.rint(place).astype(int)
    low, high = np.maximum(middle - SNAP, 0), np.minimum(middle + SNAP, last) + 1
    cost = _cost(guide, low, high, _trust(guide, (int(middle[0]), int(middle[1]))))
    off = np.sum((np.moveaxis(np.indices(cost.shape), 0, -1) + low - place) ** 2, -1)
    cost += PULL * off + np.where(off > SNAP**2 + 0.5, np.inf, 0)
    row, column = np.unravel_index(np.argmin(cost), cost.shape)
    return int(low[0] + row), int(low[1] + column)


def segment(guide: Guide, start: Corner, end: Corner, before: Corner, after: Corner) -> np.ndarray:
    """[K, 2] corners: the cheapest path between two clicks.

    `before` and `after` are the clicks next to them, or `beyond` where there are none yet.
    """
    clicks = before, start, end, after
    apart = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if apart == 0:
        return np.array([start, end])
    margin = max(MARGIN, min(int(apart / 2), SIDE))
    low = np.maximum(np.minimum(start, end) - margin, 0)
    high = np.minimum(np.maximum(start, end) + margin + 1, guide.edges.shape)
    step = int(-(-np.max(high - low) // SIDE))
    cost = _cost(guide, low, high, min(_trust(guide, click) for click in clicks), step)
    led = (curve(np.array(clicks, float)) - low) / step
    cost += BENT * (step * _off_points(led, cost.shape) / max(apart, NARROW)) ** 2
    ends = [tuple((np.subtract(place, low) // step).tolist()) for place in (start, end)]
    search = MCP_Geometric(cost)
    search.find_costs(ends[:1], ends[1:])
    found = np.array(search.traceback(ends[1])) * step + low + step // 2
    found[0], found[-1] = start, end
    return found


def beyond(click: Corner, neighbour: Corner) -> Corner:
    """Where a click next to `click` would lie on the line from its neighbour."""
    return 2 * click[0] - neighbour[0], 2 * click[1] - neighbour[1]


def outline(
    guide: Guide,
    clicks: Sequence[Corner],
    *,
    closed: bool,
    known: dict[tuple[Corner, ...], np.ndarray] | None = None,
) -> np.ndarray:
    """[K, 2] float, rows and columns of the outline through clicks that `hold` has moved.

    Args:
      guide: what leads it.
      clicks: corners in their order.
      closed: back to the first one as well.
      known: paths by their clicks, kept from call to call, as a click changes only those near it.
    """
    known = {} if known is None else known
    places = [click for k, click in enumerate(clicks) if k == 0 or click != clicks[k - 1]]
    closed = closed and len(places) > 2
    if closed and places[0] == places[-1]:
        places.pop()
    count, parts = len(places), []
    for k in range(count if closed else count - 1):
        start, end = places[k], places[(k + 1) % count]
        before = places[k - 1] if closed or k else beyond(start, end)
        last = not closed and k + 2 == count
        after = beyond(end, start) if last else places[(k + 2) % count]
        key = (start, end, before, after)
        if key not in known:
            known[key] = segment(guide, start, end, before, after)
        parts.append(known[key] if k == 0 else known[key][1:])
    if not parts:
        parts = [np.array(places).reshape(-1, 2)]
    return np.concatenate(parts) - 0.5


def enclosed_pixels(path: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels whose centres a closed path [K, 2] goes round."""
    rows, columns = (path + _OFF_CENTRE).T
    return polygon(rows, columns, shape=shape)


def curve(clicks: np.ndarray) -> np.ndarray:
    """[K, 2], a smooth curve from the second to the third of four clicks [4, 2].

    The centripetal Catmull-Rom spline (Yuksel et al. 2011).
    """
    steps = np.maximum(np.linalg.norm(np.diff(clicks, axis=0), axis=1) ** 0.5, 1e-3)
    knots = np.append(0, np.cumsum(steps))
    count = int(np.linalg.norm(clicks[2] - clicks[1])) * 2 + 2
    at = np.linspace(knots[1], knots[2], count)[:, None]
    points = list(clicks)
    for first, width in ((0, 1), (0, 2), (1, 1)):  # Barry and Goldman's recursion
        points = [
            ((knots[k + width] - at) * points[k - first] + (at - knots[k]) * points[k + 1 - first])
            / (knots[k + width] - knots[k])
            for k in range(first, first + len(points) - 1)
        ]
    return np.asarray(points[0])


def _on_outline(classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[H + 1, W + 1] bool, the corners where classes differ, one of which `counts` at least."""
    at, known = np.pad(classes, 1, mode="edge"), np.pad(counts, 1)
    around = [(np.s_[1:], np.s_[1:]), (np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[:-1])]
    differ, seen = np.zeros((2, *(size + 1 for size in classes.shape)), bool)
    for place in (*around, (np.s_[:-1], np.s_[1:])):
        differ |= at[place] != at[1:, 1:]
        seen |= known[place]
    return differ & seen


def _crests(gradient: np.ndarray) -> np.ndarray:
    """[H, W] bool, where it is a clear maximum along a line in one of four directions."""
    found = np.zeros(gradient.shape, bool)
    at = np.pad(gradient, 1, mode="edge")
    height, width = gradient.shape
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = at[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        other = at[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        more = np.minimum(gradient - one, gradient - other) >= 0
        found |= more & (2 * gradient - one - other > gradient / 4)
    return found


def _cost(
    guide: Guide, low: np.ndarray, high: np.ndarray, trust: float, step: int = 1
) -> np.ndarray:
    """[h, w] float64, of a step at the corners from `low` to `high`, without the curve."""
    part = np.s_[low[0] : high[0], low[1] : high[1]]
    cost = FLOOR + np.exp(-STEEP * _coarser(guide.edges[part], step).astype(float))
    if trust:
        off = _off_proposal(guide, low, high, step)
        cost += trust * PROPOSED * np.minimum(off / NEAR, 1)
    return cost


def _off_proposal(guide: Guide, low: np.ndarray, high: np.ndarray, step: int = 1) -> np.ndarray:
    """[h, w], pixels to the proposal's outline, right up to `NEAR`."""
    reach = step * int(np.ceil(NEAR / step))
    first = np.maximum(low - reach, low % step)
    part = guide.proposed[first[0] : high[0] + reach, first[1] : high[1] + reach]
    on = _coarser(part, step)
    distance = step * ndimage.distance_transform_edt(~on) if on.any() else np.full(on.shape, np.inf)
    (row, column), (height, width) = (low - first) // step, -(-(high - low) // step)
    return distance[row : row + height, column : column + width]


def _trust(guide: Guide, click: Corner) -> float:
    """0 to 1, how far a click agrees with the proposal."""
    place = np.clip(click, 0, np.array(guide.edges.shape) - 1)
    off = float(_off_proposal(guide, place, place + 1)[0, 0])
    return float(np.clip((DISAGREES - off) / (DISAGREES - AGREES), 0, 1))


def _off_points(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[h, w], pixels to the nearest of points [K, 2]."""
    free = np.ones(shape, bool)
    rows, columns = np.clip(np.rint(points).astype(int), 0, np.array(shape) - 1).T
    free[rows, columns] = False
    return ndimage.distance_transform_edt(free)


def _coarser(values: np.ndarray, step: int) -> np.ndarray:
    """The largest of each block, so that thin edges stay."""
    if step == 1:
        return values
    rows, columns = (np.arange(0, size, step) for size in values.shape)
    return np.maximum.reduceat(np.maximum.reduceat(values, rows, 0), columns, 1)
