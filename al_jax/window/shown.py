"""The question that is shown, and what has been traced of it: layers, draft and clock."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.utils.key_bindings import KeymapProvider

from al_jax.core.colours import class_colours
from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.session import Question, Session, Stored, Trained
from al_jax.session.storage import TRUTH
from al_jax.session.turns import turned, turned_back
from al_jax.window import layers
from al_jax.window.actions import ACTIONS, DEMONSTRATION, LOOK, UNDER_WAY, VIEW
from al_jax.window.background import Background
from al_jax.window.clock import WorkClock
from al_jax.window.drafts import Draft, DraftWriter, read_draft
from al_jax.window.layers import Tracing, held
from al_jax.window.scissors import Guide, make_guide
from al_jax.window.smart_brush import grow
from al_jax.window.text import name_at, opening
from al_jax.window.work import Work

GREY: Colour = (150, 150, 150)  # of the background, which has no colour of its own


class Shown(Work):
    """The part of a `Controller` that shows a question and keeps what is traced of it.

    The attributes are those of the controller.
    """

    layer: Tracing
    _changed: Callable[[], None]
    _behind: Background[Trained]

    def __init__(
        self,
        session: Session,
        viewer: ViewerModel,
        *,
        wait: bool,
        patience: float | None,
        clock: Callable[[], float],
    ) -> None:
        """Shows nothing yet; the arguments are those of the controller."""
        super().__init__(session, patience)
        self.viewer = viewer
        self.question: Question | None = None
        self._at: tuple[int, int, str] = (0, 0, "")  # of it, see `Session.place_of`
        self.chosen = self.correcting = self.waiting = False
        self.message, self.offer = opening(session), ""
        self.failure: str | None = None
        self.colours = colours_of(session)
        has_truth = (session.folder / TRUTH).exists()
        self.actions = (*ACTIONS, DEMONSTRATION) if has_truth else ACTIONS
        self._wait, self._tool, self._lost = wait, "", ""
        self._clock = WorkClock(clock, viewer.cursor.position)
        self._drafts = DraftWriter(session.folder, clock)
        self._from_proposal = self._due = self._hidden = False
        self._sure: tuple[str, int, int] | None = None
        self._offered: Future[Question | None] | None = None

    @property
    def _looking(self) -> bool:
        """Whether another section is shown."""
        raise NotImplementedError

    def do(self, name: str, *arguments: Any) -> bool:
        """Calls a method by its name; see `Controller`."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether the network learns, or is about to."""
        return self._due or self._behind.busy

    @property
    def in_range(self) -> bool:
        """Whether the structure shown may be on the section shown."""
        question = self._asked()
        state = self.session.annotations.state
        return bool(state.in_range[question.section, question.structure])

    @property
    def seconds(self) -> float:
        """Spent on the pair that is shown."""
        return self._clock.seconds

    def span(self, structure: int) -> tuple[int, int]:
        """First and last section of a structure."""
        where = np.flatnonzero(self.session.annotations.state.in_range[:, structure])
        return (int(where[0]), int(where[-1])) if len(where) else (0, 0)

    def _bind(self, provider: KeymapProvider) -> None:
        """The keys of a viewer or a layer do what the buttons do."""
        for action in (*self.actions, *VIEW, *UNDER_WAY):
            provider.bind_key(
                action.key.upper() if len(action.key) == 1 else action.key,
                lambda _provider, name=action.name: self.do(name),
                overwrite=True,
            )
        for step, action in LOOK.items():
            provider.bind_key(action.key, self._holder(step), overwrite=True)

    def _holder(self, step: int) -> Callable[[KeymapProvider], Iterator[None]]:
        """What a key does that shows another section while it is down; it may repeat itself."""

        def held(_provider: KeymapProvider) -> Iterator[None]:
            if not self._looking:
                self.do("look", step)
            yield
            self.do("look_back")

        return held

    def _asked(self) -> Question:
        if self.question is None:
            raise InputError("Nothing is left to ask; export, or go to a pair to correct it")
        if self.waiting:
            raise InputError("The network learns first; the next question comes after that")
        return self.question

    def _ask(self, section: int, structure: int) -> Question:
        """A chosen pair; without what was answered of it before, as that is to be corrected."""
        question = self.session.next_question(section=section, structure=structure)
        assert question is not None
        if self.session.annotations.state.annotated[section, structure]:
            free = np.where(question.labels == structure, UNLABELLED, question.labels)
            question = dataclasses.replace(question, labels=free, proposal=None)
        return question

    def _show(self, question: Question | None, *, chosen: bool, begun: Draft | None = None) -> None:
        """Shows a question, with the draft of its pair."""
        self.question = None  # what fails to be shown is not answered
        if question is None:
            if hasattr(self, "layer"):  # nothing was shown yet where all was answered before
                self.layer.editable = False
        else:
            # Where its draft is, whatever becomes of classes and sections while it is shown.
            self._at = self.session.place_of(question.section, question.structure)
            self._trace(question, begun)
        self.question, self.chosen, self.waiting = question, chosen, False
        self._sure, self._offered, self.offer = None, None, ""

    def _trace(self, question: Question, begun: Draft | None) -> None:
        """Shows a question in the layers; `begun` or its draft is what is traced of it."""
        n, c = question.section, question.structure
        nothing = np.zeros(question.inside.shape, bool)
        answered = self.session.annotations.labels_of(n, self.session.images) == c
        start = begun or self._begun(question) or Draft(answered, False, 0.0)
        self.correcting = bool(self.session.annotations.state.annotated[n, c])
        self._from_proposal = start.from_proposal
        self._show_proposal()
        first = layers.TRACE not in self.viewer.layers
        self.layer = layers.show(
            self.viewer,
            layers.View(
                question.image,
                question.inside,
                question.labels,
                nothing if question.proposal is None else question.proposal,
                start.mask,
                c,
            ),
            self.colours,
        )
        names = self.session.images.names
        self.layer.named = functools.partial(name_at, question, names)
        self.layer.wire.lead(lambda: self._beside(lambda: _guide(question)))
        self.layer.grown = functools.partial(_grown, question)
        self.layer.resume(start.corners, start.clicks)
        layers.fit_lines(self.viewer)
        self.viewer.status = ""  # it named what was under the pointer before
        if first:
            self.layer.grew, self.layer.filled = self._grew, self._filled
            self.layer.wire.said = self._say_now
            self.layer.events.mode.connect(self._say_tool)
            for name in layers.LAYERS:  # a layer's own keys come before a viewer's
                self._bind(self.viewer.layers[name])
        self._clock.begin(start.seconds, held(self.layer))
        self._drafts.begin(Draft(nothing, False, 0.0) if begun else self._unturned_draft())

    def _grew(self, count: int) -> None:
        self._say_now(f"Grown by {count} px; Ctrl+Z takes that back")

    def _hide_proposal(self) -> None:
        """Hides a proposal that is in the layer to trace in, so that it is seen what changes."""
        if self.viewer.layers[layers.PROPOSAL].visible:
            self._set_proposal(False)
            self._hidden = True

    def _show_proposal(self) -> None:
        """Shows what `_hide_proposal` has hidden."""
        if self._hidden:
            self._set_proposal(True)

    def _set_proposal(self, shown: bool) -> None:
        self._hidden = False
        for name in (layers.PROPOSAL, layers.LEFT):
            self.viewer.layers[name].visible = shown

    def _say_tool(self) -> None:
        by_hand = self.question is not None and not (self.doing or self._tool)
        if by_hand and self.layer.mode == "polygon":
            self._say_now("Click corner by corner; a double click or Enter closes and fills")

    def _filled(self, count: int) -> None:
        self._say_now(f"Filled, {count} px; Ctrl+Z takes that back")

    def _say_now(self, message: str) -> None:
        self.message = message
        self._changed()

    def _begun(self, question: Question) -> Draft | None:
        """The draft of a question's pair; `_lost` says what was moved aside."""
        n, c, turns = self._at
        draft, lost = read_draft(self.session.folder, n, c, question.inside.shape)
        self._lost = lost or self._lost
        return None if draft is None else draft.moved(turned, turned_back, turns)

    def _unturned_draft(self) -> Draft:
        """What is traced now, as its section was before it was turned."""
        return self._draft().moved(turned_back, turned, self._at[2])

    def _place(self) -> tuple[int, int] | None:
        """The pair that is shown, by its permanent numbers."""
        return None if self.question is None else self._at[:2]

    def _again(self, message: str = "") -> None:
        """Shows the same pair after what is known of it changed; the strokes stay."""
        if self.question is None:
            return self._next()
        draft, (section, structure) = self._draft(), self._pair
        begun = draft if draft.any() else None

        def show(question: Question) -> None:
            self._show(question, chosen=self.chosen, begun=begun)
            self._clock.begin(draft.seconds, held(self.layer))
            self.message = message or self.message

        self._work("looking at that pair", lambda: self._ask(section, structure), show)

    def _next(self, learns_first: Callable[[Question | None], bool] | None = None) -> None:
        """Shows the method's question."""

        def show(question: Question | None) -> None:
            self._show(question, chosen=False)
            self.waiting = self._wait and learns_first is not None and learns_first(question)

        self._work("looking for the next question", self.session.next_question, show)

    def _answered(self, stored: Stored) -> None:
        """What follows an answer: its draft goes, the network learns, the next question comes."""
        self._say(self._drafts.drop(*self._at[:2], self._unturned_draft()))
        self.failure, self._due = None, True
        if self._wait:
            self.waiting = True
        else:
            self._next()
        self.message = stored.message

    def _leave(self) -> None:
        """Before another pair is shown: what was traced of this one is kept."""
        self._keep_draft(at_once=True)
        self._say(self._drafts.finish())

    def _free(self, mask: np.ndarray) -> np.ndarray:
        """What of a mask was not traced before and is inside the image."""
        question = self._asked()
        return mask & question.inside & (question.labels == UNLABELLED)

    @property
    def _pair(self) -> tuple[int, int]:
        assert self.question is not None
        return self.question.section, self.question.structure

    @property
    def _drawn(self) -> bool:
        """Whether anything is traced, if only the corner of a polygon."""
        return self._draft().any()

    def _ask_twice(self, words: str) -> None:
        """Refuses what is hardly meant, the first time."""
        sure = (words, *self._pair)
        if self._sure != sure:
            self._sure = sure
            raise InputError(words)

    def _count_time(self) -> None:
        strokes = None if self.question is None else held(self.layer)
        self._clock.count(self.viewer.cursor.position, strokes)

    def _draft(self) -> Draft:
        """What is traced now."""
        layer = self.layer
        return Draft(
            held(layer), self._from_proposal, self._clock.seconds, layer.corners, layer.clicks
        )

    def _keep_draft(self, at_once: bool = False) -> None:
        if self.question is not None and not self.waiting:
            draft = self._unturned_draft()
            self._say(self._drafts.keep(*self._at[:2], draft, at_once=at_once))

    def _hold(self) -> None:
        if self.question is not None and self.layer.editable:
            self._tool, self.layer.editable = self.layer.mode, False  # strokes would be lost

    def _release(self) -> None:
        if self._tool:
            self.layer.editable, self.layer.mode = True, self._tool
            self._tool = ""

    def _say(self, failure: str) -> None:
        """Shows what failed, if anything did."""
        self.message = failure or self.message


def _guide(question: Question) -> Guide:
    """What leads the scissors on a question's section."""
    return make_guide(question.image, question.labels, question.proposal)


def _grown(question: Question, path: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """What a stroke of the smart brush grows to on a question's section."""
    return grow(path, width, question.image, question.labels)


def colours_of(session: Session) -> list[Colour]:
    """The colours of a session's classes, of 0-255."""
    drawn = session.images.colours or class_colours(session.images.num_classes).tolist()
    return [GREY, *map(tuple, drawn[1:])]
