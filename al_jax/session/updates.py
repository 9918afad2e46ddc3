"""The network behind the person: trained in pieces, from copies that no answer changes."""

import dataclasses
import functools
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import checkpoints
from al_jax.driver import check_loss
from al_jax.learner import Learner, Lessons, assess, init_learner, learn_first, relearn
from al_jax.networks import make_network, with_weights
from al_jax.oracle import Config
from al_jax.session.annotations import Annotations
from al_jax.session.folder import Content
from al_jax.simulation import Keys
from al_jax.stack import UNLABELLED, Images, InputError
from al_jax.state import ALState
from al_jax.training import Recipe, Sections, TrainState, make_sections
from al_jax.xla import compiler_options

PIECE = 15  # most epochs of the long training between two looks
SECONDS = 10.0  # least time between two checkpoints of the long training
NETWORK = "network"


class Network(NamedTuple):
    """A network, and how far it is.

    Attributes:
      learner: weights and Dice history; None before the first training.
      epochs: of the long training before the first query that are done.
      trained: that training is complete.
      through: number of the last event that it has seen.
    """

    learner: Learner | None
    epochs: int
    trained: bool
    through: int

    @property
    def dice(self) -> jax.Array | None:
        """[2, C], the history of Eq. 6; None where nothing is known."""
        return None if self.learner is None else self.learner.dice

    @property
    def begun(self) -> bool:
        """Whether it has learnt anything."""
        return self.epochs > 0


class Trained(NamedTuple):
    """What a piece of training did.

    Attributes:
      first: it is a part of the long training before the first query.
      fraction: of that training that is done; 1 for an update.
      loss: its mean.
      seconds: that it took.
      through: number of the last event that the network has seen now.
    """

    first: bool
    fraction: float
    loss: float
    seconds: float
    through: int


