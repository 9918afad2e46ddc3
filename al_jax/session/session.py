"""A person at work on a stack, and the network that learns meanwhile.

An open `Session` may be used from two threads: one asks and stores, another one trains
(`Session.train_step`). Nothing waits for a training but the next training.

Example:
  with open_session("my_stack") as session:
      while (question := session.next_question()) is not None:
          mask = trace(question)  # [H, W] bool
          session.store_answer(question.section, question.structure, mask, question=question)
          while session.train_step():  # the paper's order; or in another thread, all the time
              pass
"""

import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from al_jax.core import answers
from al_jax.core.answers import Span, whole
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import compatible
from al_jax.files.atomic import TEMPORARY
from al_jax.files.leases import hold
from al_jax.learner import config as settings
from al_jax.learner import neighbours
from al_jax.learner.config import model_of
from al_jax.learner.transfer import Experience, Prior, experience_of, fit_to
from al_jax.model.prediction import Prediction
from al_jax.model.protocol import class_layers
from al_jax.session import annotations as state_of
from al_jax.session import changes, ledger, storage, store
from al_jax.session import events as event_model
from al_jax.session import progress as in_numbers
from al_jax.session import question as questions
from al_jax.session.annotations import Annotations
from al_jax.session.changes import Translated, View
from al_jax.session.changing import Changing
from al_jax.session.conversion import converted
from al_jax.session.events import (
    CHANGES,
    TEACHING,
    Event,
    effective,
    effective_answers,
    pair_of,
)
from al_jax.session.network import Network
from al_jax.session.pace import overhead, pace_of
from al_jax.session.progress import Progress
from al_jax.session.question import Question, Rule
from al_jax.session.results import Answered
from al_jax.session.storage import Content
from al_jax.session.store import HOW, Answer, Stored
from al_jax.session.trainer import Trained, Trainer

REMEMBERED = 8  # annotations before the last events, so that undo need not replay all of them


