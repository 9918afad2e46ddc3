"""The events of a session, and the annotations they make: one model for disk, window and scripts.

Events are taken back and corrected by later events, never changed. `effective` leaves those that
count, `apply` is what one of them does, `replay` what all of them do. Masks come from wherever the
caller keeps them: from files in a session's folder, from a dictionary in a script.

Example:
  images = make_images(np.zeros((2, 8, 8), np.uint8), ("background", "a"))
  masks = {"first": np.tri(8, dtype=bool)}
  events = [
      Event(number=1, event="answer", section=0, structure="a", mask="first"),
      Event(number=2, event="absent", section=1, structure="a"),
      Event(number=3, event="withdraw", withdrawn=2),
  ]
  empty = begin(jax.random.key(0), images, given_ranges({}, images))
  annotations = replay(empty, images, events, masks.__getitem__)
  annotations.labels[0]  # [8, 8] int16
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from al_jax.core.answers import Report
from al_jax.core.stack import Images, InputError
from al_jax.session import annotations as state_of
from al_jax.session.annotations import Annotations
from al_jax.session.ranges import structure_number

CHANGES = (
    "add",
    "rename",
    "merge",
    "split",
    "leave_out",
    "take_in",
    "replace",
    "mirror",
    "turn",
    "order",
)
"""Kinds that change what there is: classes and sections, see `changes`."""

KINDS = ("answer", "absent", "skip", "withdraw", "range", "note", *CHANGES)
TEACHING = ("answer", "absent", "withdraw", "range", "merge", "split", "replace")
"""Kinds that a network learns from."""

Masks = Callable[[str], np.ndarray]
"""The mask [H, W] bool of a name."""


class Event(TypedDict, total=False):
    """An event, with the keys of its line in the ledger: README.md says what each means.

    Numbers count from 1, sections from 0; lengths are pixels of outline; `mask` is a name. `lost`
    is no key of the ledger: why an answer does not count at present (`replay_found`).
    """

    number: int
    time: str
    event: str
    section: int
    structure: str
    mask: str
    how: str
    predicted: float
    length: float
    seconds: float
    predicted_seconds: float
    kept: list[float]
    proposal_dice: float
    network: int
    corrects: int
    given_to: int
    reason: str
    span: list[int | None]
    withdrawn: int
    text: str
    structures: list[str]
    names: list[str]
    colour: list[int]
    answers: "dict[str, Event | None]"
    sections: list[int]
    degrees: int
    image: str
    reopened: int
    columns: dict[int, list[int]]  # in no ledger: where classes may be, as `changes` tells
    takers: list[tuple[int, str]]  # in no ledger: sections and structures it made room for
    parts: list[tuple[int, str]]  # in no ledger: of a "rest", what its class was split into there
    lost: str


def effective(events: Iterable[Event]) -> list[Event]:
    """The events that count: not withdrawn, nor corrected by a later answer, nor lost.

    What corrects an outline takes its place: outlines that were drawn around it later keep
    clear of it, and get what it gives back. What a withdrawn answer had corrected counts again.
    What made room for an answer (`given_to`) counts as long as that is not withdrawn.

    Raises:
      InputError: what is withdrawn is no earlier event, or was withdrawn before.
    """
    given: dict[int, Event] = {}
    for event in events:
        if event["event"] != "withdraw":
            given[event["number"]] = event
        elif given.pop(event["withdrawn"], None) is None:
            raise InputError(f"there is no event {event['withdrawn']} to take back")
    left = [event for event in given.values() if event.get("given_to", event["number"]) in given]
    corrected = {event.get("corrects") for event in left}
    answered = {event["number"] for event in left if event["event"] == "answer"}
    place: dict[int, int] = {}
    for event in left:
        old = event.get("corrects", 0)
        place[event["number"]] = place[old] if old in answered else event["number"]
    counting = [e for e in left if e["number"] not in corrected and "lost" not in e]
    for k, event in enumerate(counting):
        if found := [*event.get("takers", ()), *_takers(event, given)]:
            counting[k] = Event(**event)
            counting[k]["takers"] = found
    return sorted(counting, key=lambda event: place[event["number"]])


def _takers(event: Event, given: Mapping[int, Event]) -> list[tuple[int, str]]:
    """For whom an answer, or what it corrects, made room: section and structure of each."""
    found = list[tuple[int, str]]()
    one: Event | None = event
    while one is not None:
        taker = given.get(one.get("given_to", 0), Event())
        if "structure" in taker:
            found.append((taker["section"], taker["structure"]))
        found += taker.get("parts", [])
        one = given.get(one.get("corrects", 0))
    return found


def effective_answers(events: Iterable[Event]) -> list[Event]:
    """Of the events that count, the answers; "absent" is one."""
    return [event for event in effective(events) if event["event"] in ("answer", "absent")]


def pair_of(event: Event, images: Images) -> tuple[int, int]:
    """Section and structure of an answer, a skip."""
    return event["section"], structure_number(event["structure"], images)


def drawn(event: Event) -> float | None:
    """Pixels of an answer's outline that were drawn by hand; None where no proposal was shown.

    What a person leaves of a proposal is where it was, to the pixel: kept within 0 pixels.
    """
    if "kept" not in event:
        return None
    kept = event["kept"][0] if event.get("how") in ("accepted", "corrected") else 0.0
    return event["length"] - kept


def by_hand(event: Event) -> float:
    """Pixels of an answer's outline that were drawn by hand, with or without a proposal."""
    found = drawn(event)
    return event["length"] if found is None else found


