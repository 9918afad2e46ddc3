"""The whole loop (paper, Algorithm 1) with the truth in place of the annotator.

`simulate` is the pure function. It is made of `start`, `train_initial` and `run_queries`, which a
program that wants progress, checkpoints and early stopping calls piece by piece, to the same end.
"""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax.boundary import DIRECTIONS, total_length
from al_jax.metrics import dice_of, mean_dice, presence
from al_jax.networks import FCN, make_network
from al_jax.stack import Stack
from al_jax.state import (
    ALState,
    annotate,
    candidates,
    compatible,
    init_state,
    initial_queries,
    ranges,
)
from al_jax.strategies import STRATEGIES, Strategy, Suggestion, suggest
from al_jax.training import (
    Prediction,
    Sections,
    Training,
    TrainState,
    fine_tune,
    init_train_state,
    make_sections,
    predict,
    train,
)

ESTIMATES = ("fit", "prospective")
DICE_OVER = ("sections", "stack")


@dataclasses.dataclass(frozen=True)
class Config:
    """A simulation but for its stack, strategy and key; hashable, static under jit.

    Attributes:
      network: a key of `networks.NETWORKS`.
      initial_epochs, query_epochs: epochs before the first query and after each answer.
      learning_rate, query_learning_rate: of the two.
      alpha: of Eq. 6.
      dice_estimate: where D of Eq. 6 comes from: 'fit', the network's own prediction of what was
        traced, or 'prospective', the prediction made just before each answer arrived.
      min_effort: lower bound of a predicted effort, pixels.
      length: 'crack' or 'crofton'.
      margin: sections added to both ends of each structure's range.
      dropout_samples: S of Eq. 9.
      dice_over: the reported Dice of a class is a mean over 'sections' or pooled over the 'stack'.
      count_background: whether the reported Dice averages over the background too.
      training: of the network.
    """

    network: str = "small"
    initial_epochs: int = 270
    query_epochs: int = 6
    learning_rate: float = 0.05
    query_learning_rate: float = 0.01
    alpha: float = 0.5
    dice_estimate: str = "fit"
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


class Run(struct.PyTreeNode):
    """A simulation under way.

    Attributes:
      state: what has been annotated.
      train: the network.
      prediction: of the stack by this network under these annotations.
    """

    state: ALState
    train: TrainState
    prediction: Prediction


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
    if mesh is not None:
        # `jax.make_mesh` asks for explicit shardings of every operation; here they follow the data.
        mesh = Mesh(mesh.devices, mesh.axis_names)
    stack = jax.tree.map(jnp.asarray, stack)  # scans cannot index NumPy arrays
    lengths = jax.lax.map(
        lambda x: total_length(x[0], x[1], config.length), (stack.truth, stack.inside)
    )
    return Task(
        sections=make_sections(stack.images, stack.inside),
        truth=stack.truth,
        present=presence(stack.truth, stack.inside, len(stack.names)),
        total=lengths.sum(),
        mesh=mesh,
    )


def start(key: jax.Array, task: Task, config: Config) -> ALState:
    """One annotation per class on a central section (paper, 3.2.1): the same for all strategies."""
    key_queries, key_state = jax.random.split(key)
    inside = task.sections.inside
    chosen = initial_queries(key_queries, task.present)

    def answer(state: ALState, structure: jax.Array) -> tuple[ALState, None]:
        # A class that is nowhere has no pixel to trace, and must not count as answered either.
        section = chosen[structure]
        answered = _answer(state, section, structure, task, config)[0]
        annotated = jnp.where(section >= 0, answered.annotated, state.annotated)
        return answered.replace(annotated=annotated), None

    state = init_state(key_state, inside, ranges(task.present, config.margin))
    state = jax.lax.scan(answer, state, jnp.arange(task.present.shape[1]))[0]
    return state.replace(step=jnp.int32(0))


