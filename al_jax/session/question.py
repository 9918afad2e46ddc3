"""What to ask a person: the method's choice, and what the network predicts of that section."""

import dataclasses
import functools
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core import answers
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
from al_jax.session.network import Network

RULE = "SDr"
"""What asks: of `STRATEGIES` the one that needs the least effort of those that know no truth."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """What is asked, and what a person should see with it.

    Attributes:
      section, structure: n and c.
      section_name, name: their names.
      why: the reasons, one line.
      runner_up: what would be asked for without it, one line, or None.
      example: it is asked for because no outline of the structure is known.
      dice: expected of the structure (Eq. 6).
      left, whole: its outline still to trace (Eq. 5), and all of it, pixels.
      image: [H, W, K]; inside: [H, W] bool.
      labels: [H, W] int16, the annotated classes of the section, else `UNLABELLED`.
      proposal: [H, W] bool, what the network would answer; None while there is no network.
      segmentation: [H, W] int16, Eq. 4 of the whole section; confidence: [H, W] float32; or None.
      network: number of the last event that the network had seen.
      asked: when, in seconds of `time.time`.
    """

    section: int
    structure: int
    section_name: str
    name: str
    why: str
    runner_up: str | None
    example: bool
    dice: float
    left: float
    whole: float
    image: np.ndarray
    inside: np.ndarray
    labels: np.ndarray
    proposal: np.ndarray | None
    segmentation: np.ndarray | None
    confidence: np.ndarray | None
    network: int
    asked: float


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


def ask(
    images: Images,
    annotations: Annotations,
    network: Network,
    config: Config,
    pair: tuple[int, int] | None,
) -> Question | None:
    """What to ask, without the network's proposal; `with_proposal` adds it.

    Args:
      images: what is annotated.
      annotations: so far.
      network: the newest.
      config: the method's constants.
      pair: section and structure; None: the method chooses.

    Returns:
      The question, or None once nothing is left to ask.

    Raises:
      InputError: there is no such pair.
    """
    runner_up = None
    if pair is None:
        two = best(annotations, network.dice, config)
        if not two.found[0]:
            return None
        query = jax.tree.map(lambda leaf: leaf[0], two)
        runner_up = next(iter(answers.describe(two, images)[1:]), None)
    else:
        answers.check_pair(images, *pair)
        query = of_pair(annotations, network.dice, config, *pair)
    n, c = int(query.section), int(query.structure)
    return Question(
        section=n,
        structure=c,
        section_name=images.sections[n],
        name=images.names[c],
        why=answers.describe(query, images)[0],
        runner_up=runner_up,
        example=bool(query.example),
        dice=float(query.dice),
        left=float(query.left),
        whole=float(query.whole),
        image=np.asarray(images.images[n]),
        inside=np.asarray(images.inside[n]),
        labels=annotations.labels_of(n, images),
        proposal=None,
        segmentation=None,
        confidence=None,
        network=network.through,
        asked=time.time(),
    )


def with_proposal(question: Question, seen: Prediction) -> Question:
    """The question with what the network predicts of its section (`predicted`)."""
    return dataclasses.replace(
        question,
        proposal=np.asarray(seen.segmentation == question.structure) & question.inside,
        segmentation=np.asarray(seen.segmentation),
        confidence=np.asarray(seen.confidence),
    )


def predicted(
    network: Network, images: Images, annotations: Annotations, section: int, recipe: Recipe
) -> Prediction:
    """The prediction of a network that has learnt, of a section with its labels; NumPy arrays."""
    assert network.learner is not None
    found = _predicted(
        network.learner.train.params,
        images.images[section],
        images.inside[section],
        alone_on(annotations, images, section),
        recipe=recipe,
        reduction=network.reduction,
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
    outlines = jnp.diagonal(boundary)
    shared = boundary - jnp.diag(outlines)
    left = candidates(state).astype(jnp.float32)
    # Cracks between two structures that are both left would count twice.
    spared = jnp.matmul(state.seen + left / 2, shared, precision="highest")
    lengths = (outlines - spared) * relative_length(state.seen, state.seen | compatible(state))
    return jnp.maximum((left * lengths).sum(1), 0).sum()


@functools.partial(jax.jit, static_argnames=("recipe", "reduction"))
def _predicted(
    params: chex.ArrayTree,
    image: jax.Array,
    inside: jax.Array,
    state: ALState,
    recipe: Recipe,
    reduction: int,
) -> Prediction:
    low, high = intensity_range(image, inside)
    full = Sections(images=image, inside=inside, low=low, high=high)
    section = reduce_section(full, reduction)
    partial = jax.tree.map(lambda leaf: leaf[0], partial_labels(state))
    # The key is of dropout, which is not asked for.
    return predict_section(state.key, params, section, partial, recipe)
