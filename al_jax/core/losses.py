"""The partial-label loss (paper, Eq. 2) and its ablation.

A loss is any function of the type `Loss`; each `Strategy` names the one that its network minimises.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from al_jax.core.identity import source_digest
from al_jax.core.stack import UNLABELLED

Loss = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(logits, labels, compatible, inside) of one section -> the sum of its terms, and their number."""

# Stands for log 0 where a true -inf would turn into NaN in the gradient of log-sum-exp.
LOG_ZERO = -1e30


def _log_likelihood(logits: jax.Array, allowed: jax.Array) -> jax.Array:
    """log of the softmax summed over the `allowed` [H, W, C] classes of each pixel, [H, W]."""
    logits = logits.astype(jnp.float32)
    merged = jax.nn.logsumexp(jnp.where(allowed, logits, LOG_ZERO), axis=-1)
    return merged - jax.nn.logsumexp(logits, axis=-1)


def _is_label(labels: jax.Array, num_classes: int) -> jax.Array:
    """[H, W, C] bool, one-hot; all False where unlabelled."""
    return labels[..., None] == jnp.arange(num_classes)


def partial_cross_entropy(
    logits: jax.Array, labels: jax.Array, compatible: jax.Array, inside: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Eq. 2 on one section: a sum over its inside pixels, and their number.

    The term of a labelled pixel is -log f of its class, that of an unlabelled pixel -log of the sum
    of f over C_n, the classes that it may have. With C_n empty, unlabelled pixels have no term.

    Args:
      logits: [H, W, C].
      labels: [H, W] classes or `UNLABELLED`.
      compatible: [C] bool, C_n.
      inside: [H, W] bool, the image domain.

    Returns:
      The sum [] float32, nats, and the count [] int32.
    """
    chex.assert_rank([logits, labels, compatible, inside], [3, 2, 1, 2])
    chex.assert_equal_shape([labels, inside])
    chex.assert_equal_shape_prefix([logits, labels], 2)
    unlabelled = labels == UNLABELLED
    may_be = jnp.where(unlabelled[..., None], compatible, _is_label(labels, logits.shape[-1]))
    possible = compatible.any() | ~unlabelled
    log_likelihood = jnp.where(possible, _log_likelihood(logits, may_be), 0.0)
    return -jnp.sum(log_likelihood * inside), inside.sum()


def cross_entropy(
    logits: jax.Array, labels: jax.Array, compatible: jax.Array, inside: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of the labelled inside pixels alone: Eq. 2 without its second term (BDa_CE).

    Args:
      logits: [H, W, C].
      labels: [H, W] classes or `UNLABELLED`.
      compatible: of no effect here.
      inside: [H, W] bool, the image domain.

    Returns:
      The sum [] float32, nats, and the number [] int32 of labelled pixels.
    """
    chex.assert_rank([logits, labels, inside], [3, 2, 2])
    chex.assert_equal_shape([labels, inside])
    chex.assert_equal_shape_prefix([logits, labels], 2)
    counted = inside & (labels != UNLABELLED)
    # Where nothing is counted every class is allowed, so that gradients stay finite there.
    allowed = _is_label(labels, logits.shape[-1]) | ~counted[..., None]
    return -jnp.sum(_log_likelihood(logits, allowed) * counted), counted.sum()


def loss_label(loss: Loss) -> str:
    """What a loss is called in files: its name; of one that is not of al_jax, with its digest."""
    name = getattr(loss, "__name__", type(loss).__name__)
    own = (partial_cross_entropy, cross_entropy)
    return name if loss in own else f"{name}_{source_digest(loss)}"


def batch_mean(
    loss: Loss, logits: jax.Array, labels: jax.Array, compatible: jax.Array, inside: jax.Array
) -> jax.Array:
    """A loss as the mean [] over what it counts in a batch.

    `logits` [B, H, W, C], `labels`, `inside` [B, H, W], `compatible` [B, C].
    """
    total, count = jax.vmap(loss)(logits, labels, compatible, inside)
    # Means of sections, weighted: the order of rounding of all results that are published here.
    means = total / jnp.maximum(count, 1)
    return jnp.sum(means * count) / jnp.maximum(count.sum(), 1)
