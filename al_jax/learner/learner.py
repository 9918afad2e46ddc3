"""The network in the loop: its weights, its Dice history (Eq. 6), and how it learns from answers.

A simulation and a person's session call the same functions; none of them knows the truth.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh

from al_jax.core.metrics import dice, mean_dice
from al_jax.core.stack import UNLABELLED, InputError
from al_jax.core.state import ALState, partial_labels
from al_jax.model.networks import make_network
from al_jax.model.prediction import Prediction, predict, predict_section
from al_jax.model.training import Recipe, Sections, TrainState, at_rest, init_train_state, train

ESTIMATES = ("fit", "prospective", "shrunk")
SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True)
class Lessons:
    """How the network of a loop learns and what is asked of it; hashable, static under jit.

    Attributes:
      recipe: the network, its training and its loss.
      initial_steps, query_steps: training steps before the first query and after each answer.
      learning_rate, query_learning_rate: of the two.
      schedule: of the first, of `SCHEDULES`: the rate is 'constant', or rises for a twentieth of
        the steps and then falls to zero as a 'cosine'.
      dice_estimate: where D of Eq. 6 comes from: 'fit', the network's own prediction of what was
        traced; 'prospective', the prediction made just before each answer arrived; 'shrunk', the
        latter as a mean per structure, shrunk to the former (`shrunk_dice`).
      entropy: whether the strategy needs H of Eq. 8.
      dropout_samples: S of Eq. 9; 0 takes the entropy of the network without dropout.
      mesh: devices that share the sections when the stack is predicted, or None.
    """

    recipe: Recipe
    initial_steps: int = 810
    query_steps: int = 18
    learning_rate: float = 3e-3
    query_learning_rate: float = 1e-3
    schedule: str = "cosine"
    dice_estimate: str = "shrunk"
    entropy: bool = False
    dropout_samples: int = 0
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        """Refuses an unknown estimate or schedule."""
        if self.dice_estimate not in ESTIMATES:
            raise ValueError(f"dice_estimate '{self.dice_estimate}' is not of {ESTIMATES}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule '{self.schedule}' is not of {SCHEDULES}")


class Learner(struct.PyTreeNode):
    """The network and what it has shown so far; [N, C] where no shape is given.

    Attributes:
      train: weights and momentum.
      dice: [2, C] float32, D at T-1 and at T-2 (Eq. 6); NaN where none is known yet.
      trials: [3, C] float32, over the answers of each structure, where each counts half of the
        next: the sum of the Dice just before them, of the fits then, and their number.
      fit: Dice of the network's own argmax over the classes in range against what was traced.
      traced: bool, the structure has a traced pixel on the section: where `fit` counts.
      entropy: H of Eq. 8 (zero if `Lessons` do not ask for it).
    """

    train: TrainState
    dice: jax.Array
    trials: jax.Array
    fit: jax.Array
    traced: jax.Array
    entropy: jax.Array


Pair = tuple[jax.Array | int, jax.Array | int]
"""Section and structure."""

Keep = Callable[[Prediction, Any], chex.ArrayTree]


def _nothing(_prediction: Prediction, _beside: Any) -> None:
    return None


def make_lessons(num_classes: int, network: str = "small", **changes: Any) -> Lessons:
    """The default lessons of a network of `networks.NETWORKS`; `changes` are fields of `Lessons`.

    Example:
      >>> make_lessons(9, initial_steps=10).query_steps
      18
    """
    return Lessons(recipe=Recipe(make_network(network, num_classes)), **changes)


def init_learner(
    key: jax.Array, state: ALState, lessons: Lessons, params: chex.ArrayTree | None = None
) -> Learner:
    """A network that has seen nothing, with weights drawn from `key` or given ones."""
    num_sections, num_classes = state.annotated.shape
    nothing = jnp.zeros((num_sections, num_classes))
    return Learner(
        train=init_train_state(key, lessons.recipe, params),
        dice=jnp.full((2, num_classes), jnp.nan),
        trials=jnp.zeros((3, num_classes)),
        fit=nothing,
        traced=nothing.astype(bool),
        entropy=nothing,
    )


def learn_first(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    *,
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
        lessons.recipe,
        steps=lessons.initial_steps if steps is None else steps,
        learning_rate=first_rate(lessons),
        first_step=first_step,
    )


def first_rate(lessons: Lessons) -> optax.Schedule:
    """The learning rate of each step before the first query."""
    if lessons.schedule == "constant":
        return optax.constant_schedule(lessons.learning_rate)
    steps = lessons.initial_steps
    warmup = steps // 20
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, lessons.learning_rate, warmup),
            optax.cosine_decay_schedule(lessons.learning_rate, steps - warmup),
        ],
        [warmup],
    )


def assess(
    train_state: TrainState,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    *,
    keep: Keep = _nothing,
    beside: chex.ArrayTree = None,
    where: jax.Array | None = None,
    known: jax.Array | None = None,
) -> tuple[Learner, chex.ArrayTree]:
    """The learner before its first query: D(T-2) is D(T-1).

    Args:
      train_state: the trained network.
      state, sections: what was traced, and on what.
      lessons: static.
      keep, beside, where: as of `prediction.predict`, of the same prediction. Of Eq. 6 only the
        sections with answers count (`state.seen.any(1)`).
      known: [C], D of structures that were not traced here, from earlier stacks; NaN: not known.

    Returns:
      The learner, and what `keep` made of its prediction.
    """
    key = jax.random.fold_in(state.key, 0)
    seen, kept = _look(key, train_state, state, sections, lessons, (keep, beside, where))
    now = estimated_dice(seen["fit"], seen["traced"], known)
    trials = jnp.zeros((3, now.shape[0]))
    return Learner(train=train_state, dice=jnp.stack([now, now]), trials=trials, **seen), kept


def learn(
    key: jax.Array, learner: Learner, state: ALState, sections: Sections, lessons: Lessons
) -> tuple[Learner, jax.Array]:
    """All before the first query: `learn_first`, then `assess`.

    Returns:
      The learner, and the loss of every step.
    """
    trained, losses = learn_first(key, learner.train, state, sections, lessons)
    return assess(trained, state, sections, lessons)[0], losses


def relearn(
    learner: Learner,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    *,
    answered: Sequence[Pair] = (),
    keep: Keep = _nothing,
    beside: chex.ArrayTree = None,
    where: jax.Array | None = None,
) -> tuple[Learner, jax.Array, chex.ArrayTree]:
    """What follows an answer or several: fine-tune, predict, remember the Dice.

    All randomness comes from the state's key and step, so that the same answers give the same
    network, in a simulation as in a session.

    Args:
      learner: before the answers.
      state: after them.
      sections: the stack.
      lessons: static.
      answered: section and structure of each answer in turn, unless `remember` was called for it;
        'fit' does without.
      keep, beside, where: as of `assess`, of the new network's prediction.

    Returns:
      The learner, the loss of every step, and what `keep` made of its prediction.
    """
    for pair in answered:
        learner = remember(learner, state, sections, lessons, pair)
    key_train, key_predict = jax.random.split(jax.random.fold_in(state.key, state.step))
    train_state, losses = train(
        key_train,
        at_rest(learner.train, lessons.recipe.training),
        sections,
        partial_labels(state),
        lessons.recipe,
        steps=lessons.query_steps,
        learning_rate=lessons.query_learning_rate,
    )
    seen, kept = _look(key_predict, train_state, state, sections, lessons, (keep, beside, where))
    history = learner.dice
    if lessons.dice_estimate != "prospective":
        now = estimated_dice(seen["fit"], seen["traced"], history[0])
        if lessons.dice_estimate == "shrunk":
            now = jnp.where(seen["traced"].any(0), shrunk_dice(now, learner.trials), now)
        history = jnp.stack([now, _or(history[0], now)])
    return learner.replace(train=train_state, dice=history, **seen), losses, kept


def remember(
    learner: Learner, state: ALState, sections: Sections, lessons: Lessons, pair: Pair
) -> Learner:
    """The learner with the Dice that its prediction had just before an answer.

    `relearn` does this for the answers that it is given; 'fit' has no use for it.

    Args:
      learner: before the answer.
      state: after it, and maybe after others that the network has not learnt from either.
      sections, lessons: as of `relearn`.
      pair: section and structure of the answer.
    """
    if lessons.dice_estimate == "fit":
        return learner
    score = prospective_dice(learner, state, sections, lessons, pair)
    fit, there = estimated_dice(learner.fit, learner.traced, learner.dice[0]), state.seen[pair]
    trials = add_trial(learner.trials, pair[1], score, fit, there=there)
    history = learner.dice
    if lessons.dice_estimate == "prospective":
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
      fit: [C], the fits then; NaN, of what had none, tells nothing of how fits flatter.
      there: [] bool.
    """
    answered = (jnp.arange(trials.shape[1]) == structure) & there
    one = jnp.stack([jnp.full_like(fit, score), _or(fit, score), jnp.ones_like(fit)])
    return jnp.where(answered, trials / 2 + one, trials)


