"""What to ask a person: the method's choice, and what the network predicts of that section."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core import answers
from al_jax.core.evidence import Evidence, make_evidence
from al_jax.core.scores import relative_length
from al_jax.core.stack import Images
from al_jax.core.state import (
    ALState,
    boundary_matrix,
    candidates,
    compatible,
    partial_labels,
)
from al_jax.core.strategies import Strategy, Suggestion, explain, suggestions
from al_jax.learner import neighbours
from al_jax.learner.config import Query
from al_jax.learner.learner import nothing_proposed
from al_jax.model.config import ModelConfig
from al_jax.model.inputs import Fields, Sections, intensity_range
from al_jax.model.prediction import predict_section
from al_jax.model.resolution import downsample_section
from al_jax.model.subsets import subset_width
from al_jax.session.annotations import Annotations, alone_on, around, left_over
from al_jax.session.network import Network
from al_jax.session.pace import Pace, expected_seconds, pace_of


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
      proposal: [H, W] bool, what the network would answer, or all that is left where no other
        structure can be; else None while there is no network.
      segmentation: [H, W] int16, Eq. 4 of the whole section; confidence: [H, W] float32; or None.
      beside: names of the sections from which outlines were carried to the proposal.
      network: number of the last event that the network had seen.
      seconds: that an answer is expected to take, from how fast the person was (`pace`).
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
    seconds: float
    asked: float
    beside: tuple[str, ...] = ()


class Rule(NamedTuple):
    """What asks in a session.

    Attributes:
      strategy: of any that knows no truth.
      query: what it goes by.
      priority: [N, C], of a strategy that draws one, else None.
      pace: of the person, as far as it is known.
    """

    strategy: Strategy
    query: Query
    priority: jax.Array | None = None
    pace: Pace = pace_of(())


def best(annotations: Annotations, network: Network, rule: Rule) -> Suggestion:
    """The best pair and the runner-up, of leading axis 2; skipped ones when no other is left."""
    state, skipped = annotations.state, annotations.skipped
    known = _known(network, state)
    found = _best(state, known, skipped, rule.query, rule.priority, strategy=rule.strategy)
    if skipped.any() and not found.found[0]:
        skipped = np.zeros_like(skipped)
        found = _best(state, known, skipped, rule.query, rule.priority, strategy=rule.strategy)
    return jax.tree.map(np.asarray, found)


def of_pair(
    annotations: Annotations, network: Network, rule: Rule, section: int, structure: int
) -> Suggestion:
    """What the method predicts of a pair that it need not have asked for."""
    state, pair = annotations.state, np.array([section, structure])
    known = _known(network, state)
    found = _of_pair(state, known, pair, rule.query, strategy=rule.strategy)
    return jax.tree.map(np.asarray, found)


def wants_examples(annotations: Annotations, strategy: Strategy) -> bool:
    """Whether there are structures of which an outline is still to be asked for."""
    return bool(_wants_examples(annotations.state, annotations.skipped, strategy))


def without_outline(annotations: Annotations) -> np.ndarray:
    """[C] bool, the structures that may be there and of which no outline is known."""
    return ~annotations.outlined & np.asarray(candidates(annotations.state)).any(0)


def askable(annotations: Annotations) -> np.ndarray:
    """[N, C] bool, the pairs that may be asked for."""
    return np.asarray(candidates(annotations.state))


def outline_left(annotations: Annotations) -> float:
    """What B predicts is left to trace of the whole stack, each crack once, pixels."""
    return float(_outline_left(annotations.state))


def ask(
    images: Images,
    annotations: Annotations,
    network: Network,
    rule: Rule,
    pair: tuple[int, int] | None,
) -> Question | None:
    """What to ask, without the network's proposal; `with_proposal` adds it.

    Args:
      images: what is annotated.
      annotations: so far.
      network: the newest.
      rule: what asks.
      pair: section and structure; None: the method chooses.

    Returns:
      The question, or None once nothing is left to ask.

    Raises:
      InputError: there is no such pair.
    """
    runner_up = None
    if pair is None:
        two = best(annotations, network, rule)
        if not two.found[0]:
            return None
        query = jax.tree.map(lambda leaf: leaf[0], two)
        runner_up = next(iter(answers.describe(two, images)[1:]), None)
    else:
        answers.check_pair(images, *pair)
        query = of_pair(annotations, network, rule, *pair)
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
        proposal=left_over(annotations, images, n, c),
        segmentation=None,
        confidence=None,
        network=network.through,
        seconds=expected_seconds(rule.pace, float(query.left), proposed=network.proposes),
        asked=time.time(),
    )


class Segmented(NamedTuple):
    """What a network sees of a section: Eq. 4 [H, W] int16, its confidence [H, W] float32."""

    segmentation: np.ndarray
    confidence: np.ndarray


def with_proposal(question: Question, seen: Segmented, beside: Sequence[str] = ()) -> Question:
    """The question with what the network predicts of its section (`predicted`).

    `beside` names the sections from which outlines of the structure were carried.
    """
    why = question.why
    if beside:
        why += f"; the proposal is the network's with the outline of section {' and '.join(beside)}"
    return dataclasses.replace(
        question,
        why=why,
        proposal=(seen.segmentation == question.structure) & question.inside,
        segmentation=seen.segmentation,
        confidence=seen.confidence,
        beside=tuple(beside),
    )


def predicted(
    network: Network,
    images: Images,
    annotations: Annotations,
    section: int,
    model: ModelConfig,
    fields: Fields | None = None,
) -> Segmented:
    """What a network that has learnt sees of a section with its labels.

    With `fields` outlines are carried to it from neighbouring sections.
    """
    assert network.learner is not None
    carried = None
    if fields is not None:
        partial = around(annotations, images, section, neighbours.REACH)
        carried = partial, neighbours.around(fields, section), network.learner.carrying
    found = _predicted(
        network.learner.train.params,
        images.images[section],
        images.inside[section],
        alone_on(annotations, images, section),
        model,
        carried,
        downsampling=network.downsampling,
        classes=subset_width(annotations.state.in_range, annotations.state.seen),
    )
    return Segmented(*map(np.asarray, found))


Known = tuple[chex.Array, chex.Array, chex.Array]
"""What a network shows: D of Eq. 6 [2, C], its uncertainty and what it proposes [N, C]."""


def _known(network: Network, state: ALState) -> Known:
    shape, learner = state.annotated.shape, network.learner
    # Arrays in any case: the question's program is compiled once.
    nothing = nothing_proposed(shape)
    if learner is None:
        dice = np.full((2, shape[1]), np.nan, np.float32)
        return dice, np.ones(shape, np.float32), nothing
    return (
        learner.dice,
        learner.uncertainty,
        nothing if learner.proposed is None else learner.proposed,
    )


def _evidence(
    state: ALState, known: Known, query: Query, priority: jax.Array | None = None
) -> Evidence:
    return make_evidence(
        state,
        known[0],
        alpha=query.alpha,
        min_effort=query.min_effort,
        overhead=query.overhead,
        uncertainty=known[1],
        proposed=known[2],
        priority=priority,
    )


@functools.partial(jax.jit, static_argnames="strategy")
def _best(
    state: ALState,
    known: Known,
    exclude: jax.Array,
    query: Query,
    priority: jax.Array | None,
    *,
    strategy: Strategy,
) -> Suggestion:
    evidence = _evidence(state, known, query, priority)
    return suggestions(state, evidence, strategy, count=2, exclude=exclude)


@functools.partial(jax.jit, static_argnames="strategy")
def _of_pair(
    state: ALState, known: Known, pair: jax.Array, query: Query, *, strategy: Strategy
) -> Suggestion:
    return explain(state, _evidence(state, known, query), pair[0], pair[1], strategy)


@functools.partial(jax.jit, static_argnames="strategy")
def _wants_examples(state: ALState, skipped: jax.Array, strategy: Strategy) -> jax.Array:
    return strategy.examples(state, skipped).any()


@jax.jit
def _outline_left(state: ALState) -> jax.Array:
    boundary = boundary_matrix(state)
    outlines = jnp.diagonal(boundary)
    shared = boundary - jnp.diag(outlines)
    left = candidates(state).astype(jnp.float32)
    # Cracks between two structures that are both left would count twice.
    spared = jnp.matmul(state.seen + left / 2, shared, precision="highest")
    count, possible = jnp.diagonal(state.length_count), state.seen | compatible(state)
    lengths = (outlines - spared) * relative_length(state.seen, possible, count)
    return jnp.maximum((left * lengths).sum(1), 0).sum()


@functools.partial(jax.jit, static_argnames=("downsampling", "classes"))
def _predicted(
    params: chex.ArrayTree,
    image: jax.Array,
    inside: jax.Array,
    state: ALState,
    model: ModelConfig,
    carried: Any,
    *,
    downsampling: int,
    classes: int,
) -> tuple[jax.Array, jax.Array]:
    low, high = intensity_range(image, inside)
    full = Sections(images=image, inside=inside, low=low, high=high, classes=classes)
    section = downsample_section(full, downsampling)
    partial = jax.tree.map(lambda leaf: leaf[0], partial_labels(state))
    log_prior = None
    if carried is not None:
        others, fields, carrying = carried
        here = jnp.int32(neighbours.REACH)
        log_prior = functools.partial(neighbours.log_prior, others, fields, here, carrying)
    # The key is of dropout, which is not asked for.
    found = predict_section(state.key, params, section, partial, model, log_prior=log_prior)
    return found.segmentation, found.confidence
