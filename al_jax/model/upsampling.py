"""Bilinear upsampling, as fast on a CPU as it can be."""

import functools

import jax
import jax.numpy as jnp
from flax import struct


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear, half-pixel centres: [B, H, W, F] -> [B, factor H, factor W, F].

    Sums of two shifted copies for each of the `factor` places between two pixels, which a CPU does
    faster than `jax.image.resize`, a product with a dense matrix. The gradient (reverse mode alone)
    is that of `jax.image.resize`, as that of the sums is slower.
    """
    if factor == 1:
        return x
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = jnp.pad(x, pads, mode="edge")
        before, here, after = (
            jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)
        )
        places = [(place + 0.5) / factor - 0.5 for place in range(factor)]
        mixed = [(1 - abs(p)) * here + abs(p) * (before if p < 0 else after) for p in places]
        shape = (*x.shape[:axis], factor * size, *x.shape[axis + 1 :])
        x = jnp.stack(mixed, axis + 1).reshape(shape)
    return x


def _upsample_forward(x: jax.Array, factor: int) -> tuple[jax.Array, None]:
    return upsample(x, factor), None


def _upsample_backward(factor: int, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    batch, height, width, features = gradient.shape
    small = jax.ShapeDtypeStruct(
        (batch, height // factor, width // factor, features), gradient.dtype
    )

    def resize(x: jax.Array) -> jax.Array:
        return jax.image.resize(x, gradient.shape, "bilinear")

    return tuple(jax.linear_transpose(resize, small)(gradient))


upsample.defvjp(_upsample_forward, _upsample_backward)


class Coarse(struct.PyTreeNode):
    """Values of an image that are not upsampled yet.

    Attributes:
      values: [h, w, F].
      factor: static; pixels of the image between two of them.
    """

    values: jax.Array
    factor: int = struct.field(pytree_node=False, default=1)

    def whole(self, size: tuple[int, ...]) -> jax.Array:
        """Of all pixels of an image of `size` (H, W): [H, W, F]."""
        return upsample(self.values[None], self.factor)[0, : size[0], : size[1]]

    def at(self, rows: jax.Array, columns: jax.Array) -> jax.Array:
        """Of some rows [R] and columns [Q] alone: [R, Q, F], as `whole` has them."""
        values = self.values
        for axis, pixels in enumerate((rows, columns)):
            here = pixels // self.factor
            place = (pixels % self.factor + 0.5) / self.factor - 0.5
            beside = jnp.clip(here + jnp.sign(place).astype(here.dtype), 0, values.shape[axis] - 1)
            place = jnp.expand_dims(jnp.abs(place), (1, 2) if axis == 0 else (0, 2))
            near, far = (jnp.take(values, index, axis) for index in (here, beside))
            values = (1 - place) * near + place * far
        return values
