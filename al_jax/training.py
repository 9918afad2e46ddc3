"""Training on partial labels (paper, section 2.4.2)."""

import dataclasses
import functools
from typing import NamedTuple, cast

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from al_jax import xla
from al_jax.augment import (
    Augmentation,
    random_intensity,
    random_points,
    sample_bilinear,
    sample_nearest,
)
from al_jax.losses import cross_entropy, partial_cross_entropy
from al_jax.networks import FCN, init_params, intensity_range, network_input, normalise
from al_jax.stack import UNLABELLED, Images
from al_jax.state import PartialLabels

LOSSES = ("partial", "labelled")


@dataclasses.dataclass(frozen=True)
class Training:
    """How the network is trained; hashable, so that it can be static under jit.

    Attributes:
      crop, batch: pixels and sections of a training batch.
      momentum, weight_decay, clip: of stochastic gradient descent; the gradient's global norm,
        L2 penalty included, is cut at `clip`.
      convention: of the network's input (`networks.network_input`), as its weights expect it.
      augmentation: Table 1.
    """

    crop: int = 96
    batch: int = 8
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 1.0
    convention: str = "plain"
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network, how it is trained, and on which loss; hashable, static under jit.

    Attributes:
      network: of `networks.make_network`.
      training: its settings.
      loss: 'partial' (Eq. 2) or 'labelled' (cross entropy of labelled pixels).
    """

    network: FCN
    training: Training = dataclasses.field(default_factory=Training)
    loss: str = "partial"

    def __post_init__(self) -> None:
        """Refuses an unknown loss."""
        if self.loss not in LOSSES:
            raise ValueError(f"loss '{self.loss}' is not one of {', '.join(LOSSES)}")


class TrainState(struct.PyTreeNode):
    """Network weights and the optimiser's momentum."""

    params: chex.ArrayTree
    momentum: optax.OptState


class Sections(struct.PyTreeNode):
    """What the network sees of N sections: images [N, H, W, K], inside [N, H, W], low, high [N].

    Of one section, without the leading axis.
    """

    images: jax.Array
    inside: jax.Array
    low: jax.Array
    high: jax.Array


class Batch(NamedTuple):
    """Crops: inputs [B, h, w, 3], labels and inside [B, h, w], compatible [B, C]."""

    inputs: jax.Array
    labels: jax.Array
    inside: jax.Array
    compatible: jax.Array


def make_sections(stack: Images) -> Sections:
    """Images and their domains, with each section's intensity range."""
    images, inside = jnp.asarray(stack.images), jnp.asarray(stack.inside)
    # Not under vmap, which would hold the whole stack as float32.
    low, high = jax.lax.map(lambda x: intensity_range(*x), (images, inside))
    return Sections(images=images, inside=inside, low=low, high=high)


def optimiser(setting: Training) -> optax.GradientTransformation:
    """SGD with momentum on loss plus L2 penalty, clipped; the learning rate is the caller's."""
    return optax.chain(
        optax.add_decayed_weights(
            setting.weight_decay,
            mask=functools.partial(jax.tree.map, lambda weights: weights.ndim > 1),
        ),
        optax.clip_by_global_norm(setting.clip),
        optax.trace(setting.momentum),
    )


def init_train_state(
    key: jax.Array, recipe: Recipe, params: chex.ArrayTree | None = None
) -> TrainState:
    """Weights drawn from `key` (or the given `params`) and momentum at rest."""
    if params is None:
        params = init_params(key, recipe.network)
    return TrainState(params=params, momentum=optimiser(recipe.training).init(params))


