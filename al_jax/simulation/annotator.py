"""The truth in place of the annotator: what is simulated, the true answers, and the score.

With `simulation`, which runs the loop around it, the only module that knows the truth.
"""

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.boundary import corrected, kept_length, shared_lengths, total_length
from al_jax.core.metrics import dice_of, mean_dice, overlap, pooled, presence
from al_jax.core.stack import UNLABELLED, Stack
from al_jax.core.state import ALState, annotate, init_state, ranges
from al_jax.learner.config import Config, Person
from al_jax.learner.transfer import Known, with_known
from al_jax.model.augmentation import FIELDS, random_displacement, sample_nearest, source_points
from al_jax.model.prediction import Prediction
from al_jax.model.training import Sections, make_sections


class Scores(struct.PyTreeNode):
    """How a prediction overlaps with the truth, per section; [N, 2, C] int32 (`metrics.overlap`).

    Attributes:
      clamped: of Eq. 4, where what was traced is kept.
      unclamped: of the network's own argmax over the classes in range.
    """

    clamped: jax.Array
    unclamped: jax.Array


class Task(struct.PyTreeNode):
    """A stack made ready for simulation: what stays the same during a run.

    Attributes:
      sections: what the network sees.
      truth: [N, H, W] int16.
      present: [N, C] bool, the class has a pixel on the section.
      total: [] float32, the stack's outlines, pixels.
      traced: [N, H, W] int16, what the person would trace, or None: the truth.
      late: [N, C] bool, what the person answers only when nothing else is left, or None.
      known: from earlier stacks, or None.
      mesh: devices that share the work on the sections, or None.
    """

    sections: Sections
    truth: chex.Array
    present: jax.Array
    total: jax.Array
    traced: chex.Array | None = None
    late: jax.Array | None = None
    known: Known | None = None
    mesh: Mesh | None = struct.field(pytree_node=False, default=None)


def make_task(stack: Stack, config: Config, mesh: Mesh | None = None) -> Task:
    """Presence and lengths of a stack's truth, section by section.

    Args:
      stack, config: the simulation.
      mesh: devices that share the sections; the numbers agree to rounding.
    """
    stack = jax.tree.map(jnp.asarray, stack)  # scans cannot index NumPy arrays
    lengths = jax.lax.map(
        lambda x: total_length(x[0], x[1], config.length), (stack.truth, stack.inside)
    )
    return Task(
        sections=make_sections(stack),
        truth=stack.truth,
        present=presence(stack.truth, stack.inside, len(stack.names)),
        total=lengths.sum(),
        mesh=xla.without_axes_types(mesh),
    )


def initial_queries(key: jax.Array, present: jax.Array) -> jax.Array:
    """The start (paper, 3.2.1): per class a section within 3 of the middle one of its own.

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


def meet(key: jax.Array, task: Task, person: Person) -> Task:
    """The task with what an imperfect person makes of it: `traced` and `late`.

    Args:
      key: draws what the person does; the same for every strategy.
      task: the stack.
      person: who answers.
    """
    key_late, key_field = jax.random.split(key)
    if person.skips:
        late = jax.random.uniform(key_late, task.present.shape) < person.skips
        task = task.replace(late=late)
    if person.tremor:
        keys = jax.random.split(key_field, task.truth.shape[0])
        sections = (keys, task.truth, task.sections.inside)
        traced = jax.lax.map(lambda x: trembling(x[0], x[1], x[2], person.tremor), sections)
        task = task.replace(traced=traced)
    return task


def trembling(key: jax.Array, labels: jax.Array, inside: jax.Array, size: float) -> jax.Array:
    """Classes [H, W] of a section, displaced by a smooth field of standard deviation `size` px."""
    height, width = labels.shape
    field = random_displacement(key, height, width) * (size / FIELDS["smooth"][1])
    middle = jnp.array([(length - 1) / 2 for length in labels.shape])
    points = source_points(jnp.eye(2), middle, field)
    moved = sample_nearest(labels, points, UNLABELLED)
    whole = sample_nearest(inside, points, False)
    return jnp.where(inside & whole, moved, labels)


def said_ranges(key: jax.Array, present: jax.Array, margin: int, errors: float) -> jax.Array:
    """The ranges [N, C] that a person gives, a share of whose ends are a section off."""
    right = ranges(present, margin)
    if not errors:
        return right
    unit = jax.random.uniform(key, (2, present.shape[1]))
    out, into = unit < errors / 2, (unit >= errors / 2) & (unit < errors)
    before = jnp.pad(right, ((1, 0), (0, 0)))[:-1]  # the row of the section before
    after = jnp.pad(right, ((0, 1), (0, 0)))[1:]
    said = right | (after & out[0]) | (before & out[1])
    first, last = right & ~before, right & ~after
    said &= ~((first & into[0]) | (last & into[1]))
    said = said.at[:, 0].set(right[:, 0])  # what is left of a section is background
    # A structure of one section or two is not said to be nowhere.
    return jnp.where(said.any(0), said, right)


def true_answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    task: Task,
    length: str = "crack",
) -> tuple[ALState, jax.Array]:
    """The person's outline, as `state.annotate` takes it; a section of -1 changes nothing."""
    mask = _traced(task)[section] == structure
    return annotate(state, section, structure, mask, task.sections.inside[section], length)


