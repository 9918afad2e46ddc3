"""Classes and sections as they are after some events.

Every class and every section has a permanent number: a class its place in `session.json` or the
next free number, a section its place in `images.npy`. The ledger names sections by it; a class by
the name that it had then.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import Colour, InputError, make_images
from al_jax.session.events import CHANGES, Event
from al_jax.session.storage import Content
from al_jax.session.turns import MIRROR, TURNS

SHAPING = (*CHANGES, "range")
"""Kinds of the events that make another view."""


class Class(NamedTuple):
    """A class.

    Attributes:
      number: its own for ever.
      name, colour: now.
      known_as: by earlier stacks.
      lineage: it, and the classes that it was made of.
    """

    number: int
    name: str
    colour: Colour | None
    known_as: str
    lineage: frozenset[int]


class View(NamedTuple):
    """What there is after some events; sections and classes by their permanent numbers.

    Attributes:
      classes: in their order, background first.
      ranges: the sections where each class may be.
      order: of all sections.
      out: the sections that are left out.
      replaced: names of the images that have taken the place of sections' own.
      turns: what was done to sections, see `MIRROR`.
    """

    classes: tuple[Class, ...]
    ranges: Mapping[int, frozenset[int]]
    order: tuple[int, ...]
    out: frozenset[int] = frozenset()
    replaced: Mapping[int, str] = {}
    turns: Mapping[int, str] = {}

    @property
    def sections(self) -> tuple[int, ...]:
        """Those that are not left out, in their order."""
        return tuple(section for section in self.order if section not in self.out)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the classes."""
        return tuple(one.number for one in self.classes)


class Step(NamedTuple):
    """An event with its classes by number; those that it makes begin with `first`."""

    event: Event
    structures: tuple[int, ...]
    first: int


def first_view(stored: Content) -> View:
    """Before any event."""
    images = stored.images
    colours = images.colours or (None,) * images.num_classes
    classes = [
        Class(number, name, colour, name, frozenset({number}))
        for number, (name, colour) in enumerate(zip(images.names, colours, strict=True))
    ]
    ranges = {
        c: frozenset(np.flatnonzero(stored.in_range[:, c]).tolist()) for c in range(len(classes))
    }
    return View(tuple(classes), ranges, tuple(range(images.num_sections)))


def view_after(stored: Content, events: Sequence[Event]) -> View:
    """What there is after the first events of a ledger, whatever followed them."""
    return steps_of(stored, events)[2]


def class_counts(stored: Content, events: Sequence[Event]) -> list[int]:
    """How many classes there have been, each number once, the latest first."""
    changes = {event["number"] for event in events if event["event"] in CHANGES}
    ends = [
        end
        for end, event in enumerate(events, 1)
        if event["number"] in changes or event.get("withdrawn") in changes
    ]
    found = [len(view_after(stored, events[:end]).classes) for end in (0, *ends)]
    return list(dict.fromkeys(reversed(found)))


def steps_of(stored: Content, events: Sequence[Event]) -> tuple[list[Step], list[Step], View]:
    """All events with their classes, those that count and shape the view, and the view.

    Raises:
      InputError: an event needs what is not there, or would not be.
    """
    base = first_view(stored)
    steps, live, view, free = [], list[Step](), base, len(base.classes)
    named: View | None = None
    number: dict[str, int] = {}
    for event in events:
        if view is not named:
            named, number = view, {one.name: one.number for one in view.classes}
        step = resolved(number, event, free)
        steps.append(step)
        if event["event"] in SHAPING:
            free += len(event.get("names", ())) if event["event"] != "rename" else 0
            live.append(step)
            view = advance(view, step)
        elif event["event"] == "withdraw":
            left = [one for one in live if one.event["number"] != event["withdrawn"]]
            if len(left) < len(live):
                live, view = left, functools.reduce(advance, left, base)
    return steps, live, view


def resolved(number: Mapping[str, int], event: Event, free: int) -> Step:
    """An event with the numbers of the classes that it names.

    Raises:
      InputError: there is no class of that name.
    """
    names = [event["structure"]] if "structure" in event else event.get("structures", [])
    missing = [name for name in names if name not in number]
    if missing:
        raise InputError(
            f"there is no structure '{missing[0]}'; the classes are {', '.join(number)}"
        )
    return Step(event, tuple(number[name] for name in names), free)


