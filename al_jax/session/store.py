"""What a person's answer adds to the events: checked, measured, compared with what was proposed."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from al_jax.core import answers
from al_jax.core.answers import Report, Span, whole
from al_jax.core.boundary import kept_length, total_length
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.session import annotations as state_of
from al_jax.session.annotations import Annotations
from al_jax.session.events import (
    Event,
    Masks,
    apply,
    drawn,
    effective,
    effective_answers,
)
from al_jax.session.ledger import digest
from al_jax.session.network import Network
from al_jax.session.question import Question, Rule, of_pair

HOW = ("traced", "accepted", "corrected", "given")
"""How an answer was made: anew, the proposal as it was, or changed; or before the session."""

TOLERANCES = (0, 1, 2)
"""Pixels within which an outline counts as kept from the proposal."""


class Stored(NamedTuple):
    """What was stored.

    Attributes:
      event: its line in the ledger.
      report: what became of the mask.
      message: the same for a person, one line.
    """

    event: Event
    report: Report
    message: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """An answer as `Session.store_answer` takes it; without a mask the structure is absent."""

    section: int
    structure: int
    mask: np.ndarray | None
    how: str = "traced"
    question: Question | None = None
    seconds: float | None = None
    widen: bool = False
    take: bool = False


class Before(NamedTuple):
    """What is known before an answer: all events so far, and the annotations `now`.

    `empty` are those before any event; `network` is the newest, `rule` what asks.
    """

    images: Images
    masks: Masks
    empty: Annotations
    events: Sequence[Event]
    now: Annotations
    network: Network
    rule: Rule


class Addition(NamedTuple):
    """What an answer adds.

    Attributes:
      events: to store, all or none; the last one is the answer.
      masks: [H, W] bool, by the names that the events have for them.
      after: the annotations then.
      report: what became of the answer's mask.
      message: what was stored, one line.
    """

    events: list[Event]
    masks: dict[str, np.ndarray]
    after: Annotations
    report: Report
    message: str


def addition(before: Before, answer: Answer) -> Addition:
    """What an answer adds, unless it is refused; nothing is stored yet.

    Raises:
      InputError: what `answers.answer` refuses, and what later answers on the section do not fit.
    """
    images, section, structure = before.images, answer.section, answer.structure
    question, seconds = answer.question, _checked(answer.seconds)
    if seconds is None and question is not None:
        seconds = max(time.time() - question.asked, 0.0)
    now, events, later = before.now, list[Event](), list[Event]()
    in_range = now.state.in_range[section, structure]
    mask = np.zeros(images.inside.shape[1:], bool) if answer.mask is None else answer.mask
    clipped, outside, rest = dict[str, int](), 0, np.zeros_like(mask)
    labels = now.labels_of(section, images)
    room, made = _Room([], {}, []), dict[int, Report]()
    if answer.take:
        room = _making_room(before, answer)
        takers, first = [(section, images.names[structure])], len(before.events) + 1
        numbered = [Event(**e, number=n, takers=takers) for n, e in enumerate(room.events, first)]
        before = before._replace(events=[*before.events, *numbered], masks=_either(room, before))
    old = _number_of_answer(before, section, structure)
    if old is not None:
        own = (labels == structure) | (mask & answer.take)
        others = np.where(own, UNLABELLED, labels)
        mask, clipped, outside = answers.clip(images, section, structure, mask, others)
        now, later = _around(before, old, made)
    else:
        if room.events:
            now = _applied(before, before.empty, effective(before.events), made)
        rest = state_of.remainder(now, images, section, structure, mask)
        mask = mask | rest
    if answer.widen and not in_range:
        span = _widened(before.now, section, structure)
        events.append(range_event(images, structure, span))
        now = state_of.set_range(now, images, structure, span)
    elif not in_range:
        where = answers.check_pair(images, section, structure)
        raise InputError(
            f"{where} is outside the range of '{images.names[structure]}'; if it is there, widen "
            "the range (--widen)"
        )
    kind = "absent" if answer.mask is None else "answer"
    event, compared = pair_event(images, kind, section, structure), Event()
    # Of a correction, the proposal is the answer that it corrects.
    if question is not None and question.proposal is not None and old is None:
        compared = _compared(now, images, question, mask)
    if answer.mask is not None:
        by_proposal = answer.how in ("accepted", "corrected")
        event["how"] = "traced" if by_proposal and not compared else answer.how
    by_hand = drawn(Event(**event, **compared))
    after, report = state_of.answer(now, images, section, structure, mask, by_hand)
    if old is not None:
        report = report._replace(clipped=report.clipped | clipped, outside=outside)
    after = _applied(before, after, later, made)
    predicted = of_pair(now, before.network, before.rule, section, structure)
    if now.known(structure):
        event["predicted"] = round(float(predicted.left), 2)
    event["length"] = round(report.effort, 2)
    masks = dict(room.masks)
    if answer.mask is not None:
        event["mask"] = digest(mask)
        masks[event["mask"]] = mask
    if seconds is not None:
        event["seconds"] = round(seconds, 2)
    if question is not None:
        event["predicted_seconds"] = round(question.seconds, 1)
    event.update(compared)
    if old is not None:
        event["corrects"] = old
    first = len(before.events) - len(room.events) + 1
    for number, giver in enumerate(room.events, first):
        giver["given_to"] = first + len(room.events) + len(events)
        if number in made:
            giver.setdefault("length", round(made[number].effort, 2))
    seen = after.labels_of(section, images)[mask & images.inside[section]]
    if answer.take and (seen != structure).any():
        where = answers.check_pair(images, section, structure)
        raise InputError(f"{where}: the others do not give up its pixels; correct them")
    said = message(images, event, report, room.givers)
    if count := np.count_nonzero(rest):
        said += f"; {count} px that were left are it too, as nothing else may be there"
    return Addition([*room.events, *events, event], masks, after, report, said)


class _Room(NamedTuple):
    """What has others keep clear of an answer: events, masks by their names, and who gives."""

    events: list[Event]
    masks: dict[str, np.ndarray]
    givers: list[str]


def _making_room(before: Before, answer: Answer) -> _Room:
    """An outline that others cover gives, too: it would come up. Of nothing no answer remains.

    How they were made, and what of a proposal they kept, stays. One that has got what others gave
    back, as nothing else could be there, is told whole: now the answer's structure can.
    """
    images, section, room = before.images, answer.section, _Room([], {}, [])
    assert answer.mask is not None
    labels, mask = before.now.labels_of(section, images), answer.mask & images.inside[section]
    for old in effective_answers(before.events):
        c = images.names.index(old["structure"])
        if old["event"] != "answer" or old["section"] != section or c == answer.structure:
            continue
        shown, own = labels == c, before.masks(old["mask"])
        if not ((mask & (shown | own)) | (shown & ~own)).any():
            continue
        if (shown & mask).any():
            room.givers.append(old["structure"])
        if (left := shown & ~mask).any():
            event = pair_event(images, "answer", section, c)
            event["how"], event["mask"] = old.get("how", "traced"), digest(left)
            room.masks[event["mask"]] = left
            if "seconds" in old:
                event["seconds"] = old["seconds"]
            if "kept" in old:
                event["kept"], event["length"] = old["kept"], old["length"]
                event["proposal_dice"], event["network"] = old["proposal_dice"], old["network"]
        else:
            where = f"section {images.sections[section]}"
            text = f"nothing is left of '{old['structure']}' on {where}"
            event = Event(event="note", text=text)
        event["corrects"] = old["number"]
        room.events.append(event)
    return room


def _either(room: _Room, before: Before) -> Masks:
    return lambda name: room.masks[name] if name in room.masks else before.masks(name)


def _applied(
    before: Before, now: Annotations, events: Sequence[Event], made: dict[int, Report]
) -> Annotations:
    """The annotations after events that count; `made` gets what became of their masks."""
    for event in events:
        now, report = apply(now, before.images, event, before.masks)
        if report is not None:
            made[event["number"]] = report
    return now


def pair_event(images: Images, kind: str, section: int, structure: int) -> Event:
    """An event of a pair, still without a number."""
    return Event(event=kind, section=section, structure=images.names[structure])


def range_event(images: Images, structure: int, span: Span) -> Event:
    """Another range of a structure, still without a number."""
    return Event(event="range", structure=images.names[structure], span=list(span))


def span_of(given: Sequence[int | None]) -> Span:
    """First and last section as plain numbers; InputError if they are none."""
    try:
        first, last = (None if end is None else whole(end, "section") for end in given)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the range is {given!r}; give its first and last section") from error
    return first, last


def text_of(given: Any, what: str) -> str:
    """A text, of NumPy too; InputError if it is none."""
    if not isinstance(given, str):
        raise InputError(f"the {what} is {given!r}; give text")
    return str(given)


def several(given: Any, what: str) -> list:
    """What is in a list or an array; InputError if it is none, as a text is."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        return list(given)
    except TypeError as error:
        raise InputError(f"the {what} are {given!r}; give a list") from error


