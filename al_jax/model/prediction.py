"""A network's predictions of a stack, alone and combined with its labels (Eqs. 3, 4, 8 and 9).

Class probabilities never exist for more than one section a device, of a large section for a strip
of its rows: a stack is reduced section by section to what the caller needs of each. The truth is
not known here.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.boundary import outline_lengths
from al_jax.core.metrics import class_areas, dice
from al_jax.core.posterior import class_posterior, segment
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels
from al_jax.model.config import ModelConfig
from al_jax.model.inputs import Sections, network_input, normalise
from al_jax.model.protocol import cast_params, encode, scores
from al_jax.model.subsets import subset, subset_classes
from al_jax.model.upsampling import Coarse

Uncertainty = Callable[[jax.Array, jax.Array], jax.Array]
"""(posterior [H, W, C], inside [H, W]) -> [C]; of a section's classes alone, if it has fewer.

Of a large section it is given every so many pixels (every 5th of 2000x2000 with 70 classes): what
it tells of a structure that is not much wider is left to chance. So are outlines: those of thinner
structures count as shorter."""

LogPrior = Callable[[jax.Array], Coarse]
"""Of a section: classes [K] -> what is added to their logits, [K] for each pixel."""

Logits = Callable[[Callable[[Coarse], jax.Array]], jax.Array]
"""From what takes the values of some pixels, or of all, to the logits of these, [..., K]."""

LARGE = 2**25
"""Pixels times classes of a section that is predicted whole: 128 MiB an array."""

STRIP = 2**22
"""Pixels times classes of a strip of a larger one."""

SAMPLE = 2**24
"""Pixels times classes of such a section whose uncertainty is taken."""


class Prediction(struct.PyTreeNode):
    """The prediction of one section.

    Attributes:
      segmentation: [H, W] int16, Eq. 4: the labels, and the network's best class elsewhere.
      confidence: [H, W] float32, the probability of that class (Eq. 3); 1 where it is labelled.
      unclamped: [H, W] int16, the network's own argmax over the classes in range, labelled or not.
      fit: [C] float32, Dice of `unclamped` against what is labelled, if anything is.
      labelled: [C] bool, the structure has a labelled pixel: where `fit` counts.
      uncertainty: [C] float32, H of Eq. 8, or another measure (zero if not asked for).
      outlines: [C] float32, `boundary.outline_lengths` of `segmentation`, pixels; of a large
        section by the pixels whose uncertainty is taken (zero if not asked for).
    """

    segmentation: jax.Array
    confidence: jax.Array
    unclamped: jax.Array
    fit: jax.Array
    labelled: jax.Array
    uncertainty: jax.Array
    outlines: jax.Array


def predict_section(
    key: jax.Array,
    params: chex.ArrayTree,
    section: Sections,
    partial: PartialLabels,
    model: ModelConfig,
    *,
    uncertainty: Uncertainty | None = None,
    dropout_samples: int = 0,
    length: str | None = None,
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
      length: how outlines are measured, 'crack' or 'crofton', or None; static.
      log_prior: what else is known of the section, added to the logits, or None.
    """
    network, labels, inside = model.network, partial.labels, section.inside
    num_classes, size = network.num_classes, labels.shape
    own, classes = partial, jnp.arange(num_classes)
    if section.classes:
        classes = subset_classes(partial.in_range, partial.seen, section.classes)
        own = subset(partial, classes)
    chosen = classes if section.classes else None
    pixels = normalise(section.images, section.low, section.high)
    x = network_input(pixels, model.training.convention)[None]
    params = cast_params(params, network)
    features = encode(network, params, x)
    factor, prior = section.downsampling, None if log_prior is None else log_prior(classes)

    values = labels.size * len(classes)
    large = values > LARGE
    every = math.isqrt(values // SAMPLE) + 1 if large else 1

    def logits_of(key: jax.Array | None = None) -> Logits:
        """Of the section's classes; `key` switches dropout on."""
        coarse = scores(
            network,
            params,
            features,
            size,
            key,
            downsampling=factor,
            classes=chosen,
            whole=not large,
        )
        if prior is None:
            return lambda view: view(coarse)
        return lambda view: view(coarse).astype(jnp.float32) + view(prior)

    def whole(values: Coarse) -> jax.Array:
        return values.whole(size)

    def some(values: Coarse) -> jax.Array:
        return values.at(*(jnp.arange(0, side, every) for side in size))

    logits = logits_of()

    def all_of(drawing: Callable) -> Any:
        """Drawn of all pixels, each thing apart, so that it is free where it is not used."""
        return _by_strips(drawing, logits, own) if large else drawing(logits(whole), own)

    def alone() -> jax.Array:
        found = all_of(_alone)
        return classes[found] if section.classes else found

    def fit_of(drawn: jax.Array) -> jax.Array:
        return dice(drawn, labels, inside, num_classes)

    (best, confidence), unclamped = all_of(_drawing), alone()
    best = classes[best] if section.classes else best
    labelled = class_areas(labels, inside, num_classes) > 0
    if large:  # it counts where something is labelled: elsewhere nothing need be drawn for it
        nothing = jnp.zeros(num_classes)
        fit = jax.lax.cond(labelled.any(), lambda: fit_of(alone()), lambda: nothing)
    else:
        fit = fit_of(unclamped)
    spread = jnp.zeros(num_classes)
    if uncertainty is not None:
        known = own.labels[::every, ::every], own.compatible

        def posterior(logits: Logits) -> jax.Array:
            return class_posterior(logits(some if large else whole), *known)

        if dropout_samples:
            found = dropout_posterior(key, lambda k: posterior(logits_of(k)), dropout_samples)
        else:
            found = posterior(logits)
        found = uncertainty(found, inside[::every, ::every])
        spread = spread.at[classes].set(found, mode="drop")
    drawn = jnp.zeros(num_classes)
    if length is not None:
        drawing = best
        if large:
            sample = segment(logits(some), own.labels[::every, ::every], own.compatible)
            drawing = classes[sample] if section.classes else sample
        drawn = every * outline_lengths(drawing, inside[::every, ::every], num_classes, length)
    return Prediction(
        segmentation=best.astype(jnp.int16),
        confidence=confidence,
        unclamped=unclamped.astype(jnp.int16),
        fit=fit,
        labelled=labelled,
        uncertainty=spread,
        outlines=drawn,
    )


def _drawing(logits: jax.Array, partial: PartialLabels) -> tuple[jax.Array, jax.Array]:
    """Eq. 4 and its confidence, [H, W]."""
    labels, compatible = partial.labels, partial.compatible
    confidence = class_posterior(logits, labels, compatible).max(-1)
    return segment(logits, labels, compatible), confidence


def _alone(logits: jax.Array, partial: PartialLabels) -> jax.Array:
    """The network's own argmax over the classes in range, [H, W]."""
    return segment(logits, jnp.full_like(partial.labels, UNLABELLED), partial.in_range)


def _by_strips(drawing: Callable, logits: Logits, partial: PartialLabels) -> Any:
    """What `drawing` makes of logits and labels, some rows at a time."""
    (height, width), classes = partial.labels.shape, partial.compatible.shape[-1]
    rows, columns = max(STRIP // (width * classes), 1), jnp.arange(width)

    def strip(start: jax.Array) -> Any:
        own = jnp.minimum(start + jnp.arange(rows), height - 1)
        seen = logits(lambda values: values.at(own, columns))
        return drawing(seen, partial.replace(labels=partial.labels[own]))

    strips = jax.lax.map(strip, jnp.arange(0, height, rows))
    return jax.tree.map(lambda x: x.reshape(-1, width)[:height], strips)


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
    length: str | None = None,
    log_prior: Callable[[jax.Array], LogPrior] | None = None,
    mesh: Mesh | None = None,
) -> chex.ArrayTree:
    """Predicts section by section, and reduces each prediction by `reduce_fn`.

    Args:
      key: section n draws from `fold_in(key, n)`.
      params, model, uncertainty, dropout_samples, length: see `predict_section`.
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
            length=length,
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
    key: jax.Array, posterior: Callable[[jax.Array], jax.Array], samples: int
) -> jax.Array:
    """Eq. 9: the mean posterior [H, W, C] of one section over Monte Carlo dropout.

    Dropout acts behind pool5, so the 13 convolutions are shared.

    Args:
      key: draws the dropout.
      posterior: from a key to Eq. 3 [H, W, C] under its dropout.
      samples: S.
    """

    def sample(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + posterior(key), None

    like = jax.eval_shape(posterior, key)
    zero = jnp.zeros(like.shape, like.dtype)
    return jax.lax.scan(sample, zero, jax.random.split(key, samples))[0] / samples
