"""Training on partial labels (paper, section 2.4.2)."""

import dataclasses
import functools
from typing import NamedTuple, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from al_jax import xla
from al_jax.core.boundary import shared_lengths
from al_jax.core.losses import cross_entropy, partial_cross_entropy
from al_jax.core.metrics import class_areas, presence
from al_jax.core.stack import UNLABELLED, Images
from al_jax.core.state import PartialLabels
from al_jax.model.augmentation import (
    Augmentation,
    random_intensity,
    random_points,
    sample_bilinear,
    sample_nearest,
)
from al_jax.model.networks import (
    FCN,
    init_params,
    intensity_range,
    network_input,
    normalise,
    reduced,
    thinned,
)

LOSSES = ("partial", "labelled")
OPTIMISERS = ("adamw", "sgd")

WIDTH = 14.0
"""So wide, in pixels that the network sees, is a structure that it learns well."""


@dataclasses.dataclass(frozen=True)
class Training:
    """How the network is trained; hashable, so that it can be static under jit.

    Attributes:
      reduction: by what whole factor the network sees sections reduced, of which what it says is
        made whole again; 0: by as much as suits what was traced before its first training
        (`suited_reduction`).
      crop, batch: side, in pixels that the network sees, and number of the crops in a step.
      balanced: share of the crops that show a class drawn uniformly among the traced ones; the
        others show any place of any section.
      optimiser: 'adamw' (Loshchilov and Hutter, ICLR 2019) or 'sgd', with momentum.
      momentum: of 'sgd'.
      weight_decay: of 'adamw', or the L2 penalty of 'sgd'; kernels alone.
      clip: the gradient's global norm, the L2 penalty of 'sgd' included, is cut at it.
      convention: of the network's input (`networks.network_input`), as its weights expect it.
      augmentation: Table 1.
    """

    reduction: int = 0
    crop: int = 64
    batch: int = 16
    balanced: float = 1.0
    optimiser: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 1.0
    convention: str = "plain"
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuses an unknown optimiser."""
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser '{self.optimiser}' is not of {', '.join(OPTIMISERS)}")


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
    """Network weights and the optimiser's memory: momentum, or Adam's two moments."""

    params: chex.ArrayTree
    momentum: optax.OptState


class Sections(struct.PyTreeNode):
    """What the network sees of N sections: images [N, h, w, K], inside [N, H, W], low, high [N].

    Images are reduced by the factor `reduction`, static (h = H / `reduction`, rounded up). Of one
    section, without the leading axis.
    """

    images: jax.Array
    inside: jax.Array
    low: jax.Array
    high: jax.Array
    reduction: int = struct.field(pytree_node=False, default=1)


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


def reduce_section(section: Sections, factor: int) -> Sections:
    """One whole section as the network sees it reduced, with the intensity range that is left."""
    image = reduced(section.images, factor)
    low, high = intensity_range(image, thinned(section.inside, factor))
    return section.replace(images=image, low=low, high=high, reduction=factor)


def reduce_sections(sections: Sections, factor: int) -> Sections:
    """Whole sections as the network sees them reduced; by 1 they stay the same arrays."""
    if factor == 1:
        return sections
    return _without_inside(sections, factor=factor).replace(inside=sections.inside)


@functools.partial(jax.jit, static_argnames="factor")
def _without_inside(sections: Sections, factor: int) -> Sections:
    return jax.lax.map(lambda x: reduce_section(x, factor).replace(inside=None), sections)


def as_seen(sections: Sections, partial: PartialLabels) -> tuple[Sections, PartialLabels]:
    """What the network learns from: domain and labels thinned where the images are reduced."""
    factor = sections.reduction
    if factor == 1:
        return sections, partial
    thin = jax.vmap(functools.partial(thinned, factor=factor))
    labels, inside = thin(partial.labels), thin(sections.inside)
    seen = partial.seen & presence(labels, inside, partial.seen.shape[1])
    return (
        sections.replace(inside=inside, reduction=1),
        partial.replace(labels=labels, seen=seen),
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def traced_extent(labels: jax.Array, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Pixels of each class, and how long it is around, at the borders of sections too.

    `labels` [N, H, W] -> sums over them: [C] int32, [C] float32, pixels.
    """

    def one(section: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = jnp.pad(section, 1, constant_values=UNLABELLED)
        everywhere = jnp.ones(padded.shape, bool)
        lengths = shared_lengths(padded, everywhere, num_classes)
        return class_areas(padded, everywhere, num_classes), jnp.diagonal(lengths)

    return jax.tree.map(lambda x: x.sum(0), jax.lax.map(one, labels))


def suited_reduction(areas: chex.Array, outlines: chex.Array) -> int:
    """The factor by which the median structure is `WIDTH` pixels wide for the network.

    So wide as the square of as many pixels for as much outline. Background counts nothing, nor
    what was not traced; a structure of less is never made larger.

    Args:
      areas, outlines: [C], of `traced_extent`.

    Example:
      >>> suited_reduction([900, 50 * 50, 42 * 42], [0, 200, 168])
      3
    """
    areas, outlines = np.asarray(areas)[1:], np.asarray(outlines)[1:]
    traced = (areas > 0) & (outlines > 0)
    if not traced.any():
        return 1
    return max(round(float(np.median(4 * areas[traced] / outlines[traced])) / WIDTH), 1)


def optimiser(setting: Training) -> optax.GradientTransformation:
    """The direction of a step, of which the caller's learning rate is the length."""
    decay = optax.add_decayed_weights(
        setting.weight_decay,
        mask=functools.partial(jax.tree.map, lambda weights: weights.ndim > 1),
    )
    clip = optax.clip_by_global_norm(setting.clip)
    if setting.optimiser == "sgd":
        return optax.chain(decay, clip, optax.trace(setting.momentum))
    return optax.chain(clip, optax.scale_by_adam(), decay)


def init_train_state(
    key: jax.Array, recipe: Recipe, params: chex.ArrayTree | None = None
) -> TrainState:
    """Weights drawn from `key` (or the given `params`) and momentum at rest."""
    if params is None:
        params = init_params(key, recipe.network)
    return TrainState(params=params, momentum=optimiser(recipe.training).init(params))


def random_middle(key: jax.Array, size: tuple[int, ...], crop: int) -> jax.Array:
    """The middle [2] (y, x) of a crop anywhere in a section of `size` (H, W)."""
    low, high = _middles(size, crop)
    return low + jax.random.uniform(key, (2,)) * (high - low)


def random_traced(key: jax.Array, partial: PartialLabels, crop: int) -> tuple[jax.Array, jax.Array]:
    """A crop that shows a class drawn uniformly among the traced ones.

    Args:
      key: draws the class, one of the sections where it was traced, and one of its pixels there.
      partial: what was traced.
      crop: side in pixels.

    Returns:
      The section [] int32 and the crop's middle [2] (y, x): the pixel, or as near to it as the crop
      does not leave the section. Meaningless if nothing was traced.
    """
    key_class, key_section, key_pixel = jax.random.split(key, 3)
    structure = _random_index(key_class, partial.seen.any(0))
    section = _random_index(key_section, partial.seen[:, structure])
    labels = partial.labels[section]
    pixel = _random_index(key_pixel, (labels == structure).ravel())
    place = jnp.stack(jnp.divmod(pixel, labels.shape[1]))
    return section, jnp.clip(place, *_middles(labels.shape, crop))


def _middles(size: tuple[int, ...], crop: int) -> tuple[jax.Array, jax.Array]:
    """First and last middle of crops within a section, its own if it is smaller than a crop."""
    room = jnp.maximum(jnp.array(size) - crop, 0)
    low = jnp.minimum(jnp.full(2, crop), jnp.array(size)) / 2 - 0.5
    return low, low + room


def _random_index(key: jax.Array, among: jax.Array) -> jax.Array:
    """The index of a True of [K] bool, drawn uniformly; [] int32."""
    rank = jnp.cumsum(among)
    return jnp.searchsorted(rank, jax.random.randint(key, (), 0, rank[-1]), side="right")


def random_crop(
    key: jax.Array,
    section: Sections,
    labels: jax.Array,
    middle: jax.Array,
    setting: Training,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One section about `middle` [2] (y, x), deformed.

    Returns:
      Network input [crop, crop, 3], labels and inside [crop, crop].
    """
    key_points, key_intensity = jax.random.split(key)
    points = random_points(key_points, middle, setting.crop, setting.augmentation)
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
    key: jax.Array,
    sections: Sections,
    partial: PartialLabels,
    chosen: jax.Array,
    setting: Training,
    stacks: jax.Array | None = None,
) -> Batch:
    """Random crops of the `chosen` [B] sections, of which a share gives way to balanced ones.

    None does where nothing was traced.

    With `stacks` [N] int32, the number of the stack that each section is of, a balanced crop is of
    a stack drawn uniformly.
    """

    def crop(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        own_key, n = inputs
        key_middle, key_share, key_traced, key_crop = jax.random.split(own_key, 4)
        middle = random_middle(key_middle, partial.labels.shape[1:], setting.crop)
        if setting.balanced:
            among = partial
            if stacks is not None:
                key_stack = jax.random.fold_in(key_share, 1)
                own = stacks == jax.random.randint(key_stack, (), 0, stacks.max() + 1)
                among = partial.replace(seen=partial.seen & own[:, None])
            traced = random_traced(key_traced, among, setting.crop)
            balanced = (jax.random.uniform(key_share) < setting.balanced) & among.seen.any()
            n, middle = (jnp.where(balanced, *x) for x in zip(traced, (n, middle), strict=True))
        section = jax.tree.map(lambda leaf: leaf[n], sections)
        return *random_crop(key_crop, section, partial.labels[n], middle, setting), n

    inputs = (jax.random.split(key, chosen.shape[0]), chosen)
    images, labels, inside, shown = xla.stored_map(crop, inputs)
    return Batch(images, labels, inside, partial.compatible[shown])


def train(
    key: jax.Array,
    state: TrainState,
    sections: Sections,
    partial: PartialLabels,
    recipe: Recipe,
    *,
    steps: int,
    learning_rate: float | optax.Schedule,
    first_step: jax.Array | int = 0,
    stacks: jax.Array | None = None,
) -> tuple[TrainState, jax.Array]:
    """Steps on batches of crops; every ceil(N / batch) of them pass over all sections once.

    Args:
      key: randomness; step k uses `fold_in(key, k)`, so a training may be cut into pieces.
      state: weights and the optimiser's memory.
      sections: the stack.
      partial: what has been traced.
      recipe: static.
      steps, first_step: how many (static), and the number of the first.
      learning_rate: or a function of the step's number.
      stacks: [N] int32, where the sections are of several stacks (`random_batch`).

    Returns:
      The new state, and the loss of every step [steps] float32.
    """
    sections, partial = as_seen(sections, partial)
    num_sections, batch = partial.labels.shape[0], recipe.training.batch
    per_epoch = steps_per_epoch(num_sections, batch)
    key_order, key_steps = jax.random.split(key)

    def step(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        key_crop, key_dropout = jax.random.split(jax.random.fold_in(key_steps, number))
        epoch, place = jnp.divmod(number, per_epoch)
        order = jax.random.permutation(jax.random.fold_in(key_order, epoch), num_sections)
        chosen = order[(place * batch + jnp.arange(batch)) % num_sections]
        crops = random_batch(key_crop, sections, partial, chosen, recipe.training, stacks)
        rate = learning_rate(number) if callable(learning_rate) else learning_rate
        return train_step(key_dropout, state, crops, recipe, rate)

    return jax.lax.scan(step, state, first_step + jnp.arange(steps))


def at_rest(state: TrainState, setting: Training) -> TrainState:
    """Warm weights for a further descent, where the momentum of 'sgd' is gone.

    The moments of 'adamw' stay: without them its first steps are as long as its rate allows, into
    directions of single batches.
    """
    if setting.optimiser == "adamw":
        return state
    return state.replace(momentum=jax.tree.map(jnp.zeros_like, state.momentum))
