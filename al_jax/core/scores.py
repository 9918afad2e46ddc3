"""Gains, costs and random orders, of which strategies are made (paper, Eqs. 5-8, section 3.2).

A gain or a cost is a pure function of `Evidence` that gives [N, C].
"""

import jax
import jax.numpy as jnp

from al_jax.core.boundary import remaining_effort
from al_jax.core.evidence import Evidence

HELP = 1.0  # how much of an answer neighbouring sections gain, see `rise`
NEAR = 4  # the largest distance of a section that gains
ASTRAY = 4.0  # by what factor a proposal's outline counts as shorter or longer at most


def room(evidence: Evidence) -> jax.Array:
    """1 - D, the room for improvement (Eq. 7), [N, C]."""
    return jnp.broadcast_to(1 - evidence.dice, evidence.seen.shape)


def uncertainty(evidence: Evidence) -> jax.Array:
    """H_nc (Eq. 8), or the strategy's own measure, [N, C]."""
    return evidence.uncertainty


def room_and_uncertainty(evidence: Evidence) -> jax.Array:
    """(1 - D) H_nc (Eqs. 7 and 8; HBDa, HDa), [N, C]."""
    return room(evidence) * uncertainty(evidence)


def share(evidence: Evidence) -> jax.Array:
    """A section's weight in a structure's mean Dice: one over its number of sections, [N, C]."""
    sections = jnp.maximum(evidence.possible.sum(0), 1)
    return jnp.broadcast_to(1 / sections, evidence.seen.shape)


def distance_to_seen(seen: jax.Array) -> jax.Array:
    """Sections to the nearest one where the structure is annotated; [N, C] -> [N, C], else inf."""
    index = jnp.arange(seen.shape[0], dtype=jnp.float32)[:, None]
    before = jax.lax.cummax(jnp.where(seen, index, -jnp.inf))
    after = jax.lax.cummin(jnp.where(seen, index, jnp.inf), reverse=True)
    return jnp.minimum(index - before, after - index)


def rise(evidence: Evidence) -> jax.Array:
    """The expected rise of a structure's reported Dice by an answer, [N, C].

    The answer itself gives (1 - D) over the number of sections. The network learns from it too: a
    section at a distance d gains `HELP` 2^-d of what it lacks, less what the nearest answer of the
    structure has given it already.
    """
    return room(evidence) * share(evidence) * _with_neighbours(evidence, jnp.float32(1))


def expected_rise(evidence: Evidence) -> jax.Array:
    """`rise` with the room of each pair in place of the structure's, [N, C].

    It is the root of what Eq. 3 tells (`posterior.expected_error`), which a network that is too
    sure of itself tells too low: on three stacks 1 - the true Dice was near the root.
    """
    lack = jnp.sqrt(jnp.maximum(uncertainty(evidence), 0))
    return share(evidence) * _with_neighbours(evidence, lack)


def _with_neighbours(evidence: Evidence, lack: jax.Array) -> jax.Array:
    """What a section lacks, and what those near it gain of theirs by its answer, [N, C]."""
    open_pairs = evidence.possible & ~evidence.seen
    known = jnp.exp2(-distance_to_seen(evidence.seen))
    others = jnp.zeros(known.shape)
    for step in [d for d in range(-NEAR, NEAR + 1) if d]:
        gained = jnp.maximum(2.0 ** -abs(step) - known, 0) * open_pairs
        others += _shifted(gained * lack, step)
    return lack + HELP * others


def _shifted(array: jax.Array, step: int) -> jax.Array:
    """Row n + step in place of row n; zero beyond the ends."""
    rows = jnp.arange(array.shape[0])[:, None] + step
    return jnp.where((rows >= 0) & (rows < array.shape[0]), jnp.roll(array, -step, 0), 0)


def true_rise(evidence: Evidence) -> jax.Array:
    """(1 - the pair's true Dice) over the number of sections, [N, C]; known to simulations."""
    return (1 - evidence.hindsight.dice) * share(evidence)


def true_remaining(evidence: Evidence) -> jax.Array:
    """The pair's true remaining outline, pixels, [N, C]; known to simulations."""
    return jnp.maximum(evidence.hindsight.remaining, evidence.min_effort)


def drawn(evidence: Evidence) -> jax.Array:
    """A score drawn once per run, [N, C]."""
    return evidence.priority


def fewest(evidence: Evidence) -> jax.Array:
    """Structures with the fewest answers first, ties by a random score below 1, [N, C]."""
    return drawn(evidence) - evidence.seen.sum(0)


