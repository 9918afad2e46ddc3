"""Which structure on which section to trace next (paper, Eqs. 6-9 and section 3.2).

A strategy scores every (section, structure) pair by a gain over a cost; both are pure functions of
`Evidence`. Adding a strategy is adding a line to `STRATEGIES`.
"""

import dataclasses
from collections.abc import Callable
from typing import cast

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.core.boundary import remaining_effort
from al_jax.core.state import (
    ALState,
    boundary_matrix,
    candidates,
    compatible,
    first_examples,
    redrawn_share,
)

HELP = 1.0
NEAR = 4  # sections to both sides that learn from an answer


class Evidence(struct.PyTreeNode):
    """What strategies may look at. Build one with `make_evidence`.

    Attributes:
      dice: [C], the predicted Dice of Eq. 6.
      boundary: [C, C], B in pixels.
      redrawn: [C], the part of an outline that is drawn in spite of a proposal.
      seen: [N, C] bool, the structure was answered on the section and is there.
      possible: [N, C] bool, it is or may be there: in range, and not answered as absent.
      entropy: [N, C], H of Eq. 8, or None.
      priority: [N, C], drawn once per run (`Strategy.draw`), or None.
      min_effort: [] float, lower bound of a cost in pixels.
      hindsight: what no person knows, for the bounds that a simulation compares with, or None.
    """

    dice: jax.Array
    boundary: jax.Array
    redrawn: jax.Array
    seen: jax.Array
    possible: jax.Array
    entropy: jax.Array | None
    priority: jax.Array | None
    min_effort: jax.Array
    hindsight: "Hindsight | None" = None


class Hindsight(struct.PyTreeNode):
    """Of every pair [N, C]: its Dice now (Eq. 4), and the outline it has left, pixels."""

    dice: jax.Array
    remaining: jax.Array


class Suggestion(struct.PyTreeNode):
    """A query, with what Eqs. 5 and 6, or what a strategy has in their place, predict of it.

    Attributes:
      section, structure: [] int32.
      score: [] float32, gain over cost.
      dice: [] float32, the structure's predicted Dice (Eq. 6).
      left: [] float32, R, the outline still to trace (Eq. 5), pixels.
      whole: [] float32, the whole outline (B_cc), pixels.
      shared: [C] float32, what of it is shared with each structure that is traced there, pixels.
      example: [] bool, it is asked for as the structure's first example.
      found: [] bool, False once nothing is left to ask; the rest is then meaningless.
    """

    section: jax.Array
    structure: jax.Array
    score: jax.Array
    dice: jax.Array
    left: jax.Array
    whole: jax.Array
    shared: jax.Array
    example: jax.Array
    found: jax.Array


