"""The network behind the person: trained in pieces, from copies that no answer changes."""

import dataclasses
import functools
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax.core.stack import UNLABELLED, Images
from al_jax.core.state import ALState
from al_jax.core.strategies import proposes
from al_jax.learner import neighbours
from al_jax.learner.config import Keys
from al_jax.learner.learner import (
    Learner,
    check_loss,
    evaluate,
    fit_initial,
    init_learner,
    nothing_proposed,
    record_answer,
    update,
)
from al_jax.learner.transfer import Prior, settled_downsampling, with_experience
from al_jax.model.inputs import Fields, Sections, make_sections
from al_jax.model.networks import with_weights
from al_jax.model.resolution import downsample_sections, labelled_extent, suited_downsampling
from al_jax.model.subsets import subset_width
from al_jax.model.training import TrainState
from al_jax.session.annotations import Annotations
from al_jax.session.events import Event
from al_jax.session.network import Checkpoints, Network
from al_jax.session.storage import Content, forget_pages
from al_jax.session.trials import Pair, Trials, start_from, untried, with_trials
from al_jax.xla import compiler_options, trim_memory

PIECE = 45  # most steps of the long training at once
AT_ONCE = 24  # sections without an answer that are predicted anew after one, about
NEAR = 2  # sections on either side of an answer that are among them
READ_AT_ONCE = 2**28  # bytes of images, about


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
        prior: Prior | None = None,
    ):
        """Reads nothing of the images yet; `empty` is the state before any answer."""
        self._earlier, self._prior = content.earlier, prior
        self._images, self._keys = content.images, keys
        self.checkpoints = Checkpoints(folder, content.images)
        self._weights, self._empty = content.weights, empty
        self._config, self._strategy = content.settings.config, content.settings.strategy
        self._given = settled_downsampling(self._config.training, prior)
        total = self._config.training.initial_steps
        self._predicts_all = self._strategy.uncertainty is not None
        # A training, examples of new classes, or an uncertainty: whether the first query waits.
        nothing = jnp.zeros(empty.annotated.shape, bool)
        examples = bool(self._strategy.examples(empty, nothing).any())
        self._begins = total > 0 or examples or self._predicts_all
        # Pieces of one length: each other length would be another program.
        self._steps = max(n for n in range(1, PIECE + 1) if total % n == 0)
        self._sections: Sections | None = None
        self._labels: jax.Array | None = None
        self._cache, self._finding = folder / neighbours.FILE, threading.Lock()
        self._fields: Fields | None = None
        self._carries = self._config.query.neighbours and self._strategy.neighbours
        self._copied: dict[int, np.ndarray] = {}
        self._programs: dict[str, Callable] = {}
        self.before_compiling: Callable[[], None] = lambda: None

    def latest(
        self, events: Sequence[Event], classes: Sequence[int] = (), *, held: bool
    ) -> tuple[Network, list[str]]:
        """The newest network of the folder, else one that has learnt nothing; see `Checkpoints`.

        Args:
          events: of the ledger.
          classes: how many there were before, where there were others than now.
          held: see `Checkpoints`.
        """
        likes = [jax.eval_shape(self._new_learner)]
        for count in [one for one in classes if one != self._images.num_classes]:
            bare = self._empty.replace(annotated=np.zeros((1, count), bool))
            likes.append(jax.eval_shape(lambda bare=bare: self._with_records(self._drawn(bare))))
        likes += [like.replace(proposed=None) for like in likes if like.proposed is not None]
        network, notices = self.checkpoints.latest(self.nothing(), likes, events, held=held)
        learner = network.learner
        if learner is not None and learner.proposed is None and proposes(self._strategy):
            network = network._replace(
                learner=learner.replace(proposed=nothing_proposed(np.shape(learner.fit)))
            )
        return network, notices

    def nothing(self) -> Network:
        """A network that has learnt nothing, but for what earlier stacks taught."""
        warm_start = self._earlier is not None
        learner = self._new_learner() if warm_start else None
        return Network(
            learner=learner,
            steps=0,
            trained=not self._begins,
            through=0,
            warm_start=warm_start,
            downsampling=self._given or 1,
            trials=start_from(learner) if learner else untried(self._images.num_classes),
        )

    def fields(self) -> Fields | None:
        """Between neighbouring sections, found when first needed; None: nothing asks for them."""
        with self._finding:
            if self._carries and self._fields is None:
                self._fields = neighbours.make_fields(self._images, self._cache)
                forget_pages(self._images)
            return self._fields

    @property
    def found_fields(self) -> Fields | None:
        """Those `fields`, if they are found already: nobody waits for them."""
        return self._fields

    def fraction(self, network: Network) -> float:
        """The share of the long training that is done, 0 to 1."""
        return (
            1.0 if network.trained else network.steps / max(self._config.training.initial_steps, 1)
        )

    def step(
        self, network: Network, now: Annotations, through: int, pairs: Sequence[Pair]
    ) -> tuple[Network, Trained]:
        """The next piece of the long training (without any, it is evaluated alone), or an update.

        Args:
          network: the newest.
          now: what it learns from.
          through: number of the last event in `now`.
          pairs: section and structure of the answers in `now`, in their order.

        Raises:
          InputError: a loss is not finite.
        """
        began = time.monotonic()
        learner = network.learner
        if learner is None:
            learner = self._new_learner()
        inputs, trials = self._inputs(network, now), network.trials
        if network.trained:
            if self._config.query.dice_estimate != "fit" or self._carries:
                trials, learner = self._try(learner, trials, pairs, *inputs)
                counting = [pair for pair in pairs if now.state.seen[pair]]
                learner = self._with_trials(learner, trials, counting)
            where = self._where(now, pairs, through)
            learner, losses, _ = self._run("update", learner, *inputs, where)
            steps, rate = network.steps, self._config.training.query_learning_rate
        else:
            steps, rate, losses = network.steps, self._config.training.learning_rate, np.zeros(0)
            if steps < self._config.training.initial_steps:
                first = np.int32(steps)
                train_state, losses = self._run("piece", learner.train, first, *inputs)
                steps += self._steps
                learner = learner.replace(train=train_state)
            if steps == self._config.training.initial_steps:
                learner, _ = self._run("evaluate", learner.train, *inputs, self._where(now))
            trials = start_from(learner, [*trials.shown, *pairs])
        losses = np.append(losses, optax.global_norm(learner.train.params))
        forget_pages(self._images)
        check_loss(losses, f"training step {{}} with a learning rate of {rate:g}", 1)
        done = steps == self._config.training.initial_steps
        return (
            Network(
                learner, steps, done, through, network.warm_start, inputs[1].downsampling, trials
            ),
            Trained(
                first=not network.trained,
                fraction=1.0 if done else steps / self._config.training.initial_steps,
                loss=float(losses[:-1].sum()) / max(len(losses) - 1, 1),
                seconds=time.monotonic() - began,
                through=through,
            ),
        )

    def compile(self, network: Network, now: Annotations) -> Network:
        """Compiles all that `step` will run, unless the examples that follow ask for others.

        Returns:
          A network that predicts as those that `step` will make, of whatever weights.
        """
        learner = jax.eval_shape(self._new_learner)
        inputs = self._inputs(network, now)
        if self._config.training.initial_steps:
            self._program("piece", learner.train, np.int32(0), *inputs)
        if self._begins:
            self._program("evaluate", learner.train, *inputs, self._where(now))
        if self._config.query.dice_estimate != "fit" or self._carries:
            self._program("record", learner, np.zeros(2, np.int32), *inputs)
        self._program("update", learner, *inputs, self._where(now))
        weights = self._new_learner() if network.learner is None else network.learner
        return network._replace(learner=weights, downsampling=inputs[1].downsampling)

    def _where(
        self, now: Annotations, pairs: Sequence[Pair] = (), turn: int | None = None
    ) -> np.ndarray:
        """The sections to predict, [N] bool: D needs those with answers, an uncertainty all.

        Of many, those near the latest answers are predicted anew, and the others by turns.
        """
        where: np.ndarray = np.any(np.asarray(now.state.seen), axis=1)
        if not self._predicts_all:
            return where
        index, turns = np.arange(len(where)), -(-len(where) // AT_ONCE)
        if turn is None or turns == 1:
            return np.ones_like(where)
        for section, _ in pairs[-turns:]:
            where |= np.abs(index - section) <= NEAR
        return where | (index % turns == turn % turns)

    def _inputs(self, network: Network, now: Annotations) -> tuple[ALState, Sections]:
        """The state with all labels, and the sections."""
        settled = self._given or network.trained or network.begun
        factor = network.downsampling if settled else _suited_downsampling(now)
        if self._sections is None or self._sections.downsampling != factor:
            self._sections = _sections(self._images, factor).replace(fields=self.fields())
            self._programs.clear()  # they are of other shapes
        width = subset_width(now.state.in_range, now.state.seen)
        if self._sections.classes != width:  # a range was widened
            self._sections = self._sections.replace(classes=width)
            self._programs.clear()
        if self._labels is None:
            self._labels = jnp.full(self._images.inside.shape, UNLABELLED, jnp.int16)
        for section in self._copied.keys() | now.labels.keys():
            row = now.labels.get(section)
            if row is not self._copied.get(section):
                new = now.labels_of(section, self._images)
                self._labels = _write_row(self._labels, section, new)
        self._copied = dict(now.labels)
        return now.state.replace(labels=self._labels), self._sections

    def _try(
        self,
        learner: Learner,
        trials: Trials,
        pairs: Sequence[Pair],
        state: ALState,
        sections: Sections,
    ) -> tuple[Trials, Learner]:
        """With a trial of each pair that the network has not learnt from.

        What it tells of carried outlines stays, whatever becomes of the answer.
        """
        without = learner.replace(trials=np.zeros_like(trials.start[:3]))
        shown = dict(trials.shown)
        for pair in pairs:
            if pair not in shown:
                after = self._run("record", without, np.array(pair, np.int32), state, sections)
                shown[pair] = np.asarray(after.trials)[:, pair[1]]
                without = without.replace(carrying=after.carrying)
        return trials._replace(shown=shown), learner.replace(carrying=without.carrying)

    def _with_trials(self, learner: Learner, trials: Trials, pairs: Sequence[Pair]) -> Learner:
        """With those of `pairs` alone; only 'prospective' takes D from them as they are."""
        found = with_trials(learner, trials, pairs)
        prospective = self._config.query.dice_estimate == "prospective"
        return found if prospective else found.replace(dice=learner.dice)

    def _new_learner(self) -> Learner:
        learner = self._drawn(self._empty)
        train_state, params = learner.train, learner.train.params
        if self._earlier is not None:
            params = with_experience(params, self._earlier, self._images.names)
        elif self._weights is not None:
            params = with_weights(params, self._weights)
        learner = learner.replace(train=train_state.replace(params=params))
        dice = None if self._prior is None else self._prior.dice
        if dice is not None:
            learner = learner.replace(dice=jnp.stack([dice] * 2))
        return self._with_records(learner, dice)

    def _drawn(self, empty: ALState) -> Learner:
        return jax.jit(init_learner)(self._keys.weights, empty, self._config)

    def _with_records(self, learner: Learner, dice: jax.Array | None = None) -> Learner:
        """With what the strategy and the settings want to be remembered besides."""
        shape = learner.fit.shape
        if self._carries:
            learner = learner.replace(carrying=neighbours.begin(jnp.zeros(shape[1]), dice))
        if proposes(self._strategy):
            learner = learner.replace(proposed=jnp.asarray(nothing_proposed(shape)))
        return learner

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._program(name, *arguments)(*arguments)

    def _program(self, name: str, *arguments: Any) -> Callable:
        """The compiled program of that name; it is compiled before its first use, and once."""
        if name not in self._programs:
            if not self._programs:
                self.before_compiling()
            programs: dict[str, Callable] = {
                "record": self._record,
                "update": self._update,
                "evaluate": self._evaluate,
                "piece": self._piece,
            }
            program = jax.jit(programs[name], compiler_options=compiler_options())
            self._programs[name] = program.lower(*arguments).compile()
            trim_memory()
        return self._programs[name]

    def _record(
        self, learner: Learner, pair: jax.Array, state: ALState, sections: Sections
    ) -> Learner:
        return record_answer(learner, state, sections, self._config, (pair[0], pair[1]))

    def _update(
        self, learner: Learner, state: ALState, sections: Sections, where: jax.Array
    ) -> tuple:
        return update(
            learner,
            state,
            sections,
            self._config,
            strategy=self._strategy,
            where=where,
        )

    def _evaluate(
        self, train_state: TrainState, state: ALState, sections: Sections, where: jax.Array
    ) -> tuple:
        return evaluate(
            train_state,
            state,
            sections,
            self._config,
            strategy=self._strategy,
            where=where,
            prior=None if self._prior is None else self._prior.dice,
        )

    def _piece(
        self,
        train_state: TrainState,
        first: jax.Array,
        state: ALState,
        sections: Sections,
    ) -> tuple:
        return fit_initial(
            self._keys.training,
            train_state,
            state,
            sections,
            self._config,
            loss=self._strategy.loss,
            first_step=first,
            steps=self._steps,
        )


@functools.partial(jax.jit, donate_argnums=0)
def _write_row(labels: jax.Array, section: int, row: jax.Array) -> jax.Array:
    return labels.at[section].set(row)


def _sections(images: Images, factor: int) -> Sections:
    """What the network sees, downsampled; of large images some at a time are on the device.

    For JAX on a CPU arrays are the pages of their files, not a copy.
    """
    inside = jax.device_put(images.inside, may_alias=True)
    count, pieces = images.num_sections, 1
    if factor > 1:
        pieces = -(-images.images.nbytes // READ_AT_ONCE)
    step, found = -(-count // pieces), []
    for first in range(0, count, step):
        pixels = jax.device_put(images.images[first : first + step], may_alias=True)
        own = inside if pieces == 1 else inside[first : first + step]
        full = make_sections(dataclasses.replace(images, images=pixels, inside=own))
        found.append(jax.block_until_ready(downsample_sections(full, factor)))
        forget_pages(images)
    if pieces == 1:
        return found[0]
    arrays = [(one.images, one.low, one.high) for one in found]
    pixels, low, high = (jnp.asarray(np.concatenate(x)) for x in zip(*arrays, strict=True))
    return found[0].replace(images=pixels, inside=inside, low=low, high=high)


def _suited_downsampling(now: Annotations) -> int:
    """What suits the structures that are annotated so far."""
    classes = now.state.seen.shape[1]
    # One by one: stacked they would be another program for each number of them.
    extents = [labelled_extent(row[None], num_classes=classes) for row in now.labels.values()]
    return suited_downsampling(*map(sum, zip(*extents, strict=True))) if extents else 1
