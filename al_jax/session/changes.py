"""Classes and sections as they are now: what events have made of those that a session began with.

Every class and every section has a permanent number: a class its place in `session.json` or the
next free number, a section its place in `images.npy`. The ledger names sections by it; a class by
the name that it had then. A `View` is what the changes so far have made: `translated` gives the
stack and the events as they are seen in it, so that all else knows nothing of changes.
"""

import functools
import hashlib
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.colours import class_colours
from al_jax.core.stack import Colour, Images, InputError, make_images
from al_jax.files.atomic import write_atomic
from al_jax.files.reading import reading
from al_jax.learner.transfer import Experience
from al_jax.session import ledger
from al_jax.session.annotations import Annotations
from al_jax.session.events import CHANGES, Event, effective_answers
from al_jax.session.storage import Content

RESCANS = "rescans"
"""Folder of the images that have taken the place of others."""

MIRROR, TURNS = "m", {90: "r", 180: "h", 270: "l"}
"""Letters of what is done to a section, one after the other: left to right; degrees clockwise."""

_SHAPING = (*CHANGES, "range")


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


class _Step(NamedTuple):
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
    return _steps(stored, events)[2]


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
    steps, live, view = _steps(stored, events)
    view = view._replace(out=frozenset()) if whole else view
    into = _descent(view, live)
    place = {section: n for n, section in enumerate(view.sections)}
    gone = {event["withdrawn"] for event in events if event["event"] == "withdraw"}
    counting = {e["number"] for e in events} - gone
    counting -= {e["corrects"] for e in events if "corrects" in e and e["number"] in counting}
    traced = [
        (step.structures[0], step.event["section"])
        for step in steps
        if step.event["event"] == "answer"
        and step.event["number"] in counting
        and step.event["section"] in place
    ]

    def columns(then: View) -> list[list[int]]:
        found = _columns(view, into, place, then)
        for structure, section in traced:  # what rests is in range, whatever that is meanwhile
            for c in into.get(structure, ()) if section in then.out else ():
                found[view.numbers.index(c)].add(place[section])
        return [sorted(own) for own in found]

    before = columns(first_view(stored))
    in_range = np.zeros((len(place), len(view.classes)), bool)
    for c, own in enumerate(before):
        in_range[own, c] = True
    shaped: dict[int, dict[int, list[int]]] = {}
    now = first_view(stored)
    for step in live:
        now = _advance(now, step)
        after = columns(now)
        number = step.event["number"]
        shaped[number] = {c: own for c, own in enumerate(after) if own != before[c]}
        before = after
    anew: dict[int, Event | None] = {}
    for step in live:
        found = step.event.get("answers", {})
        anew |= {int(number): one for number, one in found.items()}
    shown = []
    for step in steps:
        event, number = step.event, step.event["number"]
        if event["event"] in ("withdraw", "note"):
            shown.append(event)
        elif event["event"] in _SHAPING:
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
    step: _Step,
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


def _named(view: View, into: Mapping[int, tuple[int, ...]], step: _Step) -> str:
    living = into.get(step.structures[0], ())
    names = [one.name for one in view.classes if one.number in living]
    return names[0] if names else step.event["structure"]


def followed(view: View, event: Event, names: Sequence[str]) -> tuple[View, Event]:
    """What a new line, which is no change, makes of a view, and how it is seen.

    `names` are those of all sections, by permanent number.
    """
    if event["event"] in ("withdraw", "note"):
        return view, event
    step = _resolved({one.name: one.number for one in view.classes}, event, 0)
    if event["event"] == "range":
        after = _advance(view, step)
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


# What is shown.


def content_of(stored: Content, folder: pathlib.Path, view: View, in_range: np.ndarray) -> Content:
    """What a session is of now, as if it had begun with it."""
    old, sections = stored.images, view.sections
    turned_any = any(view.turns.get(section) for section in sections)
    images, inside = old.images, old.inside
    if sections != tuple(range(old.num_sections)) or view.replaced or turned_any:
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
    return stored._replace(images=shown, in_range=in_range, earlier=earlier)


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