def shrunk_dice(fit: jax.Array, trials: jax.Array) -> jax.Array:
    """D [C] of structures that have not been traced, from what earlier answers showed.

    The fit to what was traced flatters. How much, all structures say together: the Dice of
    predictions over the fits, one trial of 1 added; at most 1, as D above 1 would prefer the dear.
    A structure's own trials count beside one that gave its fit times that.

    Args:
      fit: [C], of Eq. 6.
      trials: [3, C], as of `Learner`.
    """
    scores, fits, count = trials
    flattery = jnp.minimum((1 + scores.sum()) / (1 + fits.sum()), 1)
    return (scores + fit * flattery) / (count + 1)


def estimated_dice(fit: jax.Array, traced: jax.Array, known: jax.Array | None = None) -> jax.Array:
    """D of Eq. 6 [C]: how well the network alone redraws each structure where it was traced.

    Args:
      fit: [N, C], its Dice.
      traced: [N, C] bool, where that counts.
      known: [C], of a structure without a traced pixel; NaN there without it.
    """
    found = mean_dice(fit, traced)
    return found if known is None else _or(found, known)


def prospective_dice(
    learner: Learner,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    pair: Pair,
) -> jax.Array:
    """Dice [] of the prediction made just before an answer, in `state`, against that answer."""
    section, structure = pair
    own, labels = _at(sections, section), state.labels[section]
    before = state.replace(annotated=state.annotated.at[section, structure].set(False))
    partial = _at(partial_labels(before), section)
    partial = partial.replace(labels=jnp.where(labels == structure, UNLABELLED, labels))
    prediction = predict_section(
        state.key, learner.train.params, own, partial, lessons.recipe
    )  # the key is of dropout, which is not asked for
    num_classes = state.annotated.shape[1]
    # Only the answered structure's Dice is read: the other classes' labels play no part in it.
    return dice(prediction.segmentation, labels, own.inside, num_classes)[structure]


