"""FCN-8s on VGG-16 (Long et al., CVPR 2015; Simonyan and Zisserman, 2014)."""

import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.core.stack import InputError
from al_jax.model.protocol import Network
from al_jax.model.upsampling import upsample
from al_jax.xla.convolution import convolution

STRIDE = 32  # of pool5: inputs are padded up to multiples of it


class Convolution(nn.Module):
    """A convolution layer with He-normal (or zero) kernels."""

    features: int
    size: int = 3
    zero: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, chosen: jax.Array | None = None) -> jax.Array:
        """[B, H, W, I] -> [B, H, W, features], or [B, H, W, K] of those `chosen` [B, K].

        A size of 1 alone has features to choose.
        """
        init = nn.initializers.zeros if self.zero else nn.initializers.he_normal()
        kernel = self.param("kernel", init, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        if chosen is not None:
            own = kernel[0, 0][:, chosen]  # [I, B, K]; of a number beyond the last it is the last
            return jnp.einsum("bhwi,ibk->bhwk", x, own) + bias[chosen][:, None, None]
        return convolution(x, kernel) + bias


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum, stride 2, of [B, H, W, F] with even H, W.

    Four slices instead of `reduce_window`: its gradient has no scatter, which is faster and
    deterministic on GPUs.
    """
    x = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])


class FCN(nn.Module):
    """FCN-8s on VGG-16 with SAME padding; `full`, `full_without_fc` and `small` are settings of it.

    Attributes:
      num_classes: C.
      width: factor on the features of the 13 convolutions.
      fc_features: features of fc6 and fc7; 0 drops both.
      fc_size: kernel size of fc6.
      finest: the finest pooling layer with a skip connection (3 is FCN-8s, 2 is twice as fine).
      dtype: of the computation; weights, scores and logits are float32.
    """

    class_layers: ClassVar[tuple[str, ...]] = ("score2", "score3", "score4", "score5")

    num_classes: int
    width: float = 1.0
    fc_features: int = 4096
    fc_size: int = 7
    finest: int = 3
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        """Names the layers as the published weights do."""
        layer = functools.partial(Convolution, dtype=self.dtype)
        for block, (features, layers) in enumerate(
            zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True), 1
        ):
            for index in range(1, layers + 1):
                setattr(
                    self, f"block{block}_conv{index}", layer(max(1, int(features * self.width)))
                )
        if self.fc_features:
            self.fc6 = layer(self.fc_features, self.fc_size)
            self.fc7 = layer(self.fc_features, 1)
        for block in range(self.finest, 6):  # in float32: see `cast_params`
            setattr(self, f"score{block}", Convolution(self.num_classes, 1, zero=True))

    def encode(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> the pooling layers from `finest` to pool5."""
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
        pools = []
        for block, layers in enumerate((2, 2, 3, 3, 3), 1):
            for index in range(1, layers + 1):
                x = nn.relu(getattr(self, f"block{block}_conv{index}")(x))
            x = max_pool(x)
            pools.append(x)
        return tuple(pools[self.finest - 1 :])

    @property
    def stride(self) -> int:
        """How many pixels of its image are between two places of `scores`."""
        return 2**self.finest

    def scores(
        self,
        pools: tuple[jax.Array, ...],
        key: jax.Array | None = None,
        *,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """The pooling layers -> logits [B, h, w, C], one in `stride`; `key` switches dropout on.

        With `classes` [B, K] they are of these alone, [B, h, w, K].
        """
        x = pools[-1]
        if self.fc_features:
            keys = (None, None) if key is None else jax.random.split(key)
            for layer, layer_key in zip((self.fc6, self.fc7), keys, strict=True):
                x = nn.relu(layer(x))
                if layer_key is not None:
                    kept = jax.random.bernoulli(layer_key, 0.5, x.shape)
                    x = jnp.where(kept, 2 * x, 0)
        x = self.score5(x, classes)
        for block in range(4, self.finest - 1, -1):
            score = getattr(self, f"score{block}")
            x = upsample(x, 2) + score(pools[block - self.finest], classes)
        return x

    def decode(
        self,
        pools: tuple[jax.Array, ...],
        size: tuple[int, int],
        key: jax.Array | None = None,
        *,
        downsampling: int = 1,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """`scores` upsampled: logits [B, H, W, C] of `size` (H, W).

        They are of an image downsampled by `downsampling`; `size` is that of the original.
        """
        x = upsample(self.scores(pools, key, classes=classes), downsampling * self.stride)
        return x[:, : size[0], : size[1]]

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """[B, H, W, 3] -> logits [B, H, W, C] float32; `key` switches dropout 0.5 on."""
        height, width = x.shape[1:3]
        return self.decode(self.encode(x), (height, width), key)

    def cast_params(self, params: chex.ArrayTree) -> chex.ArrayTree:
        """The weights as the layers compute with them: scores in float32, others in `dtype`."""
        return {
            layer: parts
            if layer.startswith("score")
            else jax.tree.map(lambda leaf: leaf.astype(self.dtype), parts)
            for layer, parts in params.items()
        }


def full(num_classes: int) -> FCN:
    """FCN-8s as the paper has it."""
    return FCN(num_classes, dtype=_dtype())


def full_without_fc(num_classes: int) -> FCN:
    """Neither fc6, which holds most weights of `full`, nor fc7; skips from pool2 up."""
    return FCN(num_classes, fc_features=0, finest=2, dtype=_dtype())


def small(num_classes: int) -> FCN:
    """An eighth of the width, a 3x3 fc of 128 features, skips from pool2 up."""
    return FCN(num_classes, width=1 / 8, fc_features=128, fc_size=3, finest=2, dtype=_dtype())


NETWORKS: dict[str, Callable[[int], Network]] = {
    "full": full,
    "full_without_fc": full_without_fc,
    "small": small,
}
"""Makers of networks (number of classes -> network) by name; a plugin adds its own here."""

OWN_NETWORKS = dict(NETWORKS)
"""Those of al_jax."""


def _dtype() -> jnp.dtype:
    """bfloat16 on accelerators, float32 on CPUs."""
    return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16


def with_weights(params: chex.ArrayTree, weights: Mapping[str, chex.Array]) -> chex.ArrayTree:
    """The network's `params` with its 13 convolutions replaced by published ones.

    Args:
      params: of an `FCN`.
      weights: `block<b>_conv<c>_kernel` [h, w, I, O] and `block<b>_conv<c>_bias` [O], the arrays
        of `files.weights.read_weights`.

    Raises:
      InputError: a layer is missing or has another shape; the line names the first one.
    """
    if not any(name.startswith("block") for name in params):
        raise InputError("the weights are of VGG-16, of which this network has no layer")
    replaced = dict(params)
    for layer in sorted(name for name in params if name.startswith("block")):
        replaced[layer] = {}
        for part, current in params[layer].items():
            name = f"{layer}_{part}"
            if name not in weights:
                raise InputError(f"the weights have no '{name}'; use those of VGG-16")
            if weights[name].shape != current.shape:
                raise InputError(
                    f"'{name}' of the weights has shape {list(weights[name].shape)}, the network "
                    f"{list(current.shape)}; take the full network and VGG-16"
                )
            replaced[layer][part] = jnp.asarray(weights[name], current.dtype)
    return replaced
