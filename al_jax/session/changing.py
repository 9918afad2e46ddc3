"""What changes the classes and the sections of an open session, each change an event of its ledger.

A change waits for a piece of training under way, as the network goes with it.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from al_jax.core import answers
from al_jax.core.answers import Span, whole
from al_jax.core.names import number_of
from al_jax.core.stack import Colour, Images, InputError
from al_jax.session import changes, ledger, storage
from al_jax.session.annotations import Annotations
from al_jax.session.events import Event, effective_answers
from al_jax.session.ranges import section_named
from al_jax.session.restating import restated
from al_jax.session.storage import Content
from al_jax.session.store import several, span_of, text_of
from al_jax.session.turns import TURNS, store_rescan, turned, turned_back
from al_jax.session.views import View


class Changing:
    """The part of a `Session` that changes what it is of.

    Each method returns the event, whose `text` says what was done, and raises InputError where it
    is refused: nothing is stored then. `Session.undo` and `Session.withdraw` take changes back.
    """

    folder: pathlib.Path
    images: Images
    annotations: Annotations
    events: list[Event]
    _stored: Content
    _written: list[Event]
    _view: View
    _change: Callable[[Callable[[], Event]], Event]
    _whole: Callable[[], tuple[changes.Translated, Images, Annotations]]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the sections that are left out."""
        names = self._stored.images.sections
        return tuple(names[section] for section in self._view.order if section in self._view.out)

    def add_class(
        self, name: str, span: Span = (None, None), colour: Colour | None = None
    ) -> Event:
        """A class more, which may be from the first to the last section of `span`.

        What was answered stays: where it is, an answer takes its pixels (`take` of `store_answer`).
        """

        ends, parts = list(span_of(span)), None if colour is None else _colour(colour)

        def made() -> Event:
            own = changes.written(self._view, Event(span=ends))
            event = Event(event="add", names=self._names([name]), **own)
            if parts is not None:
                event["colour"] = parts
            return event

        return self._change(made)

    def rename_class(self, structure: int, name: str) -> Event:
        """Another name of a class."""
        old = self._name(structure)
        return self._change(
            lambda: Event(event="rename", structure=old, names=self._names([name], [old]))
        )

    def merge_classes(self, structures: Sequence[int], name: str) -> Event:
        """Classes become one, of the name of one of them or a new one.

        Its ranges are theirs together. A pair is answered where none of its parts is open: its
        outline is that of all parts. Where one is open, the pair is to be answered again.
        """
        names = list(dict.fromkeys(map(self._name, several(structures, "structures"))))
        if len(names) < 2:
            raise InputError("a merge needs two classes or more; name them")
        return self._change(lambda: self._restating("merge", names, [name]))

    def split_class(self, structure: int, names: Sequence[str]) -> Event:
        """A class becomes several, each of its range.

        Where it was traced they are to be traced, as nobody knows which part is which; where it was
        said to be absent they are out of range.
        """
        old, new = self._name(structure), several(names, "names")
        return self._change(lambda: self._restating("split", [old], new))

    def leave_out(self, section: int) -> Event:
        """A section is asked for, learnt from and exported no longer; its answers rest."""
        self._section(section)
        return self._change(lambda: self._of_section("leave_out", section))

    def take_in(self, name: str) -> Event:
        """A section that was left out comes back with its answers, by its name.

        With the ending of its file or without, see `ranges.section_named`.
        """
        text = text_of(name, "name of the section")

        def made() -> Event:
            out, names = self.left_out, self._stored.images.sections
            if (named := section_named(text, out)) is None:
                there = ", ".join(out) or "none is"
                raise InputError(f"section '{text}' is not left out; of those that are: {there}")
            section = names.index(out[named])
            everything = changes.translated(self._stored, self._written, whole=True)
            traced = {
                event["structure"]
                for event in effective_answers(everything.events)
                if event["event"] == "answer"
                and everything.view.sections[event["section"]] == section
            }
            grown = [
                one.name
                for one in self._view.classes
                if one.name in traced and section not in self._view.ranges[one.number]
            ]
            return Event(event="take_in", section=section, structures=grown)

        return self._change(made)

    def replace_image(self, section: int, image: np.ndarray) -> Event:
        """Another image of a section, of the same frame: outlines stay in their pixels.

        Args:
          section: n.
          image: [H, W, K], of the type that the others have.
        """
        where = self._section(section)
        like = self.images.images
        try:
            image = np.asarray(image)
        except ValueError as error:  # ragged lists
            raise InputError(f"{where}: the image is no array ({error}); give one") from error
        if image.shape != like.shape[1:] or image.dtype != like.dtype:
            raise InputError(
                f"{where}: the image is {image.dtype} of {list(image.shape)}; bring it into the "
                f"frame of the others, {like.dtype} of {list(like.shape[1:])}"
            )
        if not np.isfinite(image).all():
            raise InputError(f"{where}: the image has pixels that are not finite; replace them")

        def made() -> Event:
            event = self._of_section("replace", section)
            turns = self._view.turns.get(event["section"], "")
            image_back = np.ascontiguousarray(turned_back(image, turns))
            return Event(**event, image=store_rescan(self.folder, image_back))

        return self._change(made)

    def mirror(self, section: int) -> Event:
        """A section is mirrored left to right, with its outlines."""
        self._section(section)
        return self._change(lambda: self._of_section("mirror", section))

    def turn(self, section: int, degrees: int) -> Event:
        """A section is turned clockwise by 90, 180 or 270 degrees about its middle, with outlines.

        The frame stays: of sections that are not square, corners of it are beyond the image then.
        """
        where, degrees = self._section(section), whole(degrees, "angle")
        if degrees not in TURNS:
            raise InputError(f"{degrees} degrees; give 90, 180 or 270")
        inside = np.asarray(self.images.inside[section])
        lost = inside.sum() - turned(inside, TURNS[degrees]).sum()
        if lost:
            raise InputError(
                f"{where}: {lost} px would be out of the frame of {inside.shape[0]} by "
                f"{inside.shape[1]}; turn it in its file, and give that as another image"
            )
        return self._change(lambda: Event(**self._of_section("turn", section), degrees=degrees))

    def set_order(self, order: Sequence[int]) -> Event:
        """Another order of the sections; ranges go with them, and grow over what is between.

        Args:
          order: all section numbers n, in the order that they are to have.
        """
        order = [whole(n, "section") for n in several(order, "sections")]
        if sorted(order) != list(range(self.images.num_sections)):
            raise InputError(
                f"an order names each of the {self.images.num_sections} sections once; give all"
            )

        def made() -> Event:
            sections, found = self._view.sections, list[int]()
            for n in order:
                found.append(sections[n])
                # What is left out stays behind the one that it came after.
                at = self._view.order.index(sections[n]) + 1
                while at < len(self._view.order) and self._view.order[at] in self._view.out:
                    found.append(self._view.order[at])
                    at += 1
            first = [s for s in self._view.order if s not in found]
            return Event(event="order", sections=[*first, *found])

        return self._change(made)

    def outcome(self, event: Event) -> str:
        """What a change did, one line, with how many outlines it has opened again."""
        number = self._written[event["number"] - 1].get("reopened", 0)
        return event["text"] + (f"; outlines to be traced again: {number}" if number else "")

    def true_mask(self, section: int, structure: int) -> np.ndarray:
        """The true answer of a demonstration, [H, W] bool.

        Raises:
          InputError: the session has no truth, or it does not know the class.
        """
        answers.check_pair(self.images, section, structure)
        one, permanent = self._view.classes[structure], self._view.sections[section]
        base = self._stored.images.num_classes
        known = [c for c in one.lineage if c < base]
        others = [other.lineage for other in self._view.classes if other is not one]
        shape = self.images.inside.shape[1:]
        if not known or any(set(known) & lineage for lineage in others):
            raise InputError(f"the truth does not tell '{one.name}'; trace it yourself")
        mask = np.zeros(shape, bool)
        for c in known:
            mask |= storage.true_mask(self.folder, permanent, c)
        return np.array(turned(mask, self._view.turns.get(permanent, "")))

    def place_of(self, section: int, structure: int) -> tuple[int, int, str]:
        """A pair by its permanent numbers, and the turns of its section: for what is kept of it."""
        permanent, _, turns = self.first_place(section)
        return permanent, self._view.classes[structure].number, turns

    def first_place(self, section: int) -> tuple[int, int, str]:
        """A section's number in the stack that the session began with, how many that had, turns."""
        permanent = self._view.sections[section]
        turns = self._view.turns.get(permanent, "")
        return permanent, self._stored.images.num_sections, turns

    def pair_at(self, section: int, structure: int) -> tuple[int, int] | None:
        """The pair of permanent numbers, if there is one now."""
        if section not in self._view.sections or structure not in self._view.numbers:
            return None
        return self._view.sections.index(section), self._view.numbers.index(structure)

    def _name(self, structure: int) -> str:
        answers.check_pair(self.images, 0, structure)
        return self.images.names[structure]

    def _names(self, new: Sequence[str], old: Sequence[str] = ()) -> list[str]:
        """New names in place of old ones; refused where tables could not tell two apart."""
        kept = [name for name in self.images.names if name not in old]
        for name in (text_of(name, "name of a class") for name in new):
            for other in kept:
                if name != other and number_of(name, [other]) is not None:
                    raise InputError(f"'{name}' is '{other}' once more; give it another name")
            kept.append(name)
        return kept[len(kept) - len(new) :]

    def _section(self, section: int) -> str:
        answers.check_pair(self.images, section, 0)
        return f"section {self.images.sections[section]}"

    def _of_section(self, kind: str, section: int) -> Event:
        return Event(event=kind, section=self._view.sections[section])

    def _restating(self, kind: str, old: list[str], new: list[str]) -> Event:
        """A merge or a split, with what becomes of the answers."""
        new = self._names(new, old)
        everything, images, now = self._whole()
        structures = [images.names.index(name) for name in old]
        found = restated(everything, now, images, structures, split=kind == "split")
        for mask in found.masks.values():
            ledger.store_mask(self.folder, mask)
        event = Event(event=kind, names=new, answers=found.answers, reopened=found.reopened)
        if kind == "merge":
            return Event(**event, structures=old)
        return Event(**event, structure=old[0], sections=found.absent)


def _colour(given: Sequence[int]) -> list[int]:
    parts = [whole(part, "part of the colour") for part in several(given, "parts of the colour")]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise InputError(f"the colour is {given!r}; give red, green and blue, each 0 to 255")
    return parts