def _answer(
    state: ALState,
    section: jax.Array,
    structure: jax.Array,
    task: Task,
    config: Config,
    asked: jax.Array | bool = True,
) -> tuple[ALState, jax.Array]:
    """The true outline; nothing is traced if it was not `asked` for."""
    mask = (task.truth[section] == structure) & asked
    return annotate(state, section, structure, mask, task.sections.inside, config.length)


def initial_train_state(
    key: jax.Array, task: Task, config: Config, params: chex.ArrayTree | None = None
) -> TrainState:
    """The untrained network: weights drawn from `key`, or the published ones in `params`."""
    return init_train_state(key, _network(task, config), config.training, params)


def _network(task: Task, config: Config) -> FCN:
    return make_network(config.network, task.present.shape[1])


def train_initial(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    task: Task,
    config: Config,
    loss: str = "partial",
    first_epoch: jax.Array | int = 0,
    epochs: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """The initial training, or `epochs` of it from `first_epoch`; `training.train` says more."""
    return train(
        key, train_state, task.sections, state.labels, compatible(state),
        config.initial_epochs if epochs is None else epochs, config.learning_rate,
        _network(task, config), config.training, loss, first_epoch,
    )  # fmt: skip


def _predict(
    key: jax.Array, train_state: TrainState, state: ALState, task: Task, config: Config,
    strategy: str,
) -> Prediction:  # fmt: skip
    method = STRATEGIES[strategy]
    return predict(
        key, train_state.params, task.sections, state.labels, compatible(state), state.in_range,
        task.truth, _network(task, config), config.training,
        entropy=method.entropy,
        dropout_samples=config.dropout_samples if method.dropout else 0,
        mesh=task.mesh,
    )  # fmt: skip


def estimated_dice(prediction: Prediction) -> jax.Array:
    """D of Eq. 6 [C]: how well the network alone redraws each structure where it was traced.

    Zero for a structure without a traced pixel.
    """
    return jnp.nan_to_num(mean_dice(prediction.fit, prediction.traced))


def _summary(
    state: ALState, prediction: Prediction, task: Task, config: Config
) -> dict[str, jax.Array]:
    if config.dice_over == "sections":
        class_dice = mean_dice(prediction.clamped, task.present)
        class_dice_unclamped = mean_dice(prediction.unclamped, task.present)
    else:
        somewhere = task.present.any(0)
        class_dice = jnp.where(somewhere, dice_of(prediction.clamped_overlap.sum(0)), jnp.nan)
        class_dice_unclamped = jnp.where(
            somewhere, dice_of(prediction.unclamped_overlap.sum(0)), jnp.nan
        )
    first = 0 if config.count_background else 1
    return {
        "effort": state.traced.sum() / task.total,
        "dice": jnp.nanmean(class_dice[first:]),
        "dice_unclamped": jnp.nanmean(class_dice_unclamped[first:]),
        "class_dice": class_dice,
        "class_dice_unclamped": class_dice_unclamped,
    }


def begin(
    train_state: TrainState, state: ALState, task: Task, config: Config, strategy: str
) -> tuple[Run, Record]:
    """The run before its first query, from the trained network, and its record as step 0."""
    prediction = _predict(
        jax.random.fold_in(state.key, 0), train_state, state, task, config, strategy
    )
    now = estimated_dice(prediction)
    state = state.replace(dice=jnp.stack([now, now]))
    record = Record(
        done=jnp.asarray(False), section=jnp.int32(-1), structure=jnp.int32(-1),
        predicted_dice=jnp.float32(jnp.nan), predicted_length=jnp.float32(jnp.nan),
        length=state.traced.sum(), loss=jnp.float32(0),
        **_summary(state, prediction, task, config),
    )  # fmt: skip
    return Run(state=state, train=train_state, prediction=prediction), record


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

    def by(strategy: str) -> Callable[[], Suggestion]:
        return lambda: suggest(
            run.state, strategy, config.alpha, run.prediction.entropy, priority, config.min_effort
        )

    return jax.lax.switch(which, [by(strategy) for strategy in strategies])


def learn(
    run: Run, query: Suggestion, length: jax.Array, task: Task, config: Config, strategy: str
) -> tuple[Run, Record]:
    """What follows an answer: fine-tune, predict, remember the Dice.

    Args:
      run: its state after the answer, network and prediction before it.
      query: that was answered.
      length: [] the outline traced, pixels.
      task, config, strategy: the simulation.
    """
    state = run.state
    key_train, key_predict = jax.random.split(jax.random.fold_in(state.key, state.step))
    train_state, losses = fine_tune(
        key_train, run.train, task.sections, state.labels, compatible(state),
        config.query_epochs, config.query_learning_rate, _network(task, config), config.training,
        STRATEGIES[strategy].loss,
    )  # fmt: skip
    prediction = _predict(key_predict, train_state, state, task, config, strategy)
    if config.dice_estimate == "fit":
        now = estimated_dice(prediction)
        history = jnp.stack([now, state.dice[0]])
    else:
        now = run.prediction.clamped[query.section, query.structure]
        shifted = jnp.stack([jnp.full_like(state.dice[0], now), state.dice[0]])
        answered = jnp.arange(shifted.shape[1]) == query.structure
        history = jnp.where(answered, shifted, state.dice)
    state = state.replace(dice=history)
    record = Record(
        done=jnp.asarray(False), section=query.section, structure=query.structure,
        predicted_dice=query.dice, predicted_length=query.length, length=length,
        loss=losses.mean(), **_summary(state, prediction, task, config),
    )  # fmt: skip
    return Run(state=state, train=train_state, prediction=prediction), record


def finished(
    run: Run,
    task: Task,
    config: Config,
    target_dice: jax.Array | float,
    max_effort: jax.Array | float,
) -> jax.Array:
    """[] bool: Dice or effort has reached its target, or nothing is left to ask."""
    now = _summary(run.state, run.prediction, task, config)
    left = candidates(run.state).any()
    # Answers that cost nothing may be left at full effort, and may still raise the Dice.
    spent = (now["effort"] >= max_effort) & (jnp.asarray(max_effort) < 1)
    return (now["dice"] >= target_dice) | spent | ~left


def run_queries(
    run: Run,
    priority: jax.Array,
    task: Task,
    config: Config,
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

    def step(run: Run, _: None) -> tuple[Run, Record]:
        stop = finished(run, task, config, target_dice, max_effort)
        query = ask(run, priority, config, strategies, which)
        answered, length = _answer(run.state, query.section, query.structure, task, config, ~stop)
        # The labels stay outside the branches, as XLA copies what a branch hands on.
        labels = answered.labels
        before, after = (state.replace(labels=None) for state in (run.state, answered))
        state = jax.tree.map(lambda a, b: jnp.where(stop, a, b), before, after)

        def work(run: Run) -> tuple[Run, Record]:
            run = run.replace(state=run.state.replace(labels=labels))
            run, record = learn(run, query, length, task, config, strategies[0])
            return run.replace(state=run.state.replace(labels=None)), record

        def rest(run: Run) -> tuple[Run, Record]:
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            return run, nothing.replace(done=jnp.asarray(True))

        run = run.replace(state=state)
        shapes = jax.eval_shape(work, run)[1]
        run, record = jax.lax.cond(stop, rest, work, run)
        return run.replace(state=run.state.replace(labels=labels)), record

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
        keys.training, train_state, state, task, config, STRATEGIES[strategy].loss
    )
    run, first = begin(train_state, state, task, config, strategy)
    first = first.replace(loss=losses.mean())
    run, records = run_queries(
        run, draw_priority(keys.priority, task.present, strategy), task, config, (strategy,), 0,
        queries, target_dice, max_effort,
    )  # fmt: skip
    return run, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, records)
