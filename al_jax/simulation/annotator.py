"""The truth in place of the annotator: what is labelled first, and the true answers.

This folder is the only part of al_jax that knows the truth of what is annotated.
"""

import chex
import jax
import jax.numpy as jnp

from al_jax.core.boundary import corrected, kept_length, shared_lengths, total_length
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import (
    ALState,
    annotate,
    compatible,
    complete,
    fullest_section,
    init_state,
    ranges,
)
from al_jax.learner.config import Annotator, Config
from al_jax.learner.transfer import with_prior
from al_jax.model.augmentation import FIELDS, random_displacement, sample_nearest, source_points
from al_jax.simulation.task import Task


def initial_queries(key: jax.Array, present: jax.Array) -> jax.Array:
    """The start (paper, section 3.2.1): for each class a section near the middle one of its own.

    Args:
      key: randomness.
      present: [N, C] bool.

    Returns:
      [C] int32, uniform among the sections that show the class and are at most 3 away from the
      middle one of those; -1 for a class that is nowhere.
    """
    chex.assert_rank(present, 2)
    rank = jnp.cumsum(present, 0)  # 1 for the first section that shows the class
    count = present.sum(0)
    is_middle = present & (rank == (count + 1) // 2)
    middle = jnp.argmax(is_middle, 0)
    near = present & (jnp.abs(jnp.arange(present.shape[0])[:, None] - middle) <= 3)
    chosen = jax.random.categorical(key, jnp.where(near, 0.0, -jnp.inf), axis=0)
    return jnp.where(count > 0, chosen, -1).astype(jnp.int32)


def perturb(key: jax.Array, task: Task, annotator: Annotator) -> Task:
    """The task as an imperfect person answers it: with `outlined` and `late`.

    Args:
      key: draws the person's errors and skips; the same for every strategy.
      task: the stack.
      annotator: who answers.
    """
    key_late, key_field = jax.random.split(key)
    if annotator.skips:
        late = jax.random.uniform(key_late, task.present.shape) < annotator.skips
        task = task.replace(late=late)
    if annotator.outline_noise:
        keys = jax.random.split(key_field, task.truth.shape[0])
        sections = (keys, task.truth, task.sections.inside)
        outlined = jax.lax.map(
            lambda x: perturbed(x[0], x[1], x[2], annotator.outline_noise), sections
        )
        task = task.replace(outlined=outlined)
    return task


def perturbed(key: jax.Array, labels: jax.Array, inside: jax.Array, size: float) -> jax.Array:
    """Classes [H, W] of a section, displaced by a smooth field of standard deviation `size` px."""
    height, width = labels.shape
    field = random_displacement(key, height, width) * (size / FIELDS["smooth"][1])
    middle = jnp.array([(length - 1) / 2 for length in labels.shape])
    points = source_points(jnp.eye(2), middle, field)
    moved = sample_nearest(labels, points, UNLABELLED)
    moved_inside = sample_nearest(inside, points, False)
    return jnp.where(inside & moved_inside, moved, labels)


def perturbed_ranges(key: jax.Array, present: jax.Array, margin: int, errors: float) -> jax.Array:
    """The ranges [N, C] that a person gives, a share of whose ends are a section off."""
    right = ranges(present, margin)
    if not errors:
        return right
    unit = jax.random.uniform(key, (2, present.shape[1]))
    out, into = unit < errors / 2, (unit >= errors / 2) & (unit < errors)
    before = jnp.pad(right, ((1, 0), (0, 0)))[:-1]  # the row of the section before
    after = jnp.pad(right, ((0, 1), (0, 0)))[1:]
    given = right | (after & out[0]) | (before & out[1])
    first, last = right & ~before, right & ~after
    given &= ~((first & into[0]) | (last & into[1]))
    given = given.at[:, 0].set(right[:, 0])  # what is left of a section is background
    # A range of one section or two does not become empty.
    return jnp.where(given.any(0), given, right)


def true_answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    task: Task,
    length: str = "crack",
) -> tuple[ALState, jax.Array]:
    """The person's outline, as `state.annotate` takes it; a section of -1 changes nothing."""
    mask = outlined(task)[section] == structure
    return annotate(state, section, structure, mask, task.sections.inside[section], length)