def _checked(seconds: float | None) -> float | None:
    """Seconds as a plain number."""
    try:
        found = None if seconds is None else float(seconds)
    except (TypeError, ValueError) as error:
        raise InputError(f"the seconds are {seconds!r}; give a number") from error
    if found is not None and not 0 <= found < math.inf:
        raise InputError(f"the seconds are {found}; give a finite number, 0 or more")
    return found


def message(images: Images, event: Event, report: Report, givers: Sequence[str] = ()) -> str:
    """What was stored, one line; `givers` are the structures that gave up pixels."""
    name = f"'{event['structure']}' on section {images.sections[event['section']]}"
    if event["event"] == "absent":
        return f"{name}: absent"
    line = f"{name}: {report.effort:.0f} px of outline"
    if "predicted" in event:
        line += f", {event['predicted']:.0f} predicted"
    lost = [f"{count} px that are '{other}'" for other, count in report.clipped.items()]
    lost += [f"{report.outside} px beyond the image"] if report.outside else []
    line += f"; left out: {', '.join(lost)}" if lost else ""
    return line + (f"; taken from {', '.join(map(repr, givers))}" if givers else "")


def _number_of_answer(before: Before, section: int, structure: int) -> int | None:
    name = before.images.names[structure]
    # One that is lost, too: what had made room for it still counts.
    found = [Event(**event) for event in before.events]
    for event in found:
        event.pop("lost", None)
    for event in effective_answers(found):
        if (event["section"], event["structure"]) == (section, name):
            return event["number"]
    return None


