"""Outline lengths, of which B is made, and the remaining effort of Eq. 5 (paper, section 2.2).

A length is counted on the edges of a pixel graph: the *crack* length is the number of 4-neighbour
pixel pairs inside the section whose labels differ, so it is symmetric and exactly additive. The
*crofton* length counts the pairs of four directions with Cauchy-Crofton weights (Boykov and
Kolmogorov, ICCV 2003), which is nearly independent of an outline's direction and additive as well.
"""

import math

import chex
import jax
import jax.numpy as jnp

from al_jax import xla
from al_jax.core.stack import UNLABELLED

# Each entry: (rows down, columns right, weight in pixels) of one direction of neighbours.
DIRECTIONS = {
    "crack": ((0, 1, 1.0), (1, 0, 1.0)),
    "crofton": (
        (0, 1, math.pi / 8),
        (1, 0, math.pi / 8),
        (1, 1, math.pi / (8 * math.sqrt(2))),
        (1, -1, math.pi / (8 * math.sqrt(2))),
    ),
}


def _directions(length: str) -> tuple[tuple[int, int, float], ...]:
    if length not in DIRECTIONS:
        raise ValueError(f"length '{length}' is not one of {', '.join(DIRECTIONS)}")
    return DIRECTIONS[length]


def _neighbours(x: jax.Array, down: int, right: int) -> tuple[jax.Array, jax.Array]:
    """Both ends of every pixel pair that is (down, right) apart, at most one pixel each; [H, W]."""
    height, width = x.shape
    first = x[: height - down, max(-right, 0) : width - max(right, 0)]
    second = x[down:, max(right, 0) : width - max(-right, 0)]
    return first, second


def shared_lengths(
    labels: jax.Array, inside: jax.Array, num_classes: int, length: str = "crack"
) -> jax.Array:
    """Outline lengths l(l_n = c) and shared lengths l(l_n = c, l_n = c') of one section (for B).

    Args:
      labels: [H, W] classes 0 to C-1; `UNLABELLED` pixels belong to no class.
      inside: [H, W] the image domain; pairs that leave it are not counted.
      num_classes: C.
      length: 'crack' or 'crofton'.

    Returns:
      [C, C] float32, pixels: [c, c'] is the outline shared by c and c', [c, c] the whole outline of
      c, against unlabelled pixels too. On a fully labelled section each diagonal entry is the sum
      of the rest of its row.

    Example:
      >>> labels = jnp.array([[0, 1], [0, 1]])
      >>> shared_lengths(labels, jnp.ones((2, 2), bool), 2).tolist()
      [[2.0, 2.0], [2.0, 2.0]]
    """
    chex.assert_rank([labels, inside], 2)
    chex.assert_equal_shape([labels, inside])
    bins = num_classes + 1  # the last one holds the unlabelled pixels
    index = jnp.where(labels == UNLABELLED, num_classes, labels).astype(jnp.int32)
    total = jnp.zeros((bins, bins), jnp.float32)
    for down, right, weight in _directions(length):
        first, second = _neighbours(index, down, right)
        counted = jnp.logical_and(*_neighbours(inside, down, right)) & (first != second)
        # Integer counts make the sum exact and independent of the order of additions.
        counts = jnp.zeros(bins * bins, jnp.int32)
        counts = counts.at[(first * bins + second).ravel()].add(counted.ravel().astype(jnp.int32))
        total += weight * counts.reshape(bins, bins)
    total += total.T
    shared = total[:num_classes, :num_classes]
    return jnp.fill_diagonal(shared, total[:num_classes].sum(1), inplace=False)


def outline_lengths(
    labels: jax.Array, inside: jax.Array, num_classes: int, length: str = "crack"
) -> jax.Array:
    """The diagonal of `shared_lengths` [C] float32, pixels, without the rest.

    Args:
      labels, inside, num_classes, length: see there.

    Example:
      >>> outline_lengths(jnp.array([[0, 1, 2]]), jnp.ones((1, 3), bool), 3).tolist()
      [1.0, 2.0, 1.0]
    """
    index = labels.astype(jnp.int32)
    ends: dict[float, jax.Array] = {}  # of how many pairs each pixel is an end, by their weight
    for down, right, weight in _directions(length):
        first, second = _neighbours(index, down, right)
        counted = jnp.logical_and(*_neighbours(inside, down, right)) & (first != second)
        before, after = max(-right, 0), max(right, 0)
        for pads in (((0, down), (before, after)), ((down, 0), (after, before))):
            ends[weight] = ends.get(weight, 0) + jnp.pad(counted.astype(jnp.int32), pads)
    numbers, total = jnp.arange(5), jnp.zeros(num_classes)
    for weight, some in ends.items():
        # Integer counts are exact, and each pixel is counted once instead of once for each pair.
        bins = jnp.where(index == UNLABELLED, -1, 5 * index + some)
        counts = xla.count(bins, 5 * num_classes).reshape(num_classes, 5)
        total += weight * (counts * numbers).sum(1)
    return total


