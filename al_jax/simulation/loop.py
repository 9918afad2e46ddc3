"""The whole loop (paper, Algorithm 1) with the truth in place of the annotator.

`simulate` is the pure function. It is made of `fit_initial`, `begin` and `run_queries`, which a
program that wants progress, checkpoints and early stopping (`runner`) calls piece by piece, to the
same end.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.core.evidence import Hindsight, make_evidence
from al_jax.core.metrics import dice_of
from al_jax.core.state import ALState, candidates
from al_jax.core.strategies import BDa, Strategy, Suggestion, suggest
from al_jax.learner.config import Config, model_of
from al_jax.learner.learner import Learner, evaluate, fit_initial, propose, update
from al_jax.model.training import TrainState, init_train_state
from al_jax.simulation.annotator import corrected_answer, true_answer, true_remaining
from al_jax.simulation.prepare import Prepared
from al_jax.simulation.scores import Scores, reported, scoring
from al_jax.simulation.task import Task


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
      predicted_dice, predicted_length: [] its Dice and its remaining outline by Eqs. 6 and 5.
      length: [] float32, its actual remaining outline, pixels.
      drawn: [] float32, the part of it that had to be drawn, pixels; less than `length` where a
        proposal was corrected.
      effort_unique: [] float32, all outlines drawn so far, a fraction of the stack's total: each
        crack once, over all cracks once.
      effort_whole: [] float32, whole outlines of the answered structures over the whole outlines of
        all structures on all sections, as in the paper's figures.
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
    effort_unique: chex.Array
    effort_whole: chex.Array
    dice: chex.Array
    dice_unclamped: chex.Array
    class_dice: chex.Array
    class_dice_unclamped: chex.Array
    loss: chex.Array


def begin(
    train_state: TrainState, state: ALState, task: Task, config: Config, strategy: Strategy
) -> tuple[Run, Record]:
    """The run before its first query, from the trained network, and its record as step 0."""
    task = _as_seen(task, config, strategy)
    learner, scores = evaluate(
        train_state,
        state,
        task.sections,
        config,
        strategy=strategy,
        reduction=scoring(task),
        prior=None if task.prior is None else task.prior.dice,
        mesh=task.mesh,
    )
    nothing = jnp.float32(jnp.nan)
    record = Record(
        done=jnp.asarray(False),
        section=jnp.int32(-1),
        structure=jnp.int32(-1),
        predicted_dice=nothing,
        predicted_length=nothing,
        length=state.drawn_unique.sum(),
        drawn=state.drawn_unique.sum(),
        loss=jnp.float32(0),
        **reported(state, scores, task, config),
    )
    return Run(state=state, learner=learner, scores=scores), record


def ask(
    run: Run,
    priority: jax.Array,
    task: Task,
    config: Config,
    *,
    strategies: tuple[Strategy, ...],
    which: jax.Array | int,
) -> Suggestion:
    """The next query (Eq. 7) of the strategy `which` of `strategies`."""
    hindsight = None
    if "hindsight" in strategies[0].reads:
        hindsight = Hindsight(
            dice=jax.vmap(dice_of)(run.scores.clamped),
            remaining=true_remaining(run.state, task, config.query.length),
        )
    evidence = make_evidence(
        run.state,
        run.learner.dice,
        alpha=config.query.alpha,
        uncertainty=run.learner.uncertainty,
        proposed=run.learner.proposed,
        priority=priority,
        min_effort=config.query.min_effort,
        overhead=config.query.overhead,
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
) -> tuple[ALState, jax.Array, jax.Array]:
    """The person's answer: the state after it, the remaining outline before it, the part drawn."""
    if not config.annotator.correct:
        state, left = true_answer(run.state, section, structure, task, config.query.length)
        return state, left, left
    model = model_of(config, task.present.shape[1])
    seen = propose(run.learner, run.state, task.sections, model, section)
    inside = task.sections.inside[section]
    proposal = (seen.segmentation == structure) & inside
    return corrected_answer(run.state, section, structure, proposal, task, config.annotator)


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
    now = reported(run.state, run.scores, task, config)
    left = candidates(run.state).any()
    # Answers that cost nothing may be left at full effort, and may still raise the Dice.
    spent = (now["effort_unique"] >= jnp.float32(max_effort)) & (jnp.asarray(max_effort) < 1)
    return (now["dice"] >= jnp.float32(target_dice)) | spent | ~left


