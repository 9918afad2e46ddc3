"""What tables and reports say of an answer: nothing of how a session keeps it."""

from typing import NamedTuple


class Answered(NamedTuple):
    """An answer that stands, in numbers; None is what is not known.

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