def corrected_answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    proposal: jax.Array,
    task: Task,
    person: Person,
) -> tuple[ALState, jax.Array, jax.Array]:
    """As `true_answer`, beside a proposal that is corrected, or accepted, where that is cheaper.

    Args:
      state: before the answer.
      section, structure: n and c; a section of -1 changes nothing.
      proposal: [H, W] bool.
      task, person: the simulation.

    Returns:
      The state after the answer, the outline that was left and what of it was drawn, pixels.
    """
    inside = task.sections.inside[section]
    mask = (_traced(task)[section] == structure) & inside
    free = inside & (state.labels[section] == UNLABELLED)
    kept = kept_length(mask, proposal, free, person.tolerance)
    left = total_length(mask & free, free)
    corrects = kept > person.glance
    drawn = jnp.where(corrects, left - kept + person.glance, left)
    mask = jnp.where(corrects, corrected(mask, proposal, free, person.tolerance), mask)
    state, left = annotate(state, section, structure, mask, inside, drawn=drawn)
    return state, left, drawn


def _traced(task: Task) -> chex.Array:
    return task.truth if task.traced is None else task.traced


def true_remaining(state: ALState, task: Task, length: str = "crack") -> jax.Array:
    """The outline that each pair has left beside what is traced on its section, [N, C] pixels."""
    num_classes = task.present.shape[1]

    def left(section: tuple[jax.Array, ...]) -> jax.Array:
        truth, inside, seen = section
        lengths = shared_lengths(truth, inside, num_classes, length)
        others = seen[None] & ~jnp.eye(num_classes, dtype=bool)
        return jnp.diagonal(lengths) - jnp.sum(lengths * others, 1)

    return jax.lax.map(left, (task.truth, task.sections.inside, state.seen))


def start(key: jax.Array, task: Task, config: Config) -> ALState:
    """One annotation per class on a central section (paper, 3.2.1): the same for all strategies.

    Not of all, or none, where the configuration's `start` says so.
    """
    key_queries, key_state = jax.random.split(key)
    chosen = initial_queries(key_queries, task.present)
    if config.start == "none":
        chosen = jnp.full_like(chosen, -1)
    elif config.start == "needed" and task.known is not None:
        chosen = jnp.where(jnp.diagonal(task.known.lengths[1]) > 0, -1, chosen)

    def one(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        return true_answer(state, chosen[structure], structure, task, config.length)[0], None

    # Folded in, so that a person without errors starts as always.
    key_ranges = jax.random.fold_in(key, 2)
    in_range = said_ranges(key_ranges, task.present, config.margin, config.person.range_errors)
    state = init_state(key_state, task.sections.inside, in_range)
    if task.known is not None:
        state = with_known(state, task.known)
    state = jax.lax.scan(one, state, jnp.arange(task.present.shape[1]))[0]
    return state.replace(step=jnp.int32(0))


def score(prediction: Prediction, known: tuple[jax.Array, jax.Array]) -> Scores:
    """Of one section; `known` are its truth and its image domain."""
    num_classes = prediction.fit.shape[0]
    return Scores(
        clamped=overlap(prediction.segmentation, *known, num_classes),
        unclamped=overlap(prediction.alone, *known, num_classes),
    )


def beside(task: Task) -> tuple[chex.Array, jax.Array]:
    """What `score` needs beside a prediction, of all sections."""
    return task.truth, task.sections.inside


def class_dice(overlaps: jax.Array, present: jax.Array, dice_over: str) -> jax.Array:
    """Reported Dice of each class, [C], NaN where it is nowhere.

    Args:
      overlaps: [N, 2, C] int32.
      present: [N, C] bool, the class is on the section.
      dice_over: of `DICE_OVER`.
    """
    if dice_over == "sections":
        return mean_dice(jax.vmap(dice_of)(overlaps), present)
    return jnp.where(present.any(0), dice_of(pooled(overlaps)), jnp.nan)


def reported_dice(dice: chex.Array, config: Config) -> jax.Array:
    """The mean [] of the Dice [C] of classes, NaN where they are nowhere."""
    return jnp.nanmean(dice[0 if config.count_background else 1 :])


def ceiling(task: Task, config: Config) -> jax.Array:
    """[] float32, the reported Dice of the person's own outlines: where all is traced, it is this.

    1 where the person traces the truth.
    """
    if task.traced is None:
        return jnp.float32(1)

    def one(section: tuple[jax.Array, ...]) -> jax.Array:
        traced, truth, inside = section
        return overlap(traced, truth, inside, task.present.shape[1])

    overlaps = jax.lax.map(one, (task.traced, task.truth, task.sections.inside))
    return reported_dice(class_dice(overlaps, task.present, config.dice_over), config)


def standing(state: ALState, scores: Scores, task: Task, config: Config) -> dict[str, jax.Array]:
    """Effort and Dice, by the fields of `Record`."""
    clamped = class_dice(scores.clamped, task.present, config.dice_over)
    unclamped = class_dice(scores.unclamped, task.present, config.dice_over)
    return {
        "effort": state.traced.sum() / task.total,
        # Every crack is on the outlines of two structures.
        "effort_own": state.outlined.sum() / (2 * task.total),
        "dice": reported_dice(clamped, config),
        "dice_unclamped": reported_dice(unclamped, config),
        "class_dice": clamped,
        "class_dice_unclamped": unclamped,
    }
