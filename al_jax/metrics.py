"""Dice scores."""

import chex
import jax
import jax.numpy as jnp


def class_areas(labels: jax.Array, inside: jax.Array, num_classes: int) -> jax.Array:
    """Inside pixels of each class; `labels`, `inside` [H, W] -> [C] int32."""

    def compare(labels: jax.Array, inside: jax.Array) -> jax.Array:
        chosen = (labels[..., None] == jnp.arange(num_classes)) & inside[..., None]
        return chosen.sum((0, 1), dtype=jnp.int32)

    def count(labels: jax.Array, inside: jax.Array) -> jax.Array:
        labels = labels.astype(jnp.int32)  # wide enough for C
        # Out of bounds, as a negative index counts from the end.
        bins = jnp.where(inside & (labels >= 0), labels, num_classes)
        return jnp.zeros(num_classes, jnp.int32).at[bins.ravel()].add(1, mode="drop")

    # Counting does not grow with C, but many threads would add to few bins at once.
    return jax.lax.platform_dependent(labels, inside, cpu=count, default=compare)


def presence(labels: chex.Array, inside: chex.Array, num_classes: int) -> jax.Array:
    """Which classes have a pixel on which section; [N, H, W], [N, H, W] bool -> [N, C] bool."""
    chex.assert_rank([labels, inside], 3)
    chex.assert_equal_shape([labels, inside])
    return jax.lax.map(lambda x: class_areas(x[0], x[1], num_classes) > 0, (labels, inside))


def overlap(
    prediction: jax.Array, truth: jax.Array, inside: jax.Array, num_classes: int
) -> jax.Array:
    """What Dice is made of: common pixels, and the pixels of both together, of each class.

    Args:
      prediction: [H, W] classes (negative: none).
      truth: [H, W] classes (negative: none, `UNLABELLED`).
      inside: [H, W] bool, the image domain; other pixels count nowhere.
      num_classes: C.

    Returns:
      [2, C] int32. Sums over sections give the Dice of a stack.
    """
    chex.assert_rank([prediction, truth, inside], 2)
    chex.assert_equal_shape([prediction, truth, inside])
    both = class_areas(truth, inside & (prediction == truth), num_classes)
    either = class_areas(prediction, inside, num_classes) + class_areas(truth, inside, num_classes)
    return jnp.stack([both, either])


def dice_of(overlap: jax.Array) -> jax.Array:
    """Dice from `overlap` [2, C], 1 where neither has a pixel of the class; [C] float32."""
    both, either = overlap
    return jnp.where(either > 0, 2 * both / jnp.maximum(either, 1), 1.0).astype(jnp.float32)


def dice(prediction: jax.Array, truth: jax.Array, inside: jax.Array, num_classes: int) -> jax.Array:
    """Dice score of each class on one section: arguments as for `overlap`.

    Returns:
      [C] float32 in [0, 1]; 1 where neither has a pixel of the class.
    """
    return dice_of(overlap(prediction, truth, inside, num_classes))


def mean_dice(dice: jax.Array, present: jax.Array) -> jax.Array:
    """Mean over the sections where a class is present, NaN if nowhere; both [N, C] -> [C]."""
    chex.assert_equal_shape([dice, present])
    return jnp.where(present, dice, 0.0).sum(0) / present.sum(0)
