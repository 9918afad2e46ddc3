"""What is odd about an answer: it may be right, but looks like what goes wrong between tools."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_fill_holes,
    find_objects,
    label,
    minimum_filter,
)

from al_jax.core.stack import UNLABELLED
from al_jax.session.annotations import Annotations
from al_jax.session.question import Question

MOST = 0.5
"""Share of a section that few structures fill."""

SHORT = 8
"""Pixels of what is as thin as a line and small enough for a structure all the same."""

BRUSH = 3
"""Pixels that an outline is wide where it is drawn with a brush."""

HOLLOW = 0.5
"""Share of a structure's pixels that few go around."""


def what_is_odd(
    question: Question, mask: np.ndarray, annotations: Annotations, *, scaled: bool = True
) -> list[str]:
    """What is odd about an answer, a clause each; empty: nothing.

    It holds all corners of the section (the background: none), or most of it, as inverted masks
    do; it touches neither the proposal nor the structure on the nearest sections where that was
    traced; it is a line, not an area; it goes around much that is nobody's (the background may).
    What the structure does on these sections too is not odd.

    Args:
      question: what was asked.
      mask: [H, W] bool, the answer.
      annotations: so far.
      scaled: whether the size of the image that was drawn on is known.
    """
    own, inside = mask & question.inside, question.inside
    known = _nearest(annotations, question.section, question.structure)
    masks = [other for other, _ in known]
    found = []
    if question.structure == 0:
        free = _corners(inside & (question.labels == UNLABELLED))
        if free.all() and not _corners(mask).any() and all(_corners(m).any() for m in masks):
            found.append("it holds no corner of the section, as an inverted mask does")
    elif _corners(mask).all() and not any(_corners(m).all() for m in masks):
        found.append("it holds all corners of the section, as an inverted mask does")
    elif (share := _share(own, inside)) > MOST and not any(_share(m, inside) > MOST for m in masks):
        found.append(f"it fills {share:.0%} of the section")
    around = [binary_dilation(other, iterations=apart) for other, apart in known]
    proposal = question.proposal
    if proposal is not None and proposal.any():
        around.append(binary_dilation(proposal))
    if around and not any((own & other).any() for other in around):
        shown = "the proposal" if proposal is not None and proposal.any() else ""
        where = "where it is on the nearest sections" if known else ""
        found.append(
            f"it touches neither {shown} nor {where}"
            if shown and where
            else f"it does not touch {shown or where}"
        )
    if not around and not scaled and _on_edge(own):
        found.append(
            "it reaches the edge of the section, and nothing tells the size of the image that it "
            "was drawn on (--downsample)"
        )
    if _is_line(own, masks):
        found.append("it is a line and not an area; fill it")
    elif question.structure != 0:
        others = (question.labels != UNLABELLED) & (question.labels != question.structure)
        hole = _hole(own, inside & ~others)
        brushed = hole > HOLLOW and not _holds_square(own, BRUSH + 1)
        if (brushed or hole > 1) and not _is_ring(annotations, question):
            found.append("it is an outline around pixels that are nobody's; fill it")
    return found


def _nearest(
    annotations: Annotations, section: int, structure: int
) -> list[tuple[np.ndarray, int]]:
    """The structure on the nearest sections before and after where it is, and how far these are."""
    found = []
    traced = {n: own == structure for n, own in annotations.labels.items() if n != section}
    there = [n for n, own in traced.items() if own.any()]
    for side in ([n for n in there if n < section], [n for n in there if n > section]):
        if side:
            near = min(side, key=lambda n: abs(n - section))
            found.append((traced[near], abs(near - section)))
    return found


def _corners(mask: np.ndarray) -> np.ndarray:
    return mask[[0, 0, -1, -1], [0, -1, 0, -1]]


def _share(mask: np.ndarray, inside: np.ndarray) -> float:
    return float((mask & inside).sum() / max(inside.sum(), 1))


def _on_edge(mask: np.ndarray) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _is_line(mask: np.ndarray, known: Sequence[np.ndarray]) -> bool:
    """Whether no pixel has all its neighbours, where the structure is an area on other sections.

    Where nothing is known of it: whether it is one pixel wide.
    """
    if known:
        return _thin(mask) and not any(map(_thin, known))
    if _holds_square(mask, 2):
        return False
    parts = label(mask, np.ones((3, 3)))[0]
    return int(np.bincount(parts[mask], minlength=1).max()) > SHORT


def _is_ring(annotations: Annotations, question: Question) -> bool:
    """Whether the structure goes around something on another section."""
    return any(
        _hole(own == question.structure) > HOLLOW
        for section, own in annotations.labels.items()
        if section != question.section
    )


def _hole(mask: np.ndarray, free: np.ndarray | bool = True) -> float:
    """The free pixels that a mask goes around, as a share of its own."""
    if not mask.any():
        return 0.0
    (box,) = find_objects(mask.astype(np.int8))  # all that it goes around, and little else
    own = mask[box]
    around = binary_fill_holes(own) & ~own & np.broadcast_to(free, mask.shape)[box]
    return float(around.sum() / own.sum())


def _holds_square(mask: np.ndarray, side: int) -> bool:
    return bool(minimum_filter(mask, side, mode="constant", cval=0).any())


def _thin(mask: np.ndarray) -> bool:
    return not binary_erosion(mask, np.ones((3, 3)), border_value=1).any()
