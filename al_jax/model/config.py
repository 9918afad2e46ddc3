"""The settings of a network's training, and what a trained network is made of."""

import dataclasses
from collections.abc import Callable

import jax

from al_jax.core.losses import Loss, partial_cross_entropy
from al_jax.core.settings import check_settings, setting
from al_jax.model.augmentation import TABLE1, Augmentation
from al_jax.model.inputs import CONVENTIONS
from al_jax.model.protocol import Network

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True)
class Training:
    """How the network is trained. A pytree: the two learning rates are leaves, the rest is static.

    The cosine rises for a twentieth of the steps and then falls to zero. AdamW is that of
    Loshchilov and Hutter (ICLR 2019).
    """

    initial_steps: int = setting(
        810,
        "Training steps before the first query; with --from none, unless --start=central.",
        0,
    )
    query_steps: int = setting(18, "Training steps after each answer.", 1)
    learning_rate: float = setting(3e-3, "Learning rate before the first query.", 0)
    query_learning_rate: float = setting(1e-3, "Learning rate after each answer.", 0)
    schedule: str = setting(
        "cosine", "How the rate before the first query changes.", choices=SCHEDULES
    )
    downsampling: int = setting(
        0, "Factor by which sections are downsampled for the network; 0: by the first labels.", 0
    )
    crop: int = setting(64, "Side of a training crop, in downsampled pixels.", 16, 2048)
    batch: int = setting(16, "Crops in a training step.", 1)
    balanced: float = setting(
        1.0, "Share of crops that show a class drawn uniformly among the labelled.", 0, 1
    )
    optimiser: str = setting("adamw", "The optimiser.", choices=OPTIMISERS)
    momentum: float = setting(0.9, "Momentum of sgd.", 0, 1)
    weight_decay: float = setting(1e-4, "Decay of adamw, or L2 penalty of sgd; kernels alone.", 0)
    clip: float = setting(1.0, "Largest global norm of a gradient.", 1e-6)
    convention: str = setting(
        "plain", "What the network's weights expect as input.", choices=CONVENTIONS, flag=False
    )
    augmentation: Augmentation = setting(TABLE1, "The random transform of a crop.")

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check_settings(self)


jax.tree_util.register_dataclass(
    Training,
    data_fields=("learning_rate", "query_learning_rate"),
    meta_fields=tuple(
        field.name
        for field in dataclasses.fields(Training)
        if field.name not in ("learning_rate", "query_learning_rate")
    ),
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A network, the settings of its training, and its loss. A pytree, as `Training` is.

    Attributes:
      network: that fulfils `protocol.Network`.
      training: its settings.
      loss: that it minimises.
    """

    network: Network
    training: Training = Training()
    loss: Loss = partial_cross_entropy


jax.tree_util.register_dataclass(
    ModelConfig, data_fields=("training",), meta_fields=("network", "loss")
)

MakeNetwork = Callable[[int], Network]
"""A network for so many classes."""


def steps_per_epoch(num_sections: int, batch: int) -> int:
    """ceil(N / batch): a step for each batch of sections."""
    return -(-num_sections // batch)
