"""The state of an annotation, and its transitions (paper, sections 2.1 and 2.2).

The same transitions serve the simulator and a person: `init_state`, then `annotate` per answer.
A person's answers are checked first: see `answers`.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from al_jax import xla
from al_jax.core.boundary import shared_lengths
from al_jax.core.metrics import presence
from al_jax.core.stack import UNLABELLED, Images

FEW_SECTIONS = 6  # measured with 4, where one section shares too much, and with 24


class ALState(struct.PyTreeNode):
    """The state of the annotation of a stack of N sections of H x W pixels with C classes.

    Attributes:
      labels: [N, H, W] int16, the classes of the answers, else `UNLABELLED`.
      annotated: [N, C] bool, A: the structure was answered on the section ("absent" is an answer).
      seen: [N, C] bool, answered and there: at least a pixel of it is labelled.
      in_range: [N, C] bool, the weak supervision, n_c1 <= n <= n_c2.
      unlabelled: [N] int32, inside pixels not labelled yet.
      length_sum: [C, C] float32, sums of (shared) outline lengths, whose means are B, pixels.
      length_count: [C, C] float32, the number of sections in each sum.
      drawn_unique: [N] float32, outline drawn so far of each section, each crack once, px.
      drawn_whole: [N] float32, whole outlines of the structures answered on each section, px; of
        a corrected proposal, the share that was drawn.
      offered: [2, C] float32, summed over the answers of each structure that had a proposal: the
        remaining outline, and the part of it that was drawn, pixels.
      step: [] int32, answers so far.
      key: from which later keys are folded.
    """

    labels: jax.Array
    annotated: jax.Array
    seen: jax.Array
    in_range: jax.Array
    unlabelled: jax.Array
    length_sum: jax.Array
    length_count: jax.Array
    drawn_unique: jax.Array
    drawn_whole: jax.Array
    offered: jax.Array
    step: jax.Array
    key: jax.Array


class PartialLabels(struct.PyTreeNode):
    """What a network learns from; of one section, without the leading axis.

    Attributes:
      labels: [N, H, W], classes, else `UNLABELLED`.
      seen: [N, C] bool, the class has a pixel in `labels`.
      compatible: [N, C] bool, C_n: what unlabelled pixels may be.
      in_range: [N, C] bool, what any pixel may be.
    """

    labels: jax.Array
    seen: jax.Array
    compatible: jax.Array
    in_range: jax.Array


def init_state(key: jax.Array, inside: chex.Array, in_range: chex.Array) -> ALState:
    """A stack on which nothing is labelled.

    Args:
      key: for later randomness.
      inside: [N, H, W] bool, the image domains.
      in_range: [N, C] bool, where each class may appear (`ranges`, `answers.given_ranges`).
    """
    chex.assert_rank([inside, in_range], [3, 2])
    chex.assert_equal_shape_prefix([inside, in_range], 1)
    num_sections, num_classes = in_range.shape
    nowhere = jnp.zeros(in_range.shape, bool)
    return ALState(
        labels=jnp.full(inside.shape, UNLABELLED, jnp.int16),
        annotated=nowhere,
        seen=nowhere,
        in_range=jnp.asarray(in_range, bool),
        unlabelled=xla.row_sums(jnp.asarray(inside)),
        length_sum=jnp.zeros((num_classes, num_classes), jnp.float32),
        length_count=jnp.zeros((num_classes, num_classes), jnp.float32),
        drawn_unique=jnp.zeros(num_sections, jnp.float32),
        drawn_whole=jnp.zeros(num_sections, jnp.float32),
        offered=jnp.zeros((2, num_classes), jnp.float32),
        step=jnp.int32(0),
        key=key,
    )


def annotate(
    state: ALState,
    section: jax.Array | int,
    structure: jax.Array | int,
    mask: jax.Array,
    domain: jax.Array,
    length: str = "crack",
    drawn: jax.Array | float | None = None,
) -> tuple[ALState, jax.Array]:
    """An answer: the outline of one structure on one section.

    Only this section is touched (under jit with a donated state; else JAX copies the labels).
    Pixels labelled before keep their class. A pair is answered once; that it may be is for the
    caller to check (`candidates`, `answers.answer`).

    Args:
      state: before the answer.
      section: [] int, n. One that does not exist leaves the state as it is.
      structure: [] int, c; likewise.
      mask: [H, W] bool, the pixels of the structure; all False says that it is absent.
      domain: [H, W] bool, the section's image domain.
      length: 'crack' or 'crofton'.
      drawn: [] pixels, the part of the outline that had to be drawn to correct a proposal; None if
        there was no proposal, so that all of it was.

    Returns:
      The state after the answer, and its effort in pixels: the structure's outline without what it
      shares with structures annotated on the section before.
    """
    chex.assert_rank([state.labels, mask, domain], [3, 2, 2])
    chex.assert_shape([mask, domain], state.labels.shape[1:])
    num_sections, num_classes = state.annotated.shape
    section, structure = jnp.asarray(section, jnp.int32), jnp.asarray(structure, jnp.int32)
    exists = (section >= 0) & (section < num_sections) & (structure >= 0)
    exists &= structure < num_classes
    place = jnp.where(exists, section, num_sections)  # where nothing is written

    near = jnp.clip(section, 0, num_sections - 1)

    old = state.labels[near]
    taken = mask & domain & (old == UNLABELLED) & exists
    new = jnp.where(taken, structure.astype(old.dtype), old)
    pixels = taken.sum(dtype=jnp.int32)
    lengths = shared_lengths(new, domain, num_classes, length)
    this = (jnp.arange(num_classes) == structure) & exists
    before = state.annotated[near] & ~this
    whole = jnp.sum(this * jnp.diagonal(lengths))
    left = jnp.sum(this * (jnp.diagonal(lengths) - jnp.sum(lengths * before, 1)))
    # A structure that was answered but has no pixel is absent: it stays out of the averages.
    there = this & (pixels > 0)
    seen = state.seen[near] | there
    pairs = (there[:, None] & seen[None, :]) | (seen[:, None] & there[None, :])
    offered, share = state.offered, jnp.float32(1)
    read: list[jax.Array | float] = [lengths, pixels]
    if drawn is not None:
        offered += this * jnp.stack([left, drawn])[:, None]
        share = jnp.where(left > 0, drawn / jnp.maximum(left, 1), 1)
        read.append(drawn)
    return (
        state.replace(
            labels=xla.write_row(state.labels, place, new, read=read),
            annotated=state.annotated.at[place].set(before | this, mode="drop"),
            seen=state.seen.at[place].set(seen, mode="drop"),
            unlabelled=state.unlabelled.at[place].add(-pixels, mode="drop"),
            length_sum=state.length_sum + pairs * lengths,
            length_count=state.length_count + pairs,
            drawn_unique=state.drawn_unique.at[place].add(left * share, mode="drop"),
            drawn_whole=state.drawn_whole.at[place].add(whole * jnp.minimum(share, 1), mode="drop"),
            offered=offered,
            step=state.step + exists,
        ),
        left,
    )


def boundary_matrix(state: ALState) -> jax.Array:
    """B [C, C] in pixels (paper, section 2.2): mean outline lengths and shared outline lengths.

    Means over the sections where the structures are annotated and present; zero for pairs never
    seen together, the paper's weak prior.
    """
    return state.length_sum / jnp.maximum(state.length_count, 1)


def redrawn_share(state: ALState) -> jax.Array:
    """The mean share of an outline that has to be drawn when a proposal is corrected, [C].

    For a structure that never had a proposal it is that of all structures together; 1 before any
    had one.
    """
    left, drawn = state.offered
    together = jnp.where(left.sum() > 0, drawn.sum() / jnp.maximum(left.sum(), 1), 1.0)
    return jnp.where(left > 0, drawn / jnp.maximum(left, 1), together)


def compatible(state: ALState) -> jax.Array:
    """C_n of every section (paper, section 2.1), [N, C] bool: in range and not annotated yet."""
    return state.in_range & ~state.annotated


def partial_labels(state: ALState) -> PartialLabels:
    """What a network may learn from the answers so far."""
    return PartialLabels(
        labels=state.labels,
        seen=state.seen,
        compatible=compatible(state),
        in_range=state.in_range,
    )


def candidates(state: ALState) -> jax.Array:
    """The queries that may be asked, [N, C] bool.

    A section without unlabelled pixels has nothing left to ask; where exactly one class is left,
    its pixels are known without a query. Whoever sees another structure there widens its range
    (`answers.set_range`), and the section is open again.
    """
    left = compatible(state)
    open_section = (state.unlabelled > 0) & (left.sum(1) > 1)
    return left & open_section[:, None]


def contradictions(state: ALState) -> jax.Array:
    """Sections whose unlabelled pixels can be of no class, [N] bool: the input is wrong."""
    return (state.unlabelled > 0) & ~compatible(state).any(1)


def central_examples(state: ALState, exclude: jax.Array) -> jax.Array:
    """Where to ask for each class of which no outline is known yet, [N, C] bool.

    That is the section nearest the middle of its range, the lower one of two.

    Args:
      state: the annotation so far.
      exclude: [N, C] bool, what not to ask.
    """
    allowed, unknown = candidates(state) & ~exclude, _unknown(state)
    index = jnp.arange(allowed.shape[0])[:, None]
    middle = jnp.sum(index * state.in_range, 0) / jnp.maximum(state.in_range.sum(0), 1)
    distance = jnp.where(allowed & unknown, jnp.abs(index - middle), jnp.inf)
    return (index == jnp.argmin(distance, 0)) & jnp.isfinite(distance)


def shared_examples(state: ALState, exclude: jax.Array) -> jax.Array:
    """`central_examples`, but all on the `fullest_section` that may be there, [N, C] bool.

    Their outlines are shared, and the last one takes what is left: it need not be drawn.
    """
    here = jnp.arange(exclude.shape[0]) == fullest_section(state.in_range)
    free = compatible(state) & (here & (state.unlabelled > 0))[:, None]
    first = free & ~exclude & _unknown(state)
    return jnp.where(first.any(0), first, central_examples(state, exclude))


def _unknown(state: ALState) -> jax.Array:
    """[C] bool, the classes of which no outline is known."""
    return jnp.diagonal(state.length_count) == 0


def fullest_section(in_range: chex.Array) -> jax.Array:
    """The section that may show the most classes, [] int32: where outlines are shared most.

    Of several it is the one nearest the mean of the sections of all ranges, the lower of two. None,
    -1, of fewer than `FEW_SECTIONS`: one is too much of the stack, and teaches too little alone.

    Args:
      in_range: [N, C] bool.
    """
    chex.assert_rank(in_range, 2)
    if in_range.shape[0] < FEW_SECTIONS:
        return jnp.int32(-1)
    index, count = jnp.arange(in_range.shape[0]), in_range.sum(1)
    distance = jnp.abs(index - (index * count).sum() / jnp.maximum(count.sum(), 1))
    return jnp.argmin(jnp.where(count == count.max(), distance, jnp.inf)).astype(jnp.int32)


def complete(
    state: ALState, section: jax.Array | int, domain: jax.Array, length: str = "crack"
) -> ALState:
    """The state with the last class of a section labelled, if one class is left for its pixels.

    They are known without a query (`candidates`), and so are its outline and what it shares; there
    is no effort in it.

    Args:
      state: before.
      section: [] int, n.
      domain: [H, W] bool, the section's image domain.
      length: 'crack' or 'crofton'.
    """
    left = compatible(state)[section]
    known = (left.sum() == 1) & (state.unlabelled[section] > 0)
    place = jnp.where(known, section, -1)
    after, _ = annotate(state, place, jnp.argmax(left), domain, domain, length)
    return after.replace(
        drawn_unique=state.drawn_unique, drawn_whole=state.drawn_whole, step=state.step
    )


def true_ranges(images: Images, truth: np.ndarray, margin: int) -> np.ndarray:
    """The `ranges` [N, C] bool of a stack whose truth [N, H, W] is known, as in its simulation."""
    present = presence(np.asarray(truth), np.asarray(images.inside), images.num_classes)
    return np.asarray(ranges(present, margin))


def ranges(present: chex.Array, margin: int = 0) -> jax.Array:
    """The weak supervision (paper, section 2.1): from first to last section of each class.

    Args:
      present: [N, C] bool.
      margin: sections added on both sides, for an annotator who is not sure.

    Returns:
      [N, C] bool.
    """
    chex.assert_rank(present, 2)
    present = jnp.asarray(present)
    index = jnp.arange(present.shape[0])[:, None]
    first = jnp.argmax(present, 0)
    last = present.shape[0] - 1 - jnp.argmax(present[::-1], 0)
    return (index >= first - margin) & (index <= last + margin) & present.any(0)
