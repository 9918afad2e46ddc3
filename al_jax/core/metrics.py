"""Dice scores."""

import functools

import chex
import jax
import jax.numpy as jnp

from al_jax import xla


def class_areas(labels: jax.Array, inside: jax.Array, num_classes: int) -> jax.Array:
    """Inside pixels of each class; `labels`, `inside` [H, W] -> [C] int32."""
    return xla.count(jnp.where(inside, labels.astype(jnp.int32), -1), num_classes)


@functools.partial(xla.compile_once, static_argnames="num_classes")
def presence(labels: chex.Array, inside: chex.Array, num_classes: int) -> jax.Array:
    """Which classes have a pixel on which section; [N, H, W], [N, H, W] bool -> [N, C] bool."""
    chex.assert_rank([labels, inside], 3)
    chex.assert_equal_shape([labels, inside])
    return jax.lax.map(lambda x: class_areas(x[0], x[1], num_classes) > 0, (labels, inside))


def overlap(
    prediction: jax.Array, truth: jax.Array, inside: jax.Array, num_classes: int
) -> jax.Array:
    """What Dice is computed from: per class the common pixels, and the sum of both areas.

    Args:
      prediction: [H, W] classes (negative: none).
      truth: [H, W] classes (negative: none, `UNLABELLED`).
      inside: [H, W] bool, the image domain; other pixels count nowhere.
      num_classes: C.

    Returns:
      [2, C] int32; `pooled` sums them over sections, `dice_of` gives their Dice.
    """
    chex.assert_rank([prediction, truth, inside], 2)
    chex.assert_equal_shape([prediction, truth, inside])
    both = class_areas(truth, inside & (prediction == truth), num_classes)
    either = class_areas(prediction, inside, num_classes) + class_areas(truth, inside, num_classes)
    return jnp.stack([both, either])


def pooled(overlaps: jax.Array) -> jax.Array:
    """`overlap` summed over sections: [N, 2, C] int32 -> [2, C] float32.

    In two digits of base 4096, as an atlas has more pixels than int32 counts (2^31); the sum is
    rounded once, at the end.
    """
    high, low = (part.sum(0).astype(jnp.float32) for part in (overlaps >> 12, overlaps & 4095))
    return 4096 * high + low


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
