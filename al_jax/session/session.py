"""A person at work: what to ask next, and what becomes of the answer.

An open `Session` may be used from two threads: one asks and stores, another one trains
(`train_step`). Nothing waits for a training but the next training.

Example:
  with open_session("my_stack") as session:
      while (question := next_question(session)) is not None:
          mask = trace(question)  # [H, W] bool
          store_answer(session, question.section, question.structure, mask, question=question)
          while train_step(session):  # the paper's order; or in another thread, all the time
              pass
"""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from al_jax.core import answers
from al_jax.core.answers import Report, Span
from al_jax.core.boundary import kept_length, total_length
from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import compatible
from al_jax.files.leases import hold
from al_jax.learner import config as settings
from al_jax.learner.transfer import fit_to
from al_jax.model.prediction import Prediction
from al_jax.session import annotations as state_of
from al_jax.session import asking, ledger, storage
from al_jax.session.annotations import Annotations
from al_jax.session.ledger import Event
from al_jax.session.storage import Content
from al_jax.session.trainer import Network, Trained, Trainer

HOW = ("traced", "accepted", "corrected", "given")
"""How an answer was made: anew, the proposal as it was, or changed; or before the session."""

TOLERANCES = (0, 1, 2)
"""Pixels within which an outline counts as kept from the proposal."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """What is asked, and what a person should see beside it.

    Attributes:
      section, structure: n and c.
      section_name, name: the same in words.
      why: the reasons, one line.
      runner_up: what would be asked for without it, one line, or None.
      example: it is asked for because no outline of the structure is known.
      dice: expected of the structure (Eq. 6).
      left, whole: its outline still to trace (Eq. 5), and all of it, pixels.
      image: [H, W, K]; inside: [H, W] bool.
      labels: [H, W] int16, what is traced on the section, else `UNLABELLED`.
      proposal: [H, W] bool, what the network would answer; None while there is no network.
      segmentation: [H, W] int16, Eq. 4 of the whole section; confidence: [H, W] float32; or None.
      network: number of the last event that the network had seen.
      asked: when, in seconds of `time.time`.
    """

    section: int
    structure: int
    section_name: str
    name: str
    why: str
    runner_up: str | None
    example: bool
    dice: float
    left: float
    whole: float
    image: np.ndarray
    inside: np.ndarray
    labels: np.ndarray
    proposal: np.ndarray | None
    segmentation: np.ndarray | None
    confidence: np.ndarray | None
    network: int
    asked: float


class Stored(NamedTuple):
    """What was stored.

    Attributes:
      event: its line in the ledger.
      report: what became of the mask.
      said: the same in words, one line.
    """

    event: Event
    report: Report
    said: str


class Session:
    """An open session; `open_session` makes it, the functions of this module use it.

    Attributes (read them, change them only through the functions):
      folder: where it is.
      images: what is annotated, mapped into memory.
      settings: seed and configuration.
      earlier: what earlier stacks taught, or None.
      events: all of the ledger.
      annotations: what the events say.
      network: the newest one.
      notices: what a person should know: a damaged checkpoint, say; one line each.
    """

    def __init__(self, path: pathlib.Path, content: Content, *, held: bool):
        """Reads the ledger and the newest checkpoint; `held`: nobody else has it open."""
        self.folder, self.images, self.settings = path, content.images, content.settings
        self.earlier = content.earlier
        keys = settings.make_keys(jax.random.key(content.settings.seed))
        pixels = np.array([np.count_nonzero(inside) for inside in content.images.inside])
        # The key of the state is the one that `oracle.start` gives it.
        key = jax.random.split(keys.start)[1]
        known = None
        if content.earlier is not None:
            known = fit_to(content.earlier, content.images.names)
        self._empty = state_of.begin(key, content.images, content.in_range, pixels, known)
        self.events = ledger.read_ledger(path)
        self.annotations = replay(self, self.events)
        self._trainer = Trainer(path, content, keys, self._empty.state, known)
        self.network, self.notices = self._trainer.latest(len(self.events), held=held)
        self._lock = threading.RLock()  # of events, annotations and network
        self._training = threading.Lock()  # of the trainer


@contextlib.contextmanager
def open_session(path: str | os.PathLike) -> Iterator[Session]:
    """A session, which belongs to this process until the end of the block.

    Raises:
      InputError: it is none, damaged, in use, or cannot be written.
    """
    place = pathlib.Path(path).expanduser()
    storage.check(place)
    with hold(place):
        session = Session(place, storage.read(place), held=True)
        try:
            yield session
        except BaseException:
            with contextlib.suppress(InputError):
                save_network(session)
            raise
        save_network(session)


def read_session(path: str | os.PathLike) -> Session:
    """A session to look at, whoever holds it; nothing may be stored in it.

    Raises:
      InputError: as of `open_session`.
    """
    place = pathlib.Path(path).expanduser()
    return Session(place, storage.read(place), held=False)


def replay(session: Session, events: Sequence[Event]) -> Annotations:
    """What the events say, whatever was said before.

    Raises:
      InputError: a mask is missing or another one, or the events contradict each other.
    """
    now = session._empty
    for event in ledger.standing(events):
        now = _apply(session, now, event)[0]
    return now


def next_question(
    session: Session,
    *,
    section: int | None = None,
    structure: int | None = None,
    look: bool = True,
) -> Question | None:
    """What to ask now, by the newest network; at once, whatever trains meanwhile.

    Args:
      session: open.
      section, structure: ask of this pair instead (give both), whether it may be asked for or not.
      look: with the network's proposal; without, it is not asked.

    Returns:
      The question, or None once nothing is left to ask. Skipped pairs come back when no other is.

    Raises:
      InputError: there is no such pair.
    """
    with session._lock:
        now, network, images = session.annotations, session.network, session.images
    config, learned = session.settings.config, network.dice
    runner_up = None
    if section is None or structure is None:
        two = asking.best(now, learned, config)
        if not two.found[0]:
            return None
        query = jax.tree.map(lambda leaf: leaf[0], two)
        runner_up = next(iter(answers.describe(two, images)[1:]), None)
    else:
        answers.check_pair(images, section, structure)
        query = asking.of_pair(now, learned, config, section, structure)
    n, c = int(query.section), int(query.structure)
    seen = None
    if look and network.draws and network.learner is not None:
        seen = _look(session, network, now, n)
    return Question(
        section=n,
        structure=c,
        section_name=images.sections[n],
        name=images.names[c],
        why=answers.describe(query, images)[0],
        runner_up=runner_up,
        example=bool(query.example),
        dice=float(query.dice),
        left=float(query.left),
        whole=float(query.whole),
        image=np.asarray(images.images[n]),
        inside=np.asarray(images.inside[n]),
        labels=now.labels_of(n, images),
        proposal=None if seen is None else (seen.segmentation == c) & images.inside[n],
        segmentation=None if seen is None else np.asarray(seen.segmentation),
        confidence=None if seen is None else np.asarray(seen.confidence),
        network=network.through,
        asked=time.time(),
    )


def store_answer(
    session: Session,
    section: int,
    structure: int,
    mask: np.ndarray,
    *,
    question: Question | None = None,
    how: str = "traced",
    seconds: float | None = None,
    widen: bool = False,
) -> Stored:
    """Stores what was traced of a structure: on the disk when this returns, or refused.

    A pair that was answered before is corrected: the old answer is taken back by the same line.
    Where all other structures of a section are answered, all that is left of it is the last, and
    nobody need find its last pixels.

    Args:
      session: open.
      section, structure: n and c; any pair may be answered.
      mask: [H, W] bool, the pixels of the structure. What was traced of others before is clipped.
      question: what was asked, with the proposal that was shown, if any.
      how: of `HOW`.
      seconds: that it took; None counts from the question, if there is one.
      widen: widen the structure's range if it does not reach the section.

    Raises:
      InputError: what `answers.answer` refuses, an empty mask, another `how`, no room on the disk;
        nothing is stored.
    """
    where = answers.check_pair(session.images, section, structure)
    if how not in HOW:
        raise InputError(f"how '{how}' is not of {', '.join(HOW)}")
    if not np.any(mask):
        raise InputError(f"{where}: the mask is empty; if it is absent there, say absent")
    with session._lock:
        rest = _rest(session.annotations, session.images, section, structure, mask)
    stored = _store(
        session,
        section,
        structure,
        mask | rest,
        question=question,
        how=how,
        seconds=seconds,
        widen=widen,
    )
    if not (count := np.count_nonzero(rest)):
        return stored
    said = f"{stored.said}; {count} px that were left are it too, as nothing else may be there"
    return stored._replace(said=said)


def store_absent(
    session: Session,
    section: int,
    structure: int,
    *,
    question: Question | None = None,
    seconds: float | None = None,
) -> Stored:
    """Stores that a structure is not on a section; else as `store_answer`."""
    answers.check_pair(session.images, section, structure)
    mask = np.zeros(session.images.inside.shape[1:], bool)
    return _store(
        session, section, structure, mask, question=question, how="absent", seconds=seconds
    )


def take_over(session: Session, labels: np.ndarray) -> int:
    """Stores labels that were made before the session as answers: each structure that they show.

    What is 0 in them may be background or not traced yet, so that it is no answer.

    Args:
      session: new.
      labels: [N, H, W] classes; 0 and less say nothing.

    Returns:
      How many answers there are.

    Raises:
      InputError: a structure is shown out of its range, or a rest is left that is of no class.
    """
    events: list[Event] = []
    for section, own in enumerate(labels):
        shown = np.unique(own[np.asarray(session.images.inside[section])])
        for structure in shown[shown > 0].tolist():
            event = _pair_event(session, "answer", section, structure)
            mask = ledger.store_mask(session.folder, np.asarray(own == structure))
            events.append(event | {"how": "given", "mask": mask})
    with session._lock:
        _add(session, events)
    return len(events)


def traced(session: Session) -> np.ndarray:
    """[N, H, W] int16, what is traced on all sections, else `UNLABELLED`."""
    with session._lock:
        now = session.annotations
    return np.asarray(state_of.whole(now, session.images).labels)


def segment_section(session: Session, section: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Segmentation [H, W] int16 (`UNLABELLED` outside) and confidence [H, W] float32 of a section.

    What was traced is kept. None while there is no network.
    """
    with session._lock:
        now, network = session.annotations, session.network
    if not network.draws or network.learner is None:
        return None
    inside, seen = np.asarray(session.images.inside[section]), _look(session, network, now, section)
    return np.where(inside, seen.segmentation, UNLABELLED), np.asarray(seen.confidence)


