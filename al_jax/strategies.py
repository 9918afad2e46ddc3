"""Which structure on which section to trace next (paper, Eqs. 6-9 and section 3.2).

A strategy scores every (section, structure) pair by a gain over a cost; both are pure functions of
`Evidence`. Adding a strategy is adding a line to `STRATEGIES`.
"""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.boundary import remaining_effort
from al_jax.state import ALState, boundary_matrix, candidates


class Evidence(struct.PyTreeNode):
    """What strategies may look at.

    Attributes:
      dice: [C], the predicted Dice of Eq. 6.
      boundary: [C, C], B in pixels.
      annotated: [N, C] bool, A.
      entropy: [N, C], H of Eq. 8.
      priority: [N, C], drawn once per run (`Strategy.priority`).
      min_effort: [] float, lower bound of a cost in pixels.
    """

    dice: jax.Array
    boundary: jax.Array
    annotated: jax.Array
    entropy: jax.Array
    priority: jax.Array
    min_effort: jax.Array


class Suggestion(struct.PyTreeNode):
    """The next query.

    Attributes:
      section, structure: [] int32.
      score: [] float32, gain over cost.
      dice: [] float32, the structure's predicted Dice (Eq. 6).
      length: [] float32, the outline still to trace that B predicts (Eq. 5), pixels.
      found: [] bool, False once nothing is left to ask; the rest is then meaningless.
    """

    section: jax.Array
    structure: jax.Array
    score: jax.Array
    dice: jax.Array
    length: jax.Array
    found: jax.Array


