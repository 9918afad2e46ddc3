"""How long answers take a person, learnt from the answers so far.

An answer takes some seconds whatever its outline (to look, to decide, to press a key), and more for
each pixel that is drawn; how many of both depends on the person and on the kind of the answer. Both
are fitted to what the ledger holds: least squares of log seconds with a soft L1 loss, so that a
break for coffee counts little, and a weak prior, so that there is a model before the first answer.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from al_jax.session.events import Event, by_hand

KINDS = ("traced", "corrected", "accepted", "absent")

DRAWING = 2
"""The first so many kinds of `KINDS` have an outline that is drawn."""

USUAL_BASE, USUAL_RATE = (8.0, 8.0, 4.0, 4.0), (0.15, 0.15)
"""Before any answer: seconds of an answer of each kind, and of a pixel of outline."""

WEIGHT = 0.2
"""Of that, in answers whose seconds are off by a factor of e."""

SCALE = 0.3
"""Of log seconds: what is further off than this counts less."""

LATEST = 200
"""Answers that count: people get faster."""

OFFERED = 50
"""Answers beside a proposal that tell what becomes of the next one."""


class Pace(NamedTuple):
    """How fast a person is.

    Attributes:
      base: [4], seconds of an answer of each of `KINDS` without its outline.
      rate: [2], seconds of a pixel of outline that is traced, or drawn to correct.
      shares: [4], how often each kind is the answer where there is a proposal.
      redrawn: the part of an outline that is drawn to correct a proposal.
    """

    base: tuple[float, ...]
    rate: tuple[float, ...]
    shares: tuple[float, ...]
    redrawn: float


def kind_of(event: Event) -> str:
    """Of `KINDS`."""
    return "absent" if event["event"] == "absent" else event.get("how", "traced")


def pace_of(answers: Sequence[Event]) -> Pace:
    """The pace that the latest answers show.

    Args:
      answers: those that count, in their order (`events.effective_answers`); what was there before
        the session ('given') or has no time is left out.
    """
    timed = [e for e in answers if e.get("seconds", 0) > 0 and kind_of(e) in KINDS][-LATEST:]
    offered = [e for e in answers if "proposal_dice" in e and kind_of(e) in KINDS][-OFFERED:]
    rows = tuple((KINDS.index(kind_of(e)), by_hand(e), e["seconds"]) for e in timed)
    base, rate = _fitted(rows)
    counts = np.bincount([KINDS.index(kind_of(e)) for e in offered], minlength=4)
    shares = (counts + np.array([0.5, 0.5, 0.5, 0])) / (len(offered) + 1.5)
    corrected = [e for e in offered if kind_of(e) == "corrected"]
    whole = sum(e["length"] for e in corrected)
    redrawn = (sum(map(by_hand, corrected)) + 50) / (whole + 100)
    return Pace(base, rate, tuple(shares.tolist()), float(redrawn))


def seconds_of(pace: Pace, kind: str, pixels: float) -> float:
    """Seconds of an answer of a kind with so much outline drawn."""
    number = KINDS.index(kind)
    return pace.base[number] + (pace.rate[number] * pixels if number < DRAWING else 0.0)


def expected_seconds(pace: Pace, outline: float, *, proposed: bool) -> float:
    """Seconds of an answer before it is known of what kind it will be.

    Args:
      pace: the person's.
      outline: still to trace, pixels.
      proposed: the network proposes something.
    """
    base, slope = _line(pace, proposed)
    return base + slope * outline


def overhead(pace: Pace) -> float:
    """Pixels of outline that take as long as an answer takes beyond its outline (`Query`)."""
    base, slope = _line(pace, True)
    return base / max(slope, 1e-4)


def _line(pace: Pace, proposed: bool) -> tuple[float, float]:
    """Expected seconds of an answer without outline, and of each pixel that is left to trace."""
    if not proposed:
        return pace.base[0], pace.rate[0]
    base = sum(share * seconds for share, seconds in zip(pace.shares, pace.base, strict=True))
    traced, corrected = pace.shares[:DRAWING]
    return base, traced * pace.rate[0] + corrected * pace.rate[1] * pace.redrawn


@functools.lru_cache(maxsize=8)
def _fitted(
    rows: tuple[tuple[int, float, float], ...],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Base and rate of answers (number of the kind, pixels drawn, seconds)."""
    usual = np.log([*USUAL_BASE, *USUAL_RATE])
    kinds, pixels, seconds = np.array(rows, float).reshape(-1, 3).T
    kinds, target = kinds.astype(int), np.log(seconds)
    drawing = kinds < DRAWING

    def residuals(logs: np.ndarray) -> np.ndarray:
        base, rate = np.exp(logs[:4]), np.exp(logs[4:])
        slope = np.where(drawing, rate[np.minimum(kinds, DRAWING - 1)], 0)
        off = np.log(base[kinds] + slope * pixels) - target
        # People who trace fast correct fast: what is known of one kind is the prior of the other.
        alike = (logs - usual - (logs - usual).mean()) * WEIGHT
        return np.concatenate([off, (logs - usual) * WEIGHT / 2, alike])

    found = least_squares(residuals, usual, loss="soft_l1", f_scale=SCALE, max_nfev=50)
    every = np.exp(found.x).tolist()
    return tuple(every[:4]), tuple(every[4:])
