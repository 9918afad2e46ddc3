"""A session of the small stack, a network that compiles at once, the truth as the person."""

import pathlib

import numpy as np
import tiny

from al_jax import session as sessions
from al_jax.core.stack import make_images
from al_jax.session import Question, Session, Settings, Stored

STACK = tiny.stack()
# NumPy alone, so that importing this begins nothing of JAX: processes are forked with it.
PRESENT = np.stack([(STACK.truth == c).any((1, 2)) for c in range(STACK.num_classes)], 1)
IN_RANGE = np.cumsum(PRESENT, 0).astype(bool) & np.cumsum(PRESENT[::-1], 0)[::-1].astype(bool)
IMAGES = make_images(STACK.images, STACK.names, STACK.inside)
CONFIG = tiny.config(initial_steps=8, query_steps=2, crop=32, batch=4)


def create(folder: pathlib.Path, **changes) -> pathlib.Path:
    """A new session; `changes` are arguments of `session.create`."""
    given = {"in_range": IN_RANGE, "settings": Settings(0, CONFIG), "truth": STACK.truth} | changes
    sessions.create(folder, IMAGES, **given)
    return folder


def truth(section: int, structure: int) -> np.ndarray:
    """[H, W] bool, what is there."""
    return STACK.truth[section] == structure


def answer(session: Session, section: int, structure: int, **more) -> Stored:
    """The truth answers a pair."""
    mask = truth(section, structure)
    if not mask.any():
        return session.store_absent(section, structure, **more)
    return session.store_answer(section, structure, mask, **more)


def answer_question(session: Session) -> tuple[Question, Stored]:
    """The truth answers the next question."""
    question = session.next_question()
    assert question is not None
    return question, answer(session, question.section, question.structure, question=question)


def same(a, b) -> bool:
    """Whether two annotations say the same, to the last bit."""
    names = ("annotated", "seen", "in_range", "unlabelled", "length_sum", "length_count")
    states = all(
        np.array_equal(getattr(a.state, name), getattr(b.state, name))
        for name in (*names, "drawn_unique", "drawn_whole", "step")
    )
    labels = a.labels.keys() == b.labels.keys()
    labels = labels and all(np.array_equal(a.labels[n], b.labels[n]) for n in a.labels)
    return states and labels and np.array_equal(a.skipped, b.skipped)
