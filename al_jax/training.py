"""Training on partial labels and prediction of a stack (paper, section 2.4.2)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh, PartitionSpec

from al_jax.augment import (
    Augmentation,
    random_intensity,
    random_points,
    sample_bilinear,
    sample_nearest,
)
from al_jax.losses import cross_entropy, partial_cross_entropy
from al_jax.metrics import class_areas, dice, dice_of, overlap
from al_jax.networks import FCN, cast_params, init_params, intensity_range, network_input, normalise
from al_jax.posterior import class_entropy, posterior, segment
from al_jax.stack import UNLABELLED


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


class TrainState(struct.PyTreeNode):
    """Network weights and the optimiser's momentum."""

    params: chex.ArrayTree
    momentum: optax.OptState


class Sections(struct.PyTreeNode):
    """What the network sees of N sections: images [N, H, W, K], inside [N, H, W], low, high [N]."""

    images: jax.Array
    inside: jax.Array
    low: jax.Array
    high: jax.Array


class Prediction(struct.PyTreeNode):
    """A predicted stack, reduced to what the method looks at; [N, C] where no shape is given.

    Attributes:
      fit: Dice of the network's own argmax over the classes in range against what was traced.
      traced: bool, the structure has a traced pixel on the section: where `fit` counts.
      clamped: Dice of Eq. 4 against the truth.
      unclamped: Dice of that argmax against the truth.
      clamped_overlap, unclamped_overlap: [N, 2, C] int32, what the two are made of.
      entropy: H of Eq. 8 (zero if not asked for).
    """

    fit: jax.Array
    traced: jax.Array
    clamped: jax.Array
    unclamped: jax.Array
    clamped_overlap: jax.Array
    unclamped_overlap: jax.Array
    entropy: jax.Array


def make_sections(images: chex.Array, inside: chex.Array) -> Sections:
    """`images` [N, H, W, K] and `inside` [N, H, W] with each section's intensity range."""
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
    key: jax.Array, network: FCN, setting: Training, params: chex.ArrayTree | None = None
) -> TrainState:
    """Weights drawn from `key` (or the given `params`) and momentum at rest."""
    if params is None:
        params = init_params(key, network)
    return TrainState(params=params, momentum=optimiser(setting).init(params))


