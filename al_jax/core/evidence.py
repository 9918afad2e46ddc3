"""What a query is chosen by: B, the predicted Dice of Eq. 6, and what else strategies may read."""

from typing import cast

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.core.state import ALState, boundary_matrix, compatible, redrawn_share


class Evidence(struct.PyTreeNode):
    """What a strategy may read. Build one with `make_evidence`.

    Fields that were not asked for are None (`proposed` is NaN), and so are those that a strategy's
    `reads` lacks.

    Attributes:
      dice: [C], the predicted Dice of Eq. 6.
      boundary: [C, C], B (paper, section 2.2) in pixels; 0 where no outline is known.
      redrawn: [C], the share of an outline that has to be drawn when a proposal is corrected.
      seen: [N, C] bool, the structure was answered on the section and is there.
      possible: [N, C] bool, it is or may be there: in range, and not answered as absent.
      outlines: [C], how many outlines B_cc is a mean of, those of prior stacks included.
      uncertainty: [N, C], of the network, such as H of Eq. 8.
      proposed: [N, C], the outline that the network proposes, pixels; NaN: not known
        (`strategies.proposes`).
      priority: [N, C], drawn once per run (`Strategy.draw`).
      min_effort: [] float, lower bound of a cost in pixels.
      overhead: [] float, what any answer costs beyond its outline, in pixels of outline.
      hindsight: of the truth, for the upper bounds that a simulation compares with.
    """

    dice: jax.Array
    boundary: jax.Array
    redrawn: jax.Array
    seen: jax.Array
    possible: jax.Array
    outlines: jax.Array
    uncertainty: jax.Array
    proposed: jax.Array
    priority: jax.Array
    min_effort: jax.Array
    overhead: jax.Array
    hindsight: "Hindsight"


class Hindsight(struct.PyTreeNode):
    """True Dice of every pair now (Eq. 4) and its true remaining outline in pixels, [N, C]."""

    dice: jax.Array
    remaining: jax.Array


def predicted_dice(dice: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Eq. 6: alpha D(T-1) + (1 - alpha) D(T-2); `dice` [2, C] -> [C]."""
    chex.assert_shape(dice, (2, None))
    return alpha * dice[0] + (1 - alpha) * dice[1]


def make_evidence(
    state: ALState,
    dice: jax.Array | None = None,
    *,
    alpha: float | jax.Array = 0.5,
    uncertainty: jax.Array | None = None,
    proposed: jax.Array | None = None,
    priority: jax.Array | None = None,
    min_effort: float | jax.Array = 1.0,
    overhead: float | jax.Array = 0.0,
    hindsight: Hindsight | None = None,
) -> Evidence:
    """What is known before a query.

    Args:
      state: the annotation so far.
      dice: [2, C], D at T-1 and T-2 (`Learner.dice`). Where it is not known (NaN, or None for all)
        it counts as 0.
      alpha: of Eq. 6.
      uncertainty: [N, C], for the strategies that have one (`Strategy.uncertainty`).
      proposed: [N, C] (`Learner.proposed`); None: not known.
      priority: [N, C] from `Strategy.draw`, for the strategies that have it.
      min_effort: pixels, lower bound of the predicted effort.
      overhead: pixels of outline, added to every cost.
      hindsight: for the bounds of a simulation.
    """
    shape = state.annotated.shape
    if dice is None:
        dice = jnp.zeros((2, shape[1]))
    if proposed is None:
        proposed = jnp.full(shape, jnp.nan)
    chex.assert_shape(dice, (2, shape[1]))
    for given in (uncertainty, proposed, priority):
        if given is not None:
            chex.assert_shape(given, shape)
    return Evidence(
        dice=jnp.nan_to_num(predicted_dice(jnp.asarray(dice), alpha)),
        boundary=boundary_matrix(state),
        redrawn=redrawn_share(state),
        seen=state.seen,
        possible=state.seen | compatible(state),
        outlines=jnp.diagonal(state.length_count),
        uncertainty=cast(jax.Array, uncertainty),
        proposed=proposed,
        priority=cast(jax.Array, priority),
        min_effort=jnp.float32(min_effort),
        overhead=jnp.float32(overhead),
        hindsight=cast(Hindsight, hindsight),
    )
