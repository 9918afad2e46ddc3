"""Reported Dice of predictions against the truth, and reported effort."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.core.metrics import dice_of, mean_dice, overlap, pooled
from al_jax.core.state import ALState
from al_jax.learner.config import Config
from al_jax.learner.learner import Reduction
from al_jax.model.prediction import Prediction
from al_jax.simulation.task import Task


class Scores(struct.PyTreeNode):
    """How a prediction overlaps with the truth, per section; [N, 2, C] int32 (`metrics.overlap`).

    Attributes:
      clamped: of Eq. 4, where labelled pixels keep their labels.
      unclamped: of the network's own argmax over the classes in range.
    """

    clamped: jax.Array
    unclamped: jax.Array


def score(prediction: Prediction, aux: tuple[jax.Array, jax.Array]) -> Scores:
    """The scores of one section; `aux` are its truth and its image domain."""
    num_classes = prediction.fit.shape[0]
    return Scores(
        clamped=overlap(prediction.segmentation, *aux, num_classes),
        unclamped=overlap(prediction.unclamped, *aux, num_classes),
    )


def scoring(task: Task) -> Reduction:
    """The reduction by which `learner.evaluate` and `update` score a prediction."""
    return Reduction(score, (task.truth, task.sections.inside))


def class_dice(overlaps: jax.Array, present: jax.Array, dice_over: str) -> jax.Array:
    """Reported Dice of each class, [C], NaN where it is nowhere.

    Args:
      overlaps: [N, 2, C] int32.
      present: [N, C] bool, the class is on the section.
      dice_over: of `config.DICE_OVER`.
    """
    if dice_over == "sections":
        return mean_dice(jax.vmap(dice_of)(overlaps), present)
    return jnp.where(present.any(0), dice_of(pooled(overlaps)), jnp.nan)


def reported_dice(dice: chex.Array, config: Config) -> jax.Array:
    """The mean [] of the Dice [C] of classes, NaN where they are nowhere."""
    return jnp.nanmean(dice[0 if config.annotator.count_background else 1 :])


def ceiling(task: Task, config: Config) -> jax.Array:
    """[] float32, the reported Dice of the person's own outlines: the most that a run can reach.

    It is 1 where the person draws the truth.
    """
    if task.outlined is None:
        return jnp.float32(1)

    def one(section: tuple[jax.Array, ...]) -> jax.Array:
        drawn, truth, inside = section
        return overlap(drawn, truth, inside, task.present.shape[1])

    overlaps = jax.lax.map(one, (task.outlined, task.truth, task.sections.inside))
    return reported_dice(class_dice(overlaps, task.present, config.annotator.dice_over), config)


def reported(state: ALState, scores: Scores, task: Task, config: Config) -> dict[str, jax.Array]:
    """Effort and Dice, by the fields of `Record`."""
    clamped = class_dice(scores.clamped, task.present, config.annotator.dice_over)
    unclamped = class_dice(scores.unclamped, task.present, config.annotator.dice_over)
    return {
        "effort_unique": state.drawn_unique.sum() / task.total,
        # Every crack is on the outlines of two structures.
        "effort_whole": state.drawn_whole.sum() / (2 * task.total),
        "dice": reported_dice(clamped, config),
        "dice_unclamped": reported_dice(unclamped, config),
        "class_dice": clamped,
        "class_dice_unclamped": unclamped,
    }