def _look(session: Session, network: Network, now: Annotations, section: int) -> Prediction:
    assert network.learner is not None
    params, recipe = network.learner.train.params, session._trainer.lessons.recipe
    return asking.look(params, session.images, now, section, recipe, network.reduction)


def skip(session: Session, section: int, structure: int, reason: str = "") -> Event:
    """A pair is not asked for until nothing else is left.

    Raises:
      InputError: there is no such pair, or it has been answered.
    """
    where = answers.check_pair(session.images, section, structure)
    with session._lock:
        if session.annotations.state.annotated[section, structure]:
            raise InputError(f"{where} has been answered; undo takes an answer back")
        event = _pair_event(session, "skip", section, structure)
        if reason:
            event["reason"] = reason
        return _add(session, [event])[0]


def undo(session: Session) -> Event | None:
    """Takes back the last answer, "absent", skip or range; again, the one before.

    Returns:
      The event that was taken back, or None if there is none.

    Raises:
      InputError: what came after it would contradict what is left.
    """
    with session._lock:
        left = [event for event in ledger.standing(session.events) if event["event"] != "note"]
        if not left:
            return None
        newest = max(left, key=lambda event: event["number"])
        withdraw(session, newest["number"])
        return newest


def withdraw(session: Session, number: int) -> Event:
    """Takes back any event by its number; answers after it get the pixels that it had taken.

    Raises:
      InputError: there is no such event, it was taken back already, or what is left contradicts.
    """
    with session._lock:
        if number not in {event["number"] for event in ledger.standing(session.events)}:
            raise InputError(f"there is no event {number} to take back")
        return _add(session, [{"event": "withdraw", "withdrawn": number}])[0]


