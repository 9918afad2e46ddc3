"""Network output and annotations combined by Bayes' rule (paper, Eqs. 3, 4), and its doubts."""

import chex
import jax
import jax.numpy as jnp

from al_jax.core.losses import LOG_ZERO
from al_jax.core.stack import UNLABELLED


def _check(logits: jax.Array, labels: jax.Array, compatible: jax.Array) -> None:
    chex.assert_rank([logits, labels, compatible], [3, 2, 1])
    chex.assert_equal_shape_prefix([logits, labels], 2)
    chex.assert_shape(compatible, logits.shape[-1:])


def class_posterior(logits: jax.Array, labels: jax.Array, compatible: jax.Array) -> jax.Array:
    """Eq. 3: class probabilities of one section, given its labels and the constraints of Eq. 1.

    Args:
      logits: [H, W, C] of the network; finite, of any size.
      labels: [H, W] classes or `UNLABELLED`.
      compatible: [C] bool, C_n: the classes that unlabelled pixels may have.

    Returns:
      [H, W, C] float32. A labelled pixel is certain; an unlabelled one is the network's softmax
      renormalised over C_n (all zero if C_n is empty: see `state.contradictions`).
    """
    _check(logits, labels, compatible)
    # Softmax over C_n alone is f renormalised, and is finite however small f is there.
    among = jax.nn.softmax(jnp.where(compatible, logits.astype(jnp.float32), LOG_ZERO))
    known = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    return jnp.where((labels == UNLABELLED)[..., None], jnp.where(compatible, among, 0.0), known)


def segment(logits: jax.Array, labels: jax.Array, compatible: jax.Array) -> jax.Array:
    """Eq. 4: the most probable class of each pixel, straight from the logits.

    Args:
      logits, labels, compatible: as for `class_posterior`.

    Returns:
      [H, W] int32; ties go to the lower class, and so does every unlabelled pixel if C_n is empty.
    """
    _check(logits, labels, compatible)
    best = jnp.argmax(jnp.where(compatible, logits, -jnp.inf), axis=-1)
    return jnp.where(labels == UNLABELLED, best, labels).astype(jnp.int32)


def class_entropy(posterior: jax.Array, inside: jax.Array) -> jax.Array:
    """Eq. 8: entropy of each class on one section, H_n.

    Args:
      posterior: [H, W, C] probabilities of Eq. 3, or their mean over dropout samples (Eq. 9).
      inside: [H, W] bool, Omega_n.

    Returns:
      [C] float32, nats, averaged over Omega_n; 0 log 0 is 0.
    """
    chex.assert_rank([posterior, inside], [3, 2])
    chex.assert_equal_shape_prefix([posterior, inside], 2)
    terms = jax.scipy.special.entr(posterior) * inside[..., None]
    return terms.sum((0, 1)) / jnp.maximum(inside.sum(), 1)


def expected_error(posterior: jax.Array, inside: jax.Array) -> jax.Array:
    """1 - the Dice that Eq. 4 is expected to have on one section, were Eq. 3 right.

    Args:
      posterior: [H, W, C] probabilities of Eq. 3.
      inside: [H, W] bool, Omega_n.

    Returns:
      [C] float32, 0 to 1: each class's pixels that Eq. 4 misses or claims in vain, by expectation,
      over the mean of both areas; 1 for a class that has no pixel, nor is expected to.
    """
    chex.assert_rank([posterior, inside], [3, 2])
    chex.assert_equal_shape_prefix([posterior, inside], 2)
    expected = posterior * inside[..., None]
    classes = posterior.shape[-1]
    chosen = jax.nn.one_hot(jnp.argmax(posterior, -1), classes) * inside[..., None]
    areas = (chosen + expected).sum((0, 1))
    # A class of which nothing is expected has areas of rounding errors.
    return 1 - 2 * (chosen * expected).sum((0, 1)) / jnp.maximum(areas, 1e-3)
