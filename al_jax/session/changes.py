"""A ledger in the terms of what there is now: classes and sections change, all else knows nothing.

A `View` is what the changes so far have made: `translated` gives the stack and the events as they
are seen in it.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.colours import class_colours
from al_jax.core.stack import Colour, Images, InputError
from al_jax.learner.transfer import Experience
from al_jax.session.events import CHANGES, Event, effective
from al_jax.session.storage import Content
from al_jax.session.turns import read_rescan, turned
from al_jax.session.views import (
    SHAPING,
    Step,
    View,
    advance,
    descent,
    first_view,
    resolved,
    steps_of,
)


class Translated(NamedTuple):
    """A session's ledger in the terms of a view.

    Attributes:
      view: after all events.
      in_range: [N, C] bool, the ranges before any event.
      events: one for each line; one that has no meaning in the view is of the kind "rest".
      restated: numbers of the answers that a change has written anew.
    """

    view: View
    in_range: np.ndarray
    events: list[Event]
    restated: frozenset[int]


def translated(stored: Content, events: Sequence[Event], *, whole: bool = False) -> Translated:
    """The events of a ledger as they are seen after all of them.

    Args:
      stored: what the session began with.
      events: of its ledger.
      whole: sections that were left out are there, too.

    Raises:
      InputError: a change or an answer needs what would not be there.
    """
    if not any(event["event"] in CHANGES for event in events):
        return Translated(first_view(stored), stored.in_range, list(events), frozenset())
    steps, live, view = steps_of(stored, events)
    view = view._replace(out=frozenset()) if whole else view
    into = descent(view, live)
    place = {section: n for n, section in enumerate(view.sections)}
    counting = {event["number"] for event in effective(events)}
    traced = [
        (step.event["number"], step.structures[0], step.event["section"])
        for step in steps
        if step.event["event"] == "answer"
        and step.event["number"] in counting
        and step.event["section"] in place
    ]

    def column(then: View, c: int, number: int) -> list[int]:
        """Where a class of the view might be after the event of this number."""
        found = {
            place[section]
            for old, own in then.ranges.items()
            if c in into.get(old, ())
            for section in own
            if section in place
        }
        for answer, old, section in traced:  # what rests is in range, whatever that is meanwhile
            if answer < number and section in then.out and c in into.get(old, ()):
                found.add(place[section])
        return sorted(found)

    now = first_view(stored)
    in_range = np.zeros((len(place), len(view.classes)), bool)
    for n, c in enumerate(view.numbers):
        in_range[column(now, c, 0), n] = True
    shaped: dict[int, dict[int, list[int]]] = {}
    for step in live:
        before, now, number = now, advance(now, step), step.event["number"]
        moved = {
            old
            for old in before.ranges.keys() | now.ranges.keys()
            if before.ranges.get(old) is not now.ranges.get(old)
        }
        changed = before.out ^ now.out  # sections left out, or taken in again
        moved |= {old for answer, old, where in traced if answer < number and where in changed}
        touched = {c for old in moved for c in into.get(old, ())}
        shaped[number] = {view.numbers.index(c): column(now, c, number) for c in touched}
    anew: dict[int, Event | None] = {}
    for step in live:
        found = step.event.get("answers", {})
        anew |= {int(number): one for number, one in found.items()}
    shown = []
    for step in steps:
        event, number = step.event, step.event["number"]
        if event["event"] in ("withdraw", "note"):
            shown.append(event)
        elif event["event"] in SHAPING:
            one = Event(number=number, time=event["time"], event=event["event"])
            one["columns"] = shaped.get(number, {})
            one["text"] = described(event, stored.images.sections)
            if event["event"] == "range":
                one["structure"], one["span"] = _named(view, into, step), list(event["span"])
            shown.append(one)
        else:
            shown.append(_pair(step, view, into, place, anew, number in counting))
    return Translated(view, in_range, shown, frozenset(anew))


def _pair(
    step: Step,
    view: View,
    into: Mapping[int, tuple[int, ...]],
    place: Mapping[int, int],
    anew: Mapping[int, Event | None],
    counts: bool,
) -> Event:
    """An answer or a skip as it is seen."""
    event, number = step.event, step.event["number"]
    rest = Event(number=number, time=event.get("time", ""), event="rest")
    if "corrects" in event:
        rest["corrects"] = event["corrects"]
    classes = into.get(step.structures[0], ())
    resting = number in anew and anew[number] is None
    if counts and not (classes or resting) and event["event"] != "skip":
        raise InputError(
            f"event {number} is an answer of '{event['structure']}', which would be gone; take "
            "that answer back first"
        )
    if resting or len(classes) != 1 or event["section"] not in place:
        if event["section"] in place:
            names = (one.name for one in view.classes if one.number in classes)
            rest["parts"] = [(place[event["section"]], name) for name in names]
        return rest
    found = Event(**event)
    one = anew.get(number) or Event()
    if "length" in one:
        found.pop("predicted", None)
        found.pop("kept", None)
        found.pop("proposal_dice", None)
    found.update(one)
    return _seen(found, view, classes[0], place)


def _seen(event: Event, view: View, number: int, place: Mapping[int, int]) -> Event:
    """With the section, the class and the mask as the view has them."""
    section = event["section"]
    name = next(one.name for one in view.classes if one.number == number)
    found = Event(**event)
    found["section"], found["structure"] = place[section], name
    if "mask" in event and view.turns.get(section):
        found["mask"] = f"{event['mask']}/{view.turns[section]}"
    return found


def _named(view: View, into: Mapping[int, tuple[int, ...]], step: Step) -> str:
    living = into.get(step.structures[0], ())
    names = [one.name for one in view.classes if one.number in living]
    return names[0] if names else step.event["structure"]


def followed(view: View, event: Event, names: Sequence[str]) -> tuple[View, Event]:
    """What a new line, which is no change, makes of a view, and how it is seen.

    `names` are those of all sections, by permanent number.
    """
    if event["event"] in ("withdraw", "note"):
        return view, event
    step = resolved({one.name: one.number for one in view.classes}, event, 0)
    if event["event"] == "range":
        after = advance(view, step)
        place = {section: n for n, section in enumerate(view.sections)}
        c = view.numbers.index(step.structures[0])
        own = sorted(place[s] for s in after.ranges[step.structures[0]] if s in place)
        return after, Event(**event, columns={c: own}, text=described(event, names))
    place = {section: n for n, section in enumerate(view.sections)}
    return view, _seen(event, view, step.structures[0], place)


def written(view: View, event: Event) -> Event:
    """An event of the view as its ledger's line: sections by their permanent numbers."""
    found, sections = Event(**event), view.sections
    if "section" in event:
        found["section"] = sections[event["section"]]
    if "span" in event:
        for end in event["span"]:
            if end is not None and not 0 <= end < len(sections):
                raise InputError(
                    f"there is no section {end}; they go from 0 to {len(sections) - 1}"
                )
        found["span"] = [None if end is None else sections[end] for end in event["span"]]
    return found


