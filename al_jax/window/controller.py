"""A person's place at a session: what each key does, without any window.

`Controller` shows questions in a viewer (a `napari.components.ViewerModel` is enough), turns what
the layer to trace in holds into answers, keeps drafts, and lets the network train meanwhile. Its
methods are called by one thread, the window's; what the session computes for them is done beside
it. What is shown stays until a key changes it: an answer is of the question that is seen.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from napari.components import ViewerModel

from al_jax.core.stack import InputError
from al_jax.session import Question, Session, Trained
from al_jax.window import layers
from al_jax.window.actions import ANSWERS
from al_jax.window.answering import Answering
from al_jax.window.appearance import Appearance
from al_jax.window.background import Background
from al_jax.window.drafts import latest_draft
from al_jax.window.exporting import Exporting
from al_jax.window.looking import Looking
from al_jax.window.moving import Moving
from al_jax.window.text import pair_name


def nothing() -> None:
    """Does nothing."""


def always() -> bool:
    """Is true."""
    return True


class Controller(Answering, Moving, Appearance, Exporting, Looking):
    """The state machine behind the window; read its attributes, the methods change them.

    Attributes:
      session, viewer: what is worked on, and where it is shown.
      layer: the layer to trace in.
      actions: what the keys do here.
      question: what is shown; None once nothing is left to ask.
      chosen: the person chose the pair; else it is the method's question.
      correcting: the pair has been answered before.
      waiting: the next question waits for the network.
      doing: what is done beside the window, a few words, or ''; keys wait for it.
      offer: what the network would ask now instead, one line, or ''.
      progress: where the session stands.
      missing: structures that may be there and of which no outline is known yet.
      message: what happened last, one line.
      failure: why the network does not learn, one line, or None.
      learnt: the latest piece of training, or None.
    """

    def __init__(
        self,
        session: Session,
        viewer: ViewerModel,
        *,
        wait: bool = False,
        patience: float | None = None,
        compile_first: Callable[[], None] | None = None,
        changed: Callable[[], None] = nothing,
        seen: Callable[[], bool] = always,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shows where the person was: the draft that was written last, else the next question.

        Args:
          session: open.
          viewer: where to show it.
          wait: ask only when the network has learnt from all answers, as in the paper.
          patience: seconds that the caller's thread waits for the session; then `tick` sees to what
            comes of it. None: until it is there.
          compile_first: see `Session.compile_by`.
          changed: called after each key.
          seen: whether the question was drawn on the screen, so that it may be answered.
          clock: seconds.
        """
        super().__init__(session, viewer, wait=wait, patience=patience, clock=clock)
        self.learnt: Trained | None = None
        self._changed, self._seen, self._dragging = changed, seen, False
        if compile_first is not None:
            session.compile_by(compile_first)
        self._behind = Background(session.train_step, session.warm_up)
        self._bind(viewer)
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.mouse_wheel_callbacks.append(self._wheel)
        viewer.camera.events.zoom.connect(self._fit)
        self.do("_begin")

    def _begin(self) -> None:
        begun = latest_draft(self.session.folder)
        begun = None if begun is None else self.session.pair_at(*begun)
        if begun is not None:
            return self.go(*begun)
        self._next(lambda question: _learns_first(self.session, question))

    def do(self, name: str, *arguments: Any) -> bool:
        """Calls a method by its name; a refusal is the message then. Whether it was done."""
        self._count_time()
        done = True
        try:
            if self.doing:
                raise InputError(f"One moment: {self.doing}")
            if self._dragging:
                raise InputError("Let go of the mouse first")
            if self._looking and name not in ("look", "look_back"):
                raise InputError("This is another section; let go of the key first")
            if name in ANSWERS and not self._seen():
                raise InputError("This is the next question; look at it first")
            getattr(self, name)(*arguments)
        except InputError as error:
            self.message, done = str(error), False
        self._after()
        return done

    def _after(self) -> None:
        # A draft that was moved aside is said after what else there is to say.
        self.message, self._lost = "; ".join(filter(None, (self.message, self._lost))), ""
        self._changed()
        if self._due and not self.doing:  # the next question comes first: both want all cores
            self._due = False
            self._behind.wake()

    # What happens meanwhile.

    def tick(self) -> bool:
        """To be called some times a second; whether messages have changed."""
        self._count_time()
        self._keep_draft()
        news = self._settle() or self._see_offer()
        outcomes = self._behind.collect()
        for outcome in outcomes:
            if outcome.error is None:
                self.learnt, self.failure = outcome.result, None
            else:
                self.failure = f"{type(outcome.error).__name__}: {outcome.error}"
                if isinstance(outcome.error, InputError):
                    self.failure = str(outcome.error)
        if self.waiting and not (self.busy or self.doing or self._dragging):
            self.do("back")
            return True
        asked = None if self.chosen or self.waiting or self.doing else self.question
        if outcomes and self._has_first_proposal():
            self.offer = "The network has a proposal now; t or a shows it"
            return True
        if outcomes and asked and self.session.network.through > asked.network:
            # What is shown stays: what the network knows now is offered.
            self._offered = self._beside(lambda: self.session.next_question(propose=False))
            self._see_offer()
        return bool(outcomes) or news

    def _has_first_proposal(self) -> bool:
        """Whether there is a proposal by now of a pair that the person chose before."""
        question = self.question
        if question is None or not self.chosen or self.waiting or self.doing:
            return False
        first = question.proposal is None and not self.correcting
        return first and self.session.network.proposes

    def _see_offer(self) -> bool:
        """Whether what the network would ask now is known since the last call."""
        if self._offered is None or not self._offered.done():
            return False
        better, self._offered = self._offered.result(), None
        shown = self.question
        if better is None or shown is None or better.network <= shown.network:
            return False
        if (better.section, better.structure) != (shown.section, shown.structure):
            self.offer = f"A better question is ready: {pair_name(better)}; q goes there"
        elif self.session.network.proposes:
            self.offer = "The network has learnt more of this; q shows what it sees now"
        return bool(self.offer)

    def _settle(self) -> bool:
        """Goes on with what was done beside the window; whether there was something."""
        if not self.doing:
            return False
        try:
            if not self._poll(0):
                return False
        except InputError as error:
            self.message = str(error)
        self._after()
        return True

    def retry(self) -> None:
        """Trains again after a failure."""
        self.failure = None
        self._due = True

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until the network has learnt all there is; whether that came about in time."""
        return self._behind.wait(seconds)

    def close(self) -> bool:
        """Keeps the stroke under way, and ends the training; whether its piece came to its end."""
        self._keep_draft(at_once=True)
        self._drafts.close()
        self.look_back()
        self.viewer.mouse_drag_callbacks.remove(self._drag)
        self.viewer.mouse_wheel_callbacks.remove(self._wheel)
        self.viewer.camera.events.zoom.disconnect(self._fit)
        return self._behind.end()

    def _drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """The mouse is down: nothing takes the layer away until it is let go."""
        self._dragging = True
        self._touch(viewer)
        yield
        while event.type == "mouse_move":
            yield
        self._dragging = False

    def _touch(self, viewer: ViewerModel) -> None:
        before, self.message, self._sure = self.message, "", None  # they are of what came before
        if self.question is not None and not (self.doing or self._looking):
            if not self.layer.visible:
                self.layer.visible, self.layer.mode = True, "paint"
                self.message = f"The layer '{layers.TRACE}' was hidden; it is shown again"
            elif viewer.layers.selection.active is not self.layer:
                self.message = f"To trace, choose the layer '{layers.TRACE}' in the list first"
        if before != self.message:
            self._changed()

    def _fit(self) -> None:
        """Lines, and a brush that nobody has chosen, can be seen at any zoom."""
        if self.question is not None:
            layers.fit_lines(self.viewer)
            layers.fit_brushes(self.layer, self.viewer.camera.zoom)


def _learns_first(session: Session, question: Question | None) -> bool:
    """Whether the network has yet to learn from what was answered before the question."""
    return question is not None and not question.example and session.behind() > 0