def total_length(truth: jax.Array, inside: jax.Array, length: str = "crack") -> jax.Array:
    """All outlines of a section, each crack once: the effort of annotating everything.

    Args:
      truth: [H, W] classes.
      inside: [H, W] the image domain.
      length: 'crack' or 'crofton'.

    Returns:
      Scalar float32, pixels.
    """
    total = jnp.float32(0)
    for down, right, weight in _directions(length):
        first, second = _neighbours(truth, down, right)
        counted = jnp.logical_and(*_neighbours(inside, down, right)) & (first != second)
        total += weight * counted.sum()
    return total


def kept_length(
    mask: jax.Array, proposal: jax.Array, free: jax.Array, tolerance: int = 0
) -> jax.Array:
    """The part of an answer's outline that a proposal had drawn already.

    The rest of the outline is the added path length of Vaassen et al. (Physics and Imaging in
    Radiation Oncology 13, 2020), here in cracks.

    Args:
      mask: [H, W] bool, the answer.
      proposal: [H, W] bool, what was corrected.
      free: [H, W] bool, inside pixels that were unlabelled before; cracks count where both of
        their pixels are free, so that all of `mask` is its effort (`state.annotate`).
      tolerance: static, pixels; a crack is kept if the proposal has one, with the structure on the
        same side, whose middle is at most this far from its own.

    Returns:
      Scalar float32, pixels, at most `total_length(mask, free)`.

    Example:
      >>> row = jnp.array([[0, 1, 1, 0]], bool)
      >>> float(kept_length(row, jnp.array([[1, 1, 1, 0]], bool), jnp.ones((1, 4), bool)))
      1.0
    """
    return jnp.sum(_kept(mask, proposal, free, tolerance), dtype=jnp.float32)


def corrected(
    mask: jax.Array, proposal: jax.Array, free: jax.Array, tolerance: int = 0
) -> jax.Array:
    """The answer of a person who corrects a proposal only where it is off by more than a tolerance.

    Args:
      mask, proposal, free, tolerance: see `kept_length`.

    Returns:
      [H, W] bool: the proposal at `free` pixels within the tolerance of a kept part of the outline,
      else `mask`. With a tolerance of 0 it is `mask`.

    Example:
      >>> row, shifted = jnp.array([[0, 1, 1, 0, 0]], bool), jnp.array([[0, 1, 1, 1, 0]], bool)
      >>> corrected(row, shifted, jnp.ones((1, 5), bool), tolerance=1).astype(int).tolist()
      [[0, 1, 1, 1, 0]]
    """
    near = _near(_kept(mask, proposal, free, tolerance), 2 * tolerance)[::2, ::2]
    return jnp.where(near & free, proposal, mask)


def _kept(mask: jax.Array, proposal: jax.Array, free: jax.Array, tolerance: int) -> jax.Array:
    """The cracks of `mask` that are near one of the proposal's, [2H, 2W] (`_crack_grids`)."""
    chex.assert_rank([mask, proposal, free], 2)
    chex.assert_equal_shape([mask, proposal, free])
    kept = jnp.zeros((2 * mask.shape[0], 2 * mask.shape[1]), bool)
    for own, there in zip(_crack_grids(mask, free), _crack_grids(proposal, free), strict=True):
        kept |= own & _near(there, 2 * tolerance)  # the grid has two steps a pixel
    return kept


def _near(there: jax.Array, reach: int) -> jax.Array:
    """Places of a grid [H, W] bool at most `reach` steps from one that is True."""
    height, width = there.shape
    padded = jnp.pad(there, reach)
    near = jnp.zeros(there.shape, bool)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= reach**2:
                y, x = reach + down, reach + right
                near |= padded[y : y + height, x : x + width]
    return near


def _crack_grids(mask: jax.Array, free: jax.Array) -> list[jax.Array]:
    """[2H, 2W] bool: pixels at even places, and between two of them whether there is a crack."""
    height, width = mask.shape
    grids = []  # one for each side of the crack on which the mask may be
    for down, right in ((0, 1), (1, 0)):
        first, second = _neighbours(mask, down, right)
        counted = jnp.logical_and(*_neighbours(free, down, right))
        rows, columns = counted.shape
        place = (slice(down, down + 2 * rows, 2), slice(right, right + 2 * columns, 2))
        for crack in (first & ~second, ~first & second):
            grids.append(jnp.zeros((2 * height, 2 * width), bool).at[place].set(counted & crack))
    return grids


def remaining_effort(
    boundary: jax.Array, annotated: jax.Array, min_effort: jax.Array | float = 1.0
) -> jax.Array:
    """Eq. 5: the remaining outline R_nc of each structure on one section.

    Args:
      boundary: [C, C] B, average outline lengths in pixels.
      annotated: [C] bool, A_n.
      min_effort: lower bound in pixels, as B is a mean and may predict less than nothing.

    Returns:
      [C] float32, pixels, also of structures that may not be asked for (`state.candidates`).
    """
    chex.assert_rank([boundary, annotated], [2, 1])
    perimeter = jnp.diagonal(boundary)
    shared = boundary - jnp.diag(perimeter)
    # Default precision is TF32 on a GPU, which leaves little of a difference of long outlines.
    spared = jnp.matmul(shared, annotated.astype(shared.dtype), precision="highest")
    return jnp.maximum(perimeter - spared, min_effort)
