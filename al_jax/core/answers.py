"""A person's answers, checked before they change the state.

An answer is compared with the images and the ranges here, once, outside jit; the transitions
themselves are `state.annotate` and `set_range`. Messages name sections and classes. Events, undo
and correction are in `session.events`.
"""

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from al_jax.core.boundary import DIRECTIONS
from al_jax.core.names import called
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import ALState, annotate, contradictions
from al_jax.core.strategies import Suggestion

Span = tuple[int | None, int | None]
"""First and last section of a structure, counted from 0, both included; None is an open end."""


class Report(NamedTuple):
    """What was taken of a mask.

    Attributes:
      effort: length of its outline without what it shares with earlier answers, pixels.
      pixels: of the mask that were taken.
      clipped: pixels of the mask that were of other classes before, by their name.
      outside: pixels of the mask beyond the image domain.
    """

    effort: float
    pixels: int
    clipped: dict[str, int]
    outside: int


_annotate = jax.jit(annotate, static_argnames="length")


def answer(
    state: ALState,
    images: Images,
    section: int,
    structure: int,
    mask: npt.ArrayLike,
    *,
    length: str = "crack",
    drawn: float | None = None,
) -> tuple[ALState, Report]:
    """A person's answer, checked; use it outside jit.

    Pixels that were annotated before or lie beyond the image keep what they are; the report counts
    them. The last structure that a section can have, which is not asked for, may be answered too.

    Args:
      state: before the answer.
      images: what is annotated.
      section, structure: n and c.
      mask: [H, W] bool, the pixels of the structure; all False says that it is absent.
      length: 'crack' or 'crofton'.
      drawn: pixels of outline that had to be drawn to correct a proposal; None: there was no
        proposal, so all of it.

    Returns:
      The state after the answer, and what became of the mask.

    Raises:
      InputError: the state is of another stack, there is no such section or structure, the pair has
        been answered, the structure is out of its range there, the mask has another shape or dtype,
        it has pixels but none of them is free, or unlabelled pixels would be left that can be of no
        class.
    """
    _check_same_stack(state, images)
    where = check_pair(images, section, structure)
    name = images.names[structure]
    if length not in DIRECTIONS:
        raise InputError(f"length '{length}' is not one of {', '.join(DIRECTIONS)}")
    if state.annotated[section, structure]:
        raise InputError(f"{where} has been answered; withdraw that answer first")
    if not state.in_range[section, structure]:
        raise InputError(f"{where} is outside the range of '{name}'; widen its range first")
    mask, domain = check_mask(mask, images, where), np.asarray(images.inside[section])
    free, clipped, outside = clip(
        images, section, structure, mask, np.asarray(state.labels[section])
    )
    pixels = int(free.sum())
    after, effort = _annotate(state, section, structure, mask, domain, length, drawn)
    if contradictions(after)[section]:
        raise InputError(
            f"{where}: {after.unlabelled[section]} px of the section would be of no class, as all "
            "others in range there are answered; annotate them too, or first widen the range of "
            "the structure that they show"
        )
    return after, Report(float(effort), pixels, clipped, outside)


def clip(
    images: Images, section: int, structure: int, mask: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, dict[str, int], int]:
    """A mask without what other structures have and what lies beyond the image.

    Args:
      images: what is annotated.
      section, structure: n and c.
      mask: of the structure.
      labels: [H, W] int16, the annotated classes of the section, else `UNLABELLED`.

    Returns:
      The rest [H, W] bool, and how many pixels of each structure and beyond the image that was.

    Raises:
      InputError: the mask has another shape or dtype, or it has pixels but none of them is free.
    """
    where, domain = check_pair(images, section, structure), np.asarray(images.inside[section])
    mask = check_mask(mask, images, where)
    others = labels[mask & domain & (labels != UNLABELLED)]
    counts = np.bincount(others, minlength=len(images.names))
    clipped = {images.names[c]: int(counts[c]) for c in np.flatnonzero(counts)}
    outside = int((mask & ~domain).sum())
    free = mask & domain & (labels == UNLABELLED)
    if mask.any() and not free.any():
        lost = [f"{count} px of '{other}'" for other, count in clipped.items()]
        lost += [f"{outside} px beyond the image"] if outside else []
        raise InputError(
            f"{where}: nothing is left of the mask, which lies on {', '.join(lost)}; correct those "
            "answers first, or give an empty mask if the structure is absent"
        )
    return free, clipped, outside


def describe(query: Suggestion, images: Images) -> list[str]:
    """Questions with their reasons, a line for each that was found.

    Args:
      query: from `strategies.suggest`, or several from `strategies.suggestions`.
      images: what is annotated.

    Example:
      "'putamen' on section 12: expected Dice 0.31, 120 of 210 px of outline left (90 px along
      'pallidum')"
    """
    lines = []
    one = np.ndim(query.found) == 0
    several = jax.tree.map(lambda leaf: np.asarray(leaf)[None if one else ...], query)
    for k in np.flatnonzero(several.found):
        pair = f"'{images.names[several.structure[k]]}' on section "
        pair += images.sections[several.section[k]]
        if several.example[k]:
            lines.append(f"{pair}: a first example, as no outline of it is known")
            continue
        along = several.shared[k]
        shared = [f"{along[c]:.0f} px along '{images.names[c]}'" for c in np.flatnonzero(along)]
        dice = several.dice[k]
        expected = f"expected Dice {dice:.2f}" if dice else "no Dice expected yet"
        lines.append(
            f"{pair}: {expected}, {several.left[k]:.0f} of "
            f"{several.whole[k]:.0f} px of outline left"
            + (f" ({', '.join(shared)})" if shared else "")
        )
    return lines