def set_range(session: Session, structure: int, span: Span) -> Event:
    """Another first and last section of a structure; None is an open end.

    Raises:
      InputError: as of `answers.set_range`.
    """
    if not 0 <= structure < session.images.num_classes:
        raise InputError(f"there is no structure {structure}")
    with session._lock:
        return _add(session, [_range_event(session, structure, span)])[0]


def note(session: Session, text: str) -> Event:
    """Keeps a remark in the ledger."""
    with session._lock:
        return _add(session, [{"event": "note", "text": text}])[0]


def behind(session: Session) -> int:
    """Answers that the network has not seen yet."""
    with session._lock:
        return len(_unseen(session, ("answer", "absent")))


def train_step(session: Session) -> Trained | None:
    """One piece of training, if there is something to learn; for another thread.

    Before the first query: a part of the long training, once no first example is left to ask. Then
    one update, over all answers that are stored when it begins. One runs at a time.

    Returns:
      What was done, or None if there is nothing to learn now.

    Raises:
      InputError: a loss is not finite; the network stays as it was.
    """
    with session._training:
        with session._lock:
            now, network, through = session.annotations, session.network, len(session.events)
            # What replaces an answer that the network has learnt from is no trial of it.
            pairs = [
                (event["section"], storage.structure_number(event["structure"], session.images))
                for event in _unseen(session, ("answer", "absent"))
                if event.get("corrects", np.inf) > network.through
            ]
            if not (network.trained or network.begun):
                if not now.labels or asking.wants_examples(now):
                    return None
            elif network.trained and not _unseen(session, _TEACH):
                return None
        newer, trained = session._trainer.step(network, now, through, pairs)
        with session._lock:
            session.network = newer
        session._trainer.keep(newer)
        return trained