def random_crop(
    key: jax.Array, section: Sections, labels: jax.Array, setting: Training
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One section -> network input [crop, crop, 3], labels and inside [crop, crop]."""
    key_points, key_intensity = jax.random.split(key)
    height, width = labels.shape
    points = random_points(key_points, height, width, setting.crop, setting.augmentation)
    cropped = normalise(sample_bilinear(section.images, points), section.low, section.high)
    cropped = random_intensity(key_intensity, cropped, setting.augmentation)
    return (
        network_input(cropped, setting.convention),
        sample_nearest(labels, points, UNLABELLED),
        sample_nearest(section.inside, points, False),
    )


def batch_loss(
    logits: jax.Array, labels: jax.Array, compatible: jax.Array, inside: jax.Array, loss: str
) -> jax.Array:
    """Mean over the counted pixels of a batch: inside ones of Eq. 2, labelled ones of 'labelled'.

    `logits` [B, H, W, C], `labels`, `inside` [B, H, W], `compatible` [B, C].
    """
    if loss == "labelled":
        per_section = jax.vmap(cross_entropy)(logits, labels, inside)
        pixels = (inside & (labels != UNLABELLED)).sum((1, 2))
    else:
        per_section = jax.vmap(partial_cross_entropy)(logits, labels, compatible, inside)
        pixels = inside.sum((1, 2))
    return jnp.sum(per_section * pixels) / jnp.maximum(pixels.sum(), 1)


def train_step(
    key: jax.Array, state: TrainState, batch: Batch, recipe: Recipe, learning_rate: float
) -> tuple[TrainState, jax.Array]:
    """One step on a batch; `key` draws the dropout. Returns the new state and the loss."""

    def objective(params: chex.ArrayTree) -> jax.Array:
        logits = cast(jax.Array, recipe.network.apply({"params": params}, batch.inputs, key))
        return batch_loss(logits, batch.labels, batch.compatible, batch.inside, recipe.loss)

    value, gradient = jax.value_and_grad(objective)(state.params)
    update, momentum = optimiser(recipe.training).update(gradient, state.momentum, state.params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, update)
    return TrainState(params=params, momentum=momentum), value


def steps_per_epoch(num_sections: int, batch: int) -> int:
    """ceil(N / batch)."""
    return -(-num_sections // batch)


def random_batch(
    key: jax.Array, sections: Sections, partial: PartialLabels, chosen: jax.Array, setting: Training
) -> Batch:
    """Random crops of the `chosen` [B] sections."""

    def crop(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        own_key, n = inputs
        section = jax.tree.map(lambda leaf: leaf[n], sections)
        return random_crop(own_key, section, partial.labels[n], setting)

    inputs, labels, inside = xla.stored_map(crop, (jax.random.split(key, chosen.shape[0]), chosen))
    return Batch(inputs, labels, inside, partial.compatible[chosen])


def train(
    key: jax.Array,
    state: TrainState,
    sections: Sections,
    partial: PartialLabels,
    recipe: Recipe,
    *,
    epochs: int,
    learning_rate: float,
    first_epoch: jax.Array | int = 0,
) -> tuple[TrainState, jax.Array]:
    """Epochs of ceil(N / batch) steps, each epoch over a permutation of all sections.

    Args:
      key: randomness; epoch e uses `fold_in(key, e)`, so a training may be cut into pieces.
      state: weights and momentum.
      sections: the stack.
      partial: what has been traced.
      recipe: static.
      epochs, first_epoch: how many (static), and the number of the first.
      learning_rate: of gradient descent.

    Returns:
      The new state, and the loss of every step [epochs * steps] float32.
    """
    num_sections, batch = partial.labels.shape[0], recipe.training.batch
    steps = steps_per_epoch(num_sections, batch)

    def epoch(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        key_order, key_steps = jax.random.split(jax.random.fold_in(key, number))
        order = jax.random.permutation(key_order, num_sections)
        order = order[jnp.arange(steps * batch) % num_sections]

        def step(
            state: TrainState, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[TrainState, jax.Array]:
            step_key, chosen = inputs
            key_crop, key_dropout = jax.random.split(step_key)
            crops = random_batch(key_crop, sections, partial, chosen, recipe.training)
            return train_step(key_dropout, state, crops, recipe, learning_rate)

        batches = order.reshape(steps, batch)
        return jax.lax.scan(step, state, (jax.random.split(key_steps, steps), batches))

    state, losses = jax.lax.scan(epoch, state, first_epoch + jnp.arange(epochs))
    return state, losses.ravel()


def at_rest(state: TrainState) -> TrainState:
    """Warm weights for a fresh descent: the momentum is gone."""
    return state.replace(momentum=jax.tree.map(jnp.zeros_like, state.momentum))