def advance(view: View, step: Step) -> View:
    """The view after a change or a range.

    Raises:
      InputError: what it needs is not there.
    """
    event, kind, structures = step.event, step.event["event"], step.structures
    if not set(structures) <= set(view.numbers):
        raise InputError(
            f"event {event['number']} ({kind}) needs a class that would be gone; take that event "
            "back first"
        )
    match kind:
        case "add":
            red, green, blue = event.get("colour", (0, 0, 0))
            colour = (red, green, blue) if "colour" in event else None
            (name,) = event["names"]
            one = Class(step.first, name, colour, name, frozenset({step.first}))
            view = view._replace(
                classes=(*view.classes, one),
                ranges={**view.ranges, one.number: _between(view, event["span"])},
            )
        case "rename":
            (name,) = event["names"]
            view = view._replace(
                classes=tuple(
                    one._replace(name=name) if one.number == structures[0] else one
                    for one in view.classes
                )
            )
        case "merge":
            view = _merged(view, step)
        case "split":
            view = _split(view, step)
        case "range":
            own = {structures[0]: _between(view, event["span"])}
            view = view._replace(ranges={**view.ranges, **own})
        case "leave_out" | "take_in":
            section = event["section"]
            if (section in view.out) == (kind == "leave_out"):
                raise InputError(
                    f"event {event['number']} ({kind}) would have no meaning; take that event back "
                    "first"
                )
            own = {c: view.ranges[c] | {section} for c in structures}
            view = view._replace(out=view.out ^ {section}, ranges={**view.ranges, **own})
        case "replace":
            view = view._replace(replaced={**view.replaced, event["section"]: event["image"]})
        case "mirror" | "turn":
            turns = MIRROR if kind == "mirror" else TURNS[event["degrees"]]
            section = event["section"]
            own_turns = view.turns.get(section, "") + turns
            view = view._replace(turns={**view.turns, section: own_turns})
        case "order":
            order = tuple(event["sections"])
            ranges = {c: _hull(own, order) for c, own in view.ranges.items()}
            view = view._replace(order=order, ranges=ranges)
    if len(view.sections) < 2:
        raise InputError("a stack needs at least two sections; take another one in first")
    if kind in ("add", "rename", "merge", "split"):
        names = [one.name for one in view.classes]
        make_images(np.zeros((2, 1, 1), np.uint8), names)  # which refuses what is no list of names
    return view


def _merged(view: View, step: Step) -> View:
    (name,) = step.event["names"]
    parts = [one for one in view.classes if one.number in step.structures]
    if len(parts) < 2:
        raise InputError("a merge needs two classes or more; name them")
    kept = next((one for one in parts if one.name == name), parts[0])
    lineage = frozenset({step.first}).union(*(one.lineage for one in parts))
    whole = Class(step.first, name, kept.colour, name, lineage)
    ranges = {c: own for c, own in view.ranges.items() if c not in step.structures}
    ranges[whole.number] = frozenset().union(*(view.ranges[c] for c in step.structures))
    classes = [one for one in view.classes if one not in parts[1:]]
    return view._replace(
        classes=tuple(whole if one is parts[0] else one for one in classes), ranges=ranges
    )


def _split(view: View, step: Step) -> View:
    (old,) = step.structures
    whole = next(one for one in view.classes if one.number == old)
    if len(step.event["names"]) < 2:
        raise InputError(f"a split of '{whole.name}' needs two names or more; give them")
    parts = [
        Class(
            number,
            name,
            whole.colour if number == step.first else None,
            name,
            whole.lineage | {number},
        )
        for number, name in enumerate(step.event["names"], step.first)
    ]
    ranges = {c: own for c, own in view.ranges.items() if c != old}
    own = view.ranges[old] - set(step.event["sections"])
    ranges |= {one.number: own for one in parts}
    at = view.classes.index(whole)
    return view._replace(
        classes=(*view.classes[:at], *parts, *view.classes[at + 1 :]), ranges=ranges
    )


def _between(view: View, span: Sequence[int | None]) -> frozenset[int]:
    """The sections of a range, with those between that are left out."""
    first, last = span
    begin = 0 if first is None else view.order.index(first)
    end = len(view.order) - 1 if last is None else view.order.index(last)
    if end < begin:
        raise InputError("the last section of a range comes before its first; change one")
    return frozenset(view.order[begin : end + 1])


def _hull(own: frozenset[int], order: Sequence[int]) -> frozenset[int]:
    """From the first to the last of some sections, in another order."""
    found = [n for n, section in enumerate(order) if section in own]
    return frozenset(order[found[0] : found[-1] + 1]) if found else own


def descent(view: View, live: Iterable[Step]) -> dict[int, tuple[int, ...]]:
    """What each class has become: the classes of the view that it is in."""
    into: dict[int, tuple[int, ...]] = {c: (c,) for c in view.numbers}
    for step in reversed(list(live)):
        if step.event["event"] in ("merge", "split"):
            new = range(step.first, step.first + len(step.event["names"]))
            found = tuple(dict.fromkeys(last for c in new for last in into.get(c, ())))
            into |= {c: found for c in step.structures}
    return into
