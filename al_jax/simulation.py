"""The whole loop (paper, Algorithm 1) with the truth in place of the annotator.

The only module that knows the truth: it answers and it keeps the score. `simulate` is the pure
function. It is made of `start`, `train_initial`, `begin` and `run_queries`, which a program that
wants progress, checkpoints and early stopping (`driver`) calls piece by piece, to the same end.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.boundary import DIRECTIONS, total_length
from al_jax.learner import ESTIMATES, Learner, Lessons, assess, learn_first, relearn
from al_jax.metrics import dice_of, mean_dice, overlap, pooled, presence
from al_jax.networks import make_network
from al_jax.prediction import Prediction
from al_jax.stack import Stack
from al_jax.state import ALState, annotate, candidates, init_state, ranges
from al_jax.strategies import STRATEGIES, Strategy, Suggestion, make_evidence, suggest
from al_jax.training import (
    Recipe,
    Sections,
    Training,
    TrainState,
    init_train_state,
    make_sections,
)

DICE_OVER = ("sections", "stack")


@dataclasses.dataclass(frozen=True)
class Config:
    """A simulation but for its stack, strategy and key; hashable, static under jit.

    Attributes:
      network: a key of `networks.NETWORKS`.
      initial_epochs, query_epochs, learning_rate, query_learning_rate, dice_estimate: as of
        `learner.Lessons`.
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
    initial_epochs: int = Lessons.initial_epochs
    query_epochs: int = Lessons.query_epochs
    learning_rate: float = Lessons.learning_rate
    query_learning_rate: float = Lessons.query_learning_rate
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
        """Refuses unknown names."""
        for field, known in (
            ("dice_estimate", ESTIMATES),
            ("dice_over", DICE_OVER),
            ("length", tuple(DIRECTIONS)),
        ):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} '{getattr(self, field)}' is not of {', '.join(known)}")


DEFAULT = Config()


class Scores(struct.PyTreeNode):
    """How a prediction overlaps with the truth, per section; [N, 2, C] int32 (`metrics.overlap`).

    Attributes:
      clamped: of Eq. 4, where what was traced is kept.
      unclamped: of the network's own argmax over the classes in range.
    """

    clamped: jax.Array
    unclamped: jax.Array


class Run(struct.PyTreeNode):
    """A simulation under way.

    Attributes:
      state: what has been annotated.
      learner: the network, and what it has shown so far.
      scores: of its prediction under these annotations.
    """

    state: ALState
    learner: Learner
    scores: Scores


class Record(struct.PyTreeNode):
    """One step of a simulation: the query and where the stack stands after its answer.

    Attributes:
      done: [] bool, True if no query was made: a target had been reached, or nothing was left.
      section, structure: [] int32, the query; -1 for the start.
      predicted_dice, predicted_length: [] what Eqs. 6 and 5 said of it.
      length: [] float32, the outline actually traced, pixels.
      effort: [] float32, all outlines traced so far, a fraction of the stack's total.
      dice, dice_unclamped: [] float32, reported Dice, a fraction.
      class_dice, class_dice_unclamped: [C] float32 (NaN: the class is on no section).
      loss: [] float32, mean training loss of this step; not finite if any of its steps was not.
    """

    done: chex.Array
    section: chex.Array
    structure: chex.Array
    predicted_dice: chex.Array
    predicted_length: chex.Array
    length: chex.Array
    effort: chex.Array
    dice: chex.Array
    dice_unclamped: chex.Array
    class_dice: chex.Array
    class_dice_unclamped: chex.Array
    loss: chex.Array


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
        sections=make_sections(stack.images, stack.inside),
        truth=stack.truth,
        present=presence(stack.truth, stack.inside, len(stack.names)),
        total=lengths.sum(),
        mesh=xla.without_axes_types(mesh),
    )


def recipe_of(task: Task, config: Config, loss: str = "partial") -> Recipe:
    """The network for the task's classes, and how it is trained."""
    return Recipe(make_network(config.network, task.present.shape[1]), config.training, loss)


