"""The truth of a stack against what a network draws of it, or in place of the person."""

import pathlib

import chex
import jax
import numpy as np

from al_jax import session as sessions
from al_jax.core.stack import Stack, parted
from al_jax.core.state import ALState, partial_labels, true_ranges
from al_jax.learner.config import Config, model_of
from al_jax.model.prediction import Prediction, predict
from al_jax.session import Settings
from al_jax.simulation.scores import Scores, reported, score, scoring
from al_jax.simulation.task import Task


def evaluate(
    params: chex.ArrayTree, state: ALState, task: Task, config: Config
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What a network draws by itself, classes [N, H, W] int16, and effort and Dice of the state.

    The latter by the fields of `simulation.loop.Record`; `class_dice_unclamped` [C] is the Dice of
    what it draws by itself.
    """

    def reduce(prediction: Prediction, aux: tuple) -> tuple[jax.Array, Scores]:
        return prediction.unclamped, score(prediction, aux)

    unclamped, scores = predict(
        state.key,
        params,
        task.sections,
        partial_labels(state),
        model_of(config, task.present.shape[1]),
        reduce_fn=reduce,
        aux=scoring(task).aux,
    )
    return unclamped, reported(state, scores, task, config)


def make_session(folder: pathlib.Path, stack: Stack, settings: Settings) -> None:
    """A session of a stack with its true ranges, whose truth can answer (`answer_truly`)."""
    images, true = parted(stack)
    in_range = true_ranges(images, true, settings.config.query.margin)
    sessions.create(folder, images, in_range, settings, truth=np.asarray(true))
