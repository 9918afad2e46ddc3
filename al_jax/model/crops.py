"""Batches of random crops that show what is labelled (paper, section 2.4.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax import xla
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels
from al_jax.model.augmentation import sample_bilinear, sample_nearest
from al_jax.model.config import Training
from al_jax.model.inputs import Sections, network_input, normalise
from al_jax.model.subsets import subset_classes, subset_columns, subset_labels


class Batch(NamedTuple):
    """Crops: inputs [B, h, w, 3], labels and inside [B, h, w], compatible [B, C].

    With `classes` [B, K], those that each can show, labels and compatible [B, K] are by these.
    """

    inputs: jax.Array
    labels: jax.Array
    inside: jax.Array
    compatible: jax.Array
    classes: jax.Array | None = None


def random_middle(key: jax.Array, size: tuple[int, ...], crop: int) -> jax.Array:
    """The middle [2] (y, x) of a crop anywhere in a section of `size` (H, W)."""
    low, high = _middles(size, crop)
    return low + jax.random.uniform(key, (2,)) * (high - low)


def random_labelled(
    key: jax.Array, partial: PartialLabels, crop: int
) -> tuple[jax.Array, jax.Array]:
    """A crop that shows a class drawn uniformly among the labelled ones.

    Args:
      key: draws the class, one of the sections where it is labelled, and one of its pixels there.
      partial: what is labelled.
      crop: side in pixels.

    Returns:
      The section [] int32 and the crop's middle [2] (y, x): the pixel, or the nearest to it whose
      crop is within the section. Meaningless if nothing is labelled.
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
    training: Training,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A crop of one section about `middle` [2] (y, x), augmented.

    Returns:
      Network input [crop, crop, 3], labels and inside [crop, crop].
    """
    points, recolour = training.augmentation(key, middle, training.crop)
    cropped = recolour(
        normalise(sample_bilinear(section.images, points), section.low, section.high)
    )
    return (
        network_input(cropped, training.convention),
        sample_nearest(labels, points, UNLABELLED),
        sample_nearest(section.inside, points, False),
    )


def random_batch(
    key: jax.Array,
    sections: Sections,
    partial: PartialLabels,
    chosen: jax.Array,
    training: Training,
    stacks: jax.Array | None = None,
) -> Batch:
    """Random crops of the `chosen` [B] sections, a share of them replaced by balanced ones.

    The share is `training.balanced`; a balanced crop is that of `random_labelled`. Where nothing is
    labelled, none is replaced. With `stacks` [N] int32, the number of the stack that each section
    is of, a balanced crop is of a stack drawn uniformly.
    """

    def crop(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        own_key, n = inputs
        key_middle, key_share, key_labelled, key_crop = jax.random.split(own_key, 4)
        middle = random_middle(key_middle, partial.labels.shape[1:], training.crop)
        if training.balanced:
            among = partial
            if stacks is not None:
                key_stack = jax.random.fold_in(key_share, 1)
                own = stacks == jax.random.randint(key_stack, (), 0, stacks.max() + 1)
                among = partial.replace(seen=partial.seen & own[:, None])
            labelled = random_labelled(key_labelled, among, training.crop)
            balanced = (jax.random.uniform(key_share) < training.balanced) & among.seen.any()
            n, middle = (jnp.where(balanced, *x) for x in zip(labelled, (n, middle), strict=True))
        section = jax.tree.map(lambda leaf: leaf[n], sections)
        return *random_crop(key_crop, section, partial.labels[n], middle, training), n

    inputs = (jax.random.split(key, chosen.shape[0]), chosen)
    images, labels, inside, shown = xla.stored_map(crop, inputs)
    if not sections.classes:
        return Batch(images, labels, inside, partial.compatible[shown])

    def own(n: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
        classes = subset_classes(partial.in_range[n], partial.seen[n], sections.classes)
        local = subset_labels(labels, classes, partial.seen.shape[1])
        return local, subset_columns(partial.compatible[n], classes), classes

    labels, compatible, classes = jax.vmap(own)(shown, labels)
    return Batch(images, labels, inside, compatible, classes)