def _around(before: Before, old: int, made: dict[int, Report]) -> tuple[Annotations, list[Event]]:
    """What counts before the place that a correction of the answer `old` will have, and after."""
    correction = Event(event="note", number=len(before.events) + 1, corrects=old)
    counting = effective([*before.events, correction])
    after = [event["number"] for event in counting].index(correction["number"]) + 1
    return _applied(before, before.empty, counting[:after], made), counting[after:]


def _compared(now: Annotations, images: Images, question: Question, mask: np.ndarray) -> Event:
    """What an answer has in common with the proposal that was shown."""
    n, proposal = question.section, question.proposal
    assert proposal is not None
    free = np.asarray(images.inside[n]) & (now.labels_of(n, images) == UNLABELLED)
    both, either = (mask & proposal & free).sum(), (mask & free).sum() + (proposal & free).sum()
    return Event(
        length=round(float(_left(mask & free, free)), 2),
        kept=[round(float(_kept(mask, proposal, free, tolerance=t)), 2) for t in TOLERANCES],
        proposal_dice=round(float(2 * both / either), 4) if either else 1.0,
        network=question.network,
    )


def _widened(now: Annotations, section: int, structure: int) -> tuple[int, int]:
    where = np.flatnonzero(now.state.in_range[:, structure])
    ends = [section] if not len(where) else [where[0], where[-1], section]
    return int(min(ends)), int(max(ends))


_kept = jax.jit(kept_length, static_argnames="tolerance")
_left = jax.jit(total_length)