def predicted_dice(dice: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Eq. 6: alpha D(T-1) + (1 - alpha) D(T-2); `dice` [2, C] -> [C]."""
    chex.assert_shape(dice, (2, None))
    return alpha * dice[0] + (1 - alpha) * dice[1]


def room(evidence: Evidence) -> jax.Array:
    """1 - D, the room for improvement (Eq. 7), [N, C]."""
    return jnp.broadcast_to(1 - evidence.dice, evidence.annotated.shape)


def entropy(evidence: Evidence) -> jax.Array:
    """H_nc (Eq. 8), [N, C]."""
    return evidence.entropy


def room_and_entropy(evidence: Evidence) -> jax.Array:
    """(1 - D) H_nc, [N, C]."""
    return room(evidence) * evidence.entropy


def priority(evidence: Evidence) -> jax.Array:
    """A score drawn once per run, [N, C]."""
    return evidence.priority


def remaining(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5), [N, C]."""
    per_section = jax.vmap(remaining_effort, in_axes=(None, 0, None))
    return per_section(evidence.boundary, evidence.annotated, evidence.min_effort)


def perimeter(evidence: Evidence) -> jax.Array:
    """R_nc with B_cc' = 0 for c' != c: whole outlines, [N, C]."""
    return remaining(evidence.replace(boundary=jnp.diag(jnp.diagonal(evidence.boundary))))


def unit(evidence: Evidence) -> jax.Array:
    """Every query costs the same, [N, C]."""
    return jnp.ones(evidence.annotated.shape)


def random_priority(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Random selection: the candidates in an order drawn uniformly, [N, C]."""
    order = jax.random.permutation(key, num_sections * num_classes)
    return order.reshape(num_sections, num_classes).astype(jnp.float32)


def spread_order(key: jax.Array, num_sections: int) -> jax.Array:
    """Sections in the order that keeps the longest run of untouched sections shortest, [N] int32.

    Each step halves one of the longest runs; ties are broken at random.
    """
    index = jnp.arange(num_sections)

    def pick(taken: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        left = index - jax.lax.cummax(jnp.where(taken, index, -1)) - 1
        right = jax.lax.cummin(jnp.where(taken, index, num_sections), reverse=True) - index - 1
        run = jnp.where(taken, -1, left + right + 1)
        longest = run == run.max()
        part = jnp.where(longest, jnp.maximum(left, right), num_sections)
        ties = jax.random.uniform(key, (num_sections,))
        chosen = jnp.argmax(jnp.where(part == part.min(), ties, -1.0))
        return taken.at[chosen].set(True), chosen

    keys = jax.random.split(key, num_sections)
    return jax.lax.scan(pick, jnp.zeros(num_sections, bool), keys)[1].astype(jnp.int32)


def uniform_priority(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Slice-wise uniform: all of a section in random order, then the next section, [N, C]."""
    key_sections, key_classes = jax.random.split(key)
    order = spread_order(key_sections, num_sections)
    place = jnp.zeros(num_sections, jnp.int32).at[order].set(jnp.arange(num_sections))
    within = jax.random.permutation(
        key_classes,
        jnp.broadcast_to(jnp.arange(num_classes), (num_sections, num_classes)),
        axis=1,
        independent=True,
    )
    later = (num_sections - place)[:, None] * num_classes
    return (later + within).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One method of the paper.

    Attributes:
      gain, cost: functions of `Evidence` that give [N, C].
      loss: 'partial' (Eq. 2) or 'labelled' (cross entropy of labelled pixels).
      entropy: the score needs H of Eq. 8.
      dropout: that entropy comes from Monte Carlo dropout (Eq. 9).
      draw: (key, N, C) -> [N, C], the priority of a run, where the gain needs one.
    """

    gain: Callable[[Evidence], jax.Array]
    cost: Callable[[Evidence], jax.Array]
    loss: str = "partial"
    entropy: bool = False
    dropout: bool = False
    draw: Callable[[jax.Array, int, int], jax.Array] | None = None


STRATEGIES = {
    "BDa": Strategy(room, remaining),
    "Da": Strategy(room, perimeter),
    "BDa_CE": Strategy(room, remaining, loss="labelled"),
    "HBDa": Strategy(room_and_entropy, remaining, entropy=True),
    "HDa": Strategy(room_and_entropy, unit, entropy=True),
    "HB": Strategy(entropy, remaining, entropy=True),
    "H": Strategy(entropy, unit, entropy=True),
    "H_dropout": Strategy(entropy, unit, entropy=True, dropout=True),
    "Rand": Strategy(priority, unit, draw=random_priority),
    "Uniform": Strategy(priority, unit, draw=uniform_priority),
}


def suggest(
    state: ALState,
    strategy: str,
    alpha: float | jax.Array = 0.5,
    entropy: jax.Array | None = None,
    priority: jax.Array | None = None,
    min_effort: float = 1.0,
) -> Suggestion:
    """The pair that the strategy wants traced next.

    Ties go to the larger 1 - D, then to the lower section, then to the lower class.

    Args:
      state: the annotation so far, its Dice history filled in (NaN, not known: counts as 0).
      strategy: a name of `STRATEGIES`.
      alpha: of Eq. 6.
      entropy: [N, C] of Eq. 8, for the strategies that use it.
      priority: [N, C] from `Strategy.draw`, for the strategies that have it.
      min_effort: pixels, lower bound of the predicted effort.

    Returns:
      The pair, with what Eqs. 5 and 6 predict of it; `found` is False once there is none.

    Raises:
      ValueError: unknown strategy, or one that lacks the array it needs.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy '{strategy}' is not one of {', '.join(STRATEGIES)}")
    method = STRATEGIES[strategy]
    if method.draw is not None and priority is None:
        raise ValueError(f"strategy '{strategy}' needs a priority [N, C] from its draw")
    if method.entropy and entropy is None:
        raise ValueError(f"strategy '{strategy}' needs the entropy [N, C] of Eq. 8")
    for given in (entropy, priority):
        if given is not None:
            chex.assert_shape(given, state.annotated.shape)
    nothing = jnp.zeros(state.annotated.shape)
    evidence = Evidence(
        dice=jnp.nan_to_num(predicted_dice(state.dice, alpha)),
        boundary=boundary_matrix(state),
        annotated=state.annotated,
        entropy=nothing if entropy is None else entropy,
        priority=nothing if priority is None else priority,
        min_effort=jnp.float32(min_effort),
    )
    allowed = candidates(state)
    score = jnp.nan_to_num(method.gain(evidence) / method.cost(evidence))
    score = jnp.where(allowed, score, -jnp.inf)
    best = allowed & (score == score.max())
    room_left = jnp.where(best, room(evidence), -jnp.inf)
    # argmax takes the first of equals: the lower section, then the lower class.
    flat = jnp.argmax(room_left)
    section, structure = jnp.unravel_index(flat, allowed.shape)
    return Suggestion(
        section=section.astype(jnp.int32),
        structure=structure.astype(jnp.int32),
        score=score[section, structure],
        dice=evidence.dice[structure],
        length=remaining(evidence)[section, structure],
        found=allowed.any(),
    )
