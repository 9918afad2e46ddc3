"""Convolution with 3x3 kernels by Winograd's minimal filters (Lavin and Gray, CVPR 2016).

A tile of m x m output pixels is A^T [(G k G^T) * (B^T d B)] A, of the kernel k and the tile's
(m + 2) x (m + 2) input pixels d: (m + 2)^2 products instead of 9 m^2, each of which becomes, for
all tiles and features, a product of two matrices. Results differ from a direct convolution's by
about 1e-5 of the largest of them in float32; in bfloat16 it would be a tenth.

A barrier after each transform prevents XLA from computing it again wherever it is read.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Matrix = tuple[tuple[float, ...], ...]

# About how many tiles are computed at a time: enough for a product of matrices, few enough for the
# cache with 128 features. Half, twice and four times as many were not clearly faster.
TILES = 288

# B^T, G and A^T for tiles of 2x2 and 4x4.
_INPUT: dict[int, Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
_KERNEL: dict[int, Matrix] = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
_OUTPUT: dict[int, Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, 1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}


def tile_size(height: int, width: int) -> int | None:
    """The larger m of 4 and 2 whose tiles fill an image; None if neither does."""
    return next((m for m in (4, 2) if height % m == 0 and width % m == 0), None)


def _mix(matrix: Matrix, parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """The matrix times a vector of arrays, stacked along a new axis."""

    def mixture(weights: Sequence[float]) -> jax.Array:
        first, *others = (p if w == 1 else w * p for w, p in zip(weights, parts, strict=True) if w)
        return sum(others, first)

    return jax.lax.optimization_barrier(jnp.stack([mixture(row) for row in matrix], axis))


def _both_sides(matrix: Matrix, x: jax.Array) -> jax.Array:
    """matrix x matrix^T over the first two axes."""
    x = _mix(matrix, list(x), 0)
    return _mix(matrix, [x[:, column] for column in range(x.shape[1])], 1)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _products(x: jax.Array) -> jax.Array:
    """[m + 2, m + 2, ..., F] as one matrix for each of the (m + 2)^2 products."""
    return x.reshape(x.shape[0] * x.shape[1], -1, x.shape[-1])


def _input_tiles(x: jax.Array, m: int) -> jax.Array:
    """B^T d B of the tiles of padded rows: [B, H + m, W + m, I] -> [(m + 2)^2, tiles, I]."""
    batch, height, width, features = x.shape
    rows, columns = height // m - 1, width // m - 1
    x = x.reshape(batch, rows + 1, m, width, features)
    x = _mix(_INPUT[m], [x[:, r // m : r // m + rows, r % m] for r in range(m + 2)], 0)
    x = x.reshape(m + 2, batch, rows, columns + 1, m, features)
    near = [x[:, :, :, c // m : c // m + columns, c % m] for c in range(m + 2)]
    return _products(_mix(_INPUT[m], near, 1))


def _most(count: int, tiles: int) -> int:
    """The divisor of `count` that, times `tiles`, is nearest to `TILES`."""
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n * tiles / TILES)))


def _cut(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Of [B, H, W, F]: images at a time (one, if in strips), rows of tiles at a time, and m."""
    batch, height, width, _ = shape
    m = tile_size(height, width)
    if m is None:
        raise ValueError(f"tiles of 2x2 pixels do not fill {height} x {width}; give even sizes")
    rows = _most(height // m, width // m)
    return (_most(batch, rows * width // m) if rows * m == height else 1), rows, m


def _in_groups(x: jax.Array, images: int) -> jax.Array:
    return x.reshape(-1, images, *x.shape[1:])


def _padded(x: jax.Array, m: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, m - 1), (1, m - 1), (0, 0)))


def _strip(x: jax.Array, top: jax.Array, height: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, top, height, axis=1)


def convolve(x: jax.Array, kernel: jax.Array, *, transposed: bool = False) -> jax.Array:
    """Stride 1, SAME padding: [B, H, W, I], [3, 3, I, O] -> [B, H, W, O]; H and W even.

    `transposed` is the transposed map, the gradient of the input: [B, H, W, O] -> [B, H, W, I].
    """
    images, rows, m = _cut(x.shape)
    height, width = x.shape[1:3]
    outputs = kernel.shape[2 if transposed else 3]
    product = "tpo,tio->tpi" if transposed else "tpi,tio->tpo"
    kernel = _products(_both_sides(_KERNEL[m], kernel[::-1, ::-1] if transposed else kernel))

    def strip(x: jax.Array) -> jax.Array:
        found = jnp.einsum(product, _input_tiles(x, m), kernel)
        found = found.reshape(m + 2, m + 2, images, rows, width // m, outputs)
        found = _both_sides(_OUTPUT[m], found).transpose(2, 3, 0, 4, 1, 5)
        return found.reshape(images, rows * m, width, outputs)

    def group(x: jax.Array) -> jax.Array:
        x = _padded(x, m)
        tops = jnp.arange(0, height, rows * m)
        return jax.lax.map(lambda top: strip(_strip(x, top, (rows + 1) * m)), tops)

    return jax.lax.map(group, _in_groups(x, images)).reshape(*x.shape[:3], outputs)


def kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """[B, H, W, I], the output's gradient [B, H, W, O] -> the kernel's [3, 3, I, O].

    G^T [(B^T d B) * (A g A^T)] G, summed over the tiles.
    """
    images, rows, m = _cut(x.shape)
    height, width = x.shape[1:3]
    features, outputs = x.shape[-1], gradient.shape[-1]

    def strip(total: jax.Array, x: jax.Array, gradient: jax.Array) -> jax.Array:
        tiles = gradient.reshape(images, rows, m, width // m, m, outputs)
        tiles = tiles.transpose(2, 4, 0, 1, 3, 5)
        tiles = _products(_both_sides(_transposed(_OUTPUT[m]), tiles))
        return total + jnp.einsum("tpi,tpo->tio", _input_tiles(x, m), tiles)

    def group(total: jax.Array, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        x, gradient = _padded(both[0], m), both[1]

        def add(total: jax.Array, top: jax.Array) -> tuple[jax.Array, None]:
            near, here = _strip(x, top, (rows + 1) * m), _strip(gradient, top, rows * m)
            return strip(total, near, here), None

        return jax.lax.scan(add, total, jnp.arange(0, height, rows * m))[0], None

    total = jnp.zeros(((m + 2) ** 2, features, outputs), x.dtype)
    total, _ = jax.lax.scan(group, total, (_in_groups(x, images), _in_groups(gradient, images)))
    total = total.reshape(m + 2, m + 2, features, outputs)
    return _both_sides(_transposed(_KERNEL[m]), total)
