"""Stacks whose sections are deformed one by one (paper, section 3.1.1)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.stack import InputError, Stack, drop_absent, make_stack
from al_jax.model.augmentation import (
    FIELDS,
    affine,
    random_displacement,
    sample_bilinear,
    sample_nearest,
    source_points,
)


@dataclasses.dataclass(frozen=True)
class Deformation:
    """Standard deviations of a section's similarity transform, and its non-linear field.

    Attributes:
      rotation: degrees.
      translation: pixels.
      scale: of the factor's natural logarithm.
      field: a key of `augmentation.FIELDS`.
    """

    rotation: float = 10.0
    translation: float = 10.0
    scale: float = 0.1
    field: str = "smooth"

    def __post_init__(self) -> None:
        """Refuses an unknown field."""
        if self.field not in FIELDS:
            raise ValueError(f"field '{self.field}' is not one of {', '.join(FIELDS)}")


def random_deformation(
    key: jax.Array, height: int, width: int, deformation: Deformation
) -> jax.Array:
    """Source points of a deformed section, [height, width, 2] as (y, x)."""
    key_similarity, key_field = jax.random.split(key)
    normal = jax.random.normal(key_similarity, (4,))
    matrix = affine(
        jnp.deg2rad(deformation.rotation) * normal[0],
        jnp.exp(deformation.scale * normal[1]),
        jnp.float32(0),
    )
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    centre = middle + deformation.translation * normal[2:]
    field = random_displacement(key_field, height, width, deformation.field)
    return source_points(matrix, centre, field)


def deform(
    points: jax.Array, image: jax.Array, truth: jax.Array, inside: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A section sampled at `points` [H, W, 2]: images bilinear, classes and domain nearest.

    Beyond its border a section is padded with its border pixels.

    Args:
      points: from `random_deformation`.
      image, truth, inside: [H, W, K], [H, W], [H, W].

    Returns:
      The same three, of the same dtypes.
    """
    points = jnp.clip(points, 0.0, jnp.array(truth.shape) - 1.0)
    sampled = sample_bilinear(image, points)
    if jnp.issubdtype(image.dtype, jnp.integer):
        sampled = jnp.round(sampled)
    return (
        sampled.astype(image.dtype),
        sample_nearest(truth, points, 0),
        sample_nearest(inside, points, False),
    )


def on_canvas(stack: Stack, size: int) -> Stack:
    """The stack on a canvas of size x size, so that a deformation moves no tissue out of the image.

    A shorter axis is centred and padded with its border pixels, as in `deform`; a longer one is cut
    about the middle of its structures.

    Raises:
      InputError: structures would be cut off.
    """
    drawn = np.nonzero(np.asarray(stack.truth) > 0)
    window = []
    for axis, across in ((1, "high"), (2, "wide")):
        length, first = stack.truth.shape[axis], int(drawn[axis].min())
        extent = int(drawn[axis].max()) + 1 - first
        if extent > size:
            raise InputError(
                f"the structures are {extent} pixels {across}; a size of {size} cuts them off: "
                "give more"
            )
        start = (length - size) // 2
        if length > size:
            start = min(max(first + (extent - size) // 2, 0), length - size)
        window.append(np.arange(start, start + size).clip(0, length - 1))
    rows, columns = window

    def cut(array: np.ndarray) -> np.ndarray:
        return np.asarray(array)[:, rows][:, :, columns]

    return make_stack(
        cut(stack.images),
        cut(stack.truth),
        stack.names,
        cut(stack.inside),
        sections=stack.sections,
        colours=stack.colours,
    )


def synthesise(key: jax.Array, stack: Stack, deformation: Deformation | None = None) -> Stack:
    """A stack with each section deformed on its own, labels and image by one grid.

    Args:
      key: randomness; section n draws from `fold_in(key, n)`.
      stack: the sections as they lie in a volume.
      deformation: how much; None for the paper's.

    Returns:
      A stack of the same shape. Classes whose last pixel was moved out of it are left out.

    Raises:
      InputError: no structure is left, or a section has no pixel inside any more.
    """
    chosen = Deformation() if deformation is None else deformation
    height, width = stack.truth.shape[1:]

    def section(inputs: tuple) -> tuple[jax.Array, jax.Array, jax.Array]:
        n, *arrays = inputs
        points = random_deformation(jax.random.fold_in(key, n), height, width, chosen)
        return deform(points, *arrays)

    index = jnp.arange(stack.num_sections)
    arrays = jax.lax.map(section, (index, stack.images, stack.truth, stack.inside))
    images, truth, inside = (np.asarray(array) for array in arrays)
    truth, names, colours = drop_absent(truth, stack.names, stack.colours)
    return make_stack(images, truth, names, inside, sections=stack.sections, colours=colours)
