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
import functools
import os
import pathlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from al_jax.core import answers
from al_jax.core.answers import whole
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.files.leases import hold, remove_leftovers
from al_jax.learner import config as settings
from al_jax.learner import neighbours
from al_jax.learner.config import model_of
from al_jax.learner.transfer import Experience, Prior, experience_of, fit_to
from al_jax.session import annotations as state_of
from al_jax.session import changes, ledger, storage, turns, views
from al_jax.session import events as event_model
from al_jax.session import progress as in_numbers
from al_jax.session import question as questions
from al_jax.session.annotations import Annotations
from al_jax.session.answering import Answering
from al_jax.session.beside import Beside
from al_jax.session.changes import Translated
from al_jax.session.changing import Changing
from al_jax.session.events import CHANGES, Event, effective_answers
from al_jax.session.learning import Learning
from al_jax.session.network import Network
from al_jax.session.pace import overhead, pace_of
from al_jax.session.progress import Progress
from al_jax.session.question import Question, Rule
from al_jax.session.results import Answered
from al_jax.session.storage import Content
from al_jax.session.trainer import Trainer

REMEMBERED = 8  # annotations before the last events, so that undo need not replay all of them


class Session(Answering, Learning, Changing, Beside):
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
        self._masks = functools.partial(turns.read_mask, path)
        self._lock = threading.RLock()  # of events, annotations and network
        self._training = threading.Lock()  # of the trainer
        self._compile_first: Callable[[], None] = lambda: None
        self._storing, self._saving = threading.Lock(), threading.Lock()  # of ledger, checkpoints
        self._written, self._end = ledger.read_ledger(path)
        self._take(self._derived(self._written, found_alone=True))
        counts = views.class_counts(content, self._written)
        self._learnt, notices = self._trainer.latest(self.events, counts, held=held)
        self.notices = [*ledger.notices(path, self._written, self._end), *self._lost(), *notices]
        self.network = self._carried()

    def _derived(
        self,
        written: list[Event],
        known: tuple[views.View, Images] | None = None,
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

    # What is known.

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
        return np.where(inside, seen.segmentation, UNLABELLED), seen.confidence

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

    def _predicted(self, network: Network, now: Annotations, section: int) -> questions.Segmented:
        model = model_of(self.settings.config, self.images.num_classes)
        fields = self._trainer.fields() if self._carries(network) else None
        return questions.predicted(network, self.images, now, section, model, fields)

    def _carries(self, network: Network) -> bool:
        """Whether outlines are carried for the network, so that their fields are there."""
        return network.learner is not None and network.learner.carrying is not None


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
        remove_leftovers(place / ledger.MASKS)
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