def predicted_dice(dice: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Eq. 6: alpha D(T-1) + (1 - alpha) D(T-2); `dice` [2, C] -> [C]."""
    chex.assert_shape(dice, (2, None))
    return alpha * dice[0] + (1 - alpha) * dice[1]


def room(evidence: Evidence) -> jax.Array:
    """1 - D, the room for improvement (Eq. 7), [N, C]."""
    return jnp.broadcast_to(1 - evidence.dice, evidence.seen.shape)


def uncertainty(evidence: Evidence) -> jax.Array:
    """H_nc (Eq. 8), [N, C]."""
    return cast(jax.Array, evidence.entropy)


def room_and_uncertainty(evidence: Evidence) -> jax.Array:
    """(1 - D) H_nc, [N, C]."""
    return room(evidence) * uncertainty(evidence)


def share(evidence: Evidence) -> jax.Array:
    """What a section counts in a structure's mean Dice: one over the sections of it, [N, C]."""
    sections = jnp.maximum(evidence.possible.sum(0), 1)
    return jnp.broadcast_to(1 / sections, evidence.seen.shape)


def distance_to_seen(seen: jax.Array) -> jax.Array:
    """Sections to the nearest one where the structure was traced; [N, C] -> [N, C], else inf."""
    index = jnp.arange(seen.shape[0], dtype=jnp.float32)[:, None]
    before = jax.lax.cummax(jnp.where(seen, index, -jnp.inf))
    after = jax.lax.cummin(jnp.where(seen, index, jnp.inf), reverse=True)
    return jnp.minimum(index - before, after - index)


def rise(evidence: Evidence) -> jax.Array:
    """How much the reported Dice of the structure rises by an answer, [N, C].

    The answer itself gives (1 - D) over the number of sections. The network learns from it too:
    sections at a distance d come nearer to it by `HELP` 2^-d of what they lack, if no answer of
    the structure is as near.
    """
    open_pairs = evidence.possible & ~evidence.seen
    known = jnp.exp2(-distance_to_seen(evidence.seen))
    others = jnp.zeros(known.shape)
    for step in [d for d in range(-NEAR, NEAR + 1) if d]:
        gained = jnp.maximum(2.0 ** -abs(step) - known, 0) * open_pairs
        others += _shifted(gained, step)
    return room(evidence) * share(evidence) * (1 + HELP * others)


def _shifted(array: jax.Array, step: int) -> jax.Array:
    """Row n + step in place of row n; zero beyond the ends."""
    rows = jnp.arange(array.shape[0])[:, None] + step
    return jnp.where((rows >= 0) & (rows < array.shape[0]), jnp.roll(array, -step, 0), 0)


def true_rise(evidence: Evidence) -> jax.Array:
    """(1 - the pair's true Dice) over the number of sections, [N, C]; no person knows it."""
    return (1 - cast(Hindsight, evidence.hindsight).dice) * share(evidence)


def true_remaining(evidence: Evidence) -> jax.Array:
    """The outline that the pair truly has left, pixels, [N, C]; no person knows it."""
    return jnp.maximum(cast(Hindsight, evidence.hindsight).remaining, evidence.min_effort)


def drawn(evidence: Evidence) -> jax.Array:
    """A score drawn once per run, [N, C]."""
    return cast(jax.Array, evidence.priority)


def fewest(evidence: Evidence) -> jax.Array:
    """Structures with the fewest answers first, those alike by a score below 1, [N, C]."""
    return drawn(evidence) - evidence.seen.sum(0)


def nearness(evidence: Evidence) -> jax.Array:
    """One over the distance to the nearest section where the structure was traced, [N, C]."""
    return 1 / jnp.maximum(distance_to_seen(evidence.seen), 1)


def remaining(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5), [N, C]."""
    per_section = jax.vmap(remaining_effort, in_axes=(None, 0, None))
    return per_section(evidence.boundary, evidence.seen, evidence.min_effort)


def profile(possible: jax.Array) -> jax.Array:
    """How long a structure's outline is on a section beside that in its middle, [N, C] -> [N, C].

    That of an ellipsoid which fills the range: outlines shrink towards its ends. A structure whose
    range reaches an end of the stack is cut there, and its middle taken to be at that end; one that
    is cut at both ends is as long everywhere.
    """
    count = possible.shape[0]
    index = jnp.arange(count, dtype=jnp.float32)[:, None]
    first = jnp.min(jnp.where(possible, index, count), 0)
    last = jnp.max(jnp.where(possible, index, -1), 0)
    cut_before, cut_after = first == 0, last == count - 1
    middle = jnp.where(cut_before, first, jnp.where(cut_after, last, (first + last) / 2))
    reach = jnp.where(cut_before | cut_after, last - first, (last - first) / 2) + 0.5
    height = jnp.sqrt(jnp.maximum(1 - ((index - middle) / reach) ** 2, 0))
    return jnp.where(possible & ~(cut_before & cut_after), height, 1.0)


def relative_length(seen: jax.Array, possible: jax.Array) -> jax.Array:
    """How long outlines are beside those that B tells, by `profile`; all [N, C]."""
    heights = profile(possible)
    # B is a mean over what was traced here, or over whole ranges of earlier stacks.
    measured = jnp.where(seen.any(0), seen, possible)
    mean = jnp.sum(heights * measured, 0) / jnp.maximum(measured.sum(0), 1)
    return heights / jnp.where(measured.any(0), mean, 1)


def shaped(evidence: Evidence) -> jax.Array:
    """R_nc, longer in the middle of a range than at its ends, [N, C]."""
    scale = relative_length(evidence.seen, evidence.possible)
    return jnp.maximum(remaining(evidence) * scale, evidence.min_effort)


def drawing(evidence: Evidence) -> jax.Array:
    """What of R_nc has to be drawn where the network's proposal is corrected, [N, C]."""
    return jnp.maximum(remaining(evidence) * evidence.redrawn, evidence.min_effort)


def drawing_shaped(evidence: Evidence) -> jax.Array:
    """The same of `shaped`, [N, C]."""
    return jnp.maximum(shaped(evidence) * evidence.redrawn, evidence.min_effort)


def perimeter(evidence: Evidence) -> jax.Array:
    """R_nc with B_cc' = 0 for c' != c: whole outlines, [N, C]."""
    return remaining(evidence.replace(boundary=jnp.diag(jnp.diagonal(evidence.boundary))))


def unit(evidence: Evidence) -> jax.Array:
    """Every query costs the same, [N, C]."""
    return jnp.ones(evidence.seen.shape)


def random_priority(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Random selection: the candidates in an order drawn uniformly, [N, C]."""
    order = jax.random.permutation(key, num_sections * num_classes)
    return order.reshape(num_sections, num_classes).astype(jnp.float32)


def uniform_score(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Between 0 and 1, [N, C]."""
    return jax.random.uniform(key, (num_sections, num_classes))


def inverse_exponential(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """1 over exponential times, [N, C]: over a cost, each is largest with odds of 1 / cost."""
    return 1 / jax.random.exponential(key, (num_sections, num_classes))


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
      shaped: outlines are expected to be longer in the middle of a range (`relative_length`).
      draw: (key, N, C) -> [N, C], the priority of a run, where the gain needs one.
      hindsight: the score needs what no person knows.
    """

    gain: Callable[[Evidence], jax.Array]
    cost: Callable[[Evidence], jax.Array]
    loss: str = "partial"
    entropy: bool = False
    dropout: bool = False
    shaped: bool = False
    draw: Callable[[jax.Array, int, int], jax.Array] | None = None
    hindsight: bool = False


STRATEGIES = {
    "BDa": Strategy(room, remaining),
    "Da": Strategy(room, perimeter),
    "BDa_CE": Strategy(room, remaining, loss="labelled"),
    "HBDa": Strategy(room_and_uncertainty, remaining, entropy=True),
    "HDa": Strategy(room_and_uncertainty, unit, entropy=True),
    "HB": Strategy(uncertainty, remaining, entropy=True),
    "H": Strategy(uncertainty, unit, entropy=True),
    "H_dropout": Strategy(uncertainty, unit, entropy=True, dropout=True),
    "Rand": Strategy(drawn, unit, draw=random_priority),
    "Uniform": Strategy(drawn, unit, draw=uniform_priority),
    # Beyond the paper: a gain that knows sections, costs of correcting, and what brackets them.
    "BDr": Strategy(rise, remaining),
    "SDr": Strategy(rise, shaped, shaped=True),
    "KBDa": Strategy(room, drawing),
    "KBDr": Strategy(rise, drawing),
    "KSDr": Strategy(rise, drawing_shaped, shaped=True),
    "Oracle": Strategy(true_rise, true_remaining, hindsight=True),
    "Lengths": Strategy(room, true_remaining, hindsight=True),
    "RandC": Strategy(fewest, unit, draw=uniform_score),
    "RandR": Strategy(drawn, remaining, draw=inverse_exponential),
    "Neighbour": Strategy(nearness, unit),
}


def make_evidence(
    state: ALState,
    dice: jax.Array,
    *,
    alpha: float | jax.Array = 0.5,
    entropy: jax.Array | None = None,
    priority: jax.Array | None = None,
    min_effort: float | jax.Array = 1.0,
    hindsight: Hindsight | None = None,
) -> Evidence:
    """What is known before a query.

    Args:
      state: the annotation so far.
      dice: [2, C], D at T-1 and T-2, as a `Learner` keeps it (NaN, not known: counts as 0).
      alpha: of Eq. 6.
      entropy: [N, C] of Eq. 8, for the strategies that use it.
      priority: [N, C] from `Strategy.draw`, for the strategies that have it.
      min_effort: pixels, lower bound of the predicted effort.
      hindsight: for the bounds of a simulation.
    """
    shape = state.annotated.shape
    chex.assert_shape(dice, (2, shape[1]))
    for given in (entropy, priority):
        if given is not None:
            chex.assert_shape(given, shape)
    return Evidence(
        dice=jnp.nan_to_num(predicted_dice(jnp.asarray(dice), alpha)),
        boundary=boundary_matrix(state),
        redrawn=redrawn_share(state),
        seen=state.seen,
        possible=state.seen | compatible(state),
        entropy=entropy,
        priority=priority,
        min_effort=jnp.float32(min_effort),
        hindsight=hindsight,
    )


def suggest(
    state: ALState,
    evidence: Evidence,
    strategy: str = "BDa",
    *,
    exclude: jax.Array | None = None,
    section: int | jax.Array | None = None,
) -> Suggestion:
    """The pair that the strategy wants traced next.

    A structure of which no outline is known comes first, on the section nearest the middle of its
    range (lower sections first; background last on each), unless the strategy follows a priority.
    Ties go to the larger 1 - D, then to the lower section, then to the lower class.

    Args:
      state: the annotation so far.
      evidence: from `make_evidence`.
      strategy: a name of `STRATEGIES`.
      exclude: [N, C] bool, pairs not to ask for now (skipped ones).
      section: ask on this section alone.

    Returns:
      The query; `found` is False once there is none.

    Raises:
      ValueError: unknown strategy, or one that lacks the array it needs.

    Example:
      >>> state = init_state(jax.random.key(0), jnp.ones((3, 4, 4), bool), jnp.ones((3, 2), bool))
      >>> query = suggest(state, make_evidence(state, jnp.zeros((2, 2))))  # nothing is known yet
      >>> int(query.section), int(query.structure)
      (1, 1)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy '{strategy}' is not one of {', '.join(STRATEGIES)}")
    method = STRATEGIES[strategy]
    if method.draw is not None and evidence.priority is None:
        raise ValueError(f"strategy '{strategy}' needs a priority [N, C] from its draw")
    if method.entropy and evidence.entropy is None:
        raise ValueError(f"strategy '{strategy}' needs the entropy [N, C] of Eq. 8")
    if method.hindsight and evidence.hindsight is None:
        raise ValueError(f"strategy '{strategy}' needs hindsight, which a simulation alone has")
    allowed = candidates(state)
    if exclude is not None:
        chex.assert_shape(exclude, allowed.shape)
        allowed &= ~exclude
    if section is not None:
        allowed &= (jnp.arange(allowed.shape[0]) == section)[:, None]

    score = jnp.nan_to_num(method.gain(evidence) / method.cost(evidence))
    rank = jnp.where(allowed, score, -jnp.inf)
    first = jnp.zeros(allowed.shape, bool)
    if method.draw is None:
        first = first_examples(state, allowed)
        rank = jnp.where(first.any(), jnp.where(first, _in_order(allowed.shape), -jnp.inf), rank)
    best = allowed & (rank == rank.max())
    room_left = jnp.where(best, room(evidence), -jnp.inf)
    # argmax takes the first of equals: the lower section, then the lower class.
    n, c = jnp.unravel_index(jnp.argmax(room_left), allowed.shape)
    query = explain(state, evidence, n, c, strategy)
    return query.replace(score=score[n, c], example=first[n, c], found=allowed.any())


def explain(
    state: ALState,
    evidence: Evidence,
    section: jax.Array | int,
    structure: jax.Array | int,
    strategy: str = "BDa",
) -> Suggestion:
    """What a strategy predicts of any pair, whether it may be asked for or not; its score is 0."""
    outlines, left = evidence.boundary[structure], remaining
    if STRATEGIES[strategy].shaped:
        outlines *= relative_length(evidence.seen, evidence.possible)[section, structure]
        left = shaped
    others = state.seen[section] & (jnp.arange(outlines.shape[0]) != structure)
    return Suggestion(
        section=jnp.asarray(section, jnp.int32),
        structure=jnp.asarray(structure, jnp.int32),
        score=jnp.float32(0),
        dice=evidence.dice[structure],
        left=left(evidence)[section, structure],
        whole=outlines[structure],
        shared=outlines * others,
        example=state.length_count[structure, structure] == 0,
        found=jnp.asarray(True),
    )


def suggestions(
    state: ALState,
    evidence: Evidence,
    strategy: str = "BDa",
    *,
    count: int = 3,
    exclude: jax.Array | None = None,
) -> Suggestion:
    """The best pairs in order: the first is `suggest`'s, the next what it says without that one.

    Args:
      state, evidence, strategy, exclude: as of `suggest`.
      count: how many.

    Returns:
      Suggestions with a leading axis of `count`; `found` is False beyond what may be asked.
    """

    def one(taken: jax.Array, _: None) -> tuple[jax.Array, Suggestion]:
        query = suggest(state, evidence, strategy, exclude=taken)
        taken = taken.at[query.section, query.structure].set(True)
        # One first example of a structure is enough.
        column = taken[:, query.structure] | (query.example & query.found)
        return taken.at[:, query.structure].set(column), query

    nothing = jnp.zeros(state.annotated.shape, bool)
    return jax.lax.scan(one, nothing if exclude is None else exclude, None, length=count)[1]


def _in_order(shape: tuple[int, ...]) -> jax.Array:
    """[N, C] float32, falling from section to section, and on each from class 1 to background."""
    sections, classes = (jnp.arange(size) for size in shape)
    return -(sections[:, None] * shape[1] + (classes - 1) % shape[1]).astype(jnp.float32)
