"""What a question is made of: the method's choice, and what the network says of that section."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.stack import Images
from al_jax.core.state import (
    ALState,
    boundary_matrix,
    candidates,
    compatible,
    first_examples,
    partial_labels,
)
from al_jax.core.strategies import (
    Suggestion,
    explain,
    make_evidence,
    relative_length,
    suggestions,
)
from al_jax.learner.config import Config
from al_jax.model.networks import intensity_range
from al_jax.model.prediction import Prediction, predict_section
from al_jax.model.training import Recipe, Sections, reduce_section
from al_jax.session.annotations import Annotations, alone_on

RULE = "SDr"
"""What asks: of `STRATEGIES` the one that needs the least effort of those that know no truth."""


def best(annotations: Annotations, dice: jax.Array | None, config: Config) -> Suggestion:
    """The best pair and the runner-up, of leading axis 2; skipped ones when no other is left."""
    state, skipped = annotations.state, annotations.skipped
    dice = _known(dice, state)
    found = _best(state, dice, skipped, config.alpha, config.min_effort)
    if skipped.any() and not found.found[0]:
        found = _best(state, dice, np.zeros_like(skipped), config.alpha, config.min_effort)
    return jax.tree.map(np.asarray, found)


def of_pair(
    annotations: Annotations, dice: jax.Array | None, config: Config, section: int, structure: int
) -> Suggestion:
    """What the method predicts of a pair that it need not have asked for."""
    state = annotations.state
    dice = _known(dice, state)
    found = _of_pair(state, dice, section, structure, alpha=config.alpha, least=config.min_effort)
    return jax.tree.map(np.asarray, found)


def wants_examples(annotations: Annotations) -> bool:
    """Whether there are structures of which an outline is still to be asked for."""
    return bool(_wants_examples(annotations.state, annotations.skipped))


def without_outline(annotations: Annotations) -> np.ndarray:
    """[C] bool, the structures that may be there and of which no outline is known."""
    return ~annotations.outlined & np.asarray(candidates(annotations.state)).any(0)


def outline_left(annotations: Annotations) -> float:
    """What B predicts is left to trace of the whole stack, each crack once, pixels."""
    return float(_outline_left(annotations.state))


def look(
    params: chex.ArrayTree,
    images: Images,
    annotations: Annotations,
    section: int,
    recipe: Recipe,
    reduction: int,
) -> Prediction:
    """What the network says of a section with what is traced on it; NumPy arrays."""
    found = _look(
        params,
        images.images[section],
        images.inside[section],
        alone_on(annotations, images, section),
        recipe=recipe,
        reduction=reduction,
    )
    return jax.tree.map(np.asarray, found)


def _known(dice: jax.Array | None, state: ALState) -> jax.Array:
    return jnp.full((2, state.annotated.shape[1]), jnp.nan) if dice is None else dice


@jax.jit
def _best(
    state: ALState, dice: jax.Array, exclude: jax.Array, alpha: float, least: float
) -> Suggestion:
    evidence = make_evidence(state, dice, alpha=alpha, min_effort=least)
    return suggestions(state, evidence, RULE, count=2, exclude=exclude)


@jax.jit
def _of_pair(
    state: ALState, dice: jax.Array, section: int, structure: int, *, alpha: float, least: float
) -> Suggestion:
    evidence = make_evidence(state, dice, alpha=alpha, min_effort=least)
    return explain(state, evidence, section, structure, RULE)


@jax.jit
def _wants_examples(state: ALState, skipped: jax.Array) -> jax.Array:
    return first_examples(state, candidates(state) & ~skipped).any()


@jax.jit
def _outline_left(state: ALState) -> jax.Array:
    boundary = boundary_matrix(state)
    whole = jnp.diagonal(boundary)
    shared = boundary - jnp.diag(whole)
    left = candidates(state).astype(jnp.float32)
    # Cracks between two structures that are both left would count twice.
    spared = jnp.matmul(state.seen + left / 2, shared, precision="highest")
    lengths = (whole - spared) * relative_length(state.seen, state.seen | compatible(state))
    return jnp.maximum((left * lengths).sum(1), 0).sum()


@functools.partial(jax.jit, static_argnames=("recipe", "reduction"))
def _look(
    params: chex.ArrayTree,
    image: jax.Array,
    inside: jax.Array,
    state: ALState,
    recipe: Recipe,
    reduction: int,
) -> Prediction:
    low, high = intensity_range(image, inside)
    whole = Sections(images=image, inside=inside, low=low, high=high)
    section = reduce_section(whole, reduction)
    partial = jax.tree.map(lambda leaf: leaf[0], partial_labels(state))
    # The key is of dropout, which is not asked for.
    return predict_section(state.key, params, section, partial, recipe)
