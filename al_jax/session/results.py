"""What tables, reports and exports need of a session."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import Colour, Place


class Answered(NamedTuple):
    """An answer that counts, in numbers; None is what is not known.

    Attributes:
      section, structure: n and c, counted from 0.
      kind: 'traced', 'accepted' or 'corrected' (of a proposal), or 'absent'.
      predicted: pixels of outline that B predicted to be left; None for a first example.
      actual: pixels of outline that the answer added.
      kept: share of the proposal's outline that was kept, from 0 to 1.
      seconds: from the question to the answer.
      effort: pixels of outline drawn by then, this answer included.
      dice: the learner's estimate of its mean Dice when the pair was asked, from 0 to 1.
    """

    section: int
    structure: int
    kind: str
    predicted: float | None
    actual: float
    kept: float | None
    seconds: float | None
    effort: float
    dice: float | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Export:
    """A stack that is written.

    Attributes:
      traced: [N, H, W] int16, the classes that a person annotated, else `UNLABELLED`.
      segmentation: [N, H, W] int16, the class of every inside pixel, `UNLABELLED` elsewhere; None:
        no network has been trained.
      confidence: [N, H, W] float32, of `segmentation`.
      names, sections, colours: see `Images`.
      answers: what was answered, in its order.
      place: see `Images`.
      turned: what was done to each section since the session began, in words, or ''.
      downsample: pixels of a full-resolution image along a pixel of a section, for GeoJSON.
    """

    traced: np.ndarray
    names: tuple[str, ...]
    sections: tuple[str, ...]
    segmentation: np.ndarray | None = None
    confidence: np.ndarray | None = None
    colours: tuple[Colour, ...] | None = None
    answers: Sequence[Answered] = ()
    place: Place | None = None
    turned: tuple[str, ...] = ()
    downsample: float = 1.0