def random_crop(
    key: jax.Array,
    image: jax.Array,
    labels: jax.Array,
    inside: jax.Array,
    low: jax.Array,
    high: jax.Array,
    setting: Training,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One section -> network input [crop, crop, 3], labels and inside [crop, crop]."""
    key_points, key_intensity = jax.random.split(key)
    height, width = labels.shape
    points = random_points(key_points, height, width, setting.crop, setting.augmentation)
    cropped = normalise(sample_bilinear(image, points), low, high)
    cropped = random_intensity(key_intensity, cropped, setting.augmentation)
    return (
        network_input(cropped, setting.convention),
        sample_nearest(labels, points, UNLABELLED),
        sample_nearest(inside, points, False),
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
    key: jax.Array,
    state: TrainState,
    batch: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    learning_rate: float,
    network: FCN,
    setting: Training,
    loss: str = "partial",
) -> tuple[TrainState, jax.Array]:
    """One step on a batch of (inputs [B, h, w, 3], labels, inside [B, h, w], compatible [B, C])."""
    inputs, labels, inside, compatible = batch

    def objective(params: chex.ArrayTree) -> jax.Array:
        logits = cast(jax.Array, network.apply({"params": params}, inputs, key))
        return batch_loss(logits, labels, compatible, inside, loss)

    value, gradient = jax.value_and_grad(objective)(state.params)
    update, momentum = optimiser(setting).update(gradient, state.momentum, state.params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, update)
    return TrainState(params=params, momentum=momentum), value


def steps_per_epoch(num_sections: int, batch: int) -> int:
    """ceil(N / batch)."""
    return -(-num_sections // batch)


def augmented_step(
    key: jax.Array,
    state: TrainState,
    sections: Sections,
    labels: jax.Array,
    compatible: jax.Array,
    chosen: jax.Array,
    learning_rate: float,
    network: FCN,
    setting: Training,
    loss: str = "partial",
) -> tuple[TrainState, jax.Array]:
    """One step on random crops of the `chosen` [B] sections."""
    key_crop, key_dropout = jax.random.split(key)

    def crop(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        own_key, n = inputs
        return random_crop(
            own_key, sections.images[n], labels[n], sections.inside[n], sections.low[n],
            sections.high[n], setting,
        )  # fmt: skip

    # On a CPU in two halves, as a loop's results are stored; else XLA computes a crop again
    # wherever it is used.
    batch = chosen.shape[0]
    crops = jax.lax.platform_dependent(
        (jax.random.split(key_crop, batch), chosen),
        cpu=functools.partial(jax.lax.map, crop, batch_size=-(-batch // 2)),
        default=jax.vmap(crop),
    )
    return train_step(
        key_dropout, state, (*crops, compatible[chosen]), learning_rate, network, setting, loss
    )


def train(
    key: jax.Array,
    state: TrainState,
    sections: Sections,
    labels: jax.Array,
    compatible: jax.Array,
    epochs: int,
    learning_rate: float,
    network: FCN,
    setting: Training,
    loss: str = "partial",
    first_epoch: jax.Array | int = 0,
) -> tuple[TrainState, jax.Array]:
    """Epochs of ceil(N / batch) steps, each epoch over a permutation of all sections.

    Args:
      key: randomness; epoch e uses `fold_in(key, e)`, so a training may be cut into pieces.
      state: weights and momentum.
      sections: the stack.
      labels: [N, H, W], what has been traced.
      compatible: [N, C] bool, C_n.
      epochs, first_epoch: how many, and the number of the first.
      learning_rate: of gradient descent.
      network, setting, loss: static.

    Returns:
      The new state, and the loss of every step [epochs * steps] float32.
    """
    num_sections = labels.shape[0]
    steps = steps_per_epoch(num_sections, setting.batch)

    def epoch(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        key_order, key_steps = jax.random.split(jax.random.fold_in(key, number))
        order = jax.random.permutation(key_order, num_sections)
        order = order[jnp.arange(steps * setting.batch) % num_sections]

        def step(state: TrainState, inputs: tuple) -> tuple[TrainState, jax.Array]:
            step_key, chosen = inputs
            return augmented_step(
                step_key, state, sections, labels, compatible, chosen, learning_rate,
                network, setting, loss,
            )  # fmt: skip

        batches = order.reshape(steps, setting.batch)
        return jax.lax.scan(step, state, (jax.random.split(key_steps, steps), batches))

    state, losses = jax.lax.scan(epoch, state, first_epoch + jnp.arange(epochs))
    return state, losses.ravel()


def fine_tune(
    key: jax.Array, state: TrainState, *args: Any, **kwargs: Any
) -> tuple[TrainState, jax.Array]:
    """`train` with the momentum at rest: warm weights, a fresh descent."""
    state = state.replace(momentum=jax.tree.map(jnp.zeros_like, state.momentum))
    return train(key, state, *args, **kwargs)


def dropout_posterior(
    key: jax.Array,
    params: chex.ArrayTree,
    pools: tuple[jax.Array, ...],
    labels: jax.Array,
    compatible: jax.Array,
    network: FCN,
    samples: int,
) -> jax.Array:
    """Eq. 9: the mean posterior [H, W, C] of one section over Monte Carlo dropout.

    Dropout acts behind pool5, so the 13 convolutions (`pools`, of a batch of one) are shared.
    """

    def sample(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        logits = network.apply({"params": params}, pools, labels.shape, key, method="decode")[0]
        return total + posterior(logits, labels, compatible), None

    zero = jnp.zeros((*labels.shape, network.num_classes))
    return jax.lax.scan(sample, zero, jax.random.split(key, samples))[0] / samples


def shared_map(function: Callable, inputs: chex.ArrayTree, mesh: Mesh) -> chex.ArrayTree:
    """`jax.lax.map` over the leading axis [N], of which each device of the mesh does a part.

    Every device has all of `inputs`, and gets all of the result. Where the devices do not divide N,
    the last ones do the last element again.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    share = -(-count // mesh.size)

    def part(inputs: chex.ArrayTree) -> chex.ArrayTree:
        numbers = jax.lax.axis_index(mesh.axis_names) * share + jnp.arange(share)
        own = jax.lax.map(
            lambda n: function(jax.tree.map(lambda leaf: leaf[n], inputs)),
            jnp.minimum(numbers, count - 1),
        )
        return jax.lax.all_gather(own, mesh.axis_names, tiled=True)

    # Inputs split by `in_specs` would be split in the loop around this too, where each answer then
    # gathers the stack, and each batch its sections. The check wants constants that loops in
    # `function` begin with marked as different on each device.
    whole = PartitionSpec()
    mapped = jax.shard_map(part, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False)
    return jax.tree.map(lambda leaf: leaf[:count], mapped(inputs))


def predict(
    key: jax.Array,
    params: chex.ArrayTree,
    sections: Sections,
    labels: jax.Array,
    compatible: jax.Array,
    in_range: jax.Array,
    truth: jax.Array,
    network: FCN,
    setting: Training,
    entropy: bool = True,
    dropout_samples: int = 0,
    mesh: Mesh | None = None,
) -> Prediction:
    """Predicts section after section; class probabilities never exist for more than one a device.

    Args:
      key: randomness of Monte Carlo dropout.
      params: the network's weights.
      sections: the stack.
      labels: [N, H, W], what has been traced.
      compatible, in_range: [N, C] bool.
      truth: [N, H, W], the reference of the reported Dice.
      network, setting: static.
      entropy: whether Eq. 8 is needed.
      dropout_samples: S of Eq. 9; 0 takes the entropy of the network without dropout.
      mesh: devices that share the sections; the numbers agree to rounding.
    """
    params = cast_params(params, network)

    def section(inputs: tuple) -> Prediction:
        n, image, inside, low, high, labels, compatible, in_range, truth = inputs
        x = network_input(normalise(image, low, high), setting.convention)[None]
        encoded = network.apply({"params": params}, x, method="encode")
        pools = cast(tuple[jax.Array, ...], encoded)
        logits = network.apply({"params": params}, pools, labels.shape, method="decode")[0]
        classes = network.num_classes
        untraced = jnp.full_like(labels, UNLABELLED)
        own = segment(logits, untraced, in_range)
        if not entropy:
            spread = jnp.zeros(classes)
        elif dropout_samples:
            mean = dropout_posterior(
                jax.random.fold_in(key, n), params, pools, labels, compatible, network,
                dropout_samples,
            )  # fmt: skip
            spread = class_entropy(mean, inside)
        else:
            spread = class_entropy(posterior(logits, labels, compatible), inside)
        clamped = overlap(segment(logits, labels, compatible), truth, inside, classes)
        unclamped = overlap(own, truth, inside, classes)
        return Prediction(
            fit=dice(own, labels, inside, classes),
            traced=class_areas(labels, inside, classes) > 0,
            clamped=dice_of(clamped),
            unclamped=dice_of(unclamped),
            clamped_overlap=clamped,
            unclamped_overlap=unclamped,
            entropy=spread,
        )

    inputs = (
        jnp.arange(labels.shape[0]), sections.images, sections.inside, sections.low, sections.high,
        labels, compatible, in_range, truth,
    )  # fmt: skip
    return jax.lax.map(section, inputs) if mesh is None else shared_map(section, inputs, mesh)
