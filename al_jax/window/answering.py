"""What a person answers: how what is traced, proposed or seen to be absent is stored."""

import numpy as np

from al_jax.core.stack import InputError
from al_jax.exchange.doubts import what_is_odd
from al_jax.window.layers import fill_outline, held, put
from al_jax.window.lines import is_line
from al_jax.window.shown import Shown
from al_jax.window.text import held_by, pair_name


class Answering(Shown):
    """The part of a `Controller` that answers. All of it may raise InputError, which `do` says."""

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
        self._keep(mask, self._how(mask), take=True)

    def accept(self) -> None:
        """The network's proposal is the answer."""
        question = self._asked()
        own, seen = self._free(held(self.layer)), question.proposal
        by_hand = self._drawn and not self._from_proposal
        if by_hand and seen is not None and not np.array_equal(own, self._free(seen)):
            self._ask_twice("You have traced something; a again takes the proposal")
        if self._put_proposal():
            self._store(sure=True)

    def take(self) -> None:
        """The network's proposal goes into the layer, to be corrected."""
        if self._put_proposal():
            self._hide_proposal()
            self.message = "The proposal is yours to correct; s stores it, i shows it beneath"

    def _put_proposal(self) -> bool:
        """Whether the proposal is in the layer; if there is one by now, it is shown first."""
        question = self._asked()
        if question.proposal is None:
            if self.session.network.proposes and not self.correcting:
                self._again("The network has learnt since; this is what it proposes")
                return False
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
        self.layer.close_path()
        put(self.layer, proposal)
        self._from_proposal = True
        return True

    def from_neighbour(self) -> None:
        """The outline of the nearest section where it was traced goes into the layer."""
        question = self._asked()

        def shown(found: tuple[int, np.ndarray]) -> None:
            source, mask = found
            there = self._free(mask)
            if not there.any():
                raise InputError(f"What section {self._section(source)} shows was traced before")
            self.layer.close_path()
            put(self.layer, there)
            self._from_proposal = False
            self.message = (
                f"The outline of section {self._section(source)} is yours to correct; s stores it"
            )

        self._work(
            "looking at its neighbours",
            lambda: self.session.neighbour_outline(question.section, question.structure),
            shown,
        )

    def _section(self, number: int) -> str:
        return self.session.images.sections[number]

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

    def let_truth_answer(self) -> None:
        """In a demonstration: the truth is the answer."""
        question = self._asked()
        truth = self.session.true_mask(question.section, question.structure)
        self.layer.close_path()
        put(self.layer, self._free(truth))
        self._from_proposal = False
        if held(self.layer).any():
            self._store(sure=True)
        else:
            self.absent()

    def cut(self) -> None:
        """Takes the scissors into the hand."""
        self._asked()
        self.layer.mode = "pick"
        self.layer.wire.prepare()
        self.message = "Click along the edge; a double click, or one at the start, closes and fills"

    def smart_brush(self) -> None:
        """Takes the smart brush into the hand."""
        self._asked()
        self.layer.mode = "transform"
        self.message = "Draw along the inside of the edge; let go, and the line grows up to it"

    def close_path(self) -> None:
        """Closes the polygon or the outline under way, and fills it."""
        self._asked()
        if not self.layer.under_way:
            raise InputError("There is no outline under way; o fills what is closed")
        self.layer.close_path()

    def drop_path(self) -> None:
        """Forgets the polygon or the outline under way."""
        self._asked()
        self.layer.drop_path()

    def corner_back(self) -> None:
        """Takes back the corner of the polygon, or the click, that was set last."""
        self._asked()
        if not self.layer.take_corner_back():
            raise InputError("There is no corner to take back; Ctrl+Z takes back a stroke")

    def _how(self, mask: np.ndarray) -> str:
        """How a mask [H, W] bool was made, as the layer shows."""
        proposal = self._asked().proposal
        if proposal is not None and np.array_equal(mask, self._free(proposal)):
            return "accepted"
        return "corrected" if self._from_proposal else "traced"

    def _checked(self) -> np.ndarray:
        """[H, W] bool, what is traced; a person is asked first where it is hardly meant so."""
        question = self._asked()
        if self.layer.under_way:
            self._ask_twice(
                f"The {self.layer.under_way} is not finished: a double click ends it, Backspace "
                "takes a corner back; the same key again closes and stores it",
            )
            self.layer.close_path()
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
        how = self._how(mask)
        # What lies on others is clipped, and reported.
        self._keep(layer & question.inside, how, widen=widen)

    def _keep(self, mask: np.ndarray, how: str, *, widen: bool = False, take: bool = False) -> None:
        """Stores a mask [H, W] bool as the answer; see `Session.store_answer`."""
        question, seconds = self._asked(), self._clock.seconds
        self._work(
            "storing the answer",
            lambda: self.session.store_answer(
                question.section,
                question.structure,
                mask,
                question=question,
                how=how,
                seconds=seconds,
                widen=widen,
                take=take,
            ),
            self._answered,
        )