def propose(
    learner: Learner,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    section: jax.Array | int,
) -> Prediction:
    """What the network says of a section beside what was traced there, before an answer."""
    own, partial = _at(sections, section), _at(partial_labels(state), section)
    # The key is of dropout, which is not asked for.
    return predict_section(state.key, learner.train.params, own, partial, lessons.recipe)


def segment_stack(
    learner: Learner, state: ALState, sections: Sections, lessons: Lessons
) -> tuple[jax.Array, jax.Array]:
    """The segmentation of Eq. 4, [N, H, W] int16, and its confidence (Eq. 3), float16.

    Outside the image domain it means nothing.
    """
    return predict(
        state.key,
        learner.train.params,
        sections,
        partial_labels(state),
        lessons.recipe,
        keep=lambda p, _: (p.segmentation, p.confidence.astype(jnp.float16)),
        mesh=lessons.mesh,
    )


def _look(
    key: jax.Array,
    train_state: TrainState,
    state: ALState,
    sections: Sections,
    lessons: Lessons,
    kept: tuple[Keep, chex.ArrayTree, jax.Array | None],
) -> tuple[dict[str, jax.Array], chex.ArrayTree]:
    """What the method looks at in a prediction, by the fields of `Learner`, and what is kept."""
    keep, beside, where = kept

    def both(prediction: Prediction, aside: Any) -> tuple[dict[str, jax.Array], chex.ArrayTree]:
        names = ("fit", "traced", "entropy")
        return {k: getattr(prediction, k) for k in names}, keep(prediction, aside)

    return predict(
        key,
        train_state.params,
        sections,
        partial_labels(state),
        lessons.recipe,
        keep=both,
        beside=beside,
        where=where,
        entropy=lessons.entropy,
        dropout_samples=lessons.dropout_samples,
        mesh=lessons.mesh,
    )


def _remember(
    history: jax.Array, structure: jax.Array | int, score: jax.Array, there: jax.Array
) -> jax.Array:
    """The history [2, C] with a structure's new Dice, unless it is not `there`."""
    answered = (jnp.arange(history.shape[1]) == structure) & there
    now = jnp.full_like(history[0], score)
    shifted = jnp.stack([now, _or(history[0], now)])
    return jnp.where(answered, shifted, history)


def _or(dice: jax.Array, otherwise: jax.Array) -> jax.Array:
    """A Dice, or another one where none is known."""
    return jnp.where(jnp.isnan(dice), otherwise, dice)


def _at(tree: chex.ArrayTree, section: jax.Array | int) -> Any:
    return jax.tree.map(lambda leaf: leaf[section], tree)


def check_loss(losses: np.ndarray, where: str, first: int) -> None:
    """Raises InputError if a loss is not finite; `where` has braces for its number."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    if wrong.size:
        raise InputError(f"the loss is not finite at {where.format(first + wrong[0])}; lower it")
