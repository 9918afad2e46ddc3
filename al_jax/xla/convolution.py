"""Convolution, written for a CPU in the forms that XLA runs fast inside a loop.

XLA's own CPU convolution (Eigen's; see `xla.compiler_options`) gathers the patch behind every
output pixel, then multiplies matrices. Two things make it slow: other layouts than NHWC/HWIO, as
its own gradients have (jax issue 12868: ten times slower in a loop), and few features, where
gathering costs more than multiplying. So gradients are written as convolutions of that layout; with
few features blocks of output pixels are computed from one patch; with many features Winograd's
filters need fewer products.
"""

import itertools

import jax
import jax.numpy as jnp

from al_jax.xla import winograd

_LAYOUT = ("NHWC", "HWIO", "NHWC")
NARROW = 8  # features up to which patches cost more than products
WIDE = 64  # features from which blocks do not pay, but Winograd's filters do
LANES = 4  # fewer input features than this are padded: patches are copied a vector at a time


def _convolve(
    x: jax.Array, kernel: jax.Array, pad: int | None = None, stride: int = 1
) -> jax.Array:
    padding = "SAME" if pad is None else [(pad, pad)] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT
    )


def _blocked(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3x3 convolution that computes 2x2 output pixels from each 4x4 patch."""
    batch, height, width, features = x.shape
    if features < LANES:
        more = (0, LANES - features)
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), more))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), more, (0, 0)))
    shifted = [
        jnp.pad(kernel, ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0)))
        for row in (0, 1)
        for column in (0, 1)
    ]
    blocks = _convolve(x, jnp.concatenate(shifted, -1), pad=1, stride=2)
    blocks = blocks.reshape(batch, height // 2, width // 2, 2, 2, -1)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height, width, -1)


def _for_winograd(x: jax.Array, size: tuple[int, ...], features: tuple[int, ...]) -> bool:
    """Whether its transforms are cheap compared with the products that it saves."""
    m = winograd.tile_size(*x.shape[1:3])
    if size != (3, 3) or m is None or x.dtype != jnp.float32:  # shorter floats lose too much
        return False
    tiles = x.shape[0] * x.shape[1] * x.shape[2] // m**2
    # Transforming the kernel costs as much however few tiles there are.
    return WIDE <= min(features) <= 8 * tiles


def _forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if _for_winograd(x, kernel.shape[:2], kernel.shape[2:]):
        return winograd.convolve(x, kernel)
    even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
    few = min(kernel.shape[2:]) <= NARROW and max(kernel.shape[2:]) < WIDE
    if kernel.shape[:2] == (3, 3) and even and few:
        return _blocked(x, kernel)
    return _convolve(x, kernel)


def _to_input(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
    """The input's gradient: a convolution of the output's with the mirrored kernel."""
    if _for_winograd(gradient, kernel.shape[:2], kernel.shape[2:]):
        return winograd.convolve(gradient, kernel, transposed=True)
    return _forward(gradient, kernel[::-1, ::-1].transpose(0, 1, 3, 2))


def _to_kernel(x: jax.Array, gradient: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The kernel's gradient [h, w, I, O]: the input correlated with the output's gradient."""
    # The batch is summed over, so it takes the place of the input features.
    batch, height, width, features = x.shape
    outputs = gradient.shape[-1]
    if _for_winograd(x, size, (features, outputs)):
        return winograd.kernel_gradient(x, gradient)
    x = jnp.pad(x, ((0, 0), *((s // 2, s // 2) for s in size), (0, 0)))
    if outputs > NARROW or width % 2 or size[1] % 2 == 0:
        x, gradient = x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
        return _convolve(x, gradient, pad=0).transpose(1, 2, 0, 3)
    # Even and odd columns become features of their own: twice as many, and half as many patches.
    half = width // 2
    columns = half + size[1] // 2
    x = x.reshape(batch, -1, columns, 2, features).transpose(3, 4, 1, 2, 0)
    x = x.reshape(2 * features, -1, columns, batch)
    gradient = gradient.reshape(batch, height, half, 2, outputs).transpose(1, 2, 0, 3, 4)
    found = _convolve(x, gradient.reshape(height, half, batch, 2 * outputs), pad=0)
    found = found.reshape(2, features, size[0], -1, 2, outputs).transpose(2, 3, 0, 1, 4, 5)
    found = found.reshape(size[0], -1, features, 2, outputs)  # a column more than the kernel has
    return found[:, :-1, :, 0] + found[:, 1:, :, 1]


@jax.custom_vjp
def _on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, kernel)


def _on_cpu_forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _forward(x, kernel), (x, kernel)


def _on_cpu_backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    return _to_input(gradient, kernel), _to_kernel(x, gradient, kernel.shape[:2])


_on_cpu.defvjp(_on_cpu_forward, _on_cpu_backward)


def _as_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product of all patches and the kernel as a matrix."""
    batch, height, width, features = x.shape
    # What reaches over the whole image from its far side meets nothing but padding.
    above, left = min(kernel.shape[0] // 2, height - 1), min(kernel.shape[1] // 2, width - 1)
    rows, columns = kernel.shape[0] // 2 - above, kernel.shape[1] // 2 - left
    kernel = kernel[rows : rows + 2 * above + 1, columns : columns + 2 * left + 1]
    down, right, _, outputs = kernel.shape
    x = jnp.pad(x, ((0, 0), (above, above), (left, left), (0, 0)))
    corners = itertools.product(range(down), range(right))
    patches = jnp.stack([x[:, r : r + height, c : c + width] for r, c in corners], 3)
    patches = patches.reshape(batch * height * width, down * right * features)
    return (patches @ kernel.reshape(-1, outputs)).reshape(batch, height, width, outputs)


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution, stride 1, SAME padding: [B, H, W, I], odd [h, w, I, O] -> [B, H, W, O].

    A kernel as large as the image (fc6 on a crop) becomes one product of matrices, with XLA's
    gradients: on a CPU several times faster, and for GPUs XLA takes such a kernel for the image and
    copies it at each step. Else it is XLA's own on other devices than a CPU.
    """
    if kernel.shape[0] >= x.shape[1] and kernel.shape[1] >= x.shape[2]:
        return _as_product(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=_on_cpu, default=_convolve)
