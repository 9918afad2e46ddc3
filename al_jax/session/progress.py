"""How far a session is. There is no truth: people and the network showed what is reported."""

import itertools
import statistics
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.session import question
from al_jax.session.annotations import Annotations
from al_jax.session.events import Event, by_hand
from al_jax.session.pace import expected_seconds, pace_of
from al_jax.session.results import Answered

LATEST = 2
"""Answers of a structure, counted from its last, that its estimate of Dice is a mean of."""


class Progress(NamedTuple):
    """Where a session stands; None is what is not known yet.

    Attributes:
      answers, absent, skipped: how many; 'absent' are among the answers.
      traced: length of the outlines so far, each crack once, pixels.
      drawn: of it what was drawn by hand: without what was kept of proposals.
      left: what B predicts is left of the whole stack, pixels; None until every structure that may
        be there has an outline.
      dice: mean over structures (background left out) of the Dice of their latest proposals, each
        made before the network had learnt from the answer that it is compared with.
      predicted, actual: outlines that B predicted and that were drawn, in all; first examples and
        absent structures left out.
      last: the latest of both.
      error: median of their difference, as a share of the actual one.
      kept: the share of accepted and corrected outlines that was the network's, within 1 pixel.
      seconds: median time of an answer.
      seconds_error: median of the difference of predicted and actual times, as a share of the
        actual one.
      seconds_predicted, seconds_actual: of the answers whose time was predicted, in all.
      seconds_next: of one of those which may be asked, on average, at the person's pace.
      seconds_left: that all of them would take.
      behind: answers that the network has not seen.
      training: share of the long training that is done, 0 to 1.
    """

    answers: int
    absent: int
    skipped: int
    traced: float
    drawn: float
    left: float | None
    dice: float | None
    predicted: float
    actual: float
    last: tuple[float, float] | None
    error: float | None
    kept: float | None
    seconds: float | None
    seconds_error: float | None
    seconds_predicted: float
    seconds_actual: float
    seconds_next: float | None
    seconds_left: float | None
    behind: int
    training: float


def progress(
    now: Annotations, given: Sequence[Event], names: Sequence[str], behind: int, training: float
) -> Progress:
    """Where a session stands.

    Args:
      now: its annotations.
      given: the answers that count, in their order.
      names: of the classes.
      behind, training: see `Progress`.
    """
    outlines = [e for e in given if e["event"] == "answer"]
    pairs = [(e["predicted"], e["length"]) for e in outlines if e.get("predicted") is not None]
    errors = [abs(predicted - actual) / actual for predicted, actual in pairs if actual]
    helped = [e for e in outlines if e["how"] in ("accepted", "corrected") and "kept" in e]
    redrawn = sum(e["length"] for e in helped)
    timed = [e for e in given if "seconds" in e]
    expected = [(e["predicted_seconds"], e["seconds"]) for e in timed if "predicted_seconds" in e]
    off = [abs(predicted - actual) / actual for predicted, actual in expected if actual]
    left = None if question.without_outline(now).any() else question.outline_left(now)
    pairs_left = int(question.askable(now).sum())
    each = None
    if timed and left is not None:
        pace = pace_of(given)
        each = expected_seconds(pace, left / max(pairs_left, 1), proposed=True)
    return Progress(
        answers=len(given),
        absent=sum(e["event"] == "absent" for e in given),
        skipped=int(now.skipped.sum()),
        traced=float(now.state.drawn_unique.sum()) + sum(e["length"] - by_hand(e) for e in given),
        drawn=float(now.state.drawn_unique.sum()),
        left=left,
        dice=_estimates(given, names[0])[-1],
        predicted=sum(predicted for predicted, _ in pairs),
        actual=sum(actual for _, actual in pairs),
        last=pairs[-1] if pairs else None,
        error=float(np.median(errors)) if errors else None,
        kept=sum(min(e["kept"][1], e["length"]) for e in helped) / redrawn if redrawn else None,
        seconds=float(np.median([e["seconds"] for e in timed])) if timed else None,
        seconds_error=float(np.median(off)) if off else None,
        seconds_predicted=sum(predicted for predicted, _ in expected),
        seconds_actual=sum(actual for _, actual in expected),
        seconds_next=each,
        seconds_left=None if each is None else pairs_left * each,
        behind=behind,
        training=training,
    )


def answered(given: Sequence[Event], names: Sequence[str]) -> list[Answered]:
    """The answers that count, in numbers."""
    estimates = _estimates(given, names[0])
    effort = itertools.accumulate(map(by_hand, given))
    return [
        Answered(
            section=e["section"],
            structure=names.index(e["structure"]),
            kind=e.get("how", "absent"),
            predicted=e.get("predicted"),
            actual=e["length"],
            kept=e["kept"][0] / e["length"] if "kept" in e and e["length"] else None,
            seconds=e.get("seconds"),
            effort=so_far,
            dice=dice,
        )
        for e, so_far, dice in zip(given, effort, estimates[:-1], strict=True)
    ]


def _estimates(given: Sequence[Event], background: str) -> list[float | None]:
    """The estimate of Dice before each of the answers, and after the last."""
    of: dict[str, deque[float]] = {}
    means: dict[str, float] = {}
    found: list[float | None] = [None]
    for event in given:
        structure = event["structure"]
        if event["event"] == "answer" and "proposal_dice" in event and structure != background:
            latest = of.setdefault(structure, deque(maxlen=LATEST))
            latest.append(event["proposal_dice"])
            means[structure] = statistics.fmean(latest)
            found.append(statistics.fmean(means.values()))
        else:
            found.append(found[-1])
    return found