def apply(
    annotations: Annotations, images: Images, event: Event, masks: Masks
) -> tuple[Annotations, Report | None]:
    """The annotations after one event that counts, and what became of its mask, if it has one.

    Raises:
      InputError: what `annotations.answer` and `annotations.set_range` refuse; a mask is missing;
        the event is of no known kind.
    """
    for section, taker in event.get("takers", ()):
        # Its class may have been added, or its range widened, after this answer's place.
        annotations = state_of.grant(annotations, section, structure_number(taker, images))
    if event["event"] == "rest":
        for section, part in event.get("parts", ()):
            own = structure_number(part, images)
            annotations = state_of.without_grant(annotations, section, own)
    if event["event"] in ("note", "rest"):
        return annotations, None
    if "columns" in event:
        return state_of.set_columns(annotations, images, event["columns"]), None
    structure = structure_number(event["structure"], images)
    match event["event"]:
        case "answer" | "absent" as kind:
            section = event["section"]
            mask = np.zeros(images.inside.shape[1:], bool)
            if kind == "answer":
                mask = masks(event["mask"])
                if "corrects" not in event:  # what an earlier structure has given back since
                    mask = mask | state_of.remainder(annotations, images, section, structure, mask)
            return state_of.answer(annotations, images, section, structure, mask, drawn(event))
        case "skip":
            return state_of.skip(annotations, images, event["section"], structure), None
        case "range":
            first, last = event["span"]
            return state_of.set_range(annotations, images, structure, (first, last)), None
    raise InputError(f"event {event['number']} is of no known kind")


def replay(
    empty: Annotations, images: Images, events: Sequence[Event], masks: Masks
) -> Annotations:
    """The annotations after events. This is undo and correction too: see `effective`.

    Args:
      empty: before the first event (`annotations.begin`).
      images: what is annotated.
      events: in their order.
      masks: where the masks of answers are.

    Raises:
      InputError: what `effective` and `apply` refuse.
    """
    now = empty
    for event in effective(events):
        now = apply(now, images, event, masks)[0]
    return now


def replay_found(
    empty: Annotations, images: Images, events: Sequence[Event], masks: Masks
) -> tuple[list[Event], Annotations]:
    """As `replay`, of what can be read: a missing mask costs its own answer and no other.

    Returns:
      The events, those answers of them `lost`, and the annotations that the others make. They
      count again once their masks are back.

    Raises:
      InputError: what `effective` refuses, and `apply` of what is no answer.
    """
    now, lost = empty, dict[int, str]()
    for event in effective(events):
        try:
            now = apply(now, images, event, masks)[0]
        except InputError as error:
            if event["event"] not in ("answer", "absent"):
                raise
            lost[event["number"]] = str(error)
    return [Event(**e, lost=lost[e["number"]]) if e["number"] in lost else e for e in events], now


def given_up(events: Sequence[Event], concerned: Callable[[Event], bool]) -> list[Event]:
    """What takes back the lost answers that are concerned, before others are made without them.

    What they had corrected is taken back with them, so that it does not count again.
    """
    of = {event["number"]: event for event in events if event["event"] != "withdraw"}
    for event in events:
        of.pop(event.get("withdrawn", 0), None)
    gone: list[Event] = []
    for event in events:
        number = event["number"] if "lost" in event and concerned(event) else 0
        while number in of:
            gone.append(Event(event="withdraw", withdrawn=number))
            number = of.pop(number).get("corrects", 0)
    return gone