def described(event: Event, sections: Sequence[str]) -> str:
    """A change in words, one line; `sections` are the names by permanent number."""
    names = [f"'{name}'" for name in event.get("names", ())]
    where = f"section {sections[event['section']]}" if "section" in event else ""
    match event["event"]:
        case "add":
            return f"class {names[0]} was added"
        case "rename":
            return f"class '{event['structure']}' is {names[0]} now"
        case "merge":
            parts = ", ".join(f"'{name}'" for name in event["structures"])
            return f"classes {parts} are one, {names[0]}"
        case "split":
            return f"class '{event['structure']}' is split into {', '.join(names)}"
        case "leave_out":
            return f"{where} is left out"
        case "take_in":
            return f"{where} is taken in again"
        case "replace":
            return f"{where} has another image"
        case "mirror":
            return f"{where} is mirrored"
        case "turn":
            return f"{where} is turned by {event['degrees']} degrees"
        case "order":
            return f"the order is {', '.join(sections[n] for n in event['sections'])}"
    first, last = (None if n is None else sections[n] for n in event["span"])
    return (
        f"'{event['structure']}' is on sections {first or 'from the first'} to {last or 'the last'}"
    )


# What is shown.


def content_of(
    stored: Content,
    folder: pathlib.Path,
    found: Translated,
    known: tuple[View, Images] | None = None,
) -> Content:
    """What a session is of now, as if it had begun with it; `known` are a view and its images."""
    view = found.view
    old, sections = stored.images, view.sections
    turned_any = any(view.turns.get(section) for section in sections)
    images, inside = old.images, old.inside
    if known is not None and _shows(known[0]) == _shows(view):
        images, inside = known[1].images, known[1].inside
    elif sections != tuple(range(old.num_sections)) or view.replaced or turned_any:
        images = np.empty((len(sections), *old.images.shape[1:]), old.images.dtype)
        inside = np.empty((len(sections), *old.inside.shape[1:]), bool)
        for n, section in enumerate(sections):
            turns, name = view.turns.get(section, ""), view.replaced.get(section)
            own = old.images[section] if name is None else read_rescan(folder, name)
            images[n] = turned(own, turns)
            inside[n] = turned(old.inside[section], turns)
    place = None
    if old.place is not None and not turned_any:  # of a turned section nobody knows
        slices = tuple(old.place.slices[section] for section in sections)
        place = old.place._replace(slices=slices)
    shown = Images(
        images=images,
        inside=inside,
        names=tuple(one.name for one in view.classes),
        sections=tuple(old.sections[section] for section in sections),
        colours=_colours(view),
        place=place,
    )
    earlier = None if stored.earlier is None else _known(stored.earlier, view)
    return stored._replace(images=shown, in_range=found.in_range, earlier=earlier)


def _shows(view: View) -> tuple:
    return view.sections, view.replaced, view.turns


def _colours(view: View) -> tuple[Colour, ...] | None:
    """Of a stack whose classes have colours, one for each; a new class has one of the palette."""
    taken = {one.colour for one in view.classes}
    if taken == {None}:
        return None
    found = []
    for one in view.classes:
        palette = map(tuple, class_colours(one.number + len(view.classes) + 1).tolist())
        free = (colour for colour in list(palette)[one.number :] if colour not in taken)
        found.append(one.colour or next(free))
        taken.add(found[-1])
    return tuple(found)


def _known(earlier: Experience, view: View) -> Experience:
    """What earlier stacks taught, with the names that its classes have now."""
    now = {one.known_as: one.name for one in view.classes}
    taken = set(now.values())
    names = [now.get(name, f"({name})" if name in taken else name) for name in earlier.names]
    return earlier._replace(names=tuple(names))
