"""Suggestive annotation of stacks of 2D sections (Atzeni et al., Medical Image Analysis 2022).

The public functions, by the module that explains them.
"""

__version__ = "0.2.0"

from al_jax.core.answers import answer, check_state, describe, given_ranges, set_range
from al_jax.core.boundary import remaining_effort, shared_lengths, total_length
from al_jax.core.evidence import Evidence, make_evidence, predicted_dice
from al_jax.core.losses import cross_entropy, partial_cross_entropy
from al_jax.core.metrics import dice
from al_jax.core.posterior import class_entropy, class_posterior, segment
from al_jax.core.stack import UNLABELLED, Images, InputError, Stack, make_images, make_stack
from al_jax.core.state import ALState, annotate, boundary_matrix, init_state, ranges
from al_jax.core.statistics import dice_at, effort_at
from al_jax.core.strategies import STRATEGIES, Strategy, suggest, suggestions
from al_jax.files.inputs import read_images, read_labelled
from al_jax.files.stacks import load_default, read_stack, write_stack
from al_jax.learner.config import Annotator, Config, Query
from al_jax.learner.learner import Learner, fit, init_learner, segment_stack, update
from al_jax.learner.transfer import (
    Experience,
    experience_of,
    fit_to,
    read_experience,
    with_experience,
    write_experience,
)
from al_jax.model.augmentation import AUGMENTATIONS
from al_jax.model.config import Training
from al_jax.model.inputs import make_sections
from al_jax.model.networks import FCN, NETWORKS
from al_jax.model.prediction import predict
from al_jax.model.protocol import Network
from al_jax.model.resolution import downsample_sections, suited_downsampling
from al_jax.simulation.loop import simulate
from al_jax.simulation.prepare import prepare
from al_jax.simulation.synthesis import synthesise
from al_jax.xla import compiler_options
