"""What a trained network says of a stack, by itself and with what has been traced. No truth here.

Class probabilities never exist for more than one section a device: a stack is reduced section by
section to what the caller keeps of each.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.metrics import class_areas, dice
from al_jax.core.posterior import class_entropy, class_posterior, segment
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels
from al_jax.model.networks import cast_params, network_input, normalise
from al_jax.model.training import Recipe, Sections


class Prediction(struct.PyTreeNode):
    """Of one section.

    Attributes:
      segmentation: [H, W] int16, Eq. 4: what was traced, and the network's best class elsewhere.
      confidence: [H, W] float32, the probability of that class (Eq. 3); 1 where it was traced.
      alone: [H, W] int16, the network's own argmax over the classes in range, whatever was traced.
      fit: [C] float32, Dice of `alone` against what was traced.
      traced: [C] bool, the structure has a traced pixel: where `fit` counts.
      entropy: [C] float32, H of Eq. 8 or 9 (zero if not asked for).
    """

    segmentation: jax.Array
    confidence: jax.Array
    alone: jax.Array
    fit: jax.Array
    traced: jax.Array
    entropy: jax.Array


def predict_section(
    key: jax.Array,
    params: chex.ArrayTree,
    section: Sections,
    partial: PartialLabels,
    recipe: Recipe,
    *,
    entropy: bool = False,
    dropout_samples: int = 0,
) -> Prediction:
    """One section. Under jit, what is not used of the result costs nothing.

    Args:
      key: randomness of Monte Carlo dropout.
      params: the network's weights.
      section: what the network sees of it.
      partial: what was traced on it.
      recipe: static.
      entropy: whether Eq. 8 is needed.
      dropout_samples: S of Eq. 9; 0 takes the entropy of the network without dropout.
    """
    network, labels, inside = recipe.network, partial.labels, section.inside
    pixels = normalise(section.images, section.low, section.high)
    x = network_input(pixels, recipe.training.convention)[None]
    params = cast_params(params, network)
    encoded = network.apply({"params": params}, x, method="encode")
    pools = cast(tuple[jax.Array, ...], encoded)

    def decode(key: jax.Array | None = None) -> jax.Array:
        """Logits [H, W, C]; `key` switches dropout on."""
        apply = functools.partial(network.apply, method="decode", reduction=section.reduction)
        return cast(jax.Array, apply({"params": params}, pools, labels.shape, key))[0]

    logits = decode()

    segmentation = segment(logits, labels, partial.compatible)
    probabilities = class_posterior(logits, labels, partial.compatible)
    confidence = jnp.take_along_axis(probabilities, segmentation[..., None], -1)[..., 0]
    alone = segment(logits, jnp.full_like(labels, UNLABELLED), partial.in_range)
    spread = jnp.zeros(network.num_classes)
    if entropy and dropout_samples:
        mean = dropout_posterior(key, decode, partial, dropout_samples)
        spread = class_entropy(mean, inside)
    elif entropy:
        spread = class_entropy(probabilities, inside)
    return Prediction(
        segmentation=segmentation.astype(jnp.int16),
        confidence=confidence,
        alone=alone.astype(jnp.int16),
        fit=dice(alone, labels, inside, network.num_classes),
        traced=class_areas(labels, inside, network.num_classes) > 0,
        entropy=spread,
    )


def predict(
    key: jax.Array,
    params: chex.ArrayTree,
    sections: Sections,
    partial: PartialLabels,
    recipe: Recipe,
    *,
    keep: Callable[[Prediction, Any], chex.ArrayTree],
    beside: chex.ArrayTree = None,
    where: jax.Array | None = None,
    entropy: bool = False,
    dropout_samples: int = 0,
    mesh: Mesh | None = None,
) -> chex.ArrayTree:
    """Predicts section after section, and keeps what `keep` makes of each.

    Args:
      key: section n draws from `fold_in(key, n)`.
      params, recipe, entropy, dropout_samples: as of `predict_section`.
      sections: the stack.
      partial: what was traced on it.
      keep: (prediction of a section, what is `beside` it) -> a pytree of arrays.
      beside: pytree of [N, ...], handed to `keep` section by section.
      where: [N] bool, the sections to predict, of many; the rest costs nothing and is zero.
      mesh: devices that share the sections; the numbers agree to rounding.

    Returns:
      What `keep` returns, each array with a leading axis [N].

    Example:
      predict(key, params, sections, partial, recipe, keep=lambda p, _: p.segmentation)
    """
    params = cast_params(params, recipe.network)  # once, not at each turn of the loop

    def one(inputs: tuple) -> chex.ArrayTree:
        n, section, own, aside = inputs
        prediction = predict_section(
            jax.random.fold_in(key, n),
            params,
            section,
            own,
            recipe,
            entropy=entropy,
            dropout_samples=dropout_samples,
        )
        return keep(prediction, aside)

    count = partial.labels.shape[0]
    if where is None:
        return xla.shared_map(one, (jnp.arange(count), sections, partial, beside), mesh)
    stack = (sections, partial, beside)

    def wanted(n: jax.Array) -> chex.ArrayTree:
        # Its arrays are taken within the branch: a map would copy those of all sections.
        return one((n, *jax.tree.map(lambda leaf: leaf[n], stack)))

    def one_or_nothing(n: jax.Array) -> chex.ArrayTree:
        shapes = jax.eval_shape(wanted, n)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(where[n], wanted, lambda _: nothing, n)

    return xla.shared_map(one_or_nothing, jnp.arange(count), mesh)


def dropout_posterior(
    key: jax.Array, decode: Callable[[jax.Array], jax.Array], partial: PartialLabels, samples: int
) -> jax.Array:
    """Eq. 9: the mean posterior [H, W, C] of one section over Monte Carlo dropout.

    Dropout acts behind pool5, so the 13 convolutions are shared.

    Args:
      key: draws the dropout.
      decode: a key to the logits [H, W, C] that its dropout leaves.
      partial: what was traced on the section.
      samples: S.
    """

    def sample(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + class_posterior(decode(key), partial.labels, partial.compatible), None

    zero = jnp.zeros((*partial.labels.shape, partial.compatible.shape[-1]))
    return jax.lax.scan(sample, zero, jax.random.split(key, samples))[0] / samples
