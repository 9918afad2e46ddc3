"""The partial-label loss (paper, Eq. 2) and its ablation."""

import chex
import jax
import jax.numpy as jnp

from al_jax.core.stack import UNLABELLED

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
) -> jax.Array:
    """Eq. 2 on one section, as a mean over its inside pixels.

    A traced pixel pays -log f of its class; an unlabelled one -log of the summed f of the classes
    C_n that it may still be. With C_n empty the unlabelled pixels have no term.

    Args:
      logits: [H, W, C].
      labels: [H, W] classes or `UNLABELLED`.
      compatible: [C] bool, C_n.
      inside: [H, W] bool, the image domain.

    Returns:
      Scalar float32, nats per inside pixel.
    """
    chex.assert_rank([logits, labels, compatible, inside], [3, 2, 1, 2])
    chex.assert_equal_shape([labels, inside])
    chex.assert_equal_shape_prefix([logits, labels], 2)
    untraced = labels == UNLABELLED
    traced = _is_label(labels, logits.shape[-1])
    may_be = jnp.where(untraced[..., None], compatible, traced)
    possible = compatible.any() | ~untraced
    log_likelihood = jnp.where(possible, _log_likelihood(logits, may_be), 0.0)
    return -jnp.sum(log_likelihood * inside) / jnp.maximum(inside.sum(), 1)


def cross_entropy(logits: jax.Array, labels: jax.Array, inside: jax.Array) -> jax.Array:
    """Cross entropy of the labelled inside pixels alone: Eq. 2 without its second term (BDa_CE).

    Args:
      logits: [H, W, C].
      labels: [H, W] classes or `UNLABELLED`.
      inside: [H, W] bool, the image domain.

    Returns:
      Scalar float32, nats per labelled pixel; 0 if there is none.
    """
    chex.assert_rank([logits, labels, inside], [3, 2, 2])
    chex.assert_equal_shape([labels, inside])
    chex.assert_equal_shape_prefix([logits, labels], 2)
    counted = inside & (labels != UNLABELLED)
    # Where nothing is counted every class is allowed, so that gradients stay finite there.
    allowed = _is_label(labels, logits.shape[-1]) | ~counted[..., None]
    known = _log_likelihood(logits, allowed)
    return -jnp.sum(known * counted) / jnp.maximum(counted.sum(), 1)
