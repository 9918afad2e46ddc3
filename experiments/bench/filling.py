"""How sections between traced ones are filled in practice, without any suggestion what to trace.

Each way takes a stack of which the truth is known on the `traced` sections alone, and where each
class may be, and gives classes of all sections.
"""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from skimage.segmentation import random_walker

from al_jax.core.metrics import presence
from al_jax.core.stack import UNLABELLED, Stack
from al_jax.core.state import init_state, partial_labels
from al_jax.learner.config import Config, make_keys, model_of
from al_jax.learner.learner import fit_initial
from al_jax.learner.neighbours import nearest_sections, source_points
from al_jax.model.inputs import Fields, Sections, make_sections
from al_jax.model.prediction import predict
from al_jax.model.resolution import suited_sections
from al_jax.model.subsets import subset_width
from al_jax.model.training import init_train_state
from al_jax.xla import compiler_options

MARGIN = 8
"""Pixels around what is traced within which a structure may be, for the random walk."""

Fill = Callable[[Stack, np.ndarray, np.ndarray], np.ndarray]
"""From a stack, the traced sections [M] and the ranges [N, C] to classes [N, H, W]."""

Move = Callable[[np.ndarray, int, int], np.ndarray]
"""An image [H, W] of one section as another shows it: of the image, and both numbers."""


def spread(count: int, traced: int) -> np.ndarray:
    """So many of `count` sections [M] at even distances, every k-th where that comes out even."""
    return ((2 * np.arange(traced) + 1) * count) // (2 * traced)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels from the outline of a mask [H, W], positive inside."""
    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)))
    within, without = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    return (within - without).astype(np.float32)


def as_it_lies(image: np.ndarray, _source: int, _section: int) -> np.ndarray:
    """The image as it is."""
    return image


def along(fields: Fields) -> Move:
    """Images are carried along the registration of neighbouring sections."""

    @functools.lru_cache(maxsize=2)
    def points(shape: tuple[int, ...], source: int, section: int) -> np.ndarray:
        return source_points(shape, fields, source, section)

    def move(image: np.ndarray, source: int, section: int) -> np.ndarray:
        at = points(image.shape, source, section)
        return ndimage.map_coordinates(image, at, order=1, mode="nearest")

    return move


def interpolate(
    stack: Stack, traced: np.ndarray, in_range: np.ndarray, move: Move = as_it_lies
) -> np.ndarray:
    """Shape-based interpolation (Raya and Udupa 1990): the class with the largest signed distance.

    It is interpolated linearly between the traced sections on both sides, or that of one side where
    the other does not show the class.
    """
    found = np.array(stack.truth)

    @functools.lru_cache(maxsize=2)
    def distances(section: int) -> dict[int, np.ndarray]:
        truth = stack.truth[section]
        return {c: signed_distance(truth == c) for c in np.unique(truth[truth >= 0]).tolist()}

    for section in np.setdiff1d(np.arange(stack.num_sections), traced).tolist():
        sides = nearest_sections(traced, section)
        best = np.full(stack.truth.shape[1:], -np.inf)
        found[section] = np.argmax(in_range[section])
        for structure in np.flatnonzero(in_range[section]).tolist():
            shown = [side for side in sides if structure in distances(side)]
            if not shown:
                continue
            nearness = [1 / abs(side - section) for side in shown]
            moved = [move(distances(side)[structure], side, section) for side in shown]
            distance = np.average(moved, axis=0, weights=nearness)
            found[section][distance > best] = structure
            best = np.maximum(best, distance)
    return np.where(stack.inside, found, UNLABELLED)


def blocks(traced: np.ndarray, count: int) -> Iterator[slice]:
    """Sections from each traced one to the next, both included, and those beyond the ends."""
    edges = sorted({0, *traced.tolist(), count - 1})
    for first, last in itertools.pairwise(edges):
        if last - first > 1 or not {first, last} <= set(traced.tolist()):
            yield slice(first, last + 1)


def walk(stack: Stack, traced: np.ndarray, in_range: np.ndarray) -> np.ndarray:
    """Image-aware: a random walk to the traced sections (Grady 2006; Lösel et al. 2020).

    A pixel becomes the class whose traced pixels a walk from it reaches first most probably; steps
    across edges of the image are rare. In the box of what is traced on both sides, beyond which all
    is background.
    """
    found = np.array(stack.truth)
    for block in blocks(traced, stack.num_sections):
        known = np.isin(np.arange(block.start, block.stop), traced)
        seeds = np.where(known[:, None, None], stack.truth[block] + 1, 0).astype(np.int32)
        seeds[~stack.inside[block]] = -1  # not walked on
        box = (slice(None), *_box(np.any(seeds > 1, 0)))
        classes, probability = _walked(stack.images[block][box], seeds[box])
        for row in np.flatnonzero(~known):
            allowed = in_range[block.start + row, classes]
            likeliest = np.where(allowed[:, None, None], probability[:, row], -1).argmax(0)
            found[block.start + row] = 0
            found[block.start + row][box[1:]] = classes[likeliest]
    return np.where(stack.inside, found, UNLABELLED)


def _box(shown: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what is True in [H, W], with a margin; all where nothing is."""
    spans = []
    for axis in (0, 1):
        used = np.flatnonzero(shown.any(1 - axis))
        ends = (used[0], used[-1] + 1) if used.size else (0, shown.shape[axis])
        spans.append(slice(max(ends[0] - MARGIN, 0), ends[1] + MARGIN))
    return spans[0], spans[1]


def _walked(images: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes [K] of seeds [n, h, w] (class + 1), and their probabilities [K, n, h, w]."""
    classes = np.unique(seeds[seeds > 0]) - 1
    if len(classes) == 1:
        return classes, np.ones((1, *seeds.shape), np.float32)
    with warnings.catch_warnings():  # of probabilities that are beyond 0 or 1 by the tolerance
        warnings.simplefilter("ignore")
        walked = random_walker(
            images, seeds, mode="cg_j", tol=1e-2, channel_axis=-1, return_full_prob=True
        )
    return classes, walked


def network(config: Config, seed: int) -> Fill:
    """The network, trained on the traced sections alone, draws the others (Eq. 4)."""
    train = jax.jit(fit_initial, compiler_options=compiler_options())

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def draw(params: chex.ArrayTree, state: chex.ArrayTree, sections: Sections) -> jax.Array:
        model = model_of(config, state.annotated.shape[1])
        arguments = state.key, params, sections, partial_labels(state), model
        return predict(*arguments, reduce_fn=lambda seen, _: seen.segmentation)

    def fill(stack: Stack, traced: np.ndarray, in_range: np.ndarray) -> np.ndarray:
        keys, count = make_keys(jax.random.key(seed)), stack.num_classes
        known = np.isin(np.arange(stack.num_sections), traced)[:, None]
        inside = jnp.asarray(stack.inside)
        state = init_state(keys.start, inside, jnp.asarray(in_range)).replace(
            labels=jnp.where(known[..., None], stack.truth, UNLABELLED).astype(jnp.int16),
            annotated=jnp.asarray(known & in_range),
            seen=presence(stack.truth, inside, count) & known,
            unlabelled=jnp.where(known[:, 0], 0, inside.sum((1, 2))).astype(jnp.int32),
        )
        width = subset_width(state.in_range, state.seen)
        sections = make_sections(stack).replace(classes=width)
        sections = suited_sections(sections, state.labels, count)
        untrained = init_train_state(keys.weights, model_of(config, count))
        trained, _ = train(keys.training, untrained, state, sections, config)
        return np.where(stack.inside, draw(trained.params, state, sections), UNLABELLED)

    return fill
