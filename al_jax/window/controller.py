"""A person's place at a session: what each key does, without any window.

`Controller` shows questions in a viewer (a `napari.components.ViewerModel` is enough), turns what
the layer to trace in holds into answers, keeps drafts, and lets the network train meanwhile. Its
methods are called by one thread, the window's.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.utils.key_bindings import KeymapProvider

from al_jax.core.answers import Span
from al_jax.core.colours import class_colours
from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.exchange.doubts import what_is_odd
from al_jax.session import Question, Session, Stored, Trained
from al_jax.session.changes import turned, turned_back
from al_jax.session.events import CHANGES
from al_jax.session.storage import TRUTH
from al_jax.window import layers
from al_jax.window.background import Background
from al_jax.window.clock import WorkClock
from al_jax.window.drafts import Draft, DraftWriter, latest_draft, read_draft
from al_jax.window.layers import Tracing, fill_outline, held, put
from al_jax.window.text import event_message, opening, pair_name

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


def nothing() -> None:
    """Does nothing."""


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
        changed: Callable[[], None] = nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shows where the person was: the draft that was written last, else the next question.

        Args:
          session: open.
          viewer: where to show it.
          wait: ask only when the network has learnt from all answers, as in the paper.
          changed: called after each key.
          clock: seconds.
        """
        self.session, self.viewer = session, viewer
        self.question: Question | None = None
        self.chosen = self.correcting = self.waiting = False
        self.message = opening(session)
        self.failure: str | None = None
        self.learnt: Trained | None = None
        self.colours = _colours(session)
        self.layer: Tracing
        has_truth = (session.folder / TRUTH).exists()
        self.actions = (*ACTIONS, DEMONSTRATION) if has_truth else ACTIONS
        self._wait, self._changed = wait, changed
        self._clock = WorkClock(clock, viewer.cursor.position)
        self._drafts = DraftWriter(session.folder, clock)
        self._touched = self._from_proposal = self._due = False
        self._sure: tuple[str, int, int] | None = None
        self._lost = ""
        self._behind: Background[Trained] = Background(session.train_step, session.warm_up)
        self._bind(viewer)
        begun = latest_draft(session.folder)
        begun = None if begun is None else session.pair_at(*begun)
        if begun is None or not self.do("go", *begun):
            question = session.next_question()
            self._show(question, chosen=False)
            self._tell_lost()
            self.waiting = wait and _learns_first(session, question)

    def do(self, name: str, *arguments: Any) -> bool:
        """Calls a method by its name; a refusal is the message then. Whether it was done."""
        self._count_time()
        done = True
        try:
            getattr(self, name)(*arguments)
        except InputError as error:
            self.message, done = str(error), False
        self._tell_lost()
        self._changed()
        if self._due:  # not before the next question is there, as both want all cores
            self._due = False
            self._behind.wake()
        return done

    def _tell_lost(self) -> None:
        """A draft that was moved aside is said after what else there is to say."""
        self.message = "; ".join(filter(None, (self.message, self._lost)))
        self._lost = ""

    # What a person does. All of it may raise InputError, which `do` says.

    def store(self, widen: bool = False, sure: bool = False) -> None:
        """The layer is the answer: traced, accepted or corrected, as it shows.

        What looks odd is asked about, unless it is `sure`.
        """
        question = self._asked()
        layer = held(self.layer)
        mask, name = self._free(layer), pair_name(question)
        if not mask.any():
            raise InputError(f"Nothing is traced of {name}; if it is not there, press n")
        if not (widen or self.in_range):
            raise InputError(f"{name} is outside its range; w stores it and widens that")
        how = "corrected" if self._from_proposal else "traced"
        if question.proposal is not None and np.array_equal(mask, self._free(question.proposal)):
            how = "accepted"
        whole = layer & question.inside  # what lies on others is clipped, and reported
        odd = "; ".join(what_is_odd(question, whole, self.session.annotations))
        doubted = (odd, question.section, question.structure)
        if odd and self._sure != doubted and not (sure or how == "accepted"):
            self._sure = doubted
            raise InputError(f"{name}: {odd}. The same key again stores it")
        self._answered(
            self.session.store_answer(
                question.section,
                question.structure,
                whole,
                question=question,
                how=how,
                seconds=self._clock.seconds,
                widen=widen,
            )
        )

    def widen(self) -> None:
        """As `store`, and the range of the structure grows to the section."""
        self.store(widen=True)

    def accept(self) -> None:
        """The network's proposal is the answer."""
        self.take()
        self.store()

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
        put(self.layer, proposal)
        self._from_proposal = True
        self.message = "The proposal is yours to correct; s stores it"

    def fill(self) -> None:
        """What an outline encloses belongs to it."""
        fill_outline(self.layer)

    def absent(self) -> None:
        """The structure is not on the section."""
        question = self._asked()
        sure = ("absent", question.section, question.structure)
        if held(self.layer).any() and not self.correcting and self._sure != sure:
            self._sure = sure
            raise InputError(f"You have traced {pair_name(question)}; n again if it is not there")
        self._answered(
            self.session.store_absent(
                question.section,
                question.structure,
                question=question,
                seconds=self._clock.seconds,
            )
        )

    def skip(self) -> None:
        """Another question; this one comes back when nothing else is left."""
        question = self._asked()
        self.session.skip(question.section, question.structure)
        self.back()
        self.message = f"{pair_name(question)} comes back later"

    def undo(self) -> None:
        """Takes the last answer back, and puts what was traced into the layer."""
        before, place = self.session.annotations, self._place()
        self._leave()
        event = self.session.undo()
        if event is None:
            raise InputError("There is nothing to undo")
        self._due = True
        if event["event"] in CHANGES:
            self._show_changed(place)
            self.message = f"Taken back: {event['text']}"
            return
        message = f"Taken back: {event_message(event, self.session.images.sections)}"
        if "section" in event:
            section = event["section"]
            structure = self.session.images.names.index(event["structure"])
            traced = before.labels_of(section, self.session.images) == structure
            by_proposal = event.get("how") in ("accepted", "corrected")
            draft = Draft(traced, by_proposal, event.get("seconds", 0.0))
            self._leave()
            begun = draft if traced.any() else None  # what was put off may have a draft
            self._show(self._ask(section, structure), chosen=True, begun=begun)
        else:
            self._again()
        self.message = message

    def go(self, section: int, structure: int) -> None:
        """Shows any pair, to answer it, or to correct its answer."""
        question = self._ask(section, structure)
        self.message = ""
        self._leave()
        self._show(question, chosen=True)

    def back(self) -> None:
        """Shows the method's question."""
        self._leave()
        if self._wait and self.busy:
            self.waiting = True
            return
        self._show(self.session.next_question(), chosen=False)

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
        event = self.session.set_range(structure, span)
        self._due = True
        if not self.waiting:
            self._again()
        self.message = f"Changed: {event_message(event, self.session.images.sections)}"

    def change(self, name: str, *arguments: Any) -> None:
        """Changes classes or sections by a method of the session; strokes stay with their pair."""
        place = self._place()
        self._leave()
        event = getattr(self.session, name)(*arguments)
        self._due = True
        self._show_changed(place)
        self.message = event["text"][:1].upper() + event["text"][1:]

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
        put(self.layer, self._free(truth))
        self._from_proposal = False
        if held(self.layer).any():
            self.store(sure=True)
        else:
            self.absent()

    # What happens meanwhile.

    def tick(self) -> bool:
        """To be called some times a second; whether messages have changed."""
        self._count_time()
        self._keep_draft()
        outcomes = self._behind.collect()
        for outcome in outcomes:
            if outcome.error is None:
                self.learnt, self.failure = outcome.result, None
            else:
                self.failure = f"{type(outcome.error).__name__}: {outcome.error}"
                if isinstance(outcome.error, InputError):
                    self.failure = str(outcome.error)
        if self.waiting and not self.busy:
            self.do("back")
            return True
        newer = self.question is None or self.session.network.through > self.question.network
        traced = self.question is not None and held(self.layer).any()
        if outcomes and newer and not (self._touched or self.chosen or traced):
            self.do("back")  # nothing is traced yet: ask by what the network knows now
        return bool(outcomes)

    def retry(self) -> None:
        """Trains again after a failure."""
        self.failure = None
        self._due = True

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until the network has learnt all there is; whether that came about in time."""
        return self._behind.wait(seconds)

    def close(self) -> None:
        """Keeps the stroke under way, and ends the training after its present piece."""
        self._keep_draft(at_once=True)
        self._drafts.close()
        self._behind.end()

    # What the window reads.

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
        for action in self.actions:
            provider.bind_key(
                action.key.upper(),
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
        unsaved, begun = begun is not None, begun or self._begun(question)
        self.question, self.chosen, self.waiting = question, chosen, False
        self._sure, self._touched = None, False
        if question is None:
            if hasattr(self, "layer"):  # nothing was shown yet where all was answered before
                self.layer.editable = False
            return
        n, c = question.section, question.structure
        self.correcting = bool(self.session.annotations.state.annotated[n, c])
        nothing = np.zeros(question.inside.shape, bool)
        answered = self.session.annotations.labels_of(n, self.session.images) == c
        *_, turns = self.session.place_of(n, c)
        start = begun or Draft(answered, False, 0.0)
        self._from_proposal = start.from_proposal
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
        self.layer.mouse_drag_callbacks.append(self._touch)
        for name in layers.LAYERS:  # whichever is active: a layer's own keys come before a viewer's
            self._bind(self.viewer.layers[name])
        self._clock.begin(start.seconds, held(self.layer))
        self._drafts.begin(nothing if unsaved else turned_back(held(self.layer), turns))

    def _begun(self, question: Question | None) -> Draft | None:
        """The draft of a question's pair; `_lost` says what was moved aside."""
        if question is None:
            return None
        n, c, turns = self.session.place_of(question.section, question.structure)
        draft, lost = read_draft(self.session.folder, n, c, question.inside.shape)
        self._lost = lost or self._lost
        return None if draft is None else draft._replace(mask=turned(draft.mask, turns))

    def _place(self) -> tuple[int, int] | None:
        """The pair that is shown, by its permanent numbers."""
        question = self.question
        if question is None:
            return None
        return self.session.place_of(question.section, question.structure)[:2]

    def _show_changed(self, place: tuple[int, int] | None) -> None:
        """Shows the same pair, if there still is one, of other classes or sections."""
        self.colours = _colours(self.session)
        pair = None if place is None else self.session.pair_at(*place)
        question = self.session.next_question() if pair is None else self._ask(*pair)
        self._show(question, chosen=self.chosen and pair is not None)

    def _again(self) -> None:
        """Shows the same pair after what is known of it changed; the strokes stay."""
        if self.question is None:
            self._show(self.session.next_question(), chosen=False)
            return
        draft = self._draft()
        question = self._ask(self.question.section, self.question.structure)
        self._show(question, chosen=self.chosen, begun=draft if draft.mask.any() else None)

    def _answered(self, stored: Stored) -> None:
        """What follows an answer: its draft goes, the network learns, the next question comes."""
        question = self._asked()
        place = self.session.place_of(question.section, question.structure)[:2]
        self._say(self._drafts.drop(*place, held(self.layer)))
        self.failure, self._due = None, True
        if self._wait:
            self.waiting = True
        else:
            self._show(self.session.next_question(), chosen=False)
        self.message = stored.message

    def _leave(self) -> None:
        """Before another pair is shown: what was traced of this one is kept."""
        self._keep_draft(at_once=True)
        self._say(self._drafts.finish())

    def _free(self, mask: np.ndarray) -> np.ndarray:
        """What of a mask was not traced before and is inside the image."""
        question = self._asked()
        return mask & question.inside & (question.labels == UNLABELLED)

    def _touch(self, _layer: Tracing, _event: Any) -> None:
        self._touched = True
        if self.message:  # of what came before
            self.message = ""
            self._changed()

    def _count_time(self) -> None:
        strokes = None if self.question is None else held(self.layer)
        self._clock.count(self.viewer.cursor.position, strokes)

    def _draft(self) -> Draft:
        """What is traced now."""
        return Draft(held(self.layer), self._from_proposal, self._clock.seconds)

    def _keep_draft(self, at_once: bool = False) -> None:
        question = self.question
        if question is not None and not self.waiting:
            section, structure, turns = self.session.place_of(question.section, question.structure)
            draft = self._draft()
            draft = draft._replace(mask=turned_back(draft.mask, turns))
            self._say(self._drafts.keep(section, structure, draft, at_once=at_once))

    def _say(self, failure: str) -> None:
        """Shows what failed, if anything did."""
        self.message = failure or self.message


def _colours(session: Session) -> list[Colour]:
    drawn = session.images.colours or class_colours(session.images.num_classes).tolist()
    return [GREY, *map(tuple, drawn[1:])]


def _learns_first(session: Session, question: Question | None) -> bool:
    """Whether the network has yet to learn from what was answered before the question."""
    return question is not None and not question.example and session.behind() > 0
