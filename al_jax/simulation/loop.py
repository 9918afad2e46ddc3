"""The whole loop (paper, Algorithm 1) with the truth in place of the annotator (`oracle`).

`simulate` is the pure function. It is made of `start`, `train_initial`, `begin` and `run_queries`,
which a program that wants progress, checkpoints and early stopping (`driver`) calls piece by piece,
to the same end.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax.core.metrics import dice_of
from al_jax.core.stack import Stack
from al_jax.core.state import ALState, candidates
from al_jax.core.strategies import (
    STRATEGIES,
    Hindsight,
    Strategy,
    Suggestion,
    make_evidence,
    suggest,
)
from al_jax.learner.config import DEFAULT, Config, lessons_for, make_keys, recipe_of
from al_jax.learner.learner import Learner, Lessons, assess, learn_first, propose, relearn
from al_jax.learner.transfer import Known
from al_jax.model.training import TrainState, init_train_state, reduce_sections
from al_jax.simulation.annotator import (
    Scores,
    Task,
    beside,
    corrected_answer,
    make_task,
    meet,
    score,
    standing,
    start,
    true_answer,
    true_remaining,
)


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
      length: [] float32, the outline that was left to trace, pixels.
      drawn: [] float32, what of it had to be drawn, pixels: less, where a proposal was corrected.
      effort: [] float32, all outlines traced so far, a fraction of the stack's total: each crack
        once, over all cracks once.
      effort_own: [] float32, whole outlines of the answered structures over the whole outlines of
        all structures on all sections; the paper's figures are of this kind.
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
    drawn: chex.Array
    effort: chex.Array
    effort_own: chex.Array
    dice: chex.Array
    dice_unclamped: chex.Array
    class_dice: chex.Array
    class_dice_unclamped: chex.Array
    loss: chex.Array


def lessons_of(task: Task, config: Config, strategy: str = "BDa") -> Lessons:
    """What the strategy's network learns and is asked."""
    lessons = lessons_for(task.present.shape[1], config, strategy)
    return dataclasses.replace(lessons, mesh=task.mesh)


def initial_train_state(
    key: jax.Array, task: Task, config: Config, params: chex.ArrayTree | None = None
) -> TrainState:
    """The untrained network: weights drawn from `key`, or the published ones in `params`."""
    return init_train_state(key, recipe_of(task.present.shape[1], config), params)


def train_initial(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    task: Task,
    config: Config,
    *,
    loss: str = "partial",
    first_step: jax.Array | int = 0,
    steps: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """The initial training on a strategy's loss; `learner.learn_first` says more."""
    recipe = recipe_of(task.present.shape[1], config, loss)
    lessons = dataclasses.replace(lessons_of(task, config), recipe=recipe)
    return learn_first(
        key, train_state, state, task.sections, lessons, first_step=first_step, steps=steps
    )


def begin(
    train_state: TrainState, state: ALState, task: Task, config: Config, strategy: str
) -> tuple[Run, Record]:
    """The run before its first query, from the trained network, and its record as step 0."""
    lessons = lessons_of(task, config, strategy)
    learner, scores = assess(
        train_state,
        state,
        task.sections,
        lessons,
        keep=score,
        beside=beside(task),
        known=None if task.known is None else task.known.dice,
    )
    nothing = jnp.float32(jnp.nan)
    record = Record(
        done=jnp.asarray(False),
        section=jnp.int32(-1),
        structure=jnp.int32(-1),
        predicted_dice=nothing,
        predicted_length=nothing,
        length=state.traced.sum(),
        drawn=state.traced.sum(),
        loss=jnp.float32(0),
        **standing(state, scores, task, config),
    )
    return Run(state=state, learner=learner, scores=scores), record


def alike(strategy: str) -> tuple[str, ...]:
    """The strategies that train and predict as this one does, and differ only in what they ask.

    One compilation of `run_queries` serves all of them.
    """

    if strategy not in STRATEGIES:
        raise ValueError(f"strategy '{strategy}' is not one of {', '.join(STRATEGIES)}")

    def work(method: Strategy) -> tuple[str, bool, bool, bool]:
        return method.loss, method.entropy, method.dropout, method.hindsight

    return tuple(k for k, v in STRATEGIES.items() if work(v) == work(STRATEGIES[strategy]))


def ask(
    run: Run,
    priority: jax.Array,
    task: Task,
    config: Config,
    *,
    strategies: tuple[str, ...],
    which: jax.Array | int,
) -> Suggestion:
    """The query that the strategy `which` of `strategies` makes next."""
    hindsight = None
    if STRATEGIES[strategies[0]].hindsight:
        hindsight = Hindsight(
            dice=jax.vmap(dice_of)(run.scores.clamped),
            remaining=true_remaining(run.state, task, config.length),
        )
    evidence = make_evidence(
        run.state,
        run.learner.dice,
        alpha=config.alpha,
        entropy=run.learner.entropy,
        priority=priority,
        min_effort=config.min_effort,
        hindsight=hindsight,
    )
    exclude = None
    if task.late is not None:
        exclude = task.late & (candidates(run.state) & ~task.late).any()
    return jax.lax.switch(
        which,
        [lambda s=s: suggest(run.state, evidence, s, exclude=exclude) for s in strategies],
    )


def answer(
    run: Run,
    section: jax.Array,
    structure: jax.Array,
    task: Task,
    config: Config,
    lessons: Lessons,
) -> tuple[ALState, jax.Array, jax.Array]:
    """The person's answer: the state after it, the outline that was left and what was drawn."""
    if not config.person.correct:
        state, left = true_answer(run.state, section, structure, task, config.length)
        return state, left, left
    seen = propose(run.learner, run.state, task.sections, lessons, section)
    inside = task.sections.inside[section]
    proposal = (seen.segmentation == structure) & inside
    return corrected_answer(run.state, section, structure, proposal, task, config.person)


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
        query = ask(run, priority, task, config, strategies=strategies, which=which)
        section = jnp.where(stop, -1, query.section)
        state, length, drawn = answer(run, section, query.structure, task, config, lessons)

        def work(learner: Learner, _: Scores) -> tuple[Learner, Scores, Record]:
            learner, losses, scores = relearn(
                learner,
                state,
                task.sections,
                lessons,
                answered=[(query.section, query.structure)],
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
                drawn=drawn,
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
    known: Known | None = None,
) -> tuple[Run, Record]:
    """Simulates the annotation of a stack: start, initial training, then up to `queries` answers.

    Pure: the same key gives the same run, and two strategies under one key share their start and,
    if they share the loss, their initial network. Under `jax.jit`, `strategy`, `config`,
    `queries` and `mesh` are static.

    Args:
      key: all randomness.
      stack: with the truth of every section.
      strategy: a key of `strategies.STRATEGIES`.
      config: everything else; a `training.reduction` of 0 is 1 here, as what is traced first is
        not known when this is compiled.
      queries: the number of steps of the scan.
      target_dice, max_effort: fractions at which to stop asking.
      params: initial weights instead of drawn ones.
      mesh: devices that share the sections, static; the numbers agree to rounding.
      known: from earlier stacks (`experience.fit_to`), whose weights are `params`.

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
    task = make_task(stack, config, mesh).replace(known=known)
    factor = config.training.reduction or 1
    task = task.replace(sections=reduce_sections(task.sections, factor))
    task = meet(keys.person, task, config.person)
    state = start(keys.start, task, config)
    train_state = initial_train_state(keys.weights, task, config, params)
    losses = jnp.zeros(1)
    if config.initial_steps:
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
