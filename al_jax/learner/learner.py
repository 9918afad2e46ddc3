"""The network in the loop: its weights, its Dice history (Eq. 6), and its training on answers.

A simulation and a person's session call the same functions; none of them knows the truth.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.losses import Loss, partial_cross_entropy
from al_jax.core.metrics import class_areas, dice, mean_dice
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import ALState, partial_labels
from al_jax.core.strategies import BDa, Strategy, proposes
from al_jax.learner import neighbours
from al_jax.learner.config import Config, model_of
from al_jax.model.config import ModelConfig, Training
from al_jax.model.inputs import Sections, make_sections
from al_jax.model.prediction import LogPrior, Prediction, predict, predict_section
from al_jax.model.resolution import downsample_sections, suited_sections
from al_jax.model.subsets import subset_width
from al_jax.model.training import TrainState, init_train_state, reset_momentum, train


class Learner(struct.PyTreeNode):
    """The network and its record so far; [N, C] where no shape is given.

    Attributes:
      train: weights and momentum.
      dice: [2, C] float32, D at T-1 and at T-2 (Eq. 6); NaN where none is known yet.
      trials: [3, C] float32, sums over the answers of each structure, each with half the weight of
        the next: of the Dice of the prediction just before it, of the fit then, and of one.
      fit: Dice of the network's own argmax over the classes in range against what is labelled.
      labelled: bool, the structure has a labelled pixel on the section: where `fit` counts.
      uncertainty: H of Eq. 8 or another measure, of the latest prediction of each section; one
        before the first, zero if the strategy has none.
      carrying: what answers tell of outlines that are carried from neighbouring sections
        (`neighbours.begin`), or None: none are.
      proposed: float32, the outlines of the latest prediction of each section (Eq. 4), pixels; NaN
        where nothing is known. None: the strategy does not read it, or nothing was predicted yet.
    """

    train: TrainState
    dice: jax.Array
    trials: jax.Array
    fit: jax.Array
    labelled: jax.Array
    uncertainty: jax.Array
    carrying: jax.Array | None = None
    proposed: jax.Array | None = None


Pair = tuple[jax.Array | int, jax.Array | int]
"""Section and structure."""


class Reduction(struct.PyTreeNode):
    """What a caller wants of a prediction of the stack, apart from what the method needs.

    Attributes:
      reduce_fn: (prediction of a section, its `aux`) -> a pytree of arrays; static.
      aux: pytree of [N, ...], handed to it section by section.
    """

    reduce_fn: Callable[[Prediction, Any], chex.ArrayTree] = struct.field(pytree_node=False)
    aux: chex.ArrayTree = None


NOTHING = Reduction(lambda _prediction, _aux: None)


def network_sections(images: Images, state: ALState, config: Config) -> Sections:
    """What the network sees of a stack under these settings; use it outside jit.

    Its resolution is the one that they give; if that is 0, the one that suits the labels so far.
    A range that is widened later may need another (`subsets.subset_width`).
    """
    sections, factor = make_sections(images), config.training.downsampling
    sections = sections.replace(classes=subset_width(state.in_range, state.seen))
    if factor:
        return downsample_sections(sections, factor)
    return suited_sections(sections, state.labels, state.seen.shape[1])


def init_learner(key: jax.Array, state: ALState, config: Config) -> Learner:
    """An untrained network, with weights drawn from `key`."""
    num_sections, num_classes = state.annotated.shape
    nothing = jnp.zeros((num_sections, num_classes))
    return Learner(
        train=init_train_state(key, model_of(config, num_classes)),
        dice=jnp.full((2, num_classes), jnp.nan),
        trials=jnp.zeros((3, num_classes)),
        fit=nothing,
        labelled=nothing.astype(bool),
        uncertainty=jnp.ones_like(nothing),
    )


def nothing_proposed(shape: tuple[int, ...]) -> np.ndarray:
    """`Learner.proposed` [N, C] before any prediction."""
    return np.full(shape, np.nan, np.float32)


def fit_initial(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    sections: Sections,
    config: Config,
    *,
    loss: Loss = partial_cross_entropy,
    first_step: jax.Array | int = 0,
    steps: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """The training before the first query, or `steps` of it from `first_step`.

    Returns:
      Weights and momentum, and the loss of every step.
    """
    return train(
        key,
        train_state,
        sections,
        partial_labels(state),
        model_of(config, state.annotated.shape[1], loss),
        steps=config.training.initial_steps if steps is None else steps,
        learning_rate=initial_rate(config.training),
        first_step=first_step,
    )


def initial_rate(training: Training) -> optax.Schedule:
    """The learning rate of each step before the first query."""
    if training.schedule == "constant":
        return optax.constant_schedule(training.learning_rate)
    steps = training.initial_steps
    warmup = steps // 20
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, training.learning_rate, warmup),
            optax.cosine_decay_schedule(training.learning_rate, steps - warmup),
        ],
        [warmup],
    )


def evaluate(
    train_state: TrainState,
    state: ALState,
    sections: Sections,
    config: Config,
    *,
    strategy: Strategy = BDa,
    reduction: Reduction = NOTHING,
    where: jax.Array | None = None,
    prior: jax.Array | None = None,
    mesh: Mesh | None = None,
) -> tuple[Learner, chex.ArrayTree]:
    """The learner before its first query: D(T-2) is D(T-1).

    Args:
      train_state: the trained network.
      state, sections: what is labelled, and on what.
      config, strategy: the settings, and what will ask.
      reduction: what else is wanted of the prediction.
      where: see `prediction.predict`. Of Eq. 6 only the sections with answers count
        (`state.seen.any(1)`).
      prior: [C], D of structures that are not labelled here, from prior stacks; NaN: not known.
      mesh: devices that share the sections.

    Returns:
      The learner, and the result of `reduction`.
    """
    key = jax.random.fold_in(state.key, 0)
    carrying = None
    if sections.fields is not None:
        count, inside = state.annotated.shape[1], sections.inside
        areas = jax.lax.map(lambda x: class_areas(x[0], x[1], count), (state.labels, inside))
        carrying = neighbours.begin(areas.sum(0) / sections.downsampling**2, prior)
    found, reduced = _evaluate(
        key,
        train_state,
        carrying,
        state,
        sections,
        config,
        strategy,
        reduction=reduction,
        where=where,
        mesh=mesh,
    )
    now = estimated_dice(found["fit"], found["labelled"], prior)
    trials = jnp.zeros((3, now.shape[0]))
    learner = Learner(
        train=train_state,
        dice=jnp.stack([now, now]),
        trials=trials,
        carrying=carrying,
        **found,
    )
    return learner, reduced


def fit(
    key: jax.Array,
    learner: Learner,
    state: ALState,
    sections: Sections,
    config: Config,
    *,
    strategy: Strategy = BDa,
) -> tuple[Learner, jax.Array]:
    """All before the first query: `fit_initial`, then `evaluate`.

    Returns:
      The learner, and the loss of every step.
    """
    trained, losses = learner.train, jnp.zeros(0)
    if config.training.initial_steps:
        loss = strategy.loss
        trained, losses = fit_initial(key, trained, state, sections, config, loss=loss)
    return evaluate(trained, state, sections, config, strategy=strategy)[0], losses


def update(
    learner: Learner,
    state: ALState,
    sections: Sections,
    config: Config,
    *,
    strategy: Strategy = BDa,
    answered: Sequence[Pair] = (),
    reduction: Reduction = NOTHING,
    where: jax.Array | None = None,
    mesh: Mesh | None = None,
) -> tuple[Learner, jax.Array, chex.ArrayTree]:
    """The step after one answer or several: fine-tunes, predicts, and records D of Eq. 6.

    All randomness comes from the state's key and step, so that the same answers give the same
    network, in a simulation as in a session.

    Args:
      learner: before the answers.
      state: after them.
      sections: the stack.
      config, strategy: the settings, and what asks.
      answered: section and structure of each answer in turn, unless `record_answer` was called for
        it; not needed by 'fit'.
      reduction, where, mesh: see `evaluate`, of the new network's prediction.

    Returns:
      The learner, the loss of every step, and the result of `reduction`.
    """
    for pair in answered:
        learner = record_answer(learner, state, sections, config, pair)
    key_train, key_predict = jax.random.split(jax.random.fold_in(state.key, state.step))
    train_state, losses = train(
        key_train,
        reset_momentum(learner.train, config.training),
        sections,
        partial_labels(state),
        model_of(config, state.annotated.shape[1], strategy.loss),
        steps=config.training.query_steps,
        learning_rate=config.training.query_learning_rate,
    )
    found, reduced = _evaluate(
        key_predict,
        train_state,
        learner.carrying,
        state,
        sections,
        config,
        strategy,
        reduction=reduction,
        where=where,
        mesh=mesh,
    )
    if where is not None:
        found["uncertainty"] = jnp.where(where[:, None], found["uncertainty"], learner.uncertainty)
        if "proposed" in found and learner.proposed is not None:
            found["proposed"] = jnp.where(where[:, None], found["proposed"], learner.proposed)
    history, estimate = learner.dice, config.query.dice_estimate
    if estimate != "prospective":
        now = estimated_dice(found["fit"], found["labelled"], history[0])
        if estimate == "shrunk":
            now = jnp.where(found["labelled"].any(0), shrunk_dice(now, learner.trials), now)
        history = jnp.stack([now, _fill_nan(history[0], now)])
    return learner.replace(train=train_state, dice=history, **found), losses, reduced


def record_answer(
    learner: Learner,
    state: ALState,
    sections: Sections,
    config: Config,
    pair: Pair,
) -> Learner:
    """The learner with the Dice of its prediction just before an answer.

    `update` does this for the answers that it is given; 'fit' does not need it, but where outlines
    are carried.

    Args:
      learner: before the answer.
      state: after it, and possibly after others that the network was not trained on either.
      sections, config: see `update`.
      pair: section and structure of the answer.
    """
    if config.query.dice_estimate == "fit" and sections.fields is None:
        return learner
    model = model_of(config, state.annotated.shape[1])
    score = prospective_dice(learner, state, sections, model, pair)
    if sections.fields is not None:
        score, alone = score
        assert learner.carrying is not None
        partial = partial_labels(state)
        carrying = neighbours.add_trial(learner.carrying, alone, partial, sections.fields, pair)
        learner = learner.replace(carrying=carrying)
        if config.query.dice_estimate == "fit":
            return learner
    fit, there = estimated_dice(learner.fit, learner.labelled, learner.dice[0]), state.seen[pair]
    trials = add_trial(learner.trials, pair[1], score, fit, there=there)
    history = learner.dice
    if config.query.dice_estimate == "prospective":
        history = _remember(history, pair[1], score, there)
    return learner.replace(dice=history, trials=trials)


def add_trial(
    trials: jax.Array,
    structure: jax.Array | int,
    score: jax.Array,
    fit: jax.Array,
    *,
    there: jax.Array,
) -> jax.Array:
    """`Learner.trials` after an answer, unless the structure is not `there`.

    Args:
      trials: [3, C] before it.
      structure: that was answered.
      score: [], the Dice of the prediction just before.
      fit: [C], the fits then; of a structure without one (NaN) `score` takes its place.
      there: [] bool.
    """
    answered = (jnp.arange(trials.shape[1]) == structure) & there
    one = jnp.stack([jnp.full_like(fit, score), _fill_nan(fit, score), jnp.ones_like(fit)])
    return jnp.where(answered, trials / 2 + one, trials)


def shrunk_dice(fit: jax.Array, trials: jax.Array) -> jax.Array:
    """D of Eq. 6 [C], estimated for what is not labelled from the trials of earlier answers.

    The fit to the labels is optimistic. By how much is estimated over all structures: the Dice of
    predictions over the fits, with one trial of Dice 1 and fit 1 added; at most 1, as D above 1
    would favour costly pairs. The estimate is the mean of a structure's own trials and of one more
    trial, whose Dice is its fit times that ratio.

    Args:
      fit: [C], `estimated_dice`.
      trials: [3, C], see `Learner`.
    """
    scores, fits, count = trials
    ratio = jnp.minimum((1 + scores.sum()) / (1 + fits.sum()), 1)
    return (scores + fit * ratio) / (count + 1)


def estimated_dice(
    fit: jax.Array, labelled: jax.Array, prior: jax.Array | None = None
) -> jax.Array:
    """D of Eq. 6 [C]: how well the network alone redraws each structure where it is labelled.

    Args:
      fit: [N, C], its Dice.
      labelled: [N, C] bool, where that counts.
      prior: [C], D of structures without a labelled pixel; None: they are NaN.
    """
    found = mean_dice(fit, labelled)
    return found if prior is None else _fill_nan(found, prior)


def prospective_dice(
    learner: Learner, state: ALState, sections: Sections, model: ModelConfig, pair: Pair
) -> jax.Array:
    """Dice [] of the prediction made just before an answer, in `state`, against that answer.

    Where outlines are carried, [2]: the other is of the network alone.
    """
    section, structure = pair
    own, labels = _at(sections, section), state.labels[section]
    before = state.replace(annotated=state.annotated.at[section, structure].set(False))
    partial = _at(partial_labels(before), section)
    partial = partial.replace(labels=jnp.where(labels == structure, UNLABELLED, labels))
    num_classes = state.annotated.shape[1]

    def score(log_prior: LogPrior | None = None) -> jax.Array:
        # The key is of dropout, which is not asked for.
        prediction = predict_section(
            state.key, learner.train.params, own, partial, model, log_prior=log_prior
        )
        # Only the answered structure's Dice is read: the other classes' labels play no part in it.
        return dice(prediction.segmentation, labels, own.inside, num_classes)[structure]

    if sections.fields is None:
        return score()
    # The section's own labels are not carried to it, so that the state after the answer will do.
    log_prior = _log_prior(learner.carrying, state, sections)
    assert log_prior is not None
    return jnp.stack([score(log_prior(jnp.asarray(section))), score()])


def propose(
    learner: Learner,
    state: ALState,
    sections: Sections,
    model: ModelConfig,
    section: jax.Array | int,
) -> Prediction:
    """The prediction of a section before an answer, given what is labelled there (Eqs. 3, 4)."""
    own, partial = _at(sections, section), _at(partial_labels(state), section)
    log_prior = _log_prior(learner.carrying, state, sections)
    # The key is of dropout, which is not asked for.
    return predict_section(
        state.key,
        learner.train.params,
        own,
        partial,
        model,
        log_prior=None if log_prior is None else log_prior(jnp.asarray(section)),
    )


def segment_stack(
    learner: Learner,
    state: ALState,
    sections: Sections,
    config: Config,
    *,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The segmentation of Eq. 4, [N, H, W] int16, and its confidence (Eq. 3), float16.

    Both are meaningless outside the image domain. `mesh`: devices that share the sections.
    """
    return predict(
        state.key,
        learner.train.params,
        sections,
        partial_labels(state),
        model_of(config, state.annotated.shape[1]),
        reduce_fn=lambda p, _: (p.segmentation, xla.to_half(p.confidence)),
        log_prior=_log_prior(learner.carrying, state, sections),
        mesh=mesh,
    )