def run_queries(
    run: Run,
    priority: jax.Array,
    task: Task,
    config: Config,
    *,
    strategies: tuple[Strategy, ...],
    which: jax.Array | int,
    count: int,
    target_dice: jax.Array | float,
    max_effort: jax.Array | float,
) -> tuple[Run, Record]:
    """`count` queries as one scan; once `finished`, the others are `done` records without work.

    Args:
      run: so far.
      priority: [N, C] from `draw_priority`.
      task, config: the simulation.
      strategies: that share a program (`strategies.shares_program`), static.
      which: the index of the strategy to follow.
      count: static.
      target_dice, max_effort: fractions at which to stop; an effort of 1 never stops a run.

    Returns:
      The run, and its records, every field with a leading axis of `count`.
    """

    task = _as_seen(task, config, strategies[0])

    def step(run: Run, _: None) -> tuple[Run, Record]:
        stop = finished(run, task, config, target_dice=target_dice, max_effort=max_effort)
        query = ask(run, priority, task, config, strategies=strategies, which=which)
        section = jnp.where(stop, -1, query.section)
        state, length, drawn = answer(run, section, query.structure, task, config)

        def work(learner: Learner, _: Scores) -> tuple[Learner, Scores, Record]:
            learner, losses, scores = update(
                learner,
                state,
                task.sections,
                config,
                strategy=strategies[0],
                answered=[(query.section, query.structure)],
                reduction=scoring(task),
                mesh=task.mesh,
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
                **reported(state, scores, task, config),
            )
            return learner, scores, record

        def rest(learner: Learner, scores: Scores) -> tuple[Learner, Scores, Record]:
            return learner, scores, _no_query(task.present.shape[1])

        # Neither branch hands on the state: XLA copies what a branch hands on.
        learner, scores, record = jax.lax.cond(stop, rest, work, run.learner, run.scores)
        return Run(state=state, learner=learner, scores=scores), record

    return jax.lax.scan(step, run, None, length=count)


def _no_query(num_classes: int) -> Record:
    """The record of a step that has nothing to do: `done`, else zeros."""
    names = {field.name for field in dataclasses.fields(Record)} - {"done", "section", "structure"}
    by_class = {"class_dice", "class_dice_unclamped"}
    numbers = {name: jnp.zeros((num_classes,) * (name in by_class)) for name in names}
    nothing = jnp.int32(0)
    return Record(done=jnp.asarray(True), section=nothing, structure=nothing, **numbers)


def _as_seen(task: Task, config: Config, strategy: Strategy) -> Task:
    """The task with fields between sections, if both the settings and the strategy have them."""
    if not (config.query.neighbours and strategy.neighbours):
        return task.replace(sections=task.sections.replace(fields=None))
    if task.sections.fields is None:
        raise ValueError("the settings have neighbours=True; add them by `with_fields`")
    return task


def draw_priority(key: jax.Array, present: jax.Array, strategy: Strategy) -> jax.Array:
    """The strategy's priority [N, C]; zero for strategies that need none. `present` is [N, C]."""
    return jnp.zeros(present.shape) if strategy.draw is None else strategy.draw(key, *present.shape)


def simulate(
    prepared: Prepared,
    config: Config,
    *,
    strategy: Strategy = BDa,
    queries: int = 100,
    target_dice: jax.Array | float = 1.0,
    max_effort: jax.Array | float = 1.0,
    params: chex.ArrayTree | None = None,
) -> tuple[Run, Record]:
    """Algorithm 1 with the truth as the annotator: initial training, then up to `queries` answers.

    Pure: the same key gives the same run, and two strategies under one key share their start and,
    if they share the loss, their initial network. Under `jax.jit`, `strategy` and `queries` are
    static.

    Args:
      prepared: from `prepare`, under these settings.
      config: the settings.
      strategy: what asks.
      queries: the number of steps of the scan.
      target_dice, max_effort: fractions at which to stop asking.
      params: initial weights instead of drawn ones, such as those of prior stacks.

    Returns:
      The run after the last query, and records with a leading axis of `queries + 1`: the start,
      then one per query (`Record.done` marks those that were not needed).

    Example:
      static, options = ("strategy", "queries"), al_jax.compiler_options()
      run = jax.jit(al_jax.simulate, static_argnames=static, compiler_options=options)
      prepared = al_jax.prepare(jax.random.key(0), stack, config)
      last, records = run(prepared, config, strategy=al_jax.STRATEGIES["BDa"], queries=50)
    """
    keys, task, state = prepared
    model = model_of(config, task.present.shape[1], strategy.loss)
    train_state = init_train_state(keys.weights, model, params)
    losses = jnp.zeros(1)
    if config.training.initial_steps:
        train_state, losses = fit_initial(
            keys.training, train_state, state, task.sections, config, loss=strategy.loss
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
