"""What a person answers in an open session, and how that reaches its ledger."""

import datetime
import pathlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from al_jax.core import answers
from al_jax.core.answers import Span, whole
from al_jax.core.stack import Images, InputError
from al_jax.session import changes, ledger, store
from al_jax.session import events as event_model
from al_jax.session.annotations import Annotations
from al_jax.session.events import CHANGES, Event, effective
from al_jax.session.network import Network
from al_jax.session.question import Question, Rule
from al_jax.session.storage import Content
from al_jax.session.store import HOW, Answer, Stored
from al_jax.session.turns import turned_back
from al_jax.session.views import View


class Answering:
    """The part of a `Session` that stores what a person says: on the disk, or refused."""

    folder: pathlib.Path
    images: Images
    annotations: Annotations
    network: Network
    events: list[Event]
    _stored: Content
    _written: list[Event]
    _end: ledger.End
    _view: View
    _rule: Rule
    _empty: Annotations
    _restated: frozenset[int]
    _past: deque[tuple[int, Annotations]]
    _changed: bool
    _held: bool
    _masks: Callable[[str], np.ndarray]
    _lock: threading.RLock
    _storing: threading.Lock
    _change: Callable[[Callable[[], Event]], Event]

    def store_answer(
        self,
        section: int,
        structure: int,
        mask: np.ndarray,
        *,
        question: Question | None = None,
        how: str = "traced",
        seconds: float | None = None,
        widen: bool = False,
        take: bool = False,
    ) -> Stored:
        """Stores the outline of a structure: on the disk when this returns, or refused.

        A pair that was answered before is corrected: the old answer is taken back by the same
        line. Where all other structures of a section are answered, all that is left of it is the
        last, and nobody need find its last pixels.

        Args:
          section, structure: n and c; any pair may be answered.
          mask: [H, W] bool, the pixels of the structure. What belongs to others is clipped,
            unless `take` says otherwise.
          question: what was asked, with the proposal that was shown, if any.
          how: of `HOW`.
          seconds: that it took; None counts from the question, if there is one.
          widen: widen the structure's range if it does not reach the section.
          take: the others give up what they hold of the mask: their outlines are corrected by the
            same answer, and are as they were if that is taken back.

        Raises:
          InputError: what `answers.answer` refuses, an empty mask, another `how`, no room on the
            disk; nothing is stored.
        """
        where = answers.check_pair(self.images, section, structure)
        section, structure = whole(section, "section"), whole(structure, "structure")
        mask = answers.check_mask(mask, self.images, where)
        if how not in HOW:
            raise InputError(f"how '{how}' is not of {', '.join(HOW)}")
        if not mask.any():
            raise InputError(f"{where}: the mask is empty; if it is absent there, say absent")
        return self._store(
            Answer(
                section=section,
                structure=structure,
                mask=mask,
                how=how,
                question=question,
                seconds=seconds,
                widen=widen,
                take=take,
            )
        )

    def store_absent(
        self,
        section: int,
        structure: int,
        *,
        question: Question | None = None,
        seconds: float | None = None,
    ) -> Stored:
        """Stores that a structure is not on a section; else as `store_answer`."""
        answers.check_pair(self.images, section, structure)
        section, structure = whole(section, "section"), whole(structure, "structure")
        return self._store(
            Answer(
                section=section, structure=structure, mask=None, question=question, seconds=seconds
            )
        )

    def take_over(self, labels: np.ndarray, *, background: bool = False) -> int:
        """Stores labels that were made before the session as answers: each structure they show.

        Args:
          labels: [N, H, W] classes; less than 0 tells nothing.
          background: whether 0 is what somebody labelled as background; else it may also be what
            is not annotated yet, so that it is no answer.

        Returns:
          How many answers there are.

        Raises:
          InputError: a structure is shown out of its range, or a rest is left that is of no class.
        """
        self._check_held()
        labels, events = np.asarray(labels), list[Event]()
        if labels.shape != self.images.inside.shape or labels.dtype.kind not in "iu":
            raise InputError(
                f"the labels are {labels.dtype} of {list(labels.shape)}; give whole numbers of "
                f"{list(self.images.inside.shape)}"
            )
        for section, own in enumerate(labels):
            shown = np.unique(own[np.asarray(self.images.inside[section])])
            for structure in shown[shown >= (0 if background else 1)].tolist():
                event = store.pair_event(self.images, "answer", section, structure)
                mask = self._keep(section, np.asarray(own == structure))
                events.append(Event(**event, how="given", mask=mask))
        with self._lock:
            sections = {event["section"] for event in events}
            if gone := event_model.given_up(self.events, lambda e: e["section"] in sections):
                self._add(gone)
            self._add(events)
        return len(events)

    def skip(self, section: int, structure: int, reason: str = "") -> Event:
        """A pair is not asked for until nothing else is left.

        Raises:
          InputError: there is no such pair, it has been answered, or the reason is no text.
        """
        where = answers.check_pair(self.images, section, structure)
        section, structure = whole(section, "section"), whole(structure, "structure")
        with self._lock:
            if self.annotations.state.annotated[section, structure]:
                raise InputError(f"{where} has been answered; undo takes an answer back")
            event = store.pair_event(self.images, "skip", section, structure)
            if reason := store.text_of(reason, "reason"):
                event["reason"] = reason
            return self._add([event])[0]

    def undo(self) -> Event | None:
        """Takes back the last answer, "absent", skip or range; again, the one before.

        Returns:
          The event that was taken back, or None if there is none.

        Raises:
          InputError: what came after it would contradict what is left.
        """
        with self._lock:
            left = [
                event
                for event in effective(self.events)
                if event["event"] not in ("note", "rest") and "given_to" not in event
            ]
            if not left:
                return None
            newest = max(left, key=lambda event: event["number"])
        self.withdraw(newest["number"])
        return newest

    def withdraw(self, number: int) -> Event:
        """Takes back any event by its number; answers after it get the pixels that it had taken.

        Raises:
          InputError: there is no such event, it was taken back already, it made room for
            another one, or what is left contradicts.
        """
        number = whole(number, "number of an event")
        withdrawal = Event(event="withdraw", withdrawn=number)
        with self._lock:
            lost = [event for event in self.events if "lost" in event]
            found = [e for e in (*effective(self.events), *lost) if e["number"] == number]
            if not found:
                raise InputError(f"there is no event {number} to take back")
            if found[0]["event"] == "rest" or number in self._restated:
                raise InputError(
                    f"event {number} belongs to what was changed since; take that change back "
                    "first, or correct the answer"
                )
            if "given_to" in found[0]:
                raise InputError(
                    f"event {number} made room for answer {found[0]['given_to']}; take that back "
                    "instead"
                )
            if found[0]["event"] not in CHANGES:
                return self._add([withdrawal])[0]
        return self._change(lambda: withdrawal)

    def answer_mask(self, event: Event) -> np.ndarray:
        """[H, W] bool, what an answer was stored with; of any other event, nothing.

        Raises:
          InputError: its file is missing or another one.
        """
        if "mask" not in event:
            return np.zeros(self.images.inside.shape[1:], bool)
        return self._masks(event["mask"])

    def set_range(self, structure: int, span: Span) -> Event:
        """Another first and last section of a structure; None is an open end.

        Raises:
          InputError: see `answers.set_range`.
        """
        structure, span = whole(structure, "structure"), store.span_of(span)
        if not 0 <= structure < self.images.num_classes:
            raise InputError(f"there is no structure {structure}")
        with self._lock:
            event = store.range_event(self.images, structure, span)
            last = self.images.num_sections if span[1] is None else span[1]
            within = range(span[0] or 0, last + 1)
            gone = event_model.given_up(
                self.events,
                lambda e: e["structure"] == event["structure"] and e["section"] not in within,
            )
            return self._add([*gone, event])[-1]

    def note(self, text: str) -> Event:
        """Keeps a remark in the ledger; InputError if it is no text."""
        with self._lock:
            return self._add([Event(event="note", text=store.text_of(text, "note"))])[0]

    def replay(self, events: Sequence[Event]) -> Annotations:
        """The annotations after events, whatever the ledger holds.

        Raises:
          InputError: a mask is missing or another one, or the events contradict each other.
        """
        return event_model.replay(self._empty, self.images, events, self._masks)

    def _lost(self) -> list[str]:
        """What answers do not count at present and why, one line each."""
        return [
            f"'{e['structure']}' on section {self.images.sections[e['section']]} does not count "
            f"({e['lost']}); put back what is missing, or answer it again"
            for e in self.events
            if "lost" in e
        ]

    def _check_held(self) -> None:
        """Refuses to store in a session that others may have open."""
        if not self._held:
            raise InputError(
                f"{self.folder}: is open for reading alone, or was closed; nothing is stored but "
                "by open_session, inside its block"
            )

    def _keep(self, section: int, mask: np.ndarray) -> str:
        """Stores a mask [H, W] bool as it is without the section's turns; its name."""
        turns = self._view.turns.get(self._view.sections[section], "")
        return ledger.store_mask(self.folder, np.asarray(turned_back(mask, turns)))

    def _store(self, answer: Answer) -> Stored:
        self._check_held()
        with self._lock:
            gone = self._given_up(answer.section, self.images.names[answer.structure])
            before = store.Before(
                self.images,
                self._masks,
                self._empty,
                [*self.events, *gone],
                self.annotations,
                self.network,
                self._rule,
            )
            made = store.addition(before, answer)
            for one in made.events:
                if "mask" in one:
                    one["mask"] = self._keep(answer.section, np.asarray(made.masks[one["mask"]]))
            event = self._add([*gone, *made.events], made.after)[-1]
        return Stored(event, made.report, made.message)

    def _given_up(self, section: int, name: str) -> list[Event]:
        """What takes back a lost answer that is given again; others on its section are waited for.

        Raises:
          InputError: another one there is lost, whose pixels nobody knows.
        """
        here = [e for e in self.events if "lost" in e and e["section"] == section]
        own = event_model.given_up(self.events, lambda e: e in here and e["structure"] == name)
        others = () if own else event_model.given_up(self.events, lambda e: e in here)
        if others:
            event = self.events[others[0]["withdrawn"] - 1]
            raise InputError(
                f"'{event['structure']}' on section {self.images.sections[section]} does not "
                f"count ({event['lost']}); put back what is missing, or answer that again, then "
                "the others there"
            )
        gave = {event.get("given_to") for event in self.events}
        if any(event["withdrawn"] in gave for event in own):
            return []  # it is corrected, so that what had made room for it stays
        return own

    def _add(self, events: Sequence[Event], after: Annotations | None = None) -> list[Event]:
        """Stores events, all or none, once they agree with all before them.

        `after` are the annotations then, where they are known.
        """
        self._check_held()
        first = len(self._written) + 1
        new = [changes.written(self._view, event) for event in events]
        new = [self._numbered(event, number) for number, event in enumerate(new, first)]
        view, shown = self._view, list(self.events)
        taken_back = any(event["event"] == "withdraw" for event in new)
        if self._changed and taken_back:
            found = changes.translated(self._stored, [*self._written, *new])
            lost = {e["number"]: e["lost"] for e in self.events if "lost" in e}
            view, shown = found.view, [_marked(event, lost) for event in found.events]
        elif self._changed:
            for event in new:
                view, seen = changes.followed(view, event, self._stored.images.sections)
                shown.append(seen)
        else:
            shown += new
        if after is None and taken_back:
            after = self._replayed(shown)
        elif after is None:
            after = self.annotations
            for own, event in zip(new, shown[first - 1 :], strict=True):
                after, report = event_model.apply(after, self.images, event, self._masks)
                if report is not None:
                    event.setdefault("length", round(report.effort, 2))
                    own["length"] = event["length"]
        self._append(new)
        self._past.append((len(self.events), self.annotations))
        self._written.extend(new)
        self.events, self.annotations, self._view = shown, after, view
        return shown[first - 1 :]

    def _append(self, events: Sequence[Event]) -> None:
        with self._storing:
            self._check_held()  # it may have been closed meanwhile
            self._end = ledger.append(self.folder, events, self._end)

    def _numbered(self, event: Event, number: int) -> Event:
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return Event(number=number, time=when, **event)

    def _replayed(self, events: Sequence[Event]) -> Annotations:
        """As `replay`; remembered where they are as they were a few events ago."""
        counting = effective(events)
        for count, then in reversed(self._past):
            if counting == effective(self.events[:count]):
                return then
        return self.replay(events)


def _marked(event: Event, lost: dict[int, str]) -> Event:
    """An event with why it does not count at present, if it does not."""
    return Event(**event, lost=lost[event["number"]]) if event["number"] in lost else event
