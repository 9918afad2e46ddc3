"""The truth in place of the annotator: what is simulated, the true answers, and the score.

With `simulation`, which runs the loop around it, the only module that knows the truth.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.boundary import DIRECTIONS, shared_lengths, total_length
from al_jax.learner import ESTIMATES, SCHEDULES, Lessons
from al_jax.metrics import dice_of, mean_dice, overlap, pooled, presence
from al_jax.prediction import Prediction
from al_jax.stack import Stack
from al_jax.state import ALState, annotate, init_state, ranges
from al_jax.training import Sections, Training, make_sections, steps_per_epoch

DICE_OVER = ("sections", "stack")


@dataclasses.dataclass(frozen=True)
class Config:
    """A simulation but for its stack, strategy and key; hashable, static under jit.

    Attributes:
      network: a key of `networks.NETWORKS`.
      initial_steps, query_steps, learning_rate, query_learning_rate, schedule, dice_estimate: as
        of `learner.Lessons`.
      alpha: of Eq. 6.
      min_effort: lower bound of a predicted effort, pixels.
      length: 'crack' or 'crofton'.
      margin: sections added to both ends of each structure's range.
      dropout_samples: S of Eq. 9.
      dice_over: the reported Dice of a class is a mean over 'sections' or pooled over the 'stack'.
      count_background: whether the reported Dice averages over the background too.
      training: of the network.
    """

    network: str = "small"
    initial_steps: int = Lessons.initial_steps
    query_steps: int = Lessons.query_steps
    learning_rate: float = Lessons.learning_rate
    query_learning_rate: float = Lessons.query_learning_rate
    schedule: str = Lessons.schedule
    alpha: float = 0.5
    dice_estimate: str = Lessons.dice_estimate
    min_effort: float = 1.0
    length: str = "crack"
    margin: int = 0
    dropout_samples: int = 20
    dice_over: str = "sections"
    count_background: bool = False
    training: Training = dataclasses.field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuses unknown names, and trainings without a step."""
        if min(self.initial_steps, self.query_steps) < 1:
            raise ValueError("initial_steps and query_steps must be at least 1")
        for field, known in (
            ("dice_estimate", ESTIMATES),
            ("schedule", SCHEDULES),
            ("dice_over", DICE_OVER),
            ("length", tuple(DIRECTIONS)),
        ):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} '{getattr(self, field)}' is not of {', '.join(known)}")


DEFAULT = Config()
PRESETS = ("default", "paper")


def preset(name: str, num_sections: int) -> Config:
    """Settings by their name, for a stack of `num_sections`.

    'default' is for two CPU cores and costs the same for any number of sections. 'paper' is 2.4.2
    with Table 1: gradient descent on crops anywhere, 3,000 epochs and 10 after each answer, each
    of ceil(N / 8) steps; its network starts from weights of ImageNet, which the caller has.
    """
    if name == "default":
        return DEFAULT
    if name != "paper":
        raise ValueError(f"preset '{name}' is not one of {', '.join(PRESETS)}")
    training = Training(crop=128, balanced=0.0, optimiser="sgd")
    epoch = steps_per_epoch(num_sections, training.batch)
    return Config(
        network="full",
        initial_steps=3000 * epoch,
        query_steps=10 * epoch,
        learning_rate=0.05,
        query_learning_rate=0.005,
        schedule="constant",
        dice_estimate="fit",
        training=training,
    )


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
      mesh: devices that share the work on the sections, or None.
    """

    sections: Sections
    truth: chex.Array
    present: jax.Array
    total: jax.Array
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


def true_answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    task: Task,
    length: str = "crack",
) -> tuple[ALState, jax.Array]:
    """The true outline, as `state.annotate` takes it; a section of -1 changes nothing."""
    mask = task.truth[section] == structure
    return annotate(state, section, structure, mask, task.sections.inside[section], length)


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
    """One annotation per class on a central section (paper, 3.2.1): the same for all strategies."""
    key_queries, key_state = jax.random.split(key)
    chosen = initial_queries(key_queries, task.present)

    def one(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        return true_answer(state, chosen[structure], structure, task, config.length)[0], None

    state = init_state(key_state, task.sections.inside, ranges(task.present, config.margin))
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


def standing(state: ALState, scores: Scores, task: Task, config: Config) -> dict[str, jax.Array]:
    """Effort and Dice, by the fields of `Record`."""
    clamped = class_dice(scores.clamped, task.present, config.dice_over)
    unclamped = class_dice(scores.unclamped, task.present, config.dice_over)
    first = 0 if config.count_background else 1
    return {
        "effort": state.traced.sum() / task.total,
        # Every crack is on the outlines of two structures.
        "effort_own": state.outlined.sum() / (2 * task.total),
        "dice": jnp.nanmean(clamped[first:]),
        "dice_unclamped": jnp.nanmean(unclamped[first:]),
        "class_dice": clamped,
        "class_dice_unclamped": unclamped,
    }
