"""Suggestive annotation of stacks of 2D sections (Atzeni et al., Medical Image Analysis 2022).

The public functions, by the module that explains them.
"""

from al_jax.boundary import remaining_effort, shared_lengths, total_length
from al_jax.convolution import compiler_options
from al_jax.files.cuts import Cut, read_volume
from al_jax.files.inputs import read_images, read_labelled
from al_jax.files.sections import read_sections
from al_jax.files.stacks import load_default, read_stack, write_stack
from al_jax.losses import cross_entropy, partial_cross_entropy
from al_jax.metrics import dice, mean_dice, presence
from al_jax.networks import FCN, NETWORKS, make_network
from al_jax.posterior import class_entropy, posterior, segment
from al_jax.simulation import Config, Record, Run, simulate
from al_jax.stack import UNLABELLED, InputError, Stack, make_stack
from al_jax.state import (
    ALState,
    annotate,
    boundary_matrix,
    candidates,
    check_state,
    compatible,
    contradictions,
    init_state,
    initial_queries,
    ranges,
)
from al_jax.statistics import dice_at, effort_at
from al_jax.strategies import STRATEGIES, Strategy, Suggestion, predicted_dice, suggest
from al_jax.synthesis import synthesise
from al_jax.training import Training

__all__ = [
    "FCN",
    "NETWORKS",
    "STRATEGIES",
    "UNLABELLED",
    "ALState",
    "Config",
    "Cut",
    "InputError",
    "Record",
    "Run",
    "Stack",
    "Strategy",
    "Suggestion",
    "Training",
    "annotate",
    "boundary_matrix",
    "candidates",
    "check_state",
    "class_entropy",
    "compatible",
    "compiler_options",
    "contradictions",
    "cross_entropy",
    "dice",
    "dice_at",
    "effort_at",
    "init_state",
    "initial_queries",
    "load_default",
    "make_network",
    "make_stack",
    "mean_dice",
    "partial_cross_entropy",
    "posterior",
    "predicted_dice",
    "presence",
    "ranges",
    "read_images",
    "read_labelled",
    "read_sections",
    "read_stack",
    "read_volume",
    "remaining_effort",
    "segment",
    "shared_lengths",
    "simulate",
    "suggest",
    "synthesise",
    "total_length",
    "write_stack",
]
