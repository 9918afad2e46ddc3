"""Questions as files, and what a person answers to them."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, session_results
from al_jax.core.stack import InputError
from al_jax.exchange import questions
from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import make_classes
from al_jax.exchange.doubts import what_is_odd
from al_jax.exchange.formats import is_drawn
from al_jax.exchange.placement import affine_on
from al_jax.exchange.questions import (
    Manifest,
    Origin,
    array_digest,
    digest_of_events,
    read_manifest,
    read_shown,
    write_question,
)
from al_jax.session import Question, Session
from al_jax.session.demonstration import answer_truly
from al_jax.session.events import effective_answers
from al_jax.session.ranges import (
    section_number,
    structure_number,
)

FLAGS = flags.FLAGS
QUESTIONS = "questions"


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
    place = session.folder / QUESTIONS
    number, count, turns = session.first_place(question.section)
    own = place / questions.question_name(question.section, question.structure, question.name)
    next_number, settled = questions.next_numbers(place)
    written = write_question(
        own,
        question,
        make_classes(session.images.names, session.images.colours),
        FLAGS.formats,
        affine=affine_on(session.images.place, question.section),
        downsample=_factor() or 1.0,
        origin=Origin(
            next_number,
            len(session.events),
            digest_of_events(session.events),
            session.images.num_sections,
            (number, count),
            bool(turns),
            settled,
        ),
    )
    folder = written[0].parent
    line = f"{question.why}; files in {folder}"
    changed = [] if folder == own else questions.not_ours(own)
    if changed:
        line += (
            f"; {own} stays, as it holds what you changed or added ({', '.join(changed[:3])}): "
            "what you traced there is ingested by its --answer"
        )
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
        "kept": [str(own / name) for name in changed],
    }
    return line, result


def ingest(session: Session) -> tuple[str, dict[str, Any]]:
    """Stores the answer to a question, from a file, the proposal or the truth."""
    given = [name for name in ("answer", "accept", "truth") if FLAGS[name].value]
    if len(given) != 1:
        raise InputError("give one of --answer=FILE, --accept and --truth")
    command.refuse(("section", "structure"), "with ingest, which answers what was asked (suggest)")
    factor = _factor()
    if factor is not None and not (FLAGS.answer and is_drawn(FLAGS.answer)):
        raise InputError(
            "--downsample has no effect but with an --answer of outlines (GeoJSON, ImageJ); leave "
            "it out"
        )
    asked, question = latest_question(session)
    section, structure = question.section, question.structure
    if FLAGS.truth:
        stored = answer_truly(
            session, section, structure, question, seconds=FLAGS.seconds, widen=FLAGS.widen
        )
    elif FLAGS.accept:
        folder = asked.path.parent
        if question.proposal is None:
            raise InputError(f"{folder}: has no proposal to accept; trace it")
        if not question.proposal.any():
            raise InputError(f"{folder}: the proposal is empty; say absent, or trace it")
        stored = _stored(session, question, question.proposal, "accepted")
    else:
        if factor is not None:
            asked = dataclasses.replace(asked, downsample=factor)
        mask = read_answer(FLAGS.answer, asked)
        scaled = not is_drawn(FLAGS.answer) or factor is not None or asked.downsample != 1
        odd = what_is_odd(question, mask, session.annotations, scaled=scaled)
        if odd and not FLAGS.sure:
            raise InputError(
                f"{FLAGS.answer}: {asked.pair}: {'; '.join(odd)}. Look at it; if it is right, "
                "--sure stores it as it is"
            )
        how = "corrected" if FLAGS.corrected else "traced"
        stored = _stored(session, question, mask, how)
    return stored.message, dict(stored.event)


def _factor() -> float | None:
    """Pixels of the image that was drawn on along a pixel of the section, where it was given."""
    factor = FLAGS.downsample
    if factor is not None and factor <= 0:
        raise InputError(
            f"--downsample={factor:g}: give pixels of the slide a pixel of the section"
        )
    return factor


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


def latest_question(session: Session) -> tuple[Manifest, Question]:
    """The question that the flags name, or the latest, and what was shown.

    An answer that lies in the folder of a question is of that one.
    """
    again = command.typed("suggest", session.folder)
    place = session.folder / QUESTIONS
    own = questions.folder_of(FLAGS.answer) if FLAGS.answer else None
    if FLAGS.question is not None:
        asked = read_manifest(FLAGS.question)
        if own is not None and _pair(read_manifest(own)) != _pair(asked):
            raise InputError(
                f"{FLAGS.answer}: lies in the folder of another question than --question="
                f"{FLAGS.question}; leave that out, or copy the answer into the folder of the "
                "question that it answers"
            )
    elif own is not None:
        asked = read_manifest(own)
    else:
        found = questions.latest(place)
        if found is None:
            raise InputError(f"{session.folder}: nothing was asked yet; run: {again}")
        asked = found
    folder, origin, images = asked.path.parent, asked.origin, session.images
    known = digest_of_events(session.events[: origin.events])
    elsewhere = not _within(folder, place) and origin.history not in ("", known)
    other = (
        f"{folder}: is a question of another session, or of before its classes or sections "
        f"changed; for {asked.pair} run: {again} with --section and --structure, and name that "
        "question by --question=FOLDER"
    )
    if (
        elsewhere
        or asked.names != images.names
        or images.sections[asked.section : asked.section + 1] != (asked.section_name,)
    ):
        raise InputError(other)
    question = session.next_question(
        section=asked.section, structure=asked.structure, propose=False
    )
    assert question is not None  # a pair that was named is always asked
    if array_digest(question.image) != asked.image_digest:
        raise InputError(other)
    if FLAGS.question is None and _answered_since(session, question, origin.events):
        raise InputError(
            f"{folder}: has been answered; run: {again}, or name it by "
            "--question to correct its answer"
        )
    proposal, network = read_shown(asked)
    return asked, dataclasses.replace(
        question, proposal=proposal, network=network, asked=asked.asked
    )


def _pair(asked: Manifest) -> tuple[str, str]:
    return asked.section_name, asked.names[asked.structure]


def _within(folder: pathlib.Path, place: pathlib.Path) -> bool:
    return folder.resolve().is_relative_to(place.resolve())


def _answered_since(session: Session, question: Question, events: int) -> bool:
    """Whether its pair was answered after so many events, and that was not taken back."""
    return any(
        event["number"] > events
        and (event["section"], event["structure"]) == (question.section, question.name)
        for event in effective_answers(session.events)
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
