"""A person's place at a session: what each key does, without any window.

`Controller` shows questions in a viewer (a `napari.components.ViewerModel` is enough), turns what
the layer to trace in holds into answers, keeps drafts, and lets the network train meanwhile. Its
methods are called by one thread, the window's; what the session computes for them is done beside
it. What is shown stays until a key changes it: an answer is of the question that is seen.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.utils.key_bindings import KeymapProvider

from al_jax.core.answers import Span
from al_jax.core.colours import class_colours
from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.exchange.doubts import what_is_odd
from al_jax.session import Progress, Question, Session, Stored, Trained
from al_jax.session.events import CHANGES, Event, effective_answers
from al_jax.session.storage import TRUTH
from al_jax.session.turns import turned, turned_back
from al_jax.window import layers
from al_jax.window.background import Background, beside
from al_jax.window.clock import WorkClock
from al_jax.window.drafts import Draft, DraftWriter, latest_draft, read_draft
from al_jax.window.layers import Tracing, fill_outline, held, is_line, put
from al_jax.window.text import event_message, held_by, opening, pair_name, without_outline

GREY: Colour = (150, 150, 150)  # of the background, which has no colour of its own


class Action(NamedTuple):
    """What a key does: a method of `Controller`, and the label of its button."""

    key: str
    name: str
    label: str


ACTIONS = (
    Action("a", "accept", "Accept proposal"),
    Action("s", "store", "Store what is traced"),
    Action("t", "take", "Start from proposal"),
    Action("o", "fill", "Fill the outline"),
    Action("y", "take_pixels", "Take from the others"),
    Action("n", "absent", "Not on this section"),
    Action("k", "skip", "Ask later"),
    Action("u", "undo", "Undo last answer"),
    Action("q", "back", "Back to question"),
    Action("c", "pick", "Go to what is pointed at"),
    Action("w", "widen", "Store, widen range"),
    Action("h", "previous", "Previous section"),
    Action("j", "following", "Next section"),
    Action("r", "begins_here", "Is first section"),
    Action("g", "ends_here", "Is last section"),
)
DEMONSTRATION = Action("d", "let_truth_answer", "Let truth answer")
VIEW = (
    Action(",", "less_contrast", "Less contrast"),
    Action(".", "more_contrast", "More contrast"),
    Action(";", "darker", "Darker"),
    Action("'", "brighter", "Brighter"),
    Action("9", "fainter", "What is traced, fainter"),
    Action("0", "stronger", "What is traced, stronger"),
)
"""Keys without buttons, for how the section is seen."""
ANSWERS = ("accept", "store", "take_pixels", "widen", "absent", "let_truth_answer")


class Pending(NamedTuple):
    """What is done beside the window: what it is, what comes of it, and what follows."""

    words: str
    result: Future
    then: Callable[[Any], None]


class Known(NamedTuple):
    """What came of a call, and what is known of the session then; see `Controller`."""

    result: Any
    progress: Progress
    missing: list[str]


class Then(NamedTuple):
    """After an event: the question, of the `same` pair or not, and what was traced of it."""

    event: Event
    question: Question | None
    same: bool
    begun: Draft | None = None


def nothing() -> None:
    """Does nothing."""


def always() -> bool:
    """Is true."""
    return True


class Controller:
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
        self.session, self.viewer = session, viewer
        self.question: Question | None = None
        self._at: tuple[int, int, str] = (0, 0, "")  # of it, see `Session.place_of`
        self.chosen = self.correcting = self.waiting = False
        self.message, self.offer = opening(session), ""
        self.failure: str | None = None
        self.learnt: Trained | None = None
        self.colours = _colours(session)
        self.layer: Tracing
        has_truth = (session.folder / TRUTH).exists()
        self.actions = (*ACTIONS, DEMONSTRATION) if has_truth else ACTIONS
        self._wait, self._changed, self._seen = wait, changed, seen
        self._patience, self._tool = patience, ""
        self._pending: Pending | None = None
        self._clock = WorkClock(clock, viewer.cursor.position)
        self._drafts = DraftWriter(session.folder, clock)
        self._from_proposal = self._due = self._dragging = False
        self._sure: tuple[str, int, int] | None = None
        self._lost = ""
        self._offered: Future[Question | None] | None = None
        self._brush = 0  # that was chosen for the person
        if compile_first is not None:
            session.compile_by(compile_first)
        self._behind: Background[Trained] = Background(session.train_step, session.warm_up)
        self._bind(viewer)
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.camera.events.zoom.connect(self._fit_brush)
        self.progress: Progress = session.progress()
        self.missing = without_outline(session)
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

    # What a person does. All of it may raise InputError, which `do` says.

    def store(self) -> None:
        """The layer is the answer: traced, accepted or corrected, as it shows."""
        self._store()

    def widen(self) -> None:
        """As `store`, and the range of the structure grows to the section."""
        self._store(widen=True)

    def take_pixels(self) -> None:
        """As `store`, and the others give up what they hold of it: their outlines are corrected."""
        question = self._asked()
        mask = self._checked() & question.inside
        if not mask.any():
            raise InputError(f"Nothing is traced of {pair_name(question)}")
        if not self.in_range:
            raise InputError(f"{pair_name(question)} is outside its range; g or r changes that")
        seconds, correcting = self._clock.seconds, self.correcting
        how = "corrected" if self._from_proposal else "traced"
        self._work(
            "storing the answer",
            lambda: _take_pixels(self.session, question, mask, how, seconds, correcting),
            self._answered,
        )

    def _checked(self) -> np.ndarray:
        """[H, W] bool, what is traced; a person is asked first where it is hardly meant so."""
        question = self._asked()
        if len(self.layer.corners):
            self._ask_twice(
                "The polygon is not finished: a double click ends it, Backspace takes a corner "
                "back; the same key again closes and stores it",
            )
            self.layer.close_polygon()
        layer = held(self.layer)
        whole, seen = layer & question.inside, question.proposal
        if not self._free(whole).any() or (
            seen is not None and np.array_equal(self._free(whole), self._free(seen))
        ):
            return layer
        if is_line(whole, self.layer.widest) and not self._from_proposal:
            self._ask_twice(
                "That is a line, not an area: go on to its start, and it is filled (o fills what "
                "is closed); the same key again stores the line itself",
            )
        elif odd := "; ".join(what_is_odd(question, whole, self.session.annotations)):
            self._ask_twice(f"{pair_name(question)}: {odd}. The same key again stores it")
        return layer

    def _store(self, *, widen: bool = False, sure: bool = False) -> None:
        question = self._asked()
        layer = held(self.layer) if sure else self._checked()
        mask, name = self._free(layer), pair_name(question)
        if not mask.any():
            there = layer & question.inside
            if not there.any():
                raise InputError(f"Nothing is traced of {name}; if it is not there, press n")
            raise InputError(
                f"All that is traced of {name} was traced before, as "
                f"{held_by(question, there, self.session.images.names)}; y takes it from there"
            )
        if not (widen or self.in_range):
            raise InputError(f"{name} is outside its range; w stores it and widens that")
        how = "corrected" if self._from_proposal else "traced"
        if question.proposal is not None and np.array_equal(mask, self._free(question.proposal)):
            how = "accepted"
        whole = layer & question.inside  # what lies on others is clipped, and reported
        seconds = self._clock.seconds
        self._work(
            "storing the answer",
            lambda: self.session.store_answer(
                question.section,
                question.structure,
                whole,
                question=question,
                how=how,
                seconds=seconds,
                widen=widen,
            ),
            self._answered,
        )

    def accept(self) -> None:
        """The network's proposal is the answer."""
        question = self._asked()
        own, seen = self._free(held(self.layer)), question.proposal
        by_hand = self._drawn and not self._from_proposal
        if by_hand and seen is not None and not np.array_equal(own, self._free(seen)):
            self._ask_twice("You have traced something; a again takes the proposal")
        self.take()
        self._store(sure=True)

    def take(self) -> None:
        """The network's proposal goes into the layer, to be corrected."""
        question = self._asked()
        if question.proposal is None:
            raise InputError(
                "That pair has been answered; what was traced is there to correct"
                if self.correcting
                else "There is no proposal yet; the network learns once it has seen its examples"
            )
        proposal = self._free(question.proposal)
        if not proposal.any():
            raise InputError(
                f"The network sees nothing of {pair_name(question)}. Trace it if you see it; n "
                "only if it is not there"
            )
        self.layer.close_polygon()
        put(self.layer, proposal)
        self._from_proposal = True
        self.message = "The proposal is yours to correct; s stores it"

    def fill(self) -> None:
        """What an outline encloses belongs to it."""
        self._asked()
        fill_outline(self.layer)

    def absent(self) -> None:
        """The structure is not on the section."""
        question = self._asked()
        if self._drawn and not self.correcting:
            name = pair_name(question)
            self._ask_twice(f"You have traced {name}; n again if it is not there")
        seconds = self._clock.seconds
        self._work(
            "storing the answer",
            lambda: self.session.store_absent(
                question.section, question.structure, question=question, seconds=seconds
            ),
            self._answered,
        )

    def skip(self) -> None:
        """Another question; this one comes back when nothing else is left."""
        question = self._asked()

        def skipped(_: object) -> None:
            self.back()
            self.message = f"{pair_name(question)} comes back later"

        self._work(
            "putting it off",
            lambda: self.session.skip(question.section, question.structure),
            skipped,
        )

    def undo(self) -> None:
        """Takes the last answer back, and puts what was traced into the layer."""
        place = self._place()
        self._leave()
        self._work("taking that back", lambda: self._undone(place), self._show_undone)

    def _undone(self, place: tuple[int, int] | None) -> Then:
        session = self.session
        before, event = session.annotations, session.undo()
        if event is None:
            raise InputError("There is nothing to undo")
        if event["event"] in CHANGES:
            return self._then(event, place)
        if "section" not in event:
            return Then(event, None, True)
        section = event["section"]
        structure = session.images.names.index(event["structure"])
        traced = before.labels_of(section, session.images) == structure
        by_proposal = event.get("how") in ("accepted", "corrected")
        draft = Draft(traced, by_proposal, event.get("seconds", 0.0))
        begun = draft if traced.any() else None  # what was put off may have a draft
        return Then(event, self._ask(section, structure), False, begun)

    def _show_undone(self, then: Then) -> None:
        self._due = True
        if then.event["event"] in CHANGES:
            self._show_changed(then)
        elif then.question is None:
            self._again()
        else:
            self._leave()
            self._show(then.question, chosen=True, begun=then.begun)
        self.message = f"Taken back: {event_message(then.event, self.session.images.sections)}"

    def go(self, section: int, structure: int) -> None:
        """Shows any pair, to answer it, or to correct its answer."""

        def show(question: Question) -> None:
            self.message = ""
            self._leave()
            self._show(question, chosen=True)

        self._work("looking at that pair", lambda: self._ask(section, structure), show)

    def back(self) -> None:
        """Shows the method's question, by what the network knows now."""
        self._leave()
        if self._wait and self.busy:
            self.waiting = True
            return
        self._next()

    def previous(self) -> None:
        """The same structure a section before."""
        if not self._asked().section:
            raise InputError("This is the first section")
        self.go(self._asked().section - 1, self._asked().structure)

    def following(self) -> None:
        """The same structure a section further on."""
        if self._asked().section == self.session.images.num_sections - 1:
            raise InputError("This is the last section")
        self.go(self._asked().section + 1, self._asked().structure)

    def pick(self) -> None:
        """Shows what is under the pointer: what was traced there, or what the network sees."""
        question = self._asked()
        place = tuple(round(x) for x in self.viewer.cursor.position[-2:])
        labels = self.session.annotations.labels_of(question.section, self.session.images)
        if not all(0 <= x < size for x, size in zip(place, labels.shape, strict=True)):
            raise InputError("The pointer is not on the section")
        structure = int(labels[place])
        if structure == UNLABELLED and question.segmentation is not None:
            structure = int(question.segmentation[place])
        if structure == UNLABELLED:
            raise InputError("Nothing is known of what is under the pointer")
        self.go(question.section, structure)

    def set_range(self, structure: int, span: Span) -> None:
        """Another first and last section of a structure; the strokes stay."""

        def shown(event: Event) -> None:
            self._due = True
            if not self.waiting:
                self._again()
            self.message = f"Changed: {event_message(event, self.session.images.sections)}"

        self._work("changing the range", lambda: self.session.set_range(structure, span), shown)

    def change(self, name: str, *arguments: Any) -> None:
        """Changes classes or sections by a method of the session; strokes stay with their pair."""
        place = self._place()
        self._leave()

        def changed() -> Then:
            return self._then(getattr(self.session, name)(*arguments), place)

        def show(then: Then) -> None:
            self._due = True
            self._show_changed(then)
            self.message = then.event["text"][:1].upper() + then.event["text"][1:]

        self._work("changing that", changed, show)

    def _then(self, event: Event, place: tuple[int, int] | None) -> Then:
        """The pair of permanent numbers after a change of classes or sections, if it still is."""
        pair = None if place is None else self.session.pair_at(*place)
        if pair is None:
            return Then(event, self.session.next_question(), False)
        return Then(event, self._ask(*pair), True)

    def _show_changed(self, then: Then) -> None:
        self.colours = _colours(self.session)
        self._show(then.question, chosen=self.chosen and then.same)

    def begins_here(self) -> None:
        """The section shown is the structure's first."""
        question = self._asked()
        last = self.span(question.structure)[1]
        self.set_range(question.structure, (question.section, max(last, question.section)))

    def ends_here(self) -> None:
        """The section shown is the structure's last."""
        question = self._asked()
        first = self.span(question.structure)[0]
        self.set_range(question.structure, (min(first, question.section), question.section))

    def let_truth_answer(self) -> None:
        """In a demonstration: the truth is the answer."""
        question = self._asked()
        truth = self.session.true_mask(question.section, question.structure)
        self.layer.close_polygon()
        put(self.layer, self._free(truth))
        self._from_proposal = False
        if held(self.layer).any():
            self._store(sure=True)
        else:
            self.absent()

    def corner_back(self) -> None:
        """Takes back the corner of the polygon that was set last."""
        self._asked()
        if not self.layer.take_corner_back():
            raise InputError("There is no corner to take back; Ctrl+Z takes back a stroke")

    # How the section is seen.

    def less_contrast(self) -> None:
        """Tells more shades apart, each less."""
        layers.change_contrast(self._layer(layers.IMAGE), 1.25)

    def more_contrast(self) -> None:
        """Tells fewer shades apart, each more."""
        layers.change_contrast(self._layer(layers.IMAGE), 0.8)

    def darker(self) -> None:
        """Dark shades darker: a larger gamma."""
        self._change(layers.IMAGE, "gamma", 1.25, 0.2, 2.0)

    def brighter(self) -> None:
        """Dark shades brighter: a smaller gamma."""
        self._change(layers.IMAGE, "gamma", 0.8, 0.2, 2.0)

    def fainter(self) -> None:
        """What lies over the section lets more of it through."""
        for name in layers.OVER:
            self._change(name, "opacity", 0.8, 0.05, 1.0)

    def stronger(self) -> None:
        """What lies over the section lets less of it through."""
        for name in layers.OVER:
            self._change(name, "opacity", 1.25, 0.05, 1.0)

    def _change(self, name: str, what: str, by: float, least: float, most: float) -> None:
        layer = self._layer(name)
        setattr(layer, what, min(max(getattr(layer, what) * by, least), most))

    def _layer(self, name: str) -> Any:
        if name not in self.viewer.layers:
            raise InputError("No section is shown")
        return self.viewer.layers[name]

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
        if outcomes and asked and self.session.network.through > asked.network:
            # What is shown stays: what the network knows now is offered.
            self._offered = self._beside(lambda: self.session.next_question(propose=False))
            self._see_offer()
        return bool(outcomes) or news

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
        self.viewer.mouse_drag_callbacks.remove(self._drag)
        self.viewer.camera.events.zoom.disconnect(self._fit_brush)
        return self._behind.end()

    # What the window reads.

    @property
    def doing(self) -> str:
        """What is done beside the window, a few words, or ''."""
        return "" if self._pending is None else self._pending.words

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

    # How it is done.

    def _bind(self, provider: KeymapProvider) -> None:
        """The keys of a viewer or a layer do what the buttons do."""
        for action in (*self.actions, *VIEW, Action("Backspace", "corner_back", "")):
            provider.bind_key(
                action.key.upper() if len(action.key) == 1 else action.key,
                lambda _provider, name=action.name: self.do(name),
                overwrite=True,
            )

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
        self.layer.resume(start.corners)
        if first:
            self._brush, self.layer.filled = self.layer.brush_size, self._filled
            for name in layers.LAYERS:  # a layer's own keys come before a viewer's
                self._bind(self.viewer.layers[name])
        self._clock.begin(start.seconds, held(self.layer))
        self._drafts.begin(Draft(nothing, False, 0.0) if begun else self._unturned_draft())

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

    def _again(self) -> None:
        """Shows the same pair after what is known of it changed; the strokes stay."""
        if self.question is None:
            return self._next()
        draft, (section, structure) = self._draft(), self._pair
        begun = draft if draft.any() else None
        self._work(
            "looking at that pair",
            lambda: self._ask(section, structure),
            lambda question: self._show(question, chosen=self.chosen, begun=begun),
        )

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

    # What is done beside the window.

    def _work(self, words: str, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Does `call` beside the window, and `then` with what comes of it on the window's thread.

        Args:
          words: what is done.
          call: touches the session alone.
          then: may call this again.
        """

        def measured() -> Known:
            before = len(self.session.events)
            result = call()
            if len(self.session.events) == before:
                return Known(result, self.progress, self.missing)
            return Known(result, self.session.progress(), without_outline(self.session))

        def known(found: Known) -> None:
            self.progress, self.missing = found.progress, found.missing
            then(found.result)

        self._pending = Pending(words, self._beside(measured), known)
        if not self._poll(self._patience) and self.question is not None and self.layer.editable:
            self._tool, self.layer.editable = self.layer.mode, False  # strokes would be lost

    def _beside(self, call: Callable[[], Any]) -> Future:
        if self._patience is not None:
            return beside(call)
        future: Future = Future()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future

    def _poll(self, seconds: float | None) -> bool:
        """Waits so long for what is done beside the window, and goes on; whether it did."""
        pending = self._pending
        if pending is None:
            return False
        try:
            pending.result.exception(seconds)
        except TimeoutError:
            return False
        self._pending = None
        if self._tool:
            self.layer.editable, self.layer.mode, self._tool = True, self._tool, ""
        pending.then(pending.result.result())
        return True

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
        if self.question is not None and not self.doing:
            if not self.layer.visible:
                self.layer.visible, self.layer.mode = True, "paint"
                self.message = f"The layer '{layers.TRACE}' was hidden; it is shown again"
            elif viewer.layers.selection.active is not self.layer:
                self.message = f"To trace, choose the layer '{layers.TRACE}' in the list first"
        if before != self.message:
            self._changed()

    def _filled(self, count: int) -> None:
        self.message = f"Filled, {count} px; Ctrl+Z takes that back"
        self._changed()

    def _fit_brush(self) -> None:
        """A brush that nobody has chosen can be seen at any zoom."""
        if self.question is not None and self.layer.brush_size == self._brush:
            self._brush = layers.brush_at(self.viewer.camera.zoom)
            self.layer.brush_size = self._brush

    def _count_time(self) -> None:
        strokes = None if self.question is None else held(self.layer)
        self._clock.count(self.viewer.cursor.position, strokes)

    def _draft(self) -> Draft:
        """What is traced now."""
        return Draft(held(self.layer), self._from_proposal, self._clock.seconds, self.layer.corners)

    def _keep_draft(self, at_once: bool = False) -> None:
        if self.question is not None and not self.waiting:
            draft = self._unturned_draft()
            self._say(self._drafts.keep(*self._at[:2], draft, at_once=at_once))

    def _say(self, failure: str) -> None:
        """Shows what failed, if anything did."""
        self.message = failure or self.message


def _colours(session: Session) -> list[Colour]:
    drawn = session.images.colours or class_colours(session.images.num_classes).tolist()
    return [GREY, *map(tuple, drawn[1:])]


def _learns_first(session: Session, question: Question | None) -> bool:
    """Whether the network has yet to learn from what was answered before the question."""
    return question is not None and not question.example and session.behind() > 0


def _take_pixels(
    session: Session,
    question: Question,
    mask: np.ndarray,
    how: str,
    seconds: float,
    correcting: bool,
) -> Stored:
    """Stores an answer [H, W] bool to which the others on its section give what they hold of it."""
    section, structure, names = question.section, question.structure, session.images.names
    taken: list[str] = []
    if correcting:  # else a section of which all is answered would have pixels of no class
        session.withdraw(_answer_to(session, section, names[structure]))
    for _ in range(2 * len(names)):
        labels = session.annotations.labels_of(section, session.images)
        holders = np.unique(labels[mask & (labels != UNLABELLED)]).tolist()
        # What one gives up goes to those that were traced around it later, if there are any.
        if not holders:
            break
        other = holders[0]
        left = (labels == other) & ~mask
        taken.append(f"'{names[other]}'")
        if left.any():
            session.store_answer(section, other, left)
        else:
            session.withdraw(_answer_to(session, section, names[other]))
    else:
        raise InputError(
            f"{pair_name(question)}: the others do not give up its pixels; correct them"
        )
    stored = session.store_answer(
        section, structure, mask, question=question, how=how, seconds=seconds
    )
    givers = f"; taken from {', '.join(dict.fromkeys(taken))}" if taken else ""
    return stored._replace(message=stored.message + givers)


def _answer_to(session: Session, section: int, name: str) -> int:
    """The number of the answer that counts."""
    return next(
        event["number"]
        for event in effective_answers(session.events)
        if (event["section"], event["structure"]) == (section, name)
    )