def turned(array: np.ndarray, turns: str) -> np.ndarray:
    """[H, W, ...] after the `turns` of a section; about its middle, in the same frame."""
    for turn in turns:
        if turn == MIRROR:
            array = array[:, ::-1]
        elif turn == TURNS[180]:
            array = array[::-1, ::-1]
        else:
            array = _framed(np.rot90(array, 1 if turn == TURNS[270] else -1), array.shape[:2])
    return array


def turned_back(array: np.ndarray, turns: str) -> np.ndarray:
    """[H, W, ...] before the `turns` of a section."""
    for turn in reversed(turns):
        if turn in (MIRROR, TURNS[180]):
            array = turned(array, turn)
        else:
            framed = _framed(array, array.shape[1::-1])
            array = np.rot90(framed, -1 if turn == TURNS[270] else 1)
    return array


def _framed(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """In the middle of a frame, which may be smaller; its own inverse."""
    found = np.zeros((*shape, *array.shape[2:]), array.dtype)
    own, frame = [], []
    for given, wanted in zip(array.shape, shape, strict=False):
        most, first, start = min(given, wanted), max(given - wanted, 0), max(wanted - given, 0)
        own.append(slice(first // 2, first // 2 + most))
        frame.append(slice(start // 2, start // 2 + most))
    found[tuple(frame)] = array[tuple(own)]
    return found


def read_mask(folder: pathlib.Path, name: str) -> np.ndarray:
    """The mask of that name, [H, W] bool, turned as the section is; see `ledger.read_mask`."""
    name, _, turns = name.partition("/")
    return turned(ledger.read_mask(folder, name), turns)


def store_rescan(folder: pathlib.Path, image: np.ndarray) -> str:
    """Writes an image [H, W, K], atomically; the name of its pixels.

    Raises:
      InputError: it cannot be written.
    """
    name, buffer = _digest(image), io.BytesIO()
    path = folder / RESCANS / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        np.save(buffer, image, allow_pickle=False)
        write_atomic(path, buffer.getvalue())
    return name


def read_rescan(folder: pathlib.Path, name: str) -> np.ndarray:
    """The image [H, W, K] of that name.

    Raises:
      InputError: it is missing, or holds other pixels.
    """
    path = folder / RESCANS / f"{name}.npy"
    with reading(path, "the image of a section"):
        image = np.load(path, allow_pickle=False)
    if _digest(image) != name:
        raise InputError(f"{path}: holds another image than its section; take it from a copy")
    return image


def _digest(image: np.ndarray) -> str:
    known = f"{image.dtype.str} {image.shape} ".encode()
    return hashlib.sha256(known + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]


# How events change a view.


def _steps(stored: Content, events: Sequence[Event]) -> tuple[list[_Step], list[_Step], View]:
    """All events with their classes, those that count and shape the view, and the view."""
    base = first_view(stored)
    steps, live, view, free = [], list[_Step](), base, len(base.classes)
    named: View | None = None
    number: dict[str, int] = {}
    for event in events:
        if view is not named:
            named, number = view, {one.name: one.number for one in view.classes}
        step = _resolved(number, event, free)
        steps.append(step)
        if event["event"] in _SHAPING:
            free += len(event.get("names", ())) if event["event"] != "rename" else 0
            live.append(step)
            view = _advance(view, step)
        elif event["event"] == "withdraw":
            left = [one for one in live if one.event["number"] != event["withdrawn"]]
            if len(left) < len(live):
                live, view = left, functools.reduce(_advance, left, base)
    return steps, live, view


def _resolved(number: Mapping[str, int], event: Event, free: int) -> _Step:
    """An event with the numbers of the classes that it names."""
    names = [event["structure"]] if "structure" in event else event.get("structures", [])
    missing = [name for name in names if name not in number]
    if missing:
        raise InputError(
            f"there is no structure '{missing[0]}'; the classes are {', '.join(number)}"
        )
    return _Step(event, tuple(number[name] for name in names), free)


def _advance(view: View, step: _Step) -> View:
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


def _merged(view: View, step: _Step) -> View:
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


def _split(view: View, step: _Step) -> View:
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


def _descent(view: View, live: Iterable[_Step]) -> dict[int, tuple[int, ...]]:
    """What each class has become: the classes of the view that it is in."""
    into: dict[int, tuple[int, ...]] = {c: (c,) for c in view.numbers}
    for step in reversed(list(live)):
        if step.event["event"] in ("merge", "split"):
            new = range(step.first, step.first + len(step.event["names"]))
            found = tuple(dict.fromkeys(last for c in new for last in into.get(c, ())))
            into |= {c: found for c in step.structures}
    return into


def _columns(
    view: View, into: Mapping[int, tuple[int, ...]], place: Mapping[int, int], then: View
) -> list[set[int]]:
    """Where each class of the view might be by the ranges of an earlier one, sections of it."""
    found: dict[int, set[int]] = {c: set() for c in view.numbers}
    for c, own in then.ranges.items():
        for last in into.get(c, ()):
            found[last] |= {place[section] for section in own if section in place}
    return [found[c] for c in view.numbers]


# What changes need to know of the answers.


class Restated(NamedTuple):
    """Answers that a change writes anew, and masks that they name.

    Attributes:
      answers: by number, what takes the place of its keys; None: it counts no longer.
      masks: [H, W] bool by name, as they are to be stored.
      absent: permanent numbers of the sections where no part of the structures is.
      reopened: how many pairs are to be asked for again.
    """

    answers: dict[str, Event | None]
    masks: dict[str, np.ndarray]
    absent: list[int]
    reopened: int


def restated(
    whole: Translated, now: Annotations, images: Images, structures: Sequence[int], *, split: bool
) -> Restated:
    """The answers of sections where structures were answered that a change takes together or apart.

    All answers there keep the pixels that they have, whatever becomes of their neighbours. Of a
    merge, a pair is answered where no part of it is open; its outline is that of all parts.

    Args:
      whole: the ledger, with all sections.
      now: what it says.
      images: of it.
      structures: the classes c that are merged, or the one that is split.
      split: its outlines count no longer.
    """
    answers: dict[str, Event | None] = {}
    masks: dict[str, np.ndarray] = {}
    absent, reopened, state = [], 0, now.state
    by_section: dict[int, list[Event]] = {}
    for event in effective_answers(whole.events):
        by_section.setdefault(event["section"], []).append(event)
    parts = {images.names[c] for c in structures}
    for section, own in by_section.items():
        mine = [event for event in own if event["structure"] in parts]
        if not mine:
            continue
        permanent = whole.view.sections[section]
        turns, labels = whole.view.turns.get(permanent, ""), now.labels_of(section, images)

        def kept(mask: np.ndarray, turns: str = turns) -> str:
            mask = turned_back(mask, turns)
            name = ledger.digest(mask)
            masks[name] = mask
            return name

        for event in own:
            if event["event"] == "answer" and event not in mine:
                traced = labels == images.names.index(event["structure"])
                answers[str(event["number"])] = Event(mask=kept(traced))
        for event in mine:
            answers[str(event["number"])] = None
        there = np.isin(labels, structures)
        open_parts = state.in_range[section, list(structures)]
        open_parts = open_parts & ~state.annotated[section, list(structures)]
        if split or open_parts.any():
            reopened += bool(there.any()) or not split
            if split and not there.any():
                absent.append(permanent)
            continue
        first = next((event for event in mine if event["event"] == "answer"), mine[0])
        one = Event(length=sum(event["length"] for event in mine))
        seconds = [event["seconds"] for event in mine if "seconds" in event]
        if seconds:
            one["seconds"] = sum(seconds)
        if first["event"] == "answer":
            one["mask"], one["how"] = kept(there), "traced"
        answers[str(first["number"])] = one
    return Restated(answers, masks, absent, reopened)


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