def lessons_of(task: Task, config: Config, strategy: str = "BDa") -> Lessons:
    """What the strategy's network learns and is asked."""
    method = STRATEGIES[strategy]
    return Lessons(
        recipe=recipe_of(task, config, method.loss),
        initial_epochs=config.initial_epochs,
        query_epochs=config.query_epochs,
        learning_rate=config.learning_rate,
        query_learning_rate=config.query_learning_rate,
        dice_estimate=config.dice_estimate,
        entropy=method.entropy,
        dropout_samples=config.dropout_samples if method.dropout else 0,
        mesh=task.mesh,
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


def start(key: jax.Array, task: Task, config: Config) -> ALState:
    """One annotation per class on a central section (paper, 3.2.1): the same for all strategies."""
    key_queries, key_state = jax.random.split(key)
    chosen = initial_queries(key_queries, task.present)

    def one(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        return true_answer(state, chosen[structure], structure, task, config.length)[0], None

    state = init_state(key_state, task.sections.inside, ranges(task.present, config.margin))
    state = jax.lax.scan(one, state, jnp.arange(task.present.shape[1]))[0]
    return state.replace(step=jnp.int32(0))


def initial_train_state(
    key: jax.Array, task: Task, config: Config, params: chex.ArrayTree | None = None
) -> TrainState:
    """The untrained network: weights drawn from `key`, or the published ones in `params`."""
    return init_train_state(key, recipe_of(task, config), params)


def train_initial(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    task: Task,
    config: Config,
    *,
    loss: str = "partial",
    first_epoch: jax.Array | int = 0,
    epochs: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """The initial training on a strategy's loss; `learner.learn_first` says more."""
    lessons = dataclasses.replace(lessons_of(task, config), recipe=recipe_of(task, config, loss))
    return learn_first(
        key, train_state, state, task.sections, lessons, first_epoch=first_epoch, epochs=epochs
    )


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
        "dice": jnp.nanmean(clamped[first:]),
        "dice_unclamped": jnp.nanmean(unclamped[first:]),
        "class_dice": clamped,
        "class_dice_unclamped": unclamped,
    }


def begin(
    train_state: TrainState, state: ALState, task: Task, config: Config, strategy: str
) -> tuple[Run, Record]:
    """The run before its first query, from the trained network, and its record as step 0."""
    lessons = lessons_of(task, config, strategy)
    learner, scores = assess(
        train_state, state, task.sections, lessons, keep=score, beside=beside(task)
    )
    nothing = jnp.float32(jnp.nan)
    record = Record(
        done=jnp.asarray(False),
        section=jnp.int32(-1),
        structure=jnp.int32(-1),
        predicted_dice=nothing,
        predicted_length=nothing,
        length=state.traced.sum(),
        loss=jnp.float32(0),
        **standing(state, scores, task, config),
    )
    return Run(state=state, learner=learner, scores=scores), record


def alike(strategy: str) -> tuple[str, ...]:
    """The strategies that train and predict as this one does, and differ only in what they ask.

    One compilation of `run_queries` serves all of them.
    """

    def work(method: Strategy) -> tuple[str, bool, bool]:
        return method.loss, method.entropy, method.dropout

    return tuple(k for k, v in STRATEGIES.items() if work(v) == work(STRATEGIES[strategy]))


def ask(
    run: Run,
    priority: jax.Array,
    config: Config,
    strategies: tuple[str, ...],
    which: jax.Array | int,
) -> Suggestion:
    """The query that the strategy `which` of `strategies` makes next."""
    evidence = make_evidence(
        run.state,
        run.learner.dice,
        alpha=config.alpha,
        entropy=run.learner.entropy,
        priority=priority,
        min_effort=config.min_effort,
    )
    return jax.lax.switch(which, [lambda s=s: suggest(run.state, evidence, s) for s in strategies])


def finished(
    run: Run,
    task: Task,
    config: Config,
    *,
    target_dice: jax.Array | float,
    max_effort: jax.Array | float,
) -> jax.Array:
    """[] bool: Dice or effort has reached its target, or nothing is left to ask.

    Compared in float32, as `statistics` does.
    """
    now = standing(run.state, run.scores, task, config)
    left = candidates(run.state).any()
    # Answers that cost nothing may be left at full effort, and may still raise the Dice.
    spent = (now["effort"] >= jnp.float32(max_effort)) & (jnp.asarray(max_effort) < 1)
    return (now["dice"] >= jnp.float32(target_dice)) | spent | ~left


def run_queries(
    run: Run,
    priority: jax.Array,
    task: Task,
    config: Config,
    *,
    strategies: tuple[str, ...],
    which: jax.Array | int,
    count: int,
    target_dice: jax.Array | float,
    max_effort: jax.Array | float,
) -> tuple[Run, Record]:
    """`count` queries as one scan; once `finished`, the rest are `done` records without work.

    Args:
      run: so far.
      priority: [N, C] from `draw_priority`.
      task, config: the simulation.
      strategies: names that are `alike`, static; one compilation serves them all.
      which: the index of the strategy to follow.
      count: static.
      target_dice, max_effort: fractions at which to stop; an effort of 1 never stops a run.

    Returns:
      The run, and its records, every field with a leading axis of `count`.
    """
    lessons = lessons_of(task, config, strategies[0])

    def step(run: Run, _: None) -> tuple[Run, Record]:
        stop = finished(run, task, config, target_dice=target_dice, max_effort=max_effort)
        query = ask(run, priority, config, strategies, which)
        section = jnp.where(stop, -1, query.section)
        state, length = true_answer(run.state, section, query.structure, task, config.length)

        def work(learner: Learner, _: Scores) -> tuple[Learner, Scores, Record]:
            learner, losses, scores = relearn(
                learner,
                state,
                task.sections,
                lessons,
                section=query.section,
                structure=query.structure,
                keep=score,
                beside=beside(task),
            )
            record = Record(
                done=jnp.asarray(False),
                section=query.section,
                structure=query.structure,
                predicted_dice=query.dice,
                predicted_length=query.left,
                length=length,
                loss=losses.mean(),
                **standing(state, scores, task, config),
            )
            return learner, scores, record

        def rest(learner: Learner, scores: Scores) -> tuple[Learner, Scores, Record]:
            nothing: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            return learner, scores, nothing.replace(done=jnp.asarray(True))

        shapes = jax.eval_shape(work, run.learner, run.scores)[2]
        # Neither branch hands on the state: XLA copies what a branch hands on.
        learner, scores, record = jax.lax.cond(stop, rest, work, run.learner, run.scores)
        return Run(state=state, learner=learner, scores=scores), record

    return jax.lax.scan(step, run, None, length=count)


class Keys(struct.PyTreeNode):
    """The keys of a run; none depends on the strategy, so strategies share start and network."""

    start: jax.Array
    weights: jax.Array
    training: jax.Array
    priority: jax.Array


def make_keys(key: jax.Array) -> Keys:
    """All keys of the run that `key` names."""
    start_key, weights, training, priority = jax.random.split(key, 4)
    return Keys(start=start_key, weights=weights, training=training, priority=priority)


def draw_priority(key: jax.Array, present: jax.Array, strategy: str) -> jax.Array:
    """The strategy's priority [N, C]; zero for strategies that need none. `present` is [N, C]."""
    draw = STRATEGIES[strategy].draw
    return jnp.zeros(present.shape) if draw is None else draw(key, *present.shape)


def simulate(
    key: jax.Array,
    stack: Stack,
    strategy: str = "BDa",
    config: Config = DEFAULT,
    *,
    queries: int = 100,
    target_dice: jax.Array | float = 1.0,
    max_effort: jax.Array | float = 1.0,
    params: chex.ArrayTree | None = None,
    mesh: Mesh | None = None,
) -> tuple[Run, Record]:
    """Simulates the annotation of a stack: start, initial training, then up to `queries` answers.

    Pure: the same key gives the same run, and two strategies under one key share their start and,
    if they share the loss, their initial network. Under `jax.jit`, `strategy`, `config`,
    `queries` and `mesh` are static.

    Args:
      key: all randomness.
      stack: with the truth of every section.
      strategy: a key of `strategies.STRATEGIES`.
      config: everything else.
      queries: the number of steps of the scan.
      target_dice, max_effort: fractions at which to stop asking.
      params: initial weights instead of drawn ones.
      mesh: devices that share the sections, static; the numbers agree to rounding.

    Returns:
      The run after the last query, and records with a leading axis of `queries + 1`: the start,
      then one per query (`Record.done` marks those that were not needed).

    Example:
      static, options = ("strategy", "config", "queries"), al_jax.compiler_options()
      run = jax.jit(al_jax.simulate, static_argnames=static, compiler_options=options)
      last, records = run(jax.random.key(0), stack, strategy="BDa", queries=50)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy '{strategy}' is not one of {', '.join(STRATEGIES)}")
    keys = make_keys(key)
    task = make_task(stack, config, mesh)
    state = start(keys.start, task, config)
    train_state = initial_train_state(keys.weights, task, config, params)
    train_state, losses = train_initial(
        keys.training, train_state, state, task, config, loss=STRATEGIES[strategy].loss
    )
    run, first = begin(train_state, state, task, config, strategy)
    first = first.replace(loss=losses.mean())
    run, records = run_queries(
        run,
        draw_priority(keys.priority, task.present, strategy),
        task,
        config,
        strategies=(strategy,),
        which=0,
        count=queries,
        target_dice=target_dice,
        max_effort=max_effort,
    )
    return run, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, records)
