"""Questions as files, and what a person answers to them."""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, session_results, session_start
from al_jax.core.stack import InputError
from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import make_classes
from al_jax.exchange.placement import affine_on
from al_jax.exchange.questions import MANIFEST, array_digest, read_manifest, write_question
from al_jax.files.atomic import write_npz
from al_jax.files.reading import reading
from al_jax.session import Question, Session
from al_jax.session.ranges import (
    section_number,
    structure_number,
)

FLAGS = flags.FLAGS
QUESTIONS, SHOWN = "questions", "shown.npz"


def suggest(session: Session) -> tuple[str, dict[str, Any]]:
    """What to trace next, as files."""
    if FLAGS.wait:
        session_results.learn(session)
    if (FLAGS.section is None) != (FLAGS.structure is None):
        raise InputError("--section and --structure name a pair together; give both or none")
    if FLAGS.section is None:
        question = session.next_question()
    else:
        section, structure = pair_of_flags(session)
        question = session.next_question(section=section, structure=structure)
    if question is None:
        return "nothing is left to ask", {"found": False}
    name = re.sub(r"[^\w.-]+", "_", f"{question.section:04}_{question.name}")
    folder = session.folder / QUESTIONS / name
    classes = make_classes(session.images.names, session.images.colours)
    affine = affine_on(session.images.place, question.section)
    written = write_question(folder, question, classes, FLAGS.formats, affine=affine)
    shown: dict[str, Any] = {} if question.proposal is None else {"proposal": question.proposal}
    shown |= {
        "network": question.network,
        "asked": question.asked,
        "events": len(session.events),
    }
    write_npz(folder / SHOWN, shown)
    result = {
        "found": True,
        "section": question.section,
        "section_name": question.section_name,
        "structure": question.name,
        "example": question.example,
        "why": question.why,
        "runner_up": question.runner_up,
        "left": question.left,
        "network": question.network,
        "behind": session.behind(),
        "files": [str(path) for path in written],
    }
    return f"{question.why}; files in {folder}", result


def ingest(session: Session) -> tuple[str, dict[str, Any]]:
    """Stores the answer to a question, from a file, the proposal or the truth."""
    given = [name for name in ("answer", "accept", "truth") if FLAGS[name].value]
    if len(given) != 1:
        raise InputError("give one of --answer=FILE, --accept and --truth")
    command.refuse(("section", "structure"), "with ingest, which answers what was asked (suggest)")
    folder, question = latest_question(session)
    section, structure = question.section, question.structure
    if FLAGS.truth:
        stored = session_start.answer_truly(
            session, section, structure, question, seconds=FLAGS.seconds, widen=FLAGS.widen
        )
    elif FLAGS.accept:
        if question.proposal is None:
            raise InputError(f"{folder}: has no proposal to accept; trace it")
        if not question.proposal.any():
            raise InputError(f"{folder}: the proposal is empty; say absent, or trace it")
        stored = _stored(session, question, question.proposal, "accepted")
    else:
        mask = read_answer(FLAGS.answer, read_manifest(folder))
        how = "corrected" if FLAGS.corrected else "traced"
        stored = _stored(session, question, mask, how)
    if FLAGS.wait:
        session_results.learn(session)
    return stored.message, dict(stored.event)


def _stored(session: Session, question: Question, mask: np.ndarray, how: str) -> sessions.Stored:
    return session.store_answer(
        question.section,
        question.structure,
        mask,
        question=question,
        how=how,
        seconds=FLAGS.seconds,
        widen=FLAGS.widen,
    )


def latest_question(session: Session) -> tuple[pathlib.Path, Question]:
    """The folder of the question that the flags name, or of the latest, and what was shown."""
    again = command.typed("suggest", session.folder)
    if FLAGS.question is not None:
        folder = pathlib.Path(FLAGS.question)
    else:
        asked = list((session.folder / QUESTIONS).glob(f"*/{MANIFEST}"))
        if not asked:
            raise InputError(f"{session.folder}: nothing was asked yet; run: {again}")
        folder = max(asked, key=lambda path: path.stat().st_mtime_ns).parent
    asked_of = read_manifest(folder)
    with reading(folder / SHOWN, "what was shown"), np.load(folder / SHOWN) as archive:
        shown = dict(archive)
    other = (
        f"{folder}: is a question of another session, or of before its classes or sections "
        f"changed; run: {again}"
    )
    if asked_of.names != session.images.names or asked_of.section >= session.images.num_sections:
        raise InputError(other)
    question = session.next_question(
        section=asked_of.section, structure=asked_of.structure, propose=False
    )
    assert question is not None  # a pair that was named is always asked
    moved = question.section_name != asked_of.section_name  # of two empty ones, say
    if moved or array_digest(question.image) != asked_of.image_digest:
        raise InputError(other)
    before = int(shown.get("events", len(session.events)))
    if FLAGS.question is None and _answered_since(session, question, before):
        raise InputError(
            f"{folder}: has been answered; run: {again}, or name it by "
            "--question to correct its answer"
        )
    return folder, dataclasses.replace(
        question,
        proposal=shown.get("proposal"),
        network=int(shown["network"]),
        asked=float(shown["asked"]),
    )


def _answered_since(session: Session, question: Question, events: int) -> bool:
    """Whether its pair was answered after so many events."""
    return any(
        event["event"] in ("answer", "absent")
        and (event["section"], event["structure"]) == (question.section, question.name)
        for event in session.events[events:]
    )


def skip(session: Session) -> tuple[str, dict[str, Any]]:
    """Leaves a pair for later."""
    section, structure = pair(session)
    event = session.skip(section, structure, FLAGS.reason)
    return f"{_named(session, section, structure)}: skipped", dict(event)


def absent(session: Session) -> tuple[str, dict[str, Any]]:
    """Says that a structure is not on a section."""
    question = None
    if FLAGS.section is None and FLAGS.structure is None:
        question = latest_question(session)[1]
        section, structure = question.section, question.structure
    else:
        section, structure = pair_of_flags(session)
    stored = session.store_absent(section, structure, question=question, seconds=FLAGS.seconds)
    return stored.message, dict(stored.event)


def pair(session: Session) -> tuple[int, int]:
    """The pair of the flags, or of the latest question."""
    if FLAGS.section is None and FLAGS.structure is None:
        question = latest_question(session)[1]
        return question.section, question.structure
    return pair_of_flags(session)


def pair_of_flags(session: Session) -> tuple[int, int]:
    """The pair that --section and --structure name."""
    if FLAGS.section is None or FLAGS.structure is None:
        raise InputError("--section and --structure name a pair together; give both or none")
    return (
        section_number(FLAGS.section, session.images),
        structure_number(FLAGS.structure, session.images),
    )


def _named(session: Session, section: int, structure: int) -> str:
    images = session.images
    return f"'{images.names[structure]}' on section {images.sections[section]}"
