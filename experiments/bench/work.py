"""How much work there is, and how much of it the machine does at best."""

import jax
import jax.numpy as jnp

from al_jax.model.networks import FCN, STRIDE
from al_jax.model.protocol import init_params
from experiments.bench import harness

PRODUCT = 2048  # side of the matrices whose product is the machine's peak; on accelerators fourfold


def operations(network: FCN, height: int, width: int) -> tuple[float, float]:
    """Floating-point operations of the convolutions on one image, forward.

    Two for each product of a weight in a direct convolution; the padding of odd sizes included.
    Winograd's filters, of wide layers in float32 on a CPU, need fewer: the rate of these operations
    may be more than that of a product of matrices.
    Upsampling, the loss and all that is not a convolution are left out.

    Returns:
      All convolutions; the first one of them, which in training needs no gradient of its input.
    """
    padded = [size + -size % STRIDE for size in (height, width)]
    shapes = jax.eval_shape(lambda key: init_params(key, network), jax.random.key(0))
    total = first = 0.0
    for layer, parts in shapes.items():
        block = int(layer.removeprefix("block")[0]) if layer.startswith("block") else None
        if block is None:  # behind a pooling layer: fc6 and fc7 behind pool5
            block = (int(layer[-1]) if layer.startswith("score") else 5) + 1
        pixels = padded[0] * padded[1] / 4 ** (block - 1)
        count = 2.0 * pixels * parts["kernel"].size
        first = count if layer == "block1_conv1" else first
        total += count
    return total, first


def peak(dtype: jnp.dtype, repeats: int) -> float:
    """Operations a second in a product of two large square matrices, at best."""
    side = PRODUCT * (1 if jax.default_backend() == "cpu" else 4)
    a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    harness.timed(product, a, a)
    return 2.0 * side**3 / min(harness.timed(product, a, a)[1] for _ in range(repeats))
