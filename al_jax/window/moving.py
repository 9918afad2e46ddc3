"""Which pair is shown: the next question, any other, the last answer; and its range."""

from typing import Any, NamedTuple

from al_jax.core.answers import Span
from al_jax.core.stack import UNLABELLED, InputError
from al_jax.session import Question
from al_jax.session.events import CHANGES, Event
from al_jax.window.drafts import Draft
from al_jax.window.shown import Shown, colours_of
from al_jax.window.text import event_message, pair_name


class Then(NamedTuple):
    """After an event: the question, of the `same` pair or not, and what was traced of it."""

    event: Event
    question: Question | None
    same: bool
    begun: Draft | None = None


class Moving(Shown):
    """The part of a `Controller` that goes elsewhere. It may raise InputError, which `do` says."""

    def back(self) -> None:
        """Shows the method's question, by what the network knows now."""
        self._leave()
        if self._wait and self.busy:
            self.waiting = True
            return
        self._next()

    def go(self, section: int, structure: int) -> None:
        """Shows any pair, to answer it, or to correct its answer."""

        def show(question: Question) -> None:
            self.message = ""
            self._leave()
            self._show(question, chosen=True)

        self._work("looking at that pair", lambda: self._ask(section, structure), show)

    def previous(self) -> None:
        """The same structure a section before."""
        if not self._asked().section:
            raise InputError("This is the first section")
        self.go(self._asked().section - 1, self._asked().structure)

    def following(self) -> None:
        """The same structure a section further on."""
        if self._asked().section == self.session.images.num_sections - 1:
            raise InputError("This is the last section")
        self.go(self._asked().section + 1, self._asked().structure)

    def pick(self) -> None:
        """Shows what is under the pointer: what was traced there, or what the network sees."""
        question = self._asked()
        place = tuple(round(x) for x in self.viewer.cursor.position[-2:])
        labels = self.session.annotations.labels_of(question.section, self.session.images)
        if not all(0 <= x < size for x, size in zip(place, labels.shape, strict=True)):
            raise InputError("The pointer is not on the section")
        structure = int(labels[place])
        if structure == UNLABELLED and question.segmentation is not None:
            structure = int(question.segmentation[place])
        if structure == UNLABELLED:
            raise InputError("Nothing is known of what is under the pointer")
        self.go(question.section, structure)

    def skip(self) -> None:
        """Another question; this one comes back when nothing else is left."""
        question = self._asked()

        def skipped(_: object) -> None:
            self.back()
            self.message = f"{pair_name(question)} comes back later"

        self._work(
            "putting it off",
            lambda: self.session.skip(question.section, question.structure),
            skipped,
        )

    def undo(self) -> None:
        """Takes the last answer back, and puts what was traced into the layer."""
        place = self._place()
        self._leave()
        self._work("taking that back", lambda: self._undone(place), self._show_undone)

    def _undone(self, place: tuple[int, int] | None) -> Then:
        session = self.session
        before, event = session.annotations, session.undo()
        if event is None:
            raise InputError("There is nothing to undo")
        if event["event"] in CHANGES:
            return self._then(event, place)
        if "section" not in event:
            return Then(event, None, True)
        section = event["section"]
        structure = session.images.names.index(event["structure"])
        try:  # as it was drawn: what others hold of it, too
            traced = session.answer_mask(event)
        except InputError:
            traced = before.labels_of(section, session.images) == structure
        by_proposal = event.get("how") in ("accepted", "corrected")
        draft = Draft(traced, by_proposal, event.get("seconds", 0.0))
        begun = draft if traced.any() else None  # what was put off may have a draft
        return Then(event, self._ask(section, structure), False, begun)

    def _show_undone(self, then: Then) -> None:
        self._due = True
        if then.event["event"] in CHANGES:
            self._show_changed(then)
        elif then.question is None:
            self._again()
        else:
            self._leave()
            self._show(then.question, chosen=True, begun=then.begun)
        self.message = f"Taken back: {event_message(then.event, self.session.images.sections)}"

    def set_range(self, structure: int, span: Span) -> None:
        """Another first and last section of a structure; the strokes stay."""

        def shown(event: Event) -> None:
            self._due = True
            if not self.waiting:
                self._again()
            self.message = f"Changed: {event_message(event, self.session.images.sections)}"

        self._work("changing the range", lambda: self.session.set_range(structure, span), shown)

    def begins_here(self) -> None:
        """The section shown is the structure's first."""
        question = self._asked()
        last = self.span(question.structure)[1]
        self.set_range(question.structure, (question.section, max(last, question.section)))

    def ends_here(self) -> None:
        """The section shown is the structure's last."""
        question = self._asked()
        first = self.span(question.structure)[0]
        self.set_range(question.structure, (min(first, question.section), question.section))

    def change(self, name: str, *arguments: Any) -> None:
        """Changes classes or sections by a method of the session; strokes stay with their pair."""
        place = self._place()
        self._leave()

        def changed() -> Then:
            return self._then(getattr(self.session, name)(*arguments), place)

        def show(then: Then) -> None:
            self._due = True
            self._show_changed(then)
            outcome = self.session.outcome(then.event)
            self.message = outcome[:1].upper() + outcome[1:]

        self._work("changing that", changed, show)

    def _then(self, event: Event, place: tuple[int, int] | None) -> Then:
        """The pair of permanent numbers after a change of classes or sections, if it still is."""
        pair = None if place is None else self.session.pair_at(*place)
        if pair is None:
            return Then(event, self.session.next_question(), False)
        return Then(event, self._ask(*pair), True)

    def _show_changed(self, then: Then) -> None:
        self.colours = colours_of(self.session)
        self._show(then.question, chosen=self.chosen and then.same)