class Trainer:
    """Keeps what training needs on the device; for one thread at a time."""

    def __init__(self, folder: pathlib.Path, content: Content, keys: Keys, empty: ALState):
        """Reads nothing of the images yet; `empty` is the state before any answer."""
        self._folder, self._images, self._keys = folder / NETWORK, content.images, keys
        self._weights, self._empty = content.weights, empty
        self.config = content.settings.config
        self.lessons = lessons_of(self.config, content.images.num_classes)
        total = self.lessons.initial_epochs
        # Pieces of one length: each other length would be another program.
        self._epochs = max(n for n in range(1, PIECE + 1) if total % n == 0)
        self._sections: Sections | None = None
        self._labels: jax.Array | None = None
        self._copied: dict[int, np.ndarray] = {}
        self._programs: dict[str, Callable] = {}
        self._kept, self._when = (-1, -1), time.monotonic()

    def latest(self, events: int) -> tuple[Network, list[str]]:
        """The newest network of the folder that can be read, and what was wrong with newer ones."""
        nothing, notices = Network(None, 0, False, 0), list[str]()
        if not self._folder.exists():
            return nothing, notices
        like = (jax.eval_shape(self._new_learner), _counts(nothing))
        while True:
            saved = checkpoints.open_checkpoints(self._folder)
            step = saved.latest_step()
            try:
                found = None if step is None else checkpoints.restore(saved, like)
            except InputError as error:
                notices.append(f"{error}; the network learns again what it misses")
                shutil.rmtree(self._folder / str(step), ignore_errors=True)
                continue
            finally:
                saved.close()
            if found is None:
                return nothing, notices
            learner, counts = found[1]
            epochs, trained, through = (int(number) for number in counts)
            # A ledger taken from an older copy has fewer events.
            network = Network(learner, epochs, bool(trained), min(through, events))
            self._kept = _mark(network)
            return network, notices

    def keep(self, network: Network, *, always: bool = False) -> None:
        """Writes a checkpoint, if it is time for one.

        Raises:
          InputError: it cannot be written.
        """
        if network.learner is None or _mark(network) == self._kept:
            return
        if not always and time.monotonic() - self._when < SECONDS:
            return
        saved = checkpoints.open_checkpoints(self._folder)
        try:
            step = (saved.latest_step() or 0) + 1
            checkpoints.save(saved, step, (network.learner, _counts(network)))
        finally:
            saved.close()
        self._kept, self._when = _mark(network), time.monotonic()

    def step(
        self, network: Network, now: Annotations, through: int, pairs: Sequence[tuple[int, int]]
    ) -> tuple[Network, Trained]:
        """The next piece of the long training, or an update.

        Args:
          network: the newest.
          now: what it learns from.
          through: number of the last event in `now`.
          pairs: the answers in it that the network has not seen, in their order.

        Raises:
          InputError: a loss is not finite.
        """
        began = time.monotonic()
        learner = network.learner
        if learner is None:
            learner = self._new_learner()
        inputs = self._inputs(now)
        if network.trained:
            answered = np.array(pairs[-1] if pairs else _unseen_pair(now), np.int32)
            learner, losses, _ = self._run("update", learner, answered, *inputs)
            epochs, rate = network.epochs, self.config.query_learning_rate
        else:
            first, rate = np.int32(network.epochs), self.config.learning_rate
            train_state, losses = self._run("piece", learner.train, first, *inputs[:2])
            epochs = network.epochs + self._epochs
            learner = learner.replace(train=train_state)
            if epochs == self.lessons.initial_epochs:
                learner, _ = self._run("assess", train_state, *inputs)
        losses = np.append(losses, optax.global_norm(learner.train.params))
        check_loss(losses, f"training step {{}} with a learning rate of {rate:g}", 1)
        done = epochs == self.lessons.initial_epochs
        return (
            Network(learner, epochs, done, through),
            Trained(
                first=not network.trained,
                fraction=1.0 if network.trained else epochs / self.lessons.initial_epochs,
                loss=float(losses[:-1].mean()),
                seconds=time.monotonic() - began,
                through=through,
            ),
        )

    def compile(self, now: Annotations) -> None:
        """Compiles all that `step` will run."""
        learner = jax.eval_shape(self._new_learner)
        inputs = self._inputs(now)
        self._program("piece", learner.train, np.int32(0), *inputs[:2])
        self._program("assess", learner.train, *inputs)
        self._program("update", learner, np.zeros(2, np.int32), *inputs)

    def _inputs(self, now: Annotations) -> tuple[ALState, Sections, jax.Array]:
        """The state with all labels, the sections, and where there are answers."""
        if self._sections is None:
            self._sections = make_sections(_aliased(self._images))
            self._labels = jnp.full(self._images.inside.shape, UNLABELLED, jnp.int16)
        for section in self._copied.keys() | now.labels.keys():
            row = now.labels.get(section)
            if row is not self._copied.get(section):
                new = now.labels_of(section, self._images)
                self._labels = _write_row(self._labels, section, new)
        self._copied = dict(now.labels)
        return now.state.replace(labels=self._labels), self._sections, now.state.seen.any(1)

    def _new_learner(self) -> Learner:
        draw = jax.jit(init_learner, static_argnames="lessons")
        learner = draw(self._keys.weights, self._empty, lessons=self.lessons)
        if self._weights is None:
            return learner
        train_state = learner.train
        params = with_weights(train_state.params, self._weights)
        return learner.replace(train=train_state.replace(params=params))

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._program(name, *arguments)(*arguments)

    def _program(self, name: str, *arguments: Any) -> Callable:
        """The compiled program of that name; it is compiled before its first use, and once."""
        if name not in self._programs:
            programs: dict[str, Callable] = {
                "update": self._update,
                "assess": self._assess,
                "piece": self._piece,
            }
            program = jax.jit(programs[name], compiler_options=compiler_options())
            self._programs[name] = program.lower(*arguments).compile()
        return self._programs[name]

    def _update(
        self,
        learner: Learner,
        answered: jax.Array,
        state: ALState,
        sections: Sections,
        where: jax.Array,
    ) -> tuple:
        pair = (answered[0], answered[1])
        return relearn(learner, state, sections, self.lessons, answered=pair, where=where)

    def _assess(
        self, train_state: TrainState, state: ALState, sections: Sections, where: jax.Array
    ) -> tuple:
        return assess(train_state, state, sections, self.lessons, where=where)

    def _piece(
        self,
        train_state: TrainState,
        first: jax.Array,
        state: ALState,
        sections: Sections,
    ) -> tuple:
        return learn_first(
            self._keys.training,
            train_state,
            state,
            sections,
            self.lessons,
            first_epoch=first,
            epochs=self._epochs,
        )


def lessons_of(config: Config, num_classes: int) -> Lessons:
    """What the network of a session learns: the settings of a simulation by BDa."""
    shared = {field.name for field in dataclasses.fields(Config)}
    names = {field.name for field in dataclasses.fields(Lessons)} & shared - {"dropout_samples"}
    recipe = Recipe(make_network(config.network, num_classes), config.training)
    return Lessons(recipe=recipe, **{name: getattr(config, name) for name in names})


def _unseen_pair(now: Annotations) -> np.ndarray:
    """A pair of which no Dice is known: an update after a withdrawal alone learns none."""
    return np.argwhere(~now.state.seen)[0]


@functools.partial(jax.jit, donate_argnums=0)
def _write_row(labels: jax.Array, section: int, row: jax.Array) -> jax.Array:
    return labels.at[section].set(row)


def _aliased(images: Images) -> Images:
    """The same arrays for JAX, which on a CPU are the pages of their files, not a copy."""
    return dataclasses.replace(
        images,
        images=jax.device_put(images.images, may_alias=True),
        inside=jax.device_put(images.inside, may_alias=True),
    )


def _counts(network: Network) -> np.ndarray:
    return np.array([network.epochs, network.trained, network.through], np.int64)


def _mark(network: Network) -> tuple[int, int]:
    return network.epochs, network.through