def warm_up(session: Session) -> None:
    """Compiles what an answer and `train_step` need, for another thread while nothing is lost.

    An answer first: XLA compiles one program after the other, and a training takes it minutes.
    """
    with session._training:
        now, images = session.annotations, session.images
        left = np.argwhere(compatible(now.state))
        if len(left):
            section, structure = left[0].tolist()
            free = now.labels_of(section, images) == UNLABELLED
            with contextlib.suppress(InputError):  # it is not stored, so it need not be right
                state_of.answer(now, images, section, structure, free & images.inside[section])
            config = session.settings.config
            asking.of_pair(now, session.network.dice, config, section, structure)
        session._trainer.compile(session.network, now)


def save_network(session: Session) -> None:
    """Writes the newest network as a checkpoint, unless it is there."""
    with session._training:
        session._trainer.keep(session.network, always=True)


_kept = jax.jit(kept_length, static_argnames="tolerance")
_left = jax.jit(total_length)
_TEACH = ("answer", "absent", "withdraw", "range")


def _unseen(session: Session, kinds: tuple[str, ...]) -> list[Event]:
    """Events that the network has not seen, but for those that were withdrawn meanwhile."""
    later = [e for e in session.events[session.network.through :] if e["event"] in kinds]
    left = {event["number"] for event in ledger.standing(session.events)}
    return [e for e in later if e["event"] == "withdraw" or e["number"] in left]


def _store(
    session: Session,
    section: int,
    structure: int,
    mask: np.ndarray,
    *,
    question: Question | None,
    how: str,
    seconds: float | None,
    widen: bool = False,
) -> Stored:
    if seconds is None and question is not None:
        seconds = max(time.time() - question.asked, 0.0)
    with session._lock:
        before = session.annotations
        events, later = list[Event](), list[Event]()
        clipped, outside = dict[str, int](), 0
        old = _answer_of(session, section, structure)
        if old is not None:
            labels = before.labels_of(section, session.images)
            others = np.where(labels == structure, UNLABELLED, labels)
            mask, clipped, outside = answers.clip(session.images, section, structure, mask, others)
            before, later = _around(session, old)
        if widen and not before.state.in_range[section, structure]:
            events.append(_range_event(session, structure, _widened(before, section, structure)))
            before = state_of.set_range(before, session.images, structure, tuple(events[0]["span"]))
        elif not before.state.in_range[section, structure]:
            where = answers.check_pair(session.images, section, structure)
            raise InputError(
                f"{where} is outside the range of '{session.images.names[structure]}'; if it is "
                "there, widen the range (--widen)"
            )
        event = _pair_event(session, "absent" if how == "absent" else "answer", section, structure)
        if how != "absent":
            event["how"] = how
        beside = {}
        # Beside an answer that is corrected, the proposal is that answer.
        if question is not None and question.proposal is not None and old is None:
            beside = _beside_proposal(session, before, question, mask)
        drawn = ledger.drawn(event | beside)
        if not beside and how in ("accepted", "corrected"):  # of no proposal
            event["how"] = "traced"
        after, report = state_of.answer(before, session.images, section, structure, mask, drawn)
        if old is not None:
            report = report._replace(clipped=report.clipped | clipped, outside=outside)
        for following in later:
            after = _apply(session, after, following)[0]
        predicted = asking.of_pair(
            before, session.network.dice, session.settings.config, section, structure
        )
        if before.known(structure):
            event["predicted"] = round(float(predicted.left), 2)
        event["length"] = round(report.effort, 2)
        if how != "absent":
            event["mask"] = ledger.store_mask(session.folder, np.asarray(mask))
        if seconds is not None:
            event["seconds"] = round(seconds, 2)
        event |= beside
        if old is not None:
            event["corrects"] = old
        event = _add(session, [*events, event], after)[-1]
    return Stored(event, report, _said(session, event, report))


def _around(session: Session, old: int) -> tuple[Annotations, list[Event]]:
    """What stands before the place that a correction of the answer `old` will have, and after."""
    correction = {"event": "note", "number": len(session.events) + 1, "corrects": old}
    standing = ledger.standing([*session.events, correction])
    place, now = standing.index(correction), session._empty
    for event in standing[:place]:
        now = _apply(session, now, event)[0]
    return now, standing[place + 1 :]