def nearness(evidence: Evidence) -> jax.Array:
    """One over the distance to the nearest section where the structure is annotated, [N, C]."""
    return 1 / jnp.maximum(distance_to_seen(evidence.seen), 1)


def remaining(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5), [N, C]."""
    per_section = jax.vmap(remaining_effort, in_axes=(None, 0, None))
    return per_section(evidence.boundary, evidence.seen, evidence.min_effort)


def profile(possible: jax.Array) -> jax.Array:
    """Outline length on each section relative to the structure's middle, [N, C] -> [N, C].

    That of an ellipsoid which fills the range: outlines shrink towards its ends. A structure whose
    range reaches an end of the stack is taken to be cut there, with its middle at that end; one
    that is cut at both ends has the same length everywhere.
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


def relative_length(seen: jax.Array, possible: jax.Array, outlines: jax.Array) -> jax.Array:
    """Outline length on each section relative to B, by `profile`.

    Args:
      seen, possible: [N, C] bool, see `Evidence`.
      outlines: [C], how many outlines B_cc is a mean of. Those that are not of `seen` are of prior
        stacks, where they were anywhere in the structure's range.

    Returns:
      [N, C].
    """
    heights, count = profile(possible), seen.sum(0)
    prior = jnp.maximum(outlines - count, 0)
    anywhere = jnp.sum(heights * possible, 0) / jnp.maximum(possible.sum(0), 1)
    mean = (jnp.sum(heights * seen, 0) + prior * anywhere) / jnp.maximum(count + prior, 1e-6)
    return heights / jnp.where((count + prior > 0) & possible.any(0), mean, 1)


def ellipsoid(evidence: Evidence) -> jax.Array:
    """Outlines are longer in the middle of a range than at its ends (`relative_length`), [N, C]."""
    return relative_length(evidence.seen, evidence.possible, evidence.outlines)


def foreseen(evidence: Evidence) -> jax.Array:
    """Outline length on each section relative to B, by shape and by proposal, [N, C].

    The geometric mean of that by `ellipsoid` and of what the network proposes, which counts as
    `ASTRAY` times longer or shorter than the former at most.
    """
    by_shape = ellipsoid(evidence)
    usual = jnp.maximum(jnp.diagonal(evidence.boundary) * by_shape, evidence.min_effort)
    ratio = jnp.nan_to_num(evidence.proposed / usual, nan=1.0)
    return by_shape * jnp.sqrt(jnp.clip(ratio, 1 / ASTRAY, ASTRAY))


def equal_lengths(evidence: Evidence) -> jax.Array:
    """Outlines are as long as B on every section, [N, C]."""
    return jnp.ones(evidence.seen.shape)


def shaped(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5), longer in the middle of a range than at its ends, [N, C]."""
    return jnp.maximum(remaining(evidence) * ellipsoid(evidence), evidence.min_effort)


def foreseen_remaining(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5) with `foreseen` lengths, [N, C]."""
    return jnp.maximum(remaining(evidence) * foreseen(evidence), evidence.min_effort)


def drawing(evidence: Evidence) -> jax.Array:
    """The part of R_nc (Eq. 5) to draw where the network's proposal is corrected, [N, C]."""
    return jnp.maximum(remaining(evidence) * evidence.redrawn, evidence.min_effort)


def drawing_shaped(evidence: Evidence) -> jax.Array:
    """The part of `shaped` to draw where the network's proposal is corrected, [N, C]."""
    return jnp.maximum(shaped(evidence) * evidence.redrawn, evidence.min_effort)


def drawing_foreseen(evidence: Evidence) -> jax.Array:
    """The part of `foreseen_remaining` to draw where the proposal is corrected, [N, C]."""
    return jnp.maximum(foreseen_remaining(evidence) * evidence.redrawn, evidence.min_effort)


def perimeter(evidence: Evidence) -> jax.Array:
    """R_nc (Eq. 5) with B_cc' = 0 for c' != c: whole outlines (Da), [N, C]."""
    return remaining(evidence.replace(boundary=jnp.diag(jnp.diagonal(evidence.boundary))))


def unit(evidence: Evidence) -> jax.Array:
    """Every query costs the same, [N, C]."""
    return jnp.ones(evidence.seen.shape)


def random_priority(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Random selection: the candidates in an order drawn uniformly, [N, C]."""
    order = jax.random.permutation(key, num_sections * num_classes)
    return order.reshape(num_sections, num_classes).astype(jnp.float32)


def uniform_score(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Uniform between 0 and 1, [N, C]."""
    return jax.random.uniform(key, (num_sections, num_classes))


def inverse_exponential(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """One over exponential variables, [N, C]: over costs, the largest is one at odds 1 / cost."""
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