def set_range(state: ALState, images: Images, structure: int, span: Span) -> ALState:
    """The state with another first and last section of a structure.

    Raises:
      InputError: there is no such structure or section, the range leaves out a section where the
        structure is annotated, or leaves a section's pixels without a class.
    """
    _check_same_stack(state, images)
    _check_structure(images, structure)
    column = _span_column(span, images, images.names[structure])
    lost = np.flatnonzero(np.asarray(state.seen[:, structure]) & ~column)
    if len(lost):
        raise InputError(
            f"'{images.names[structure]}' was traced on section {images.sections[lost[0]]}, "
            "outside its new range; widen the range, or withdraw that answer first"
        )
    changed = state.replace(in_range=state.in_range.at[:, structure].set(column))
    check_state(changed, images)
    return changed


def given_ranges(spans: Mapping[str, Span], images: Images, margin: int = 0) -> np.ndarray:
    """The weak supervision (paper, section 2.1) as a person gives it.

    Args:
      spans: first and last section of each class, by its name (`names.number_of`). A class that is
        left out may be on any section.
      images: what is annotated.
      margin: sections added on both sides.

    Returns:
      [N, C] bool, see `state.ranges`.

    Raises:
      InputError: a name is unknown, a section does not exist, a last section comes before the
        first, or a section is in the range of no class.

    Example:
      >>> images = make_images(np.zeros((4, 8, 8), np.uint8), ("background", "a", "b"))
      >>> given_ranges({"a": (1, 2), "b": (2, None)}, images).astype(int).tolist()
      [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]]
    """
    known: dict[str, Span] = {}
    for name, span in spans.items():
        own = called(name, images.names)
        if own not in images.names:
            raise InputError(f"'{name}' is no class; use {', '.join(images.names)}")
        if own in known:
            raise InputError(f"'{name}' is '{own}' once more; give one range of it")
        known[own] = span
    columns = [_span_column(known.get(n, (None, None)), images, n, margin) for n in images.names]
    found = np.stack(columns, 1)
    empty = np.flatnonzero(~found.any(1))
    if len(empty):
        raise InputError(
            f"section {images.sections[empty[0]]} is in the range of no class; widen a range"
        )
    return found


def whole(value: Any, what: str) -> int:
    """A whole number, of NumPy or JAX too; InputError if it is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"the {what} is {value!r}; give a whole number") from error


def check_mask(mask: npt.ArrayLike, images: Images, where: str) -> np.ndarray:
    """A mask as an array; InputError if it is not [H, W] bool."""
    try:
        found = np.asarray(mask)
    except ValueError as error:  # ragged lists
        raise InputError(f"{where}: the mask is no array ({error}); give booleans") from error
    shape = images.inside.shape[1:]
    if found.shape != shape or found.dtype != bool:
        raise InputError(
            f"{where}: the mask is {found.dtype} of {list(found.shape)}; give booleans of "
            f"{list(shape)}"
        )
    return found


def check_pair(images: Images, section: int, structure: int) -> str:
    """Names a pair; InputError if there is no such section or structure."""
    section, structure = whole(section, "section"), whole(structure, "structure")
    if not 0 <= section < images.num_sections:
        raise InputError(
            f"there is no section {section}; the {images.num_sections} sections count from 0"
        )
    _check_structure(images, structure)
    return f"'{images.names[structure]}' on section {images.sections[section]}"


def check_state(state: ALState, images: Images) -> None:
    """Refuses annotations that contradict the ranges; for real input, outside jit.

    Raises:
      InputError: a structure is labelled outside its range, or a section has unlabelled pixels left
        though every class in range there has been answered.
    """
    beyond = np.argwhere(np.asarray(state.seen & ~state.in_range))
    if len(beyond):
        section, structure = beyond[0]
        raise InputError(
            f"'{images.names[structure]}' was traced on section {images.sections[section]}, "
            "outside its range; widen the range or withdraw the answer"
        )
    empty = np.flatnonzero(contradictions(state))
    if len(empty):
        raise InputError(
            f"section {images.sections[empty[0]]} has {state.unlabelled[empty[0]]} unlabelled "
            "pixels that can be of no class; widen a range or correct an answer"
        )


def _check_same_stack(state: ALState, images: Images) -> None:
    found = (*state.labels.shape, state.annotated.shape[1])
    expected = (*images.inside.shape, images.num_classes)
    if found != expected:
        raise InputError(
            f"the state is of [sections, height, width, classes] {list(found)}, the images of "
            f"{list(expected)}; give the images that the state was made of"
        )


def _check_structure(images: Images, structure: int) -> None:
    if not 0 <= structure < images.num_classes:
        raise InputError(
            f"there is no structure {structure}; the {images.num_classes} classes count from 0"
        )


def _span_column(span: Span, images: Images, name: str, margin: int = 0) -> np.ndarray:
    """[N] bool, True from the first to the last section."""
    count = images.num_sections
    first, last = (0 if span[0] is None else span[0]), (count - 1 if span[1] is None else span[1])
    for section in (first, last):
        if not 0 <= section < count:
            raise InputError(
                f"'{name}': there is no section {section}; they go from 0 to {count - 1}"
            )
    if last < first:
        ends = [images.sections[last], images.sections[first]]
        raise InputError(f"'{name}': the last section {ends[0]} comes before the first, {ends[1]}")
    index = np.arange(count)
    return (index >= first - margin) & (index <= last + margin)