def corrected_answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    proposal: jax.Array,
    task: Task,
    annotator: Annotator,
) -> tuple[ALState, jax.Array, jax.Array]:
    """`true_answer` with a proposal, which is corrected or accepted where that is cheaper.

    Args:
      state: before the answer.
      section, structure: n and c; a section of -1 changes nothing.
      proposal: [H, W] bool.
      task, annotator: the simulation.

    Returns:
      The state after the answer, the remaining outline before it and the part of it that was
      drawn, pixels.
    """
    inside = task.sections.inside[section]
    mask = (outlined(task)[section] == structure) & inside
    free = inside & (state.labels[section] == UNLABELLED)
    kept = kept_length(mask, proposal, free, annotator.tolerance)
    left = total_length(mask & free, free)
    corrects = kept > annotator.review_cost
    drawn = jnp.where(corrects, left - kept + annotator.review_cost, left)
    mask = jnp.where(corrects, corrected(mask, proposal, free, annotator.tolerance), mask)
    state, left = annotate(state, section, structure, mask, inside, drawn=drawn)
    return state, left, drawn


def outlined(task: Task) -> chex.Array:
    """[N, H, W] int16, the classes as the person draws them."""
    return task.truth if task.outlined is None else task.outlined


def true_remaining(state: ALState, task: Task, length: str = "crack") -> jax.Array:
    """The true R_nc of Eq. 5: each outline without what is annotated already, [N, C] pixels."""
    num_classes = task.present.shape[1]

    def left(section: tuple[jax.Array, ...]) -> jax.Array:
        truth, inside, seen = section
        lengths = shared_lengths(truth, inside, num_classes, length)
        others = seen[None] & ~jnp.eye(num_classes, dtype=bool)
        return jnp.diagonal(lengths) - jnp.sum(lengths * others, 1)

    return jax.lax.map(left, (task.truth, task.sections.inside, state.seen))


def start(key: jax.Array, task: Task, config: Config) -> ALState:
    """The state after one annotation per class on a central section (paper, section 3.2.1).

    The same for all strategies. `Annotator.start` may leave out some of the classes, or all, or
    have one section annotated as a whole first.
    """
    key_queries, key_state = jax.random.split(key)
    chosen = initial_queries(key_queries, task.present)
    if config.annotator.start == "none":
        chosen = jnp.full_like(chosen, -1)
    elif config.annotator.start == "needed" and task.prior is not None:
        chosen = jnp.where(jnp.diagonal(task.prior.lengths[1]) > 0, -1, chosen)

    def one(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        return true_answer(state, chosen[structure], structure, task, config.query.length)[0], None

    # Folded in, so that the start of a person without errors does not depend on it.
    key_ranges = jax.random.fold_in(key, 2)
    in_range = perturbed_ranges(
        key_ranges, task.present, config.query.margin, config.annotator.range_errors
    )
    state = init_state(key_state, task.sections.inside, in_range)
    if task.prior is not None:
        state = with_prior(state, task.prior)
    if config.annotator.start == "together":
        state = _whole_section(state, task, config)
        chosen = jnp.where(state.seen.any(0), -1, chosen)
    state = jax.lax.scan(one, state, jnp.arange(task.present.shape[1]))[0]
    return state.replace(step=jnp.int32(0))


def _whole_section(state: ALState, task: Task, config: Config) -> ALState:
    """All classes in range on the fullest section; what is left of it is background, undrawn."""
    section, length = fullest_section(state.in_range), config.query.length
    domain = task.sections.inside[section]

    def one(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        asked = compatible(state)[section, structure]
        place = jnp.where(asked, section, -1)
        state = true_answer(state, place, structure, task, length)[0]
        return complete(state, section, domain, length), None

    background_last = (jnp.arange(task.present.shape[1]) + 1) % task.present.shape[1]
    return jax.lax.scan(one, state, background_last)[0]
