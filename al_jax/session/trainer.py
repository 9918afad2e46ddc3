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

from al_jax.core.stack import UNLABELLED, Images, InputError
from al_jax.core.state import ALState, candidates, first_examples
from al_jax.files import checkpoints
from al_jax.learner.config import Keys, lessons_for
from al_jax.learner.learner import (
    Learner,
    assess,
    check_loss,
    init_learner,
    learn_first,
    relearn,
    remember,
)
from al_jax.learner.transfer import Known, settled_reduction, with_experience
from al_jax.model.networks import with_weights
from al_jax.model.training import (
    Sections,
    TrainState,
    make_sections,
    reduce_sections,
    suited_reduction,
    traced_extent,
)
from al_jax.session.annotations import Annotations
from al_jax.session.storage import Content, forget_pages
from al_jax.xla import compiler_options, trim_memory

PIECE = 45  # most steps of the long training between two looks
SECONDS = 10.0  # least time between two checkpoints of the long training
NETWORK = "network"


class Network(NamedTuple):
    """A network, and how far it is.

    Attributes:
      learner: weights and Dice history; None before the first training, unless they were carried
        over from earlier stacks.
      steps: of the long training before the first query that are done.
      trained: that training is complete.
      through: number of the last event that it has seen.
      carried: it began with what earlier stacks taught.
      reduction: by how much sections are reduced for it; settled when it begins to learn.
    """

    learner: Learner | None
    steps: int
    trained: bool
    through: int
    carried: bool
    reduction: int

    @property
    def dice(self) -> jax.Array | None:
        """[2, C], the history of Eq. 6; None where nothing is known."""
        return None if self.learner is None else self.learner.dice

    @property
    def draws(self) -> bool:
        """Whether its proposals are worth a look."""
        return self.learner is not None and (self.trained or self.carried)

    @property
    def begun(self) -> bool:
        """Whether it has learnt anything."""
        return self.steps > 0


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

    def __init__(
        self,
        folder: pathlib.Path,
        content: Content,
        keys: Keys,
        empty: ALState,
        known: Known | None = None,
    ):
        """Reads nothing of the images yet; `empty` is the state before any answer."""
        self._earlier, self._known = content.earlier, known
        self._folder, self._images, self._keys = folder / NETWORK, content.images, keys
        self._weights, self._empty = content.weights, empty
        self.config = content.settings.config
        self.lessons = lessons_for(content.images.num_classes, self.config)
        self._given = settled_reduction(self.config.training, known)
        total = self.lessons.initial_steps
        # Whether anything comes before the first query: a training, or examples of new classes.
        self._begins = total > 0 or bool(first_examples(empty, candidates(empty)).any())
        # Pieces of one length: each other length would be another program.
        self._steps = max(n for n in range(1, PIECE + 1) if total % n == 0)
        self._sections: Sections | None = None
        self._labels: jax.Array | None = None
        self._copied: dict[int, np.ndarray] = {}
        self._programs: dict[str, Callable] = {}
        self._kept, self._when = (-1, -1), time.monotonic()

    def latest(self, events: int, *, held: bool) -> tuple[Network, list[str]]:
        """The newest network of the folder that can be read, and what was wrong with newer ones.

        Only who holds the session removes those; another process may be writing one.
        """
        carried, notices = self._earlier is not None, list[str]()
        nothing = Network(
            learner=self._new_learner() if carried else None,
            steps=0,
            trained=not self._begins,
            through=0,
            carried=carried,
            reduction=self._given or 1,
        )
        if not self._folder.exists():
            return nothing, notices
        like = (jax.eval_shape(self._new_learner), _counts(nothing))
        reopen = functools.partial(checkpoints.open_checkpoints, self._folder, read_only=not held)
        saved = reopen()
        steps = sorted(saved.all_steps(), reverse=True)
        saved.close()
        for step in steps:
            saved = reopen()  # as Orbax takes all for what the first one was
            try:
                found = checkpoints.restore(saved, like, step)
            except InputError as error:
                notices.append(f"{error}; the network learns again what it misses")
                if held:
                    shutil.rmtree(self._folder / str(step), ignore_errors=True)
                continue
            finally:
                saved.close()
            assert found is not None
            learner, counts = found[1]
            done, trained, through, reduction = (int(number) for number in counts)
            # A ledger taken from an older copy has fewer events.
            through = min(through, events)
            network = Network(learner, done, bool(trained), through, carried, reduction)
            self._kept = _mark(network)
            return network, notices
        return nothing, notices

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
        """The next piece of the long training (without any, a look at the examples), or an update.

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
        inputs = self._inputs(network, now)
        if network.trained:
            if self.lessons.dice_estimate != "fit":
                for pair in pairs:
                    where = np.array(pair, np.int32)
                    learner = self._run("remember", learner, where, *inputs[:2])
            learner, losses, _ = self._run("update", learner, *inputs)
            steps, rate = network.steps, self.config.query_learning_rate
        else:
            steps, rate, losses = network.steps, self.config.learning_rate, np.zeros(0)
            if steps < self.lessons.initial_steps:
                first = np.int32(steps)
                train_state, losses = self._run("piece", learner.train, first, *inputs[:2])
                steps += self._steps
                learner = learner.replace(train=train_state)
            if steps == self.lessons.initial_steps:
                learner, _ = self._run("assess", learner.train, *inputs)
        losses = np.append(losses, optax.global_norm(learner.train.params))
        forget_pages(self._images)
        check_loss(losses, f"training step {{}} with a learning rate of {rate:g}", 1)
        done = steps == self.lessons.initial_steps
        return (
            Network(learner, steps, done, through, network.carried, inputs[1].reduction),
            Trained(
                first=not network.trained,
                fraction=1.0 if done else steps / self.lessons.initial_steps,
                loss=float(losses[:-1].sum()) / max(len(losses) - 1, 1),
                seconds=time.monotonic() - began,
                through=through,
            ),
        )

    def compile(self, network: Network, now: Annotations) -> None:
        """Compiles all that `step` will run, unless the examples that follow ask for others."""
        learner = jax.eval_shape(self._new_learner)
        inputs = self._inputs(network, now)
        if self.lessons.initial_steps:
            self._program("piece", learner.train, np.int32(0), *inputs[:2])
        if self._begins:
            self._program("assess", learner.train, *inputs)
        if self.lessons.dice_estimate != "fit":
            self._program("remember", learner, np.zeros(2, np.int32), *inputs[:2])
        self._program("update", learner, *inputs)

    def _inputs(self, network: Network, now: Annotations) -> tuple[ALState, Sections, jax.Array]:
        """The state with all labels, the sections, and where there are answers."""
        settled = self._given or network.trained or network.begun
        reduction = network.reduction if settled else _suited_reduction(now)
        if self._sections is None or self._sections.reduction != reduction:
            whole = make_sections(_aliased(self._images))
            self._sections = jax.block_until_ready(reduce_sections(whole, reduction))
            forget_pages(self._images)
            self._programs.clear()  # they are of other shapes
        if self._labels is None:
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
        train_state, params = learner.train, learner.train.params
        if self._earlier is not None:
            params = with_experience(params, self._earlier, self._images.names)
        elif self._weights is not None:
            params = with_weights(params, self._weights)
        learner = learner.replace(train=train_state.replace(params=params))
        if self._known is not None:
            learner = learner.replace(dice=jnp.stack([self._known.dice] * 2))
        return learner

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._program(name, *arguments)(*arguments)

    def _program(self, name: str, *arguments: Any) -> Callable:
        """The compiled program of that name; it is compiled before its first use, and once."""
        if name not in self._programs:
            programs: dict[str, Callable] = {
                "remember": self._remember,
                "update": self._update,
                "assess": self._assess,
                "piece": self._piece,
            }
            program = jax.jit(programs[name], compiler_options=compiler_options())
            self._programs[name] = program.lower(*arguments).compile()
            trim_memory()
        return self._programs[name]

    def _remember(
        self, learner: Learner, pair: jax.Array, state: ALState, sections: Sections
    ) -> Learner:
        return remember(learner, state, sections, self.lessons, (pair[0], pair[1]))

    def _update(
        self, learner: Learner, state: ALState, sections: Sections, where: jax.Array
    ) -> tuple:
        return relearn(learner, state, sections, self.lessons, where=where)

    def _assess(
        self, train_state: TrainState, state: ALState, sections: Sections, where: jax.Array
    ) -> tuple:
        known = None if self._known is None else self._known.dice
        return assess(train_state, state, sections, self.lessons, where=where, known=known)

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
            first_step=first,
            steps=self._steps,
        )


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


def _suited_reduction(now: Annotations) -> int:
    """What suits the structures that are traced so far."""
    classes = now.state.seen.shape[1]
    # One by one: stacked they would be another program for each number of them.
    extents = [traced_extent(row[None], num_classes=classes) for row in now.labels.values()]
    return suited_reduction(*map(sum, zip(*extents, strict=True))) if extents else 1


def _counts(network: Network) -> np.ndarray:
    return np.array([network.steps, network.trained, network.through, network.reduction], np.int64)


def _mark(network: Network) -> tuple[int, int]:
    return network.steps, network.through
