"""All pairs of a session at a glance, and how good its stack would be if it ended now."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.evidence import predicted_dice
from al_jax.session import Session
from al_jax.session.events import effective_answers, pair_of

MORE = (10, 50)  # answers, whose gain is told
LATEST = 10  # proposals whose Dice is told


class Mark(enum.IntEnum):
    """What is known of a pair of section and structure."""

    OUT = 0
    OPEN = 1
    LATER = 2
    TRACED = 3
    ACCEPTED = 4
    CORRECTED = 5
    ABSENT = 6


NAMES = {
    Mark.OUT: "outside its range",
    Mark.OPEN: "not answered",
    Mark.LATER: "to be asked later",
    Mark.TRACED: "traced",
    Mark.ACCEPTED: "proposal accepted",
    Mark.CORRECTED: "proposal corrected",
    Mark.ABSENT: "not on this section",
}
_OF_KIND = {"accepted": Mark.ACCEPTED, "corrected": Mark.CORRECTED, "absent": Mark.ABSENT}


class Overview(NamedTuple):
    """A session at a glance.

    Attributes:
      marks: [N, C] int8, of `Mark`.
      dice: [C] float, what the network is expected to draw of each structure (Eq. 6); NaN: not
        known.
      latest: Dice of the latest proposals, each made before the network had seen the answer.
    """

    marks: np.ndarray
    dice: np.ndarray
    latest: tuple[float, ...]


def overview(session: Session) -> Overview:
    """A session at a glance, as it is now."""
    now, network, images = session.annotations, session.network, session.images
    state, given = now.state, effective_answers(session.events)
    annotated = np.asarray(state.annotated)
    marks = np.where(np.asarray(state.in_range), Mark.OPEN, Mark.OUT).astype(np.int8)
    marks[np.asarray(now.skipped) & ~annotated] = Mark.LATER
    for event in given:
        kind = event.get("how", event["event"])
        marks[pair_of(event, images)] = _OF_KIND.get(kind, Mark.TRACED)
    dice = np.full(images.num_classes, np.nan)
    if network.proposes and network.dice is not None and len(network.dice[0]) == len(dice):
        alpha = session.settings.config.query.alpha
        dice = np.clip(np.asarray(predicted_dice(network.dice, alpha)), 0, 1)
    drawn = [event for event in given if event["event"] == "answer"]
    latest = [event["proposal_dice"] for event in drawn if "proposal_dice" in event]
    return Overview(marks, dice, tuple(latest[-LATEST:]))


def expected(found: Overview, more: int = 0) -> float | None:
    """Mean Dice of the completed stack, if what is answered is right and the network's the rest.

    A mean over sections where a structure may be, then over structures, the background left out;
    None where it is not known.

    Args:
      found: what is known.
      more: answers more, of pairs as good as the average, from which the network learns nothing.
    """
    means, gains = [], []
    for structure in range(1, len(found.dice)):
        marks = found.marks[:, structure]
        open_ = (marks == Mark.OPEN) | (marks == Mark.LATER)
        answered = marks > Mark.LATER
        there = open_.sum() + (answered & (marks != Mark.ABSENT)).sum()
        if not there or (open_.any() and np.isnan(found.dice[structure])):
            continue
        missing = (1 - found.dice[structure]) / there if open_.any() else 0.0
        means.append(1 - missing * open_.sum())
        gains += [missing] * int(open_.sum())
    if not means or np.isnan(found.dice[1:]).all():
        return None
    gain = float(np.mean(gains)) * min(more, len(gains)) if gains else 0.0
    return float(np.mean(means)) + gain / len(means)


def good_enough(found: Overview, seconds: float | None) -> str:
    """Whether to go on, one or two lines; `seconds` are of an answer."""
    now = expected(found)
    if now is None:
        return ""
    lines = [f"If you stopped now: an expected mean Dice of {now:.0%}"]
    if found.latest:
        low, high = np.quantile(found.latest, (0.25, 0.75))
        count = "the latest proposal was" if len(found.latest) == 1 else "half of the latest were"
        lines[0] += f" ({count} at {_between(low, high)})"
    left = int(((found.marks == Mark.OPEN) | (found.marks == Mark.LATER))[:, 1:].sum())
    coming = []
    for more in MORE:
        if left >= more and (then := expected(found, more)) is not None:
            time = "" if seconds is None else f" in {max(round(more * seconds / 60), 1)} min"
            gain = f"+{100 * (then - now):.1f} points"
            coming.append(f"{more} more answers: at least {then:.0%} ({gain}){time}")
    return "\n".join([*lines, *coming])


def _between(low: float, high: float) -> str:
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"


def describe(
    found: Overview, pair: tuple[int, int], sections: Sequence[str], names: Sequence[str]
) -> str:
    """A pair in words, for a person who points at it."""
    section, structure = pair
    mark = Mark(int(found.marks[pair]))
    words = f"'{names[structure]}' on section {sections[section]}: {NAMES[mark]}"
    dice = found.dice[structure]
    if mark in (Mark.OPEN, Mark.LATER) and not np.isnan(dice):
        words += f"; the network is expected to draw it at a Dice of {dice:.0%}"
    return words
