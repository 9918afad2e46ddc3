"""Suggestive annotation of stacks of 2D sections (Atzeni et al., Medical Image Analysis 2022).

The public functions, by the module that explains them.
"""

from al_jax.core.answers import (
    Answer,
    Range,
    Report,
    Skip,
    Withdraw,
    answer,
    check_state,
    describe,
    given_ranges,
    replay,
    set_range,
)
from al_jax.core.boundary import remaining_effort, shared_lengths, total_length
from al_jax.core.losses import cross_entropy, partial_cross_entropy
from al_jax.core.metrics import dice, mean_dice, presence
from al_jax.core.posterior import class_entropy, class_posterior, segment
from al_jax.core.stack import UNLABELLED, Images, InputError, Stack, make_images, make_stack
from al_jax.core.state import (
    ALState,
    annotate,
    boundary_matrix,
    candidates,
    compatible,
    contradictions,
    implied,
    init_state,
    partial_labels,
    ranges,
)
from al_jax.core.statistics import dice_at, effort_at
from al_jax.core.strategies import (
    STRATEGIES,
    Evidence,
    Strategy,
    Suggestion,
    make_evidence,
    predicted_dice,
    suggest,
    suggestions,
)
from al_jax.files.inputs import read_images, read_labelled
from al_jax.files.sections import read_sections
from al_jax.files.slicing import Cut, read_volume
from al_jax.files.stacks import load_default, read_stack, write_stack
from al_jax.learner.config import Config
from al_jax.learner.learner import (
    Learner,
    Lessons,
    assess,
    init_learner,
    learn,
    learn_first,
    make_lessons,
    relearn,
    segment_stack,
)
from al_jax.learner.transfer import (
    Experience,
    experience_of,
    fit_to,
    read_experience,
    with_experience,
    write_experience,
)
from al_jax.model.networks import FCN, NETWORKS, make_network
from al_jax.model.prediction import Prediction, predict, predict_section
from al_jax.model.training import Recipe, Training, make_sections
from al_jax.simulation.annotator import initial_queries
from al_jax.simulation.loop import Record, Run, simulate
from al_jax.simulation.synthesis import synthesise
from al_jax.xla import compiler_options

__version__ = "0.2.0"

__all__ = [
    "FCN",
    "NETWORKS",
    "STRATEGIES",
    "UNLABELLED",
    "ALState",
    "Answer",
    "Config",
    "Cut",
    "Evidence",
    "Experience",
    "Images",
    "InputError",
    "Learner",
    "Lessons",
    "Prediction",
    "Range",
    "Recipe",
    "Record",
    "Report",
    "Run",
    "Skip",
    "Stack",
    "Strategy",
    "Suggestion",
    "Training",
    "Withdraw",
    "annotate",
    "answer",
    "assess",
    "boundary_matrix",
    "candidates",
    "check_state",
    "class_entropy",
    "class_posterior",
    "compatible",
    "compiler_options",
    "contradictions",
    "cross_entropy",
    "describe",
    "dice",
    "dice_at",
    "effort_at",
    "experience_of",
    "fit_to",
    "given_ranges",
    "implied",
    "init_learner",
    "init_state",
    "initial_queries",
    "learn",
    "learn_first",
    "load_default",
    "make_evidence",
    "make_images",
    "make_lessons",
    "make_network",
    "make_sections",
    "make_stack",
    "mean_dice",
    "partial_cross_entropy",
    "partial_labels",
    "predict",
    "predict_section",
    "predicted_dice",
    "presence",
    "ranges",
    "read_experience",
    "read_images",
    "read_labelled",
    "read_sections",
    "read_stack",
    "read_volume",
    "relearn",
    "remaining_effort",
    "replay",
    "segment",
    "segment_stack",
    "set_range",
    "shared_lengths",
    "simulate",
    "suggest",
    "suggestions",
    "synthesise",
    "total_length",
    "with_experience",
    "write_experience",
    "write_stack",
]
