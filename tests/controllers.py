"""What tests of the window share: a session that needs no training, and a controller at it."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import tiny
from napari.components import ViewerModel

from al_jax import session as core
from al_jax.core.stack import Images, make_images
from al_jax.learner.transfer import Experience
from al_jax.session import Settings
from al_jax.window.controller import Controller

QUICK = tiny.config(initial_steps=4, query_steps=2, crop=16, batch=2)
SPANS = np.array([[True] * 6, [True] * 6, [True] * 6, [False, *[True] * 4, False]]).T


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def images() -> Images:
    stack = tiny.stack()
    return make_images(stack.images, stack.names, stack.inside)


def make_session(folder: pathlib.Path, earlier: Experience | None = None) -> pathlib.Path:
    """A demonstration on the tiny stack; 'inner' is on sections 1 to 4."""
    settings = Settings(seed=0, config=QUICK)
    core.create(folder, images(), SPANS, settings, truth=tiny.stack().truth, earlier=earlier)
    return folder


def no_training(monkeypatch) -> None:
    monkeypatch.setattr(core.Session, "train_step", lambda session: None)
    monkeypatch.setattr(core.Session, "warm_up", lambda session: None)


def proposing(monkeypatch, propose) -> None:
    """Questions come with the proposal [H, W] that `propose` makes of each."""
    ask = core.Session.next_question

    def with_proposal(session, **pair):
        if (question := ask(session, **pair | {"propose": False})) is None:
            return None
        proposal = propose(question)
        seen = np.where(proposal, question.structure, question.labels)
        return dataclasses.replace(question, proposal=proposal, segmentation=seen)

    monkeypatch.setattr(core.Session, "next_question", with_proposal)


@contextlib.contextmanager
def at_controller(folder: pathlib.Path, **options) -> Iterator[Controller]:
    """A controller without a window, closed at the end of the block."""
    with core.open_session(folder) as session:
        controller = Controller(session, ViewerModel(), **options)
        try:
            yield controller
        finally:
            controller.close()


def true_mask(controller: Controller) -> np.ndarray:
    """What should be traced now."""
    question = controller.question
    return (tiny.stack().truth[question.section] == question.structure) & question.inside


def trace(controller: Controller, mask: np.ndarray) -> None:
    """Fills the layer to trace in, as any tool of napari may."""
    controller.layer.data_setitem(np.nonzero(mask), 1)
