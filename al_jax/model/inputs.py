"""What a network sees of a stack: images with their intensity range, as its weights expect them."""

import jax
import jax.numpy as jnp
from flax import struct

from al_jax import xla
from al_jax.core.stack import Images

CONVENTIONS = ("plain", "caffe", "torchvision")


class Fields(struct.PyTreeNode):
    """Where sections show the same as their neighbours; see `learner.neighbours`.

    Attributes:
      displacement: [N, 2, h, w, 2] float16, downsampled pixels (row, column): a section shows at x
        what the section before (0) or after it (1) shows at x + displacement(x).
      quality: [N, 2] float32, how much of an outline survives that, 0 to 1; 0 where there is none.
      downsampling: of the sections for them, static.
    """

    displacement: jax.Array
    quality: jax.Array
    downsampling: int = struct.field(pytree_node=False, default=1)


class Sections(struct.PyTreeNode):
    """What the network sees of N sections: images [N, h, w, K], inside [N, H, W], low, high [N].

    Images are downsampled by the factor `downsampling`, static (h = H / `downsampling`, rounded
    up). Of one section, without the leading axis. `classes` is how many classes a section can show
    at most, static (`subsets.subset_width`); 0: any. `fields` are of the stack, or None: each
    section is seen by itself.
    """

    images: jax.Array
    inside: jax.Array
    low: jax.Array
    high: jax.Array
    downsampling: int = struct.field(pytree_node=False, default=1)
    classes: int = struct.field(pytree_node=False, default=0)
    fields: Fields | None = None


def make_sections(stack: Images) -> Sections:
    """Images and their domains, with each section's intensity range."""
    images, inside = jnp.asarray(stack.images), jnp.asarray(stack.inside)
    low, high = _intensity_ranges(images, inside)
    return Sections(images=images, inside=inside, low=low, high=high)


@xla.compile_once
def _intensity_ranges(images: jax.Array, inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Not under vmap, which would hold the whole stack as float32.
    return jax.lax.map(lambda x: intensity_range(*x), (images, inside))


def normalise(image: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Scales a section's range of intensities to [0, 1]; `image` [H, W, K], `low`, `high` scalars.

    A section of one intensity is 0.
    """
    # Sixteenths, as float32 may not hold the range of float32 pixels, nor one over it.
    image, low, high = (jnp.asarray(x, jnp.float32) / 16 for x in (image, low, high))
    scaled = (image - low) / jnp.where(high > low, high - low, 1.0)
    return jnp.clip(scaled, 0.0, 1.0)


def intensity_range(image: jax.Array, inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest intensity of a section's inside pixels; [H, W, K], [H, W] -> scalars."""
    image, inside = image.astype(jnp.float32), inside[..., None]
    low = jnp.min(image, where=inside, initial=jnp.inf)
    high = jnp.max(image, where=inside, initial=-jnp.inf)
    return jnp.where(inside.any(), low, 0.0), jnp.where(inside.any(), high, 1.0)


def network_input(image: jax.Array, convention: str) -> jax.Array:
    """[H, W, 1 or 3] in [0, 1], RGB -> [H, W, 3] as the weights expect it.

    Args:
      image: grey is repeated.
      convention: of `CONVENTIONS`: 'plain' is [-1, 1]; 'caffe' BGR, 0-255, minus the mean of
        ImageNet; 'torchvision' RGB, 0-1, minus the mean, over the standard deviation.

    Raises:
      ValueError: unknown convention.
    """
    image = jnp.broadcast_to(image, (*image.shape[:2], 3))
    match convention:
        case "plain":
            return 2.0 * image - 1.0
        case "caffe":
            return 255.0 * image[..., ::-1] - jnp.array([103.939, 116.779, 123.68])
        case "torchvision":
            return (image - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])
    raise ValueError(f"convention '{convention}' is not one of {', '.join(CONVENTIONS)}")
