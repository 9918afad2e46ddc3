"""Dice scores."""

import chex
import jax
import jax.numpy as jnp


def class_areas(labels: jax.Array, inside: jax.Array, num_classes: int) -> jax.Array:
    """Inside pixels of each class; `labels`, `inside` [H, W] -> [C] int32."""
    chosen = (labels[..., None] == jnp.arange(num_classes)) & inside[..., None]
    return chosen.sum((0, 1), dtype=jnp.int32)


def dice(prediction: jax.Array, truth: jax.Array, inside: jax.Array, num_classes: int) -> jax.Array:
    """Dice score of each class on one section.

    Args:
      prediction: [H, W] classes (negative: none).
      truth: [H, W] classes (negative: none, `UNLABELLED`).
      inside: [H, W] bool, the image domain; other pixels count nowhere.
      num_classes: C.

    Returns:
      [C] float32 in [0, 1]; 1 where neither has a pixel of the class.
    """
    chex.assert_rank([prediction, truth, inside], 2)
    chex.assert_equal_shape([prediction, truth, inside])
    both = class_areas(truth, inside & (prediction == truth), num_classes)
    either = class_areas(prediction, inside, num_classes) + class_areas(truth, inside, num_classes)
    return jnp.where(either > 0, 2 * both / jnp.maximum(either, 1), 1.0).astype(jnp.float32)


def mean_dice(dice: jax.Array, present: jax.Array) -> jax.Array:
    """Mean over the sections where a class is present, NaN if nowhere; both [N, C] -> [C]."""
    chex.assert_equal_shape([dice, present])
    return jnp.where(present, dice, 0.0).sum(0) / present.sum(0)
