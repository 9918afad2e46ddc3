"""What a network is, and the few ways in which it is called.

Any flax module that fulfils `Network` can be trained, queried by, and reused on further stacks;
`networks.FCN` is one.
"""

import inspect
from typing import Any, Protocol, cast

import chex
import jax
import jax.numpy as jnp

from al_jax.core.losses import LOG_ZERO
from al_jax.model.upsampling import Coarse, upsample

SIDE = 32
"""The side in pixels of the image that weights are drawn for."""


class Network(Protocol):
    """The contract of a network; a flax module of five lines and what they need fulfils it.

    1. It is hashable, and made by a callable of the number of classes: `Config(network=UNet)`.
    2. `num_classes` is C.
    3. `network.apply({"params": params}, x, key)`: [B, H, W, 3] as `network_input` makes it (in
       [-1, 1] unless pretrained) -> logits [B, H, W, C] float32, of any H and W; a key switches
       dropout on, None switches it off.
    4. `class_layers`, if it has them, names its layers with an output for each class (the last axis
       of their arrays): those are copied to another stack's network class by class.
    5. Methods that it may have. Both or neither of `encode(x)`, which gives what does not depend on
       dropout, and `decode(features, (H, W), key, downsampling=k)`, the rest, whose logits are k
       times as large as x; if `decode` takes `classes` [B, K] too, it gives the logits of these
       alone, [B, H, W, K] (a number that is no class: any). Beside them `stride` and
       `scores(features, key)` (it may take `classes`, too), from which `decode` upsamples
       bilinearly: then large sections are never decoded as a whole; who overrides one overrides the
       other. And `cast_params(params)`, the weights as it computes with them.
    """

    num_classes: int

    def init(self, rngs: jax.Array, *args: Any) -> Any:
        """Draws weights, as flax does."""

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes, as flax does."""


def init_params(key: jax.Array, network: Network) -> chex.ArrayTree:
    """Weights drawn from `key`."""
    # Compiled, as nothing but the shapes of what the layers compute is needed.
    draw = jax.jit(lambda key: network.init(key, jnp.zeros((1, SIDE, SIDE, 3))))
    return draw(key)["params"]


def encode(network: Network, params: chex.ArrayTree, x: jax.Array) -> Any:
    """A network's features of images [B, h, w, 3], before dropout acts."""
    if _is_split(network):
        return network.apply({"params": params}, x, method="encode")
    return x


def decode(
    network: Network,
    params: chex.ArrayTree,
    features: Any,
    size: tuple[int, ...],
    key: jax.Array | None = None,
    *,
    downsampling: int = 1,
    classes: jax.Array | None = None,
) -> jax.Array:
    """Logits [B, H, W, C] of `size` (H, W) from `encode`.

    Args:
      network, params: what computes.
      features: from `encode`.
      size: of the whole image.
      key: switches dropout on.
      downsampling: the factor between the whole image and the one that the network saw.
      classes: [B, K], of each image: the logits of these alone, [B, H, W, K], those of a number
        that is no class `LOG_ZERO`.
    """
    own = {} if classes is None or not _takes_classes(network) else {"classes": classes}
    if _is_split(network):
        logits = network.apply(
            {"params": params},
            features,
            size,
            key,
            downsampling=downsampling,
            **own,
            method="decode",
        )
    else:
        logits = network.apply({"params": params}, features, key)
        logits = upsample(logits, downsampling)[:, : size[0], : size[1]]
    if classes is None:
        return cast(jax.Array, logits)
    return _of_classes(logits, classes, network.num_classes, taken=bool(own))


def scores(
    network: Network,
    params: chex.ArrayTree,
    features: Any,
    size: tuple[int, ...],
    key: jax.Array | None = None,
    *,
    downsampling: int = 1,
    classes: jax.Array | None = None,
    whole: bool = False,
) -> Coarse:
    """The logits of one image, not upsampled yet if the network can tell them so.

    Args:
      network, params, key, downsampling: see `decode`.
      features: from `encode`, of a batch of one.
      size: of the whole image.
      classes: [K], or None.
      whole: they are upsampled all the same, by `decode`.
    """
    chosen = None if classes is None else classes[None]
    if whole or not hasattr(network, "scores"):
        logits = decode(
            network, params, features, size, key, downsampling=downsampling, classes=chosen
        )
        return Coarse(logits[0])
    takes = chosen is not None and _takes_classes(network, "scores")
    own = {"classes": chosen} if takes else {}
    found = network.apply({"params": params}, features, key, **own, method="scores")
    if chosen is not None:
        found = _of_classes(found, chosen, network.num_classes, taken=takes)
    return Coarse(found[0], downsampling * cast(Any, network).stride)


def _of_classes(
    logits: jax.Array, classes: jax.Array, num_classes: int, *, taken: bool
) -> jax.Array:
    """[B, H, W, K] of `classes` [B, K], of all logits unless they are `taken` already."""
    columns = classes[:, None, None, :]
    if not taken:
        logits = jnp.take_along_axis(logits, jnp.minimum(columns, num_classes - 1), -1)
    return jnp.where(columns < num_classes, logits, LOG_ZERO)


def _takes_classes(network: Network, method: str = "decode") -> bool:
    own = getattr(network, method, None)
    return own is not None and "classes" in inspect.signature(own).parameters


def _is_split(network: Network) -> bool:
    return hasattr(network, "encode") and hasattr(network, "decode")


def cast_params(params: chex.ArrayTree, network: Network) -> chex.ArrayTree:
    """The weights as the network computes with them: a loop would cast them at each turn."""
    own = getattr(network, "cast_params", None)
    return params if own is None else own(params)


def class_layers(network: Network) -> tuple[str, ...]:
    """Names of the layers with an output for each class."""
    return getattr(network, "class_layers", ())
