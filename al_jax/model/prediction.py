"""A network's predictions of a stack, alone and combined with its labels (Eqs. 3, 4, 8 and 9).

Class probabilities never exist for more than one section a device: a stack is reduced section by
section to what the caller needs of each. The truth is not known here.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.metrics import class_areas, dice
from al_jax.core.posterior import class_posterior, segment
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels
from al_jax.model.config import ModelConfig
from al_jax.model.inputs import Sections, network_input, normalise
from al_jax.model.protocol import cast_params, decode, encode
from al_jax.model.subsets import subset, subset_classes

Uncertainty = Callable[[jax.Array, jax.Array], jax.Array]
"""(posterior [H, W, C], inside [H, W]) -> [C]; of a section's classes alone, if it has fewer."""

LogPrior = Callable[[jax.Array], jax.Array]
"""Of a section: classes [K] -> what is added to their logits, [H, W, K]."""


class Prediction(struct.PyTreeNode):
    """The prediction of one section.

    Attributes:
      segmentation: [H, W] int16, Eq. 4: the labels, and the network's best class elsewhere.
      confidence: [H, W] float32, the probability of that class (Eq. 3); 1 where it is labelled.
      unclamped: [H, W] int16, the network's own argmax over the classes in range, labelled or not.
      fit: [C] float32, Dice of `unclamped` against what is labelled.
      labelled: [C] bool, the structure has a labelled pixel: where `fit` counts.
      uncertainty: [C] float32, H of Eq. 8, or another measure (zero if not asked for).
    """

    segmentation: jax.Array
    confidence: jax.Array
    unclamped: jax.Array
    fit: jax.Array
    labelled: jax.Array
    uncertainty: jax.Array


def predict_section(
    key: jax.Array,
    params: chex.ArrayTree,
    section: Sections,
    partial: PartialLabels,
    model: ModelConfig,
    *,
    uncertainty: Uncertainty | None = None,
    dropout_samples: int = 0,
    log_prior: LogPrior | None = None,
) -> Prediction:
    """Eqs. 3, 4, 8 and 9 of one section. Under jit, unused parts of the result cost nothing.

    Args:
      key: randomness of Monte Carlo dropout.
      params: the network's weights.
      section: what the network sees of it.
      partial: what is labelled on it.
      model: the network and the settings of its training.
      uncertainty: static; of the posterior and the domain, such as `class_entropy`, or None.
      dropout_samples: S of Eq. 9; 0 takes the posterior of the network without dropout.
      log_prior: what else is known of the section, added to the logits, or None.
    """
    network, labels, inside = model.network, partial.labels, section.inside
    num_classes = network.num_classes
    own, classes = partial, jnp.arange(num_classes)
    if section.classes:
        classes = subset_classes(partial.in_range, partial.seen, section.classes)
        own = subset(partial, classes)
    chosen = classes[None] if section.classes else None
    pixels = normalise(section.images, section.low, section.high)
    x = network_input(pixels, model.training.convention)[None]
    params = cast_params(params, network)
    features = encode(network, params, x)

    def logits_of(key: jax.Array | None = None) -> jax.Array:
        """[H, W, K] of the section's classes; `key` switches dropout on."""
        factor, size = section.downsampling, labels.shape
        found = decode(network, params, features, size, key, downsampling=factor, classes=chosen)[0]
        return found if log_prior is None else found.astype(jnp.float32) + log_prior(classes)

    logits = logits_of()

    best = segment(logits, own.labels, own.compatible)
    probabilities = class_posterior(logits, own.labels, own.compatible)
    confidence = jnp.take_along_axis(probabilities, best[..., None], -1)[..., 0]
    unclamped = segment(logits, jnp.full_like(labels, UNLABELLED), own.in_range)
    spread = jnp.zeros(num_classes)
    if uncertainty is not None:
        if dropout_samples:
            probabilities = dropout_posterior(key, logits_of, own, dropout_samples)
        spread = spread.at[classes].set(uncertainty(probabilities, inside), mode="drop")
    if section.classes:
        best, unclamped = classes[best], classes[unclamped]
    return Prediction(
        segmentation=best.astype(jnp.int16),
        confidence=confidence,
        unclamped=unclamped.astype(jnp.int16),
        fit=dice(unclamped, labels, inside, num_classes),
        labelled=class_areas(labels, inside, num_classes) > 0,
        uncertainty=spread,
    )


def predict(
    key: jax.Array,
    params: chex.ArrayTree,
    sections: Sections,
    partial: PartialLabels,
    model: ModelConfig,
    *,
    reduce_fn: Callable[[Prediction, Any], chex.ArrayTree],
    aux: chex.ArrayTree = None,
    where: jax.Array | None = None,
    uncertainty: Uncertainty | None = None,
    dropout_samples: int = 0,
    log_prior: Callable[[jax.Array], LogPrior] | None = None,
    mesh: Mesh | None = None,
) -> chex.ArrayTree:
    """Predicts section by section, and reduces each prediction by `reduce_fn`.

    Args:
      key: section n draws from `fold_in(key, n)`.
      params, model, uncertainty, dropout_samples: see `predict_section`.
      sections: the stack.
      partial: what is labelled on it.
      reduce_fn: (prediction of a section, its `aux`) -> a pytree of arrays.
      aux: pytree of [N, ...], handed to `reduce_fn` section by section.
      where: [N] bool, the sections to predict, of many; the rest costs nothing and is zero.
      log_prior: from the number of a section to its own (`predict_section`), or None.
      mesh: devices that share the sections; results agree to rounding.

    Returns:
      What `reduce_fn` returns, each array with a leading axis [N].

    Example:
      predict(key, params, sections, partial, model, reduce_fn=lambda p, _: p.segmentation)
    """
    params = cast_params(params, model.network)  # once, not at each turn of the loop
    sections = sections.replace(fields=None)  # which are of no single section

    def one(inputs: tuple) -> chex.ArrayTree:
        n, section, own, own_aux = inputs
        prediction = predict_section(
            jax.random.fold_in(key, n),
            params,
            section,
            own,
            model,
            uncertainty=uncertainty,
            dropout_samples=dropout_samples,
            log_prior=None if log_prior is None else log_prior(n),
        )
        return reduce_fn(prediction, own_aux)

    count = partial.labels.shape[0]
    if where is None:
        return xla.shared_map(one, (jnp.arange(count), sections, partial, aux), mesh)
    stack = (sections, partial, aux)

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
      decode: from a key to the logits [H, W, C] under its dropout.
      partial: what is labelled on the section.
      samples: S.
    """

    def sample(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + class_posterior(decode(key), partial.labels, partial.compatible), None

    zero = jnp.zeros((*partial.labels.shape, partial.compatible.shape[-1]))
    return jax.lax.scan(sample, zero, jax.random.split(key, samples))[0] / samples
