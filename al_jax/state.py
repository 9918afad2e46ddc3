"""What the method remembers between answers, and how an answer changes it.

The same transitions serve the simulator and a person: `init_state`, then `annotate` per answer.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from al_jax.boundary import shared_lengths
from al_jax.metrics import class_areas, presence
from al_jax.stack import UNLABELLED, InputError


class ALState(struct.PyTreeNode):
    """The state of the annotation of a stack of N sections of H x W pixels with C classes.

    Attributes:
      labels: [N, H, W] int16, what has been traced, else `UNLABELLED`.
      annotated: [N, C] bool, A: the structure was answered on the section ("absent" is an answer).
      in_range: [N, C] bool, the weak supervision n_c1 <= n <= n_c2.
      unlabelled: [N] int32, inside pixels not traced yet.
      length_sum: [C, C] float32, sums behind B, pixels.
      length_count: [C, C] float32, the number of sections in each sum.
      dice: [2, C] float32, D at T-1 and at T-2 (Eq. 6).
      traced: [N] float32, outline traced so far on each section, pixels.
      step: [] int32, answers so far.
      key: the key that later randomness is folded from.
    """

    labels: jax.Array
    annotated: jax.Array
    in_range: jax.Array
    unlabelled: jax.Array
    length_sum: jax.Array
    length_count: jax.Array
    dice: jax.Array
    traced: jax.Array
    step: jax.Array
    key: jax.Array


def init_state(key: jax.Array, inside: jax.Array, in_range: jax.Array) -> ALState:
    """A stack on which nothing has been traced.

    Args:
      key: for later randomness.
      inside: [N, H, W] bool, the image domains.
      in_range: [N, C] bool, where each class may appear (`ranges`).
    """
    chex.assert_rank([inside, in_range], [3, 2])
    chex.assert_equal_shape_prefix([inside, in_range], 1)
    num_sections, num_classes = in_range.shape
    return ALState(
        labels=jnp.full(inside.shape, UNLABELLED, jnp.int16),
        annotated=jnp.zeros(in_range.shape, bool),
        in_range=jnp.asarray(in_range, bool),
        # Section by section: XLA's sum over a whole stack makes an int32 of each pixel first.
        unlabelled=jax.lax.map(lambda own: jnp.sum(own, dtype=jnp.int32), inside),
        length_sum=jnp.zeros((num_classes, num_classes), jnp.float32),
        length_count=jnp.zeros((num_classes, num_classes), jnp.float32),
        dice=jnp.zeros((2, num_classes), jnp.float32),
        traced=jnp.zeros(num_sections, jnp.float32),
        step=jnp.int32(0),
        key=key,
    )


def annotate(
    state: ALState,
    section: jax.Array | int,
    structure: jax.Array | int,
    mask: jax.Array,
    inside: jax.Array,
    length: str = "crack",
) -> tuple[ALState, jax.Array]:
    """An answer: the outline of one structure on one section.

    Only this section is touched (under jit with a donated state; else JAX copies the labels).
    Pixels traced before keep their class. A pair is answered once; whether it may be is for the
    caller to ask (`candidates`).

    Args:
      state: before the answer.
      section: [] int, n.
      structure: [] int, c.
      mask: [H, W] bool, the pixels of the structure; all False says that it is absent.
      inside: [N, H, W] bool, the image domains.
      length: 'crack' or 'crofton'.

    Returns:
      The state after the answer, and the effort in pixels: the structure's outline without what it
      shares with structures annotated on the section before.
    """
    chex.assert_rank([state.labels, mask, inside], [3, 2, 3])
    chex.assert_equal_shape([state.labels, inside])
    chex.assert_equal_shape_prefix([mask, inside[0]], 2)
    num_classes = state.annotated.shape[1]
    old = state.labels[section]
    taken = mask & inside[section] & (old == UNLABELLED)
    new = jnp.where(taken, jnp.asarray(structure, old.dtype), old)
    lengths = shared_lengths(new, inside[section], num_classes, length)

    this = jnp.arange(num_classes) == structure
    before = state.annotated[section] & ~this
    # A structure that was answered but has no outline is absent: it stays out of the averages.
    present = class_areas(new, inside[section], num_classes) > 0
    seen = (before | this) & present & present[structure]
    pairs = (this[:, None] & seen[None, :]) | (seen[:, None] & this[None, :])
    effort = lengths[structure, structure] - jnp.sum(lengths[structure] * before)
    # XLA copies all labels unless it is sure that the section is read before it is written: so the
    # place to write depends on everything that was read.
    read = lengths.sum() + present.sum() + taken.sum()
    place = section + jnp.isnan(read).astype(jnp.int32)
    return (
        state.replace(
            labels=state.labels.at[place].set(new),
            annotated=state.annotated.at[section, structure].set(True),
            unlabelled=state.unlabelled.at[section].add(-taken.sum(dtype=jnp.int32)),
            length_sum=state.length_sum + pairs * lengths,
            length_count=state.length_count + pairs,
            traced=state.traced.at[section].add(effort),
            step=state.step + 1,
        ),
        effort,
    )


def boundary_matrix(state: ALState) -> jax.Array:
    """B [C, C] in pixels: mean outlines and shared outlines over the sections that showed them.

    Zero for pairs never seen together: the paper's weak prior.
    """
    return state.length_sum / jnp.maximum(state.length_count, 1)


def compatible(state: ALState) -> jax.Array:
    """C_n for every section, [N, C] bool: in range and not annotated yet."""
    return state.in_range & ~state.annotated


def candidates(state: ALState) -> jax.Array:
    """The queries that may be asked, [N, C] bool.

    A section without unlabelled pixels has nothing left to ask; where exactly one class is left,
    its pixels are known without tracing.
    """
    left = compatible(state)
    open_section = (state.unlabelled > 0) & (left.sum(1) > 1)
    return left & open_section[:, None]


def contradictions(state: ALState) -> jax.Array:
    """Sections whose unlabelled pixels can be of no class, [N] bool: the input is wrong."""
    return (state.unlabelled > 0) & ~compatible(state).any(1)


def ranges(present: jax.Array, margin: int = 0) -> jax.Array:
    """The weak supervision: from first to last section of each class.

    Args:
      present: [N, C] bool.
      margin: sections added on both sides, for an annotator who is not sure.

    Returns:
      [N, C] bool.
    """
    chex.assert_rank(present, 2)
    index = jnp.arange(present.shape[0])[:, None]
    first = jnp.argmax(present, 0)
    last = present.shape[0] - 1 - jnp.argmax(present[::-1], 0)
    return (index >= first - margin) & (index <= last + margin) & present.any(0)


def initial_queries(key: jax.Array, present: jax.Array) -> jax.Array:
    """The start (paper, 3.2.1): per class a section within 3 of the middle one of its own.

    Args:
      key: randomness.
      present: [N, C] bool.

    Returns:
      [C] int32, uniform among the sections that show the class and are at most 3 away from the
      middle one of those; -1 for a class that is nowhere.
    """
    chex.assert_rank(present, 2)
    rank = jnp.cumsum(present, 0)  # 1 for the first section that shows the class
    count = present.sum(0)
    is_middle = present & (rank == (count + 1) // 2)
    middle = jnp.argmax(is_middle, 0)
    near = present & (jnp.abs(jnp.arange(present.shape[0])[:, None] - middle) <= 3)
    chosen = jax.random.categorical(key, jnp.where(near, 0.0, -jnp.inf), axis=0)
    return jnp.where(count > 0, chosen, -1).astype(jnp.int32)


def check_state(state: ALState) -> None:
    """Refuses annotations that contradict the ranges; for real input, outside jit.

    Raises:
      InputError: a structure was traced outside its range, or a section has unlabelled pixels left
        though every class in range there has been answered. Sections count from 0.
    """
    everywhere = jnp.ones(state.labels.shape, bool)
    traced = presence(state.labels, everywhere, state.in_range.shape[1])
    outside = np.argwhere(traced & ~state.in_range)
    if len(outside):
        section, structure = outside[0]
        raise InputError(
            f"class {structure} was traced on section {section}, outside its range; "
            "widen the range or take the outline away"
        )
    empty = np.flatnonzero(contradictions(state))
    if len(empty):
        raise InputError(
            f"section {empty[0]} has {state.unlabelled[empty[0]]} unlabelled pixels that can be "
            "of no class; widen a range or correct an outline"
        )
