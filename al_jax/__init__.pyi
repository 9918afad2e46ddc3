"""The public names, and where each is."""

from .core.answers import answer as answer
from .core.answers import describe as describe
from .core.answers import given_ranges as given_ranges
from .core.answers import set_range as set_range
from .core.boundary import remaining_effort as remaining_effort
from .core.boundary import shared_lengths as shared_lengths
from .core.evidence import Evidence as Evidence
from .core.evidence import make_evidence as make_evidence
from .core.losses import cross_entropy as cross_entropy
from .core.losses import partial_cross_entropy as partial_cross_entropy
from .core.metrics import dice as dice
from .core.posterior import class_entropy as class_entropy
from .core.posterior import class_posterior as class_posterior
from .core.posterior import segment as segment
from .core.stack import UNLABELLED as UNLABELLED
from .core.stack import Images as Images
from .core.stack import InputError as InputError
from .core.stack import Stack as Stack
from .core.stack import make_images as make_images
from .core.stack import make_stack as make_stack
from .core.state import ALState as ALState
from .core.state import annotate as annotate
from .core.state import init_state as init_state
from .core.statistics import dice_at as dice_at
from .core.statistics import effort_at as effort_at
from .core.strategies import STRATEGIES as STRATEGIES
from .core.strategies import Strategy as Strategy
from .core.strategies import suggest as suggest
from .core.strategies import suggestions as suggestions
from .files.inputs import read_images as read_images
from .files.inputs import read_labelled as read_labelled
from .files.registry import register_reader as register_reader
from .files.stacks import load_default as load_default
from .files.stacks import read_stack as read_stack
from .files.stacks import write_stack as write_stack
from .learner.config import Annotator as Annotator
from .learner.config import Config as Config
from .learner.config import Query as Query
from .learner.learner import Learner as Learner
from .learner.learner import fit as fit
from .learner.learner import init_learner as init_learner
from .learner.learner import network_sections as network_sections
from .learner.learner import segment_stack as segment_stack
from .learner.learner import update as update
from .model.augmentation import AUGMENTATIONS as AUGMENTATIONS
from .model.config import Training as Training
from .model.networks import NETWORKS as NETWORKS
from .model.prediction import predict as predict
from .model.protocol import Network as Network
from .simulation.loop import simulate as simulate
from .simulation.prepare import prepare as prepare
from .simulation.run import run as run
from .simulation.synthesis import synthesise as synthesise
from .xla import compiler_options as compiler_options

__version__: str
__all__ = [
    "AUGMENTATIONS",
    "NETWORKS",
    "STRATEGIES",
    "UNLABELLED",
    "ALState",
    "Annotator",
    "Config",
    "Evidence",
    "Images",
    "InputError",
    "Learner",
    "Network",
    "Query",
    "Stack",
    "Strategy",
    "Training",
    "annotate",
    "answer",
    "class_entropy",
    "class_posterior",
    "compiler_options",
    "cross_entropy",
    "describe",
    "dice",
    "dice_at",
    "effort_at",
    "fit",
    "given_ranges",
    "init_learner",
    "init_state",
    "load_default",
    "make_evidence",
    "make_images",
    "make_stack",
    "network_sections",
    "partial_cross_entropy",
    "predict",
    "prepare",
    "read_images",
    "read_labelled",
    "read_stack",
    "register_reader",
    "remaining_effort",
    "run",
    "segment",
    "segment_stack",
    "set_range",
    "shared_lengths",
    "simulate",
    "suggest",
    "suggestions",
    "synthesise",
    "update",
    "write_stack",
]
