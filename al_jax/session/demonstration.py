"""The truth of a demonstration in place of the person."""

import numpy as np

from al_jax.session.question import Question
from al_jax.session.session import Session
from al_jax.session.store import Stored


def true_answer(session: Session, section: int, structure: int) -> np.ndarray:
    """[H, W] bool, where a structure truly is within the image."""
    return session.true_mask(section, structure) & np.asarray(session.images.inside[section])


def answer_truly(
    session: Session,
    section: int,
    structure: int,
    question: Question | None = None,
    *,
    seconds: float | None = None,
    widen: bool = False,
) -> Stored:
    """The truth answers a pair; see `Session.store_answer` for the arguments."""
    mask = true_answer(session, section, structure)
    if not mask.any():
        return session.store_absent(section, structure, question=question, seconds=seconds)
    return session.store_answer(
        section, structure, mask, question=question, seconds=seconds, widen=widen
    )


def answer_examples(session: Session) -> int:
    """The truth answers the first example of each structure; how many answers that took."""
    before = len(session.events)
    while (asked := session.next_question(propose=False)) is not None and asked.example:
        answer_truly(session, asked.section, asked.structure)  # in no time that tells of a person
    return len(session.events) - before
