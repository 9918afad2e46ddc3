"""FCN-8s on VGG-16 (Long et al., CVPR 2015; Simonyan and Zisserman, 2014)."""

import functools
from collections.abc import Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.core.stack import InputError
from al_jax.xla.convolution import convolution

CONVENTIONS = ("plain", "caffe", "torchvision")
STRIDE = 32  # of pool5: inputs are padded up to multiples of it


class Convolution(nn.Module):
    """A convolution layer with He-normal (or zero) kernels."""

    features: int
    size: int = 3
    zero: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, I] -> [B, H, W, features]."""
        init = nn.initializers.zeros if self.zero else nn.initializers.he_normal()
        kernel = self.param("kernel", init, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return convolution(x, kernel) + bias


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum, stride 2, of [B, H, W, F] with even H, W.

    Four slices instead of `reduce_window`: its gradient has no scatter, which is faster and
    deterministic on GPUs.
    """
    x = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear, half-pixel centres: [B, H, W, F] -> [B, factor H, factor W, F].

    Sums of two shifted copies for each of the `factor` places between two pixels, which a CPU does
    faster than `jax.image.resize`, a product with a dense matrix. The gradient (reverse mode alone)
    is that of `jax.image.resize`, as the one of the sums is slower.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        beside = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = jnp.pad(x, beside, mode="edge")
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


class FCN(nn.Module):
    """FCN-8s on VGG-16 with SAME padding; `NETWORKS` names settings of it.

    Attributes:
      num_classes: C.
      width: factor on the features of the 13 convolutions.
      fc_features: features of fc6 and fc7; 0 drops both.
      fc_size: kernel size of fc6.
      finest: the finest pooling layer that is scored (3 is FCN-8s, 2 keeps twice the resolution).
      dtype: of the computation; weights, scores and logits are float32.
    """

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
        for block in range(self.finest, 6):  # in float32: `cast_params` knows them by their name
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

    def decode(
        self,
        pools: tuple[jax.Array, ...],
        size: tuple[int, int],
        key: jax.Array | None = None,
        *,
        reduction: int = 1,
    ) -> jax.Array:
        """The pooling layers -> logits [B, H, W, C] of `size` (H, W); `key` switches dropout on.

        `reduction` is that of the image they are of (`reduced`); `size` is the whole one's.
        """
        x = pools[-1]
        if self.fc_features:
            keys = (None, None) if key is None else jax.random.split(key)
            for layer, layer_key in zip((self.fc6, self.fc7), keys, strict=True):
                x = nn.relu(layer(x))
                if layer_key is not None:
                    kept = jax.random.bernoulli(layer_key, 0.5, x.shape)
                    x = jnp.where(kept, 2 * x, 0)
        x = self.score5(x)
        for block in range(4, self.finest - 1, -1):
            x = upsample(x, 2) + getattr(self, f"score{block}")(pools[block - self.finest])
        x = upsample(x, reduction * 2**self.finest)
        return x[:, : size[0], : size[1]]

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """[B, H, W, 3] -> logits [B, H, W, C] float32; `key` switches dropout 0.5 on."""
        height, width = x.shape[1:3]
        return self.decode(self.encode(x), (height, width), key)


NETWORKS: dict[str, dict[str, Any]] = {
    "full": {},
    "full_without_fc": {"fc_features": 0, "finest": 2},  # most weights of `full` are those of fc6
    "small": {"width": 1 / 8, "fc_features": 128, "fc_size": 3, "finest": 2},
}


def make_network(name: str, num_classes: int) -> FCN:
    """A network of `NETWORKS`, in bfloat16 on accelerators and in float32 on CPUs.

    Raises:
      ValueError: unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"network '{name}' is not one of {', '.join(NETWORKS)}")
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return FCN(num_classes, **{"dtype": dtype, **NETWORKS[name]})


def init_params(key: jax.Array, network: FCN) -> chex.ArrayTree:
    """Weights drawn from `key`: He-normal kernels, zero biases and scores."""
    # Compiled, as nothing but the shapes of what the layers compute is needed.
    draw = jax.jit(lambda key: network.init(key, jnp.zeros((1, STRIDE, STRIDE, 3))))
    return draw(key)["params"]


def cast_params(params: chex.ArrayTree, network: FCN) -> chex.ArrayTree:
    """The weights as the layers compute with them: scores in float32, others in `network.dtype`.

    For a loop of predictions, which would cast them at each turn.
    """
    return {
        layer: parts
        if layer.startswith("score")
        else jax.tree.map(lambda leaf: leaf.astype(network.dtype), parts)
        for layer, parts in params.items()
    }


def with_weights(params: chex.ArrayTree, weights: Mapping[str, chex.Array]) -> chex.ArrayTree:
    """The network's `params` with its 13 convolutions replaced by published ones.

    Args:
      params: of an `FCN`.
      weights: `block<b>_conv<c>_kernel` [h, w, I, O] and `block<b>_conv<c>_bias` [O], the arrays
        of `files.weights.read_weights`.

    Raises:
      InputError: a layer is missing or has another shape; the line names the first one.
    """
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


def reduced(image: jax.Array, factor: int) -> jax.Array:
    """Means of blocks of `factor` x `factor` pixels: [H, W, K] -> [h, w, K] of the same dtype.

    The last blocks are filled up with the image's border; h is H / `factor`, rounded up.
    """
    if factor == 1:
        return image
    height, width, channels = image.shape
    image = jnp.pad(image, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    blocks = image.reshape(-(-height // factor), factor, -1, factor, channels)
    mean = blocks.astype(jnp.float32).mean((1, 3))
    whole = jnp.issubdtype(image.dtype, jnp.integer)
    return (jnp.round(mean) if whole else mean).astype(image.dtype)


def thinned(labels: jax.Array, factor: int) -> jax.Array:
    """The middle pixels of the blocks of `reduced`: [H, W] -> [h, w]."""
    middles = (
        jnp.minimum(jnp.arange(factor // 2, size + factor // 2, factor), size - 1)
        for size in labels.shape
    )
    return labels[jnp.ix_(*middles)]


def normalise(image: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Min-max of a section to [0, 1]; `image` [H, W, K], `low`, `high` scalars.

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