def _rest(
    now: Annotations, images: Images, section: int, structure: int, mask: np.ndarray
) -> np.ndarray:
    """[H, W] bool, what else of a section belongs to its last structure, by a mask that fits."""
    left, shape = np.asarray(compatible(now.state)[section]), images.inside.shape[1:]
    last = left[structure] and not np.delete(left, structure).any()
    if not last or mask.shape != shape or mask.dtype != bool:
        return np.zeros(mask.shape, bool)
    free = now.labels_of(section, images) == UNLABELLED
    free &= np.asarray(images.inside[section])
    return free & ~mask if (free & mask).any() else np.zeros(shape, bool)


def _beside_proposal(
    session: Session, before: Annotations, question: Question, mask: np.ndarray
) -> dict[str, Any]:
    """What an answer has in common with the proposal that was shown, by keys of its event."""
    n, proposal = question.section, question.proposal
    inside = np.asarray(session.images.inside[n])
    free = inside & (before.labels_of(n, session.images) == UNLABELLED)
    kept = [round(float(_kept(mask, proposal, free, tolerance=t)), 2) for t in TOLERANCES]
    both, either = (mask & proposal & free).sum(), (mask & free).sum() + (proposal & free).sum()
    return {
        "length": round(float(_left(mask & free, free)), 2),
        "kept": kept,
        "proposal_dice": round(float(2 * both / either), 4) if either else 1.0,
        "network": question.network,
    }


def _pair_event(session: Session, kind: str, section: int, structure: int) -> Event:
    return {"event": kind, "section": section, "structure": session.images.names[structure]}


def _range_event(session: Session, structure: int, span: Span) -> Event:
    return {"event": "range", "structure": session.images.names[structure], "span": list(span)}


def _widened(before: Annotations, section: int, structure: int) -> Span:
    where = np.flatnonzero(before.state.in_range[:, structure])
    ends = [section] if not len(where) else [where[0], where[-1], section]
    return int(min(ends)), int(max(ends))


def _answer_of(session: Session, section: int, structure: int) -> int | None:
    """The number of the pair's answer, if it has been answered."""
    name = session.images.names[structure]
    for event in ledger.standing(session.events):
        answered = event["event"] in ("answer", "absent")
        if answered and (event["section"], event["structure"]) == (section, name):
            return event["number"]
    return None


def _add(
    session: Session, events: Sequence[Event], after: Annotations | None = None
) -> list[Event]:
    """Stores events, all or none, once they agree with all before them.

    `after` is what all of them say then, where that is known.
    """
    numbered: list[Event] = []
    for event in events:
        number = len(session.events) + len(numbered) + 1
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        numbered.append({"number": number, "time": when} | event)
    if after is None and any(event["event"] == "withdraw" for event in numbered):
        after = replay(session, [*session.events, *numbered])
    elif after is None:
        after = session.annotations
        for event in numbered:
            after, report = _apply(session, after, event)
            if report is not None:
                event.setdefault("length", round(report.effort, 2))
    ledger.append(session.folder, numbered)
    session.events.extend(numbered)
    session.annotations = after
    return numbered


def _apply(session: Session, now: Annotations, event: Event) -> tuple[Annotations, Report | None]:
    images = session.images
    if event["event"] == "note":
        return now, None
    structure = storage.structure_number(event["structure"], images)
    match event["event"]:
        case "answer" | "absent" as kind:
            mask = np.zeros(images.inside.shape[1:], bool)
            if kind == "answer":
                mask = ledger.read_mask(session.folder, event["mask"])
                if "corrects" not in event:  # what an earlier structure has given back since
                    mask = mask | _rest(now, images, event["section"], structure, mask)
            drawn = ledger.drawn(event)
            return state_of.answer(now, images, event["section"], structure, mask, drawn)
        case "skip":
            return state_of.skip(now, images, event["section"], structure), None
        case "range":
            first, last = event["span"]
            return state_of.set_range(now, images, structure, (first, last)), None
    raise InputError(f"event {event['number']} is of no known kind")


def _said(session: Session, event: Event, report: Report) -> str:
    name = f"'{event['structure']}' on section {session.images.sections[event['section']]}"
    if event["event"] == "absent":
        return f"{name}: absent"
    said = f"{name}: {report.effort:.0f} px of outline"
    if "predicted" in event:
        said += f", {event['predicted']:.0f} predicted"
    lost = [f"{count} px of '{other}'" for other, count in report.clipped.items()]
    lost += [f"{report.outside} px beyond the image"] if report.outside else []
    return said + (f"; clipped: {', '.join(lost)}" if lost else "")
