"""The annotations of a stack, without memory for the sections that have none.

An `ALState` holds the labels of all sections: 1.2 GB for 5,000 sections of 400 x 300, which each
answer would copy. A question reads none of them, and an answer those of its own section alone. So
a session keeps a state whose labels have no pixels, and the labels of the sections that have any,
and hands `answers.answer` one section at a time. Everything here is NumPy and is never changed in
place: another thread may train on it while answers arrive.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from al_jax.core import answers
from al_jax.core.answers import Report, Span
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import ALState, PartialLabels, compatible, init_state
from al_jax.learner.transfer import Prior, with_prior


class Annotations(NamedTuple):
    """The state after some events.

    Attributes:
      state: of NumPy arrays, as `state.init_state` makes it, but for its labels: [N, 0, 0]. Its
        `step` does not count first examples, as a simulation does not count its start.
      labels: [H, W] int16 of each section that was answered on, by its number.
      skipped: [N, C] bool, pairs that are not to be asked for now.
      granted: sections and structures for which others made room in advance, see `grant`.
    """

    state: ALState
    labels: Mapping[int, np.ndarray]
    skipped: np.ndarray
    granted: frozenset[tuple[int, int]] = frozenset()

    def labels_of(self, section: int, images: Images) -> np.ndarray:
        """[H, W] int16 of a section, whether it was answered on or not."""
        if section in self.labels:
            return self.labels[section]
        return np.full(images.inside.shape[1:], UNLABELLED, np.int16)

    @property
    def outlined(self) -> np.ndarray:
        """[C] bool, the structures of which an outline is known."""
        return np.diagonal(np.asarray(self.state.length_count)) > 0

    def known(self, structure: int) -> bool:
        """Whether an outline of the structure is known, so that no first example is needed."""
        return bool(self.outlined[structure])


def begin(
    key: jax.Array,
    images: Images,
    in_range: npt.ArrayLike,
    pixels: np.ndarray | None = None,
    prior: Prior | None = None,
) -> Annotations:
    """Nothing has been answered yet.

    Args:
      key: of the state.
      images: what is annotated.
      in_range: [N, C] bool.
      pixels: [N] int32, how many of each section are inside; None: they are counted.
      prior: from prior stacks.

    Raises:
      InputError: a section is in the range of no class, or `in_range` is of another stack.
    """
    in_range = np.asarray(in_range)
    if in_range.shape != (images.num_sections, images.num_classes) or in_range.dtype != bool:
        raise InputError(
            f"in_range is {in_range.dtype} of {list(in_range.shape)}; give booleans of "
            f"[{images.num_sections}, {images.num_classes}]"
        )
    if pixels is None:
        pixels = np.array([np.count_nonzero(inside) for inside in images.inside])
    bare = _without_pixels(images)
    state = init_state(key, bare.inside, in_range)
    state = _on_host(state if prior is None else with_prior(state, prior))
    state = state.replace(unlabelled=np.asarray(pixels, np.int32))
    answers.check_state(state, bare)
    return Annotations(state, {}, np.zeros(state.annotated.shape, bool))


def answer(
    annotations: Annotations,
    images: Images,
    section: int,
    structure: int,
    mask: np.ndarray,
    drawn: float | None = None,
) -> tuple[Annotations, Report]:
    """The annotations after `answers.answer`; the pair is skipped no longer."""
    answers.check_pair(images, section, structure)
    state, skipped = annotations.state, annotations.skipped
    example = not annotations.known(structure)
    alone = alone_on(annotations, images, section)
    one = one_section(images, section)
    after, report = answers.answer(alone, one, 0, structure, mask, drawn=drawn)
    after = _on_host(after)
    changed = {k: _with_row(getattr(state, k), section, getattr(after, k)[0]) for k in _BY_SECTION}
    state = state.replace(
        length_sum=after.length_sum,
        length_count=after.length_count,
        offered=after.offered,
        step=state.step if example else after.step,
        **changed,
    )
    return (
        Annotations(
            state,
            {**annotations.labels, section: np.asarray(after.labels[0])},
            skipped & ~state.annotated,
            annotations.granted - {(section, structure)},
        ),
        report,
    )


def set_range(annotations: Annotations, images: Images, structure: int, span: Span) -> Annotations:
    """The annotations after `answers.set_range`."""
    state = annotations.state
    if annotations.granted:
        first, last = span
        rows = range(first or 0, images.num_sections if last is None else last + 1)
        return set_columns(annotations, images, {structure: rows})
    state = state.replace(in_range=jnp.asarray(state.in_range))
    state = answers.set_range(state, _without_pixels(images), structure, span)
    return annotations._replace(state=_on_host(state))


def set_columns(
    annotations: Annotations, images: Images, columns: Mapping[int, Sequence[int]]
) -> Annotations:
    """With other sections where classes may be, by class; not all between two need be there.

    Raises:
      InputError: a structure is annotated elsewhere, or pixels of a section can be of no class.
    """
    in_range = np.array(annotations.state.in_range)
    for structure, own in columns.items():
        in_range[:, structure] = False
        in_range[list(own), structure] = True
    state = _with_granted(annotations.state.replace(in_range=in_range), annotations.granted)
    answers.check_state(state, _without_pixels(images))
    return annotations._replace(state=state)


def grant(annotations: Annotations, section: int, structure: int) -> Annotations:
    """A structure may be on a section, whatever its ranges are until it is answered there."""
    granted = annotations.granted | {(section, structure)}
    return annotations._replace(state=_with_granted(annotations.state, granted), granted=granted)


def without_grant(annotations: Annotations, section: int, structure: int) -> Annotations:
    """From now on the ranges alone say whether a structure may be on a section."""
    return annotations._replace(granted=annotations.granted - {(section, structure)})


def _with_granted(state: ALState, granted: frozenset[tuple[int, int]]) -> ALState:
    if not granted:
        return state
    in_range = np.array(state.in_range)
    in_range[tuple(np.array(sorted(granted)).T)] = True
    return state.replace(in_range=in_range)


def skip(annotations: Annotations, images: Images, section: int, structure: int) -> Annotations:
    """The pair is not to be asked for now, unless it was answered.

    Raises:
      InputError: there is no such section or structure.
    """
    answers.check_pair(images, section, structure)
    skipped = annotations.skipped.copy()
    skipped[section, structure] = True
    return annotations._replace(skipped=skipped & ~annotations.state.annotated)


def remainder(
    annotations: Annotations, images: Images, section: int, structure: int, mask: np.ndarray
) -> np.ndarray:
    """[H, W] bool, what else of a section belongs to its last structure, by a mask that fits."""
    free = left_over(annotations, images, section, structure)
    if free is None or mask.shape != free.shape or mask.dtype != bool or not (free & mask).any():
        return np.zeros(mask.shape, bool)
    return free & ~mask


def left_over(
    annotations: Annotations, images: Images, section: int, structure: int
) -> np.ndarray | None:
    """[H, W] bool, all that is left of a section whose last structure this is; None: it is not."""
    left = np.flatnonzero(compatible(annotations.state)[section])
    if left.tolist() != [structure]:
        return None
    free = annotations.labels_of(section, images) == UNLABELLED
    return free & np.asarray(images.inside[section])


def alone_on(annotations: Annotations, images: Images, section: int) -> ALState:
    """The state of one section, N = 1, with its labels."""
    state, row = annotations.state, slice(section, section + 1)
    return state.replace(
        labels=annotations.labels_of(section, images)[None],
        **{name: getattr(state, name)[row] for name in _BY_SECTION},
    )


def around(annotations: Annotations, images: Images, section: int, reach: int) -> PartialLabels:
    """What is known on so many sections before and after one, N = 2 `reach` + 1.

    Of what is beyond the ends of the stack nothing is known.
    """
    state, rows = annotations.state, section + np.arange(-reach, reach + 1)
    near = np.clip(rows, 0, images.num_sections - 1)
    exists = near == rows
    nothing = np.full(images.inside.shape[1:], UNLABELLED, np.int16)
    labels = [
        annotations.labels_of(n, images) if there else nothing
        for n, there in zip(near.tolist(), exists, strict=True)
    ]
    return PartialLabels(
        labels=jnp.asarray(np.stack(labels)),
        seen=state.seen[near] & exists[:, None],
        compatible=compatible(state)[near] | ~exists[:, None],
        in_range=state.in_range[near] | ~exists[:, None],
    )


def full_state(annotations: Annotations, images: Images) -> ALState:
    """The state with the labels of all sections, [N, H, W]."""
    labels = np.full(images.inside.shape, UNLABELLED, np.int16)
    for section, own in annotations.labels.items():
        labels[section] = own
    return annotations.state.replace(labels=labels)


def one_section(images: Images, section: int) -> Images:
    """A section as a stack of its own, which keeps its name."""
    return dataclasses.replace(
        images,
        images=np.asarray(images.images[section : section + 1]),
        inside=np.asarray(images.inside[section : section + 1]),
        sections=images.sections[section : section + 1],
        place=None,
    )


_BY_SECTION = ("annotated", "seen", "in_range", "unlabelled", "drawn_unique", "drawn_whole")


def _with_row(array: np.ndarray, index: int, row: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[index] = row
    return changed


def _without_pixels(images: Images) -> Images:
    """The same sections and classes, for checks that need no pixel."""
    nothing = np.zeros((images.num_sections, 0, 0), bool)
    return dataclasses.replace(images, images=nothing[..., None], inside=nothing)


def _on_host(state: ALState) -> ALState:
    """NumPy arrays, which are indexed a hundred times faster; the key stays what it is."""
    return jax.tree.map(
        lambda leaf: (
            leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)
        ),
        state,
    )
