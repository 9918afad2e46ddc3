"""How the network of an open session learns from what is answered, piece by piece."""

import contextlib
import threading
from collections.abc import Callable

import numpy as np

from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import compatible
from al_jax.model.protocol import class_layers
from al_jax.session import annotations as state_of
from al_jax.session import question as questions
from al_jax.session.annotations import Annotations
from al_jax.session.conversion import converted
from al_jax.session.events import CHANGES, TEACHING, Event, effective, effective_answers, pair_of
from al_jax.session.network import Network
from al_jax.session.question import Rule, Segmented
from al_jax.session.storage import Content, Settings
from al_jax.session.trainer import Trained, Trainer
from al_jax.session.views import View, view_after


class Learning:
    """The part of a `Session` whose network learns; another thread may call it."""

    images: Images
    settings: Settings
    events: list[Event]
    network: Network
    notices: list[str]
    _stored: Content
    _written: list[Event]
    _view: View
    _rule: Rule
    _changed: bool
    _held: bool
    _learnt: Network
    _trainer: Trainer
    _lock: threading.RLock
    _training: threading.Lock
    _saving: threading.Lock
    _compile_first: Callable[[], None]
    _check_held: Callable[[], None]
    _newest: Callable[[], tuple[Annotations, Network]]
    _predicted: Callable[[Network, Annotations, int], Segmented]

    def behind(self) -> int:
        """Answers that the network has not seen yet."""
        # No lock: a window asks ten times a second, and an answer may hold it while it compiles.
        return len(self._unseen(("answer", "absent")))

    def train_step(self) -> Trained | None:
        """One piece of training, if there is something to learn; for another thread.

        Before the first query: a part of the long training, once no first example is left to ask.
        Then one update, over all answers that are stored when it begins. One runs at a time.

        Returns:
          What was done, or None if there is nothing to learn now.

        Raises:
          InputError: a loss is not finite; the network stays as it was.
        """
        self._check_held()
        with self._training:
            with self._lock:
                (now, network), through = self._newest(), len(self.events)
                pairs = [pair_of(event, self.images) for event in effective_answers(self.events)]
                if not (network.trained or network.begun):
                    if self._waits_for_examples(now, network):
                        return None
                elif network.trained and not self._unseen(TEACHING):
                    return None
            newer, trained = self._trainer.step(network, now, through, pairs)
            with self._lock:
                self.network = self._learnt = newer
            with self._saving:
                if not self._held:
                    return None
                self._trainer.checkpoints.save(newer)
            return trained

    def _waits_for_examples(self, now: Annotations, network: Network) -> bool:
        """A network that learns from scratch begins once no first example is left to ask."""
        if self.settings.strategy.draw is not None:  # which asks for none
            return not now.labels
        return not (now.labels or network.warm_start) or questions.wants_examples(
            now, self.settings.strategy
        )

    def warm_up(self) -> None:
        """Compiles what an answer and `train_step` need, for another thread while nothing is lost.

        An answer first: XLA compiles one program after the other, and a training takes it minutes.
        """
        with self._training:
            (now, network), images = self._newest(), self.images
            left = np.argwhere(compatible(now.state))
            if len(left):
                section, structure = left[0].tolist()
                free = now.labels_of(section, images) == UNLABELLED
                with contextlib.suppress(InputError):  # it is not stored, so it need not be right
                    state_of.answer(now, images, section, structure, free & images.inside[section])
                questions.of_pair(now, network, self._rule, section, structure)
            untaught = self._trainer.compile(network, now)
            self._predicted(untaught, now, 0)  # else the first proposal would wait for it

    def compile_by(self, compile_first: Callable[[], None]) -> None:
        """Has `compile_first` called by the thread that trains, before anything long is compiled.

        It may compile the same in another process, by its `warm_up`, into JAX's cache on the disk.
        """
        self._compile_first = self._trainer.before_compiling = compile_first

    def save_network(self) -> None:
        """Writes the newest network as a checkpoint, unless it is there."""
        self._check_held()
        with self._saving:
            self._trainer.checkpoints.save(self._learnt, always=True)

    def _carried(self) -> Network:
        """The network that has learnt last, for the classes and sections that there are now."""
        if not self._changed:
            return self._learnt
        if self._learnt.through == 0 and not self._learnt.begun:
            return self._trainer.nothing()
        through = self._learnt.through
        old = view_after(self._stored, self._written[:through])
        answered = [e for e in effective_answers(self.events) if e["number"] <= through]
        pairs = [pair_of(event, self.images) for event in answered]
        layers = class_layers(self.settings.config.network(self.images.num_classes))
        found = converted(self._learnt, old, self._view, layers, pairs)
        if found is None:
            self.notices.append("the network does not fit its classes any more; it learns again")
            return self._trainer.nothing()
        return found

    def _unseen(self, kinds: tuple[str, ...]) -> list[Event]:
        """Events that the network has not seen, but for those that were withdrawn meanwhile."""
        later = [e for e in self.events[self.network.through :] if e["event"] in kinds]
        later = [e for e in later if not self._takes_back_a_name(e)]
        left = {event["number"] for event in effective(self.events)}
        return [e for e in later if e["event"] == "withdraw" or e["number"] in left]

    def _takes_back_a_name(self, event: Event) -> bool:
        """Whether it takes back a change that the network did not learn from."""
        if event["event"] != "withdraw":
            return False
        kind = self._written[event["withdrawn"] - 1]["event"]
        return kind in CHANGES and kind not in TEACHING
