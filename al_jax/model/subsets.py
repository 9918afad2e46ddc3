"""The classes that a section can show: of many classes, only those take part in what it costs.

An atlas has hundreds of classes, a section of it some: those in its range, and those labelled there
(C_n of the paper, section 2.1, and what is known already). Where that is less than half of all,
logits, loss and posterior are of these alone: the posterior of Eq. 3 is the same, as other classes
are impossible there, and the softmax of Eq. 2 is over what the section can show.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.stack import UNLABELLED
from al_jax.core.state import PartialLabels

STEP = 8
"""Widths are rounded up to multiples of it, so that few ranges that change compile anew."""


def subset_width(in_range: chex.Array, seen: chex.Array) -> int:
    """K, how many classes a section of the stack shows at most; 0: all take part.

    Use it outside jit, as K is static.

    Args:
      in_range, seen: [N, C] bool, of `PartialLabels`.

    Example:
      >>> subset_width(np.eye(40, dtype=bool), np.zeros((40, 40), bool))
      8
    """
    possible = np.asarray(in_range) | np.asarray(seen)
    width = -(-int(possible.sum(1).max(initial=1)) // STEP) * STEP
    return width if 2 * width <= possible.shape[1] else 0


def subset_classes(in_range: jax.Array, seen: jax.Array, width: int) -> jax.Array:
    """The classes of one section in order, filled up with C, which is none; [C] bool -> [K] int32.

    Args:
      in_range, seen: of the section.
      width: K, static.
    """
    num_classes = in_range.shape[0]
    (found,) = jnp.nonzero(in_range | seen, size=width, fill_value=num_classes)
    return found.astype(jnp.int32)


def subset_labels(labels: jax.Array, classes: jax.Array, num_classes: int) -> jax.Array:
    """Labels as places among `classes`; `UNLABELLED` stays. [H, W], [K] -> [H, W]."""
    places = jnp.arange(classes.shape[0], dtype=labels.dtype)
    place = jnp.zeros(num_classes, labels.dtype).at[classes].set(places, mode="drop")
    return jnp.where(labels == UNLABELLED, labels, place[labels])


def subset_columns(flags: jax.Array, classes: jax.Array) -> jax.Array:
    """[C] bool -> [K] bool, False beyond the section's classes."""
    return flags.at[classes].get(mode="fill", fill_value=False)


def subset(partial: PartialLabels, classes: jax.Array) -> PartialLabels:
    """What is labelled on one section, of its `classes` [K] alone."""
    return PartialLabels(
        labels=subset_labels(partial.labels, classes, partial.seen.shape[0]),
        seen=subset_columns(partial.seen, classes),
        compatible=subset_columns(partial.compatible, classes),
        in_range=subset_columns(partial.in_range, classes),
    )