class Session(Changing):
    """An open session; `open_session` and `read_session` make it.

    Attributes (read them, change them only through the methods):
      folder: where it is.
      images: what is annotated, mapped into memory.
      settings: seed and configuration.
      earlier: what earlier stacks taught, or None.
      events: all of the ledger.
      annotations: those that the events make.
      network: the newest one.
      notices: what a person should know: a missing mask, a damaged checkpoint; one line each.
    """

    def __init__(self, path: pathlib.Path, content: Content, *, held: bool):
        """Reads the ledger and the newest checkpoint; `held`: nobody else may store in it."""
        self.folder, self.settings = path, content.settings
        self._stored, self._held = content, held  # what it began with
        self._keys = settings.make_keys(jax.random.key(content.settings.seed))
        self._masks = functools.partial(changes.read_mask, path)
        self._lock = threading.RLock()  # of events, annotations and network
        self._training = threading.Lock()  # of the trainer
        self._compile_first: Callable[[], None] = lambda: None
        self._storing, self._saving = threading.Lock(), threading.Lock()  # of ledger, checkpoints
        self._written, self._end = ledger.read_ledger(path)
        self._take(self._derived(self._written, found_alone=True))
        counts = changes.class_counts(content, self._written)
        self._learnt, notices = self._trainer.latest(self.events, counts, held=held)
        self.notices = [*ledger.notices(path, self._written, self._end), *self._lost(), *notices]
        self.network = self._carried()

    def _derived(
        self,
        written: list[Event],
        known: tuple[View, Images] | None = None,
        *,
        found_alone: bool = False,
    ) -> "_Derived":
        """All that a ledger says.

        `known` are a view and its images; `found_alone`: without answers whose masks are missing.

        Raises:
          InputError: its events contradict each other.
        """
        found = changes.translated(self._stored, written)
        content = changes.content_of(self._stored, self.folder, found, known)
        prior = None
        if content.earlier is not None:
            prior = fit_to(content.earlier, content.images.names)
        # The key of the state is the one that the simulator's annotator gives it.
        key = jax.random.split(self._keys.start)[1]
        empty = state_of.begin(key, content.images, content.in_range, prior=prior)
        events, images = found.events, content.images
        if found_alone:
            events, now = event_model.replay_found(empty, images, events, self._masks)
        else:
            now = event_model.replay(empty, images, events, self._masks)
        return _Derived(written, found, content, prior, empty, events, now)

    def _take(self, derived: "_Derived") -> None:
        """Takes what a ledger says for the present."""
        content, strategy = derived.content, derived.content.settings.strategy
        self.images, self.earlier = content.images, content.earlier
        self._written, self._view = derived.written, derived.found.view
        self._restated = derived.found.restated
        self._changed = any(event["event"] in CHANGES for event in self._written)
        self._empty, self.annotations = derived.empty, derived.now
        self.events = derived.events
        # How many events made them, and the annotations.
        self._past: deque[tuple[int, Annotations]] = deque(maxlen=REMEMBERED)
        self._trainer = Trainer(self.folder, content, self._keys, self._empty.state, derived.prior)
        self._trainer.before_compiling = self._compile_first
        priority = None
        if strategy.draw is not None:
            priority = strategy.draw(self._keys.priority, *content.in_range.shape)
        self._rule = Rule(strategy, content.settings.config.query, priority)

    def _carried(self) -> Network:
        """The network that has learnt last, for the classes and sections that there are now."""
        if not self._changed:
            return self._learnt
        if self._learnt.through == 0 and not self._learnt.begun:
            return self._trainer.nothing()
        through = self._learnt.through
        old = changes.view_after(self._stored, self._written[:through])
        answered = [e for e in effective_answers(self.events) if e["number"] <= through]
        pairs = [pair_of(event, self.images) for event in answered]
        layers = class_layers(self.settings.config.network(self.images.num_classes))
        found = converted(self._learnt, old, self._view, layers, pairs)
        if found is None:
            self.notices.append("the network does not fit its classes any more; it learns again")
            return self._trainer.nothing()
        return found

    def _change(self, made: Callable[[], Event]) -> Event:
        """Stores a change, once all events agree with it; it waits for a piece of training."""
        self._check_held()
        with self._training, self._lock:
            if lost := self._lost():
                raise InputError(f"{lost[0]}; then change classes and sections")
            event = self._numbered(made(), len(self._written) + 1)
            derived = self._derived([*self._written, event], (self._view, self.images))
            self._append([event])
            self._take(derived)
            self.network = self._carried()
            return self.events[-1]

    def _whole(self) -> tuple[Translated, Images, Annotations]:
        """The ledger with the sections that are left out, the stack of it, and what it says."""
        found = changes.translated(self._stored, self._written, whole=True)
        if not self._view.out:
            return found, self.images, self.annotations
        content = changes.content_of(self._stored, self.folder, found)
        empty = state_of.begin(jax.random.key(0), content.images, content.in_range)
        now = event_model.replay(empty, content.images, found.events, self._masks)
        return found, content.images, now

    # What to ask.

    def next_question(
        self, *, section: int | None = None, structure: int | None = None, propose: bool = True
    ) -> Question | None:
        """What to ask now, by the newest network; at once, whatever trains meanwhile.

        Args:
          section, structure: ask of this pair instead (give both), whether it may be asked for or
            not.
          propose: with the network's proposal.

        Returns:
          The question, or None once nothing is left to ask. Skipped pairs come back when no other
          is.

        Raises:
          InputError: there is no such pair.
        """
        now, network = self._newest()
        pair = None
        if section is not None and structure is not None:
            pair = whole(section, "section"), whole(structure, "structure")
        asked = questions.ask(self.images, now, network, self._paced_rule(), pair)
        if asked is None or not (propose and network.proposes):
            return asked
        seen, beside = self._predicted(network, now, asked.section), list[str]()
        if self._carries(network):
            seen_on = np.asarray(now.state.seen[:, asked.structure])
            sources = neighbours.sources(seen_on, asked.section)
            beside = [self.images.sections[n] for n in sources]
        return questions.with_proposal(asked, seen, beside)

    def neighbour_outline(self, section: int, structure: int) -> tuple[int, np.ndarray]:
        """What the nearest section on which a structure was traced says of where it is here.

        It is carried along the registration of the sections where the session has one, else it is
        a plain copy.

        Returns:
          That section, and [H, W] bool.

        Raises:
          InputError: it was traced on no other section.
        """
        answers.check_pair(self.images, section, structure)
        section, structure = whole(section, "section"), whole(structure, "structure")
        now, _ = self._newest()
        traced = np.flatnonzero(np.asarray(now.state.seen[:, structure]))
        traced = traced[traced != section]
        if not len(traced):
            raise InputError(f"'{self.images.names[structure]}' was traced on no other section")
        source = int(traced[np.argmin(abs(traced - section))])
        mask = now.labels_of(source, self.images) == structure
        if (fields := self._trainer.fields()) is not None:
            mask = neighbours.carry_mask(mask, fields, source, section)
        return source, mask & np.asarray(self.images.inside[section])

    # What a person answers.

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
    ) -> Stored:
        """Stores the outline of a structure: on the disk when this returns, or refused.

        A pair that was answered before is corrected: the old answer is taken back by the same
        line. Where all other structures of a section are answered, all that is left of it is the
        last, and nobody need find its last pixels.

        Args:
          section, structure: n and c; any pair may be answered.
          mask: [H, W] bool, the pixels of the structure. What belongs to others is clipped.
          question: what was asked, with the proposal that was shown, if any.
          how: of `HOW`.
          seconds: that it took; None counts from the question, if there is one.
          widen: widen the structure's range if it does not reach the section.

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
        with self._lock:
            rest = state_of.remainder(self.annotations, self.images, section, structure, mask)
        stored = self._store(
            Answer(
                section=section,
                structure=structure,
                mask=mask | rest,
                how=how,
                question=question,
                seconds=seconds,
                widen=widen,
            )
        )
        if not (count := np.count_nonzero(rest)):
            return stored
        more = f"{count} px that were left are it too, as nothing else may be there"
        return stored._replace(message=f"{stored.message}; {more}")

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
          InputError: there is no such pair, or it has been answered.
        """
        where = answers.check_pair(self.images, section, structure)
        section, structure = whole(section, "section"), whole(structure, "structure")
        with self._lock:
            if self.annotations.state.annotated[section, structure]:
                raise InputError(f"{where} has been answered; undo takes an answer back")
            event = store.pair_event(self.images, "skip", section, structure)
            if reason:
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
            left = [e for e in effective(self.events) if e["event"] not in ("note", "rest")]
            if not left:
                return None
            newest = max(left, key=lambda event: event["number"])
        self.withdraw(newest["number"])
        return newest

    def withdraw(self, number: int) -> Event:
        """Takes back any event by its number; answers after it get the pixels that it had taken.

        Raises:
          InputError: there is no such event, it was taken back already, or what is left
            contradicts.
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
            if found[0]["event"] not in CHANGES:
                return self._add([withdrawal])[0]
        return self._change(lambda: withdrawal)

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
        """Keeps a remark in the ledger."""
        with self._lock:
            return self._add([Event(event="note", text=text)])[0]

    # What is known.

    def replay(self, events: Sequence[Event]) -> Annotations:
        """The annotations after events, whatever the ledger holds.

        Raises:
          InputError: a mask is missing or another one, or the events contradict each other.
        """
        return event_model.replay(self._empty, self.images, events, self._masks)

    def labels(self) -> np.ndarray:
        """[N, H, W] int16, the annotated classes of all sections, else `UNLABELLED`."""
        return np.asarray(state_of.full_state(self._newest()[0], self.images).labels)

    def segment_section(self, section: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Segmentation [H, W] int16 (`UNLABELLED` outside) and confidence [H, W] float32.

        What was annotated is kept. None while there is no network.
        """
        answers.check_pair(self.images, section, 0)
        now, network = self._newest()
        if not network.proposes:
            return None
        inside = np.asarray(self.images.inside[section])
        seen = self._predicted(network, now, section)
        return np.where(inside, seen.segmentation, UNLABELLED), np.asarray(seen.confidence)

    def experience(self) -> Experience:
        """Weights, outlines and Dice by class name, for `create` of a session on another stack.

        Raises:
          InputError: its network has not learnt anything yet.
        """
        now, network = self._newest()
        if not network.proposes or network.learner is None:
            raise InputError(f"{self.folder}: its network has learnt nothing yet; train it first")
        config = self.settings.config
        return experience_of(
            now.state,
            network.learner,
            self.images.names,
            config,
            network.downsampling,
        )

    def progress(self) -> Progress:
        """Where the session stands."""
        with self._lock:
            now, network = self._newest()
            given, behind = effective_answers(self.events), self.behind()
        training = self._trainer.fraction(network)
        return in_numbers.progress(now, given, self.images.names, behind, training)

    def answered(self) -> list[Answered]:
        """The answers that count, in their order, in numbers: for tables and reports."""
        with self._lock:
            given = effective_answers(self.events)
        return in_numbers.answered(given, self.images.names)

    # How the network learns.

    def behind(self) -> int:
        """Answers that the network has not seen yet."""
        # No lock: a window asks ten times a second, and an answer may hold it while it compiles.
        return len(self._unseen(("answer", "absent")))

    def train_step(self) -> Trained | None:
        """One piece of training, if there is something to learn; for another thread.

        Before the first query: a part of the long training, once no first example is left to ask.
        Then one update, over all answers that are stored when it begins. One runs at a time.

        Returns:
          What was done, or None if there is nothing to learn now.

        Raises:
          InputError: a loss is not finite; the network stays as it was.
        """
        self._check_held()
        with self._training:
            with self._lock:
                (now, network), through = self._newest(), len(self.events)
                pairs = [pair_of(event, self.images) for event in effective_answers(self.events)]
                if not (network.trained or network.begun):
                    if self._waits_for_examples(now, network):
                        return None
                elif network.trained and not self._unseen(TEACHING):
                    return None
            newer, trained = self._trainer.step(network, now, through, pairs)
            with self._lock:
                self.network = self._learnt = newer
            with self._saving:
                if not self._held:
                    return None
                self._trainer.checkpoints.save(newer)
            return trained

    def _waits_for_examples(self, now: Annotations, network: Network) -> bool:
        """A network that learns from scratch begins once no first example is left to ask."""
        if self.settings.strategy.draw is not None:  # which asks for none
            return not now.labels
        return not (now.labels or network.warm_start) or questions.wants_examples(now)

    def warm_up(self) -> None:
        """Compiles what an answer and `train_step` need, for another thread while nothing is lost.

        An answer first: XLA compiles one program after the other, and a training takes it minutes.
        """
        with self._training:
            (now, network), images = self._newest(), self.images
            left = np.argwhere(compatible(now.state))
            if len(left):
                section, structure = left[0].tolist()
                free = now.labels_of(section, images) == UNLABELLED
                with contextlib.suppress(InputError):  # it is not stored, so it need not be right
                    state_of.answer(now, images, section, structure, free & images.inside[section])
                questions.of_pair(now, network, self._rule, section, structure)
            untaught = self._trainer.compile(network, now)
            self._predicted(untaught, now, 0)  # else the first proposal would wait for it

    def compile_by(self, compile_first: Callable[[], None]) -> None:
        """Has `compile_first` called by the thread that trains, before anything long is compiled.

        It may compile the same in another process, by its `warm_up`, into JAX's cache on the disk.
        """
        self._compile_first = self._trainer.before_compiling = compile_first

    def save_network(self) -> None:
        """Writes the newest network as a checkpoint, unless it is there."""
        self._check_held()
        with self._saving:
            self._trainer.checkpoints.save(self._learnt, always=True)

    def end(self) -> None:
        """Stores nothing any more: what is still being computed by another thread is lost.

        The newest network is saved. Nothing waits for a training.
        """
        with self._storing, self._saving:
            self._held = False
            self._trainer.checkpoints.save(self._learnt, always=True)

    def _paced_rule(self) -> Rule:
        """What asks, with how fast the person was so far."""
        pace, rule = pace_of(effective_answers(self.events)), self._rule
        if self.settings.cost == "seconds":
            rule = rule._replace(query=dataclasses.replace(rule.query, overhead=overhead(pace)))
        return rule._replace(pace=pace)

    def _newest(self) -> tuple[Annotations, Network]:
        with self._lock:
            return self.annotations, self.network

    def _predicted(self, network: Network, now: Annotations, section: int) -> Prediction:
        model = model_of(self.settings.config, self.images.num_classes)
        fields = self._trainer.fields() if self._carries(network) else None
        return questions.predicted(network, self.images, now, section, model, fields)

    def _carries(self, network: Network) -> bool:
        """Whether outlines are carried for the network, so that their fields are there."""
        return network.learner is not None and network.learner.carrying is not None

    def _unseen(self, kinds: tuple[str, ...]) -> list[Event]:
        """Events that the network has not seen, but for those that were withdrawn meanwhile."""
        later = [e for e in self.events[self.network.through :] if e["event"] in kinds]
        later = [e for e in later if not self._takes_back_a_name(e)]
        left = {event["number"] for event in effective(self.events)}
        return [e for e in later if e["event"] == "withdraw" or e["number"] in left]

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

    def _takes_back_a_name(self, event: Event) -> bool:
        """Whether it takes back a change that the network did not learn from."""
        if event["event"] != "withdraw":
            return False
        kind = self._written[event["withdrawn"] - 1]["event"]
        return kind in CHANGES and kind not in TEACHING

    def _keep(self, section: int, mask: np.ndarray) -> str:
        """Stores a mask [H, W] bool as it is without the section's turns; its name."""
        turns = self._view.turns.get(self._view.sections[section], "")
        return ledger.store_mask(self.folder, np.asarray(changes.turned_back(mask, turns)))

    def _store(self, answer: Answer) -> Stored:
        self._check_held()
        with self._lock:
            gone = event_model.given_up(
                self.events, lambda event: event["section"] == answer.section
            )
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
            if answer.mask is not None:
                made.events[-1]["mask"] = self._keep(answer.section, np.asarray(made.mask))
            event = self._add([*gone, *made.events], made.after)[-1]
        return Stored(event, made.report, store.message(self.images, event, made.report))

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


class _Derived(NamedTuple):
    """What a ledger says of a session's folder."""

    written: list[Event]
    found: Translated
    content: Content
    prior: Prior | None
    empty: Annotations
    events: list[Event]
    now: Annotations


@contextlib.contextmanager
def open_session(path: str | os.PathLike) -> Iterator[Session]:
    """A session, which belongs to this process until the end of the block.

    Raises:
      InputError: it is none, damaged, in use, or cannot be written.
    """
    place = pathlib.Path(path).expanduser()
    storage.check(place)
    with hold(place):
        for leftover in (place / ledger.MASKS).glob(TEMPORARY):  # of a writer that was killed
            leftover.unlink(missing_ok=True)
        session = Session(place, storage.read(place), held=True)
        try:
            yield session
        except BaseException:
            with contextlib.suppress(InputError):
                session.end()
            raise
        session.end()


def read_session(path: str | os.PathLike) -> Session:
    """A session to read, whoever holds it; nothing may be stored in it.

    Raises:
      InputError: see `open_session`.
    """
    place = pathlib.Path(path).expanduser()
    return Session(place, storage.read(place), held=False)