def _evaluate(
    key: jax.Array,
    train_state: TrainState,
    carrying: jax.Array | None,
    state: ALState,
    sections: Sections,
    config: Config,
    strategy: Strategy,
    *,
    reduction: Reduction,
    where: jax.Array | None,
    mesh: Mesh | None,
) -> tuple[dict[str, jax.Array], chex.ArrayTree]:
    """What the method needs of a prediction, by fields of `Learner`, and what `reduction` gives."""

    def both(prediction: Prediction, aux: Any) -> tuple[dict[str, jax.Array], chex.ArrayTree]:
        found = {name: getattr(prediction, name) for name in ("fit", "labelled", "uncertainty")}
        if proposes(strategy):
            found["proposed"] = prediction.outlines
        return found, reduction.reduce_fn(prediction, aux)

    found, reduced = predict(
        key,
        train_state.params,
        sections,
        partial_labels(state),
        model_of(config, state.annotated.shape[1], strategy.loss),
        reduce_fn=both,
        aux=reduction.aux,
        where=where,
        uncertainty=strategy.uncertainty,
        dropout_samples=config.query.dropout_samples if strategy.dropout else 0,
        length=config.query.length if proposes(strategy) else None,
        log_prior=_log_prior(carrying, state, sections),
        mesh=mesh,
    )
    if where is not None and "proposed" in found:  # elsewhere nothing is known of it
        found["proposed"] = jnp.where(where[:, None], found["proposed"], jnp.nan)
    return found, reduced


