"""The resolution at which a network sees sections, and the labels at that resolution."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.boundary import outline_lengths
from al_jax.core.metrics import class_areas, presence
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels
from al_jax.model.inputs import Sections, intensity_range

WIDTH = 14.0
"""The width of structures in downsampled pixels at which networks learn them best."""


def mean_downsample(image: jax.Array, factor: int) -> jax.Array:
    """Means of blocks of `factor` x `factor` pixels: [H, W, K] -> [h, w, K] of the same dtype.

    The last blocks are filled up with the image's border; h is H / `factor`, rounded up.
    """
    if factor == 1:
        return image
    height, width, channels = image.shape
    image = jnp.pad(image, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    blocks = image.reshape(-(-height // factor), factor, -1, factor, channels)
    mean = blocks.astype(jnp.float32).mean((1, 3))
    is_integer = jnp.issubdtype(image.dtype, jnp.integer)
    return (jnp.round(mean) if is_integer else mean).astype(image.dtype)


def nearest_downsample(labels: jax.Array, factor: int) -> jax.Array:
    """The middle pixels of the blocks of `mean_downsample`: [H, W] -> [h, w]."""
    middles = (
        jnp.minimum(jnp.arange(factor // 2, size + factor // 2, factor), size - 1)
        for size in labels.shape
    )
    return labels[jnp.ix_(*middles)]


def downsample_section(section: Sections, factor: int) -> Sections:
    """A section's image downsampled for the network, with its new intensity range."""
    image = mean_downsample(section.images, factor)
    low, high = intensity_range(image, nearest_downsample(section.inside, factor))
    return section.replace(images=image, low=low, high=high, downsampling=factor)


def downsample_sections(sections: Sections, factor: int) -> Sections:
    """Sections whose images are downsampled for the network; by 1 they are the same arrays."""
    if factor == 1:
        return sections
    return _without_inside(sections, factor=factor).replace(inside=sections.inside)


@functools.partial(jax.jit, static_argnames="factor")
def _without_inside(sections: Sections, factor: int) -> Sections:
    return jax.lax.map(lambda x: downsample_section(x, factor).replace(inside=None), sections)


def at_network_resolution(
    sections: Sections, partial: PartialLabels
) -> tuple[Sections, PartialLabels]:
    """What the network is trained on: domain and labels at the resolution of its images."""
    factor = sections.downsampling
    if factor == 1:
        return sections, partial
    downsample = jax.vmap(functools.partial(nearest_downsample, factor=factor))
    labels, inside = downsample(partial.labels), downsample(sections.inside)
    seen = partial.seen & presence(labels, inside, partial.seen.shape[1])
    return (
        sections.replace(inside=inside, downsampling=1),
        partial.replace(labels=labels, seen=seen),
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def labelled_extent(labels: jax.Array, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Area and perimeter of each class, which is closed along the borders of sections.

    `labels` [N, H, W] -> sums over the sections: [C] int32, [C] float32, pixels.
    """

    def one(section: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = jnp.pad(section, 1, constant_values=UNLABELLED)
        everywhere = jnp.ones(padded.shape, bool)
        shown = padded, everywhere, num_classes
        return class_areas(*shown), outline_lengths(*shown)

    return jax.tree.map(lambda x: x.sum(0), jax.lax.map(one, labels))


def suited_sections(sections: Sections, labels: chex.Array, num_classes: int) -> Sections:
    """Sections downsampled as suits the labelled structures; use it outside jit.

    Args:
      sections: from `make_sections`.
      labels: [N, H, W] classes or `UNLABELLED`.
      num_classes: C.
    """
    extent = labelled_extent(labels, num_classes=num_classes)
    return downsample_sections(sections, suited_downsampling(*extent))


def suited_downsampling(areas: chex.Array, outlines: chex.Array) -> int:
    """The factor that makes the median structure `WIDTH` pixels wide for the network.

    The width is 4 area / perimeter, that of a square. Background and unlabelled structures do not
    count; sections are never upsampled.

    Args:
      areas, outlines: [C], of `labelled_extent`.

    Example:
      >>> suited_downsampling([900, 50 * 50, 42 * 42], [0, 200, 168])
      3
    """
    areas, outlines = np.asarray(areas)[1:], np.asarray(outlines)[1:]
    labelled = (areas > 0) & (outlines > 0)
    if not labelled.any():
        return 1
    return max(round(float(np.median(4 * areas[labelled] / outlines[labelled])) / WIDTH), 1)
