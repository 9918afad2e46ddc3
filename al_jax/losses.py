"""The partial-label loss (paper, Eq. 2) and its ablation."""

import chex
import jax
import jax.numpy as jnp

from al_jax.stack import UNLABELLED

# Stands for log 0 where a true -inf would turn into NaN in the gradient of log-sum-exp.
LOG_ZERO = -1e30


def _log_likelihood(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log f [H, W, C] and its entry at each pixel's label [H, W] (class 0's where unlabelled)."""
    log_f = jax.nn.log_softmax(logits.astype(jnp.float32))
    known = jnp.maximum(labels, 0).astype(jnp.int32)[..., None]
    return log_f, jnp.take_along_axis(log_f, known, axis=-1)[..., 0]


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
    log_f, known = _log_likelihood(logits, labels)
    merged = jax.nn.logsumexp(jnp.where(compatible, log_f, LOG_ZERO), axis=-1)
    merged = jnp.where(compatible.any(), merged, 0.0)
    log_likelihood = jnp.where(labels == UNLABELLED, merged, known)
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
    _, known = _log_likelihood(logits, labels)
    counted = inside & (labels != UNLABELLED)
    return -jnp.sum(known * counted) / jnp.maximum(counted.sum(), 1)