def _log_prior(
    carrying: jax.Array | None, state: ALState, sections: Sections
) -> Callable[[jax.Array], LogPrior] | None:
    """From a section to what carried outlines add to its logits."""
    fields = sections.fields
    if fields is None or carrying is None:
        return None
    return lambda section: functools.partial(
        neighbours.log_prior, partial_labels(state), fields, section, carrying
    )


def _remember(
    history: jax.Array, structure: jax.Array | int, score: jax.Array, there: jax.Array
) -> jax.Array:
    """The history [2, C] with a structure's new Dice, unless it is not `there`."""
    answered = (jnp.arange(history.shape[1]) == structure) & there
    now = jnp.full_like(history[0], score)
    shifted = jnp.stack([now, _fill_nan(history[0], now)])
    return jnp.where(answered, shifted, history)


def _fill_nan(dice: jax.Array, otherwise: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(dice), otherwise, dice)


def _at(tree: Any, section: jax.Array | int) -> Any:
    if isinstance(tree, Sections):
        tree = tree.replace(fields=None)  # which are of no single section
    return jax.tree.map(lambda leaf: leaf[section], tree)


def check_loss(losses: np.ndarray, where: str, first: int) -> None:
    """Raises InputError if a loss is not finite; `where` has braces for its number."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    if wrong.size:
        raise InputError(f"the loss is not finite at {where.format(first + wrong[0])}; lower it")
