"""Loops with checkpoints, progress and resume: a simulation that any stop only interrupts.

The functions of `oracle` and `simulation` are compiled here once, so that a process that does many
runs compiles each program once.

Example:
  prepared = prepare(stack, config, seed=0)
  keep = Checkpointing(pathlib.Path("run"))
  network = train_network(prepared, config, keep=keep.at("network"))
  run, records = run_strategy("BDa", prepared, network, config, keep=keep.at("BDa"))
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from al_jax.core.stack import InputError, Stack
from al_jax.core.state import ALState
from al_jax.files import checkpoints
from al_jax.learner import config as settings
from al_jax.learner.config import Config, Keys
from al_jax.learner.learner import check_loss
from al_jax.learner.transfer import Known, settled_reduction
from al_jax.model.training import TrainState, reduce_sections, suited_reduction, traced_extent
from al_jax.simulation import annotator, loop
from al_jax.simulation.annotator import Task
from al_jax.simulation.loop import Record, Run
from al_jax.xla import compiler_options

QUERIES = 4  # in one scan, between two looks at progress
STEPS = 45  # of the initial training, likewise
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal

Tree = TypeVar("Tree")

Show = Callable[..., None]
"""Called with the fraction of a stage that is done, and by name with what to show beside it."""

Adapt = Callable[[chex.ArrayTree], chex.ArrayTree]
"""Makes other weights of a network's."""

Piece = Callable[[TrainState, int, int], tuple[TrainState, jax.Array]]
"""Trains from the step of that number on, so many steps; the state after them, and their losses."""


class Prepared(NamedTuple):
    """A run before its training: its keys, its task, and the state after the start."""

    keys: Keys
    task: Task
    state: ALState


class Checkpointing(NamedTuple):
    """Where checkpoints go, and the least time between two of them in seconds."""

    folder: pathlib.Path
    seconds: float = 10.0

    def at(self, name: str) -> "Checkpointing":
        """The same in a folder below."""
        return self._replace(folder=self.folder / name)


def silent(_fraction: float, **_values: str) -> None:
    """Shows nothing."""


def unreported(_strategy: str, _records: Record) -> None:
    """Reports nothing."""


# What each function takes as static, and what it may overwrite.
_PROGRAMS: dict[Callable, tuple[tuple[str, ...], str | None]] = {
    annotator.make_task: (("config", "mesh"), "stack"),
    annotator.start: (("config",), None),
    annotator.ceiling: (("config",), None),
    loop.initial_train_state: (("config",), None),
    loop.train_initial: (("config", "loss", "steps"), "train_state"),
    loop.begin: (("config", "strategy"), None),
    loop.run_queries: (("config", "strategies", "count"), "run"),
}


@functools.cache
def _compiled(function: Callable) -> Callable:
    """A function of `_PROGRAMS`; training and queries are most of a run's time.

    Made when first called: the options ask for the device, which a sweep leaves to its workers.
    """
    static, donated = _PROGRAMS[function]
    long = function in (loop.train_initial, loop.run_queries)
    return jax.jit(
        function,
        static_argnames=static,
        donate_argnames=donated,
        compiler_options=compiler_options() if long else None,
    )


def place(tree: Tree, mesh: Mesh | None) -> Tree:
    """The arrays on every device of a mesh, once for all calls; without a mesh where they are.

    The devices may be of several processes, which all have the same arrays.
    """
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) and leaf.is_fully_addressable:
            # Keys of one process alone are not put on the devices of others.
            data = jax.device_put(jax.random.key_data(leaf), everywhere)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(leaf, everywhere)

    return jax.tree.map(put, tree)


def _is_due(written: float, seconds: float) -> bool:
    """Whether a checkpoint's time has come; of several processes the first one's clock counts."""
    due = time.monotonic() - written >= seconds
    if jax.process_count() == 1:
        return due
    return bool(multihost_utils.broadcast_one_to_all(np.array(due)))


def prepare(
    stack: Stack,
    config: Config,
    seed: int,
    mesh: Mesh | None = None,
    known: Known | None = None,
) -> Prepared:
    """Keys, task and start of the run that `seed` names, which the devices of `mesh` share.

    What is `known` from earlier stacks (`experience.fit_to`) is where it begins.

    Raises:
      InputError: the stack has no outline.
    """
    # Names and colours are static: with them each stack would have a program of its own.
    bare = dataclasses.replace(stack, sections=(), colours=None, place=None)
    # A copy that becomes the task, which would be a second one else.
    task = _compiled(annotator.make_task)(jax.tree.map(jnp.array, bare), config=config, mesh=mesh)
    keys = settings.make_keys(jax.random.key(seed))
    task = annotator.meet(keys.person, task.replace(known=known), config.person)
    task = place(task, task.mesh)
    if float(task.total) == 0:
        raise InputError("no section shows two classes side by side; there is nothing to trace")
    state = _compiled(annotator.start)(keys.start, task, config=config)
    factor = settled_reduction(config.training, known) or suited_reduction(
        *traced_extent(state.labels, num_classes=state.seen.shape[1])
    )
    task = task.replace(sections=reduce_sections(task.sections, factor))
    return Prepared(keys, task, state)


def ceiling(prepared: Prepared, config: Config) -> float:
    """`annotator.ceiling` of a run that is prepared: 1 but for a person who trembles."""
    return float(_compiled(annotator.ceiling)(prepared.task, config=config))


def train_network(
    prepared: Prepared,
    config: Config,
    loss: str = "partial",
    *,
    keep: Checkpointing,
    adapt: Adapt | None = None,
    show: Show = silent,
) -> TrainState:
    """The initial network, from its latest checkpoint on.

    Args:
      prepared, config: the run.
      loss: of `training.Recipe`.
      keep: its checkpoints.
      adapt: makes of drawn weights those to begin with: published ones (`networks.with_weights`),
        or those of earlier stacks (`experience.with_experience`).
      show: called with how far it is.

    Raises:
      InputError: the weights do not fit, a loss is not finite, a checkpoint cannot be written, or
        is of another run.
    """
    keys, task, state = prepared
    train_state = _compiled(loop.initial_train_state)(keys.weights, task, config=config)
    if adapt is not None:
        train_state = train_state.replace(params=adapt(train_state.params))

    def piece(train_state: TrainState, first: int, count: int) -> tuple[TrainState, jax.Array]:
        return _compiled(loop.train_initial)(
            keys.training,
            train_state,
            state,
            task,
            config=config,
            loss=loss,
            first_step=first,
            steps=count,
        )

    mark = _mark(prepared, config, loss)
    return train_pieces(piece, train_state, config, mark, keep=keep, mesh=task.mesh, show=show)


def train_pieces(
    piece: Piece,
    train_state: TrainState,
    config: Config,
    mark: np.ndarray,
    *,
    keep: Checkpointing,
    mesh: Mesh | None = None,
    show: Show = silent,
) -> TrainState:
    """The `config.initial_steps` of a long training, a piece at a time, from its latest checkpoint.

    Args:
      piece: trains further; may overwrite the state that it is given.
      train_state: before the first step.
      config: of the training.
      mark: of `make_mark`.
      keep, show: as of `train_network`.
      mesh: devices that share the work, or None.

    Raises:
      InputError: a loss is not finite, a checkpoint cannot be written, or is of another run.
    """
    saved = checkpoints.open_checkpoints(keep.folder)
    step = 0
    if (latest := checkpoints.restore(saved, (train_state, mark))) is not None:
        step, (train_state, other) = latest
        _check_mark(other, mark, keep)
    train_state = place(train_state, mesh)
    if latest is None and not config.initial_steps:
        checkpoints.save(saved, 0, (train_state, mark))
    written = time.monotonic()
    show(step / max(config.initial_steps, 1), step=str(step))
    while step < config.initial_steps:
        count = min(STEPS, config.initial_steps - step)
        train_state, found = piece(train_state, step, count)
        losses = np.asarray(found)
        seen = _with_norm(losses, train_state)
        where = f"training step {{}} with learning_rate={config.learning_rate:g}"
        check_loss(seen, where, step + 1)
        step += count
        done = step == config.initial_steps
        if done or _is_due(written, keep.seconds):
            checkpoints.save(saved, step, (train_state, mark))
            written = time.monotonic()
        show(step / config.initial_steps, step=str(step), loss=f"{losses.mean():.4f}")
    saved.close()
    return train_state


def run_strategy(
    strategy: str,
    prepared: Prepared,
    network: TrainState,
    config: Config,
    *,
    target_dice: float = 1.0,
    max_effort: float = 1.0,
    keep: Checkpointing,
    report: Callable[[str, Record], None] = unreported,
    show: Show = silent,
) -> tuple[Run, Record]:
    """All queries of a strategy, from its latest checkpoint on.

    Args:
      strategy: a key of `STRATEGIES`.
      prepared: the run.
      network: the initial one.
      config, target_dice, max_effort: as `loop.run_queries` takes them.
      keep: its checkpoints.
      report: called with the strategy and its records at the start and before every checkpoint.
      show: called with how far the run is.

    Returns:
      The run after the last query, and its records with a leading axis: the start, then one each.

    Raises:
      InputError: a loss is not finite, a checkpoint cannot be written, or is of another run.
    """
    keys, task, state = prepared
    peers = loop.alike(strategy)
    saved = checkpoints.open_checkpoints(keep.folder)
    run, first = _compiled(loop.begin)(network, state, task, config=config, strategy=peers[0])
    # Every step takes over the memory of the run before it, which must not be the network's.
    run = jax.tree.map(lambda leaf: leaf.copy(), run)
    records = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first)
    finished = np.zeros((), bool)
    mark, targets = _mark(prepared, config, strategy), np.array([target_dice, max_effort])
    latest = checkpoints.restore(saved, (run, records, finished, targets, mark))
    if latest is not None:
        run, records, finished, before, found = latest[1]
        _check_mark(found, mark, keep)
        finished &= (before == targets).all()  # with other targets a run may go on
    else:
        report(strategy, records)
    run = place(run, task.mesh)
    priority = loop.draw_priority(keys.priority, task.present, strategy)
    written = time.monotonic()

    def show_now() -> None:
        fraction = 1.0 if finished else _fraction(records, target_dice, max_effort)
        show(fraction, **_standing(records))

    show_now()
    while not finished:
        run, more = _compiled(loop.run_queries)(
            run,
            priority,
            task,
            config=config,
            strategies=peers,
            which=peers.index(strategy),
            count=QUERIES,
            target_dice=target_dice,
            max_effort=max_effort,
        )
        more = jax.tree.map(np.asarray, more)
        kept = int((~more.done).sum())
        seen = _with_norm(more.loss[:kept], run.learner.train)
        rate = config.query_learning_rate
        check_loss(seen, f"query {{}} with query_learning_rate={rate:g}", len(records.dice))
        more = jax.tree.map(lambda leaf, kept=kept: leaf[:kept], more)
        records = jax.tree.map(lambda *leaves: np.concatenate(leaves), records, more)
        finished = np.asarray(kept < QUERIES)
        if finished or _is_due(written, keep.seconds):
            report(strategy, records)
            # One more than the queries, as the finished run may have as many as the one before.
            step = len(records.dice) - 1 + int(finished)
            checkpoints.save(saved, step, (run, records, finished, targets, mark))
            written = time.monotonic()
        show_now()
    saved.close()
    return run, records


def _mark(prepared: Prepared, config: Config, what: str) -> np.ndarray:
    """Names a run, or an initial network by its loss, in its checkpoints; [8] uint32.

    A network is the same however its runs measure lengths: the stack is known by its intensities.
    Settings count where they are not at their defaults, so that a new one leaves old marks alone.
    """
    sections, state = prepared.task.sections, prepared.state
    known = (prepared.task.present, sections.low, sections.high, state.annotated, state.unlabelled)
    # What the person's key does, the settings and the other keys say.
    return make_mark(config, what, (known, prepared.keys.replace(person=None), prepared.task.known))


def make_mark(config: Config, what: str, known: chex.ArrayTree) -> np.ndarray:
    """Names a training in its checkpoints, [8] uint32: by its settings, a word, arrays and keys."""
    text = hashlib.sha256(f"{_changed(config, Config())}{what}".encode())
    for leaf in jax.tree.leaves(known):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        text.update(np.asarray(leaf).tobytes())
    return np.frombuffer(text.digest(), np.uint32)


def _changed(settings: Any, default: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of those in it, that are not at their defaults."""
    found = {}
    for field in dataclasses.fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name)
        if value != usual:
            nested = dataclasses.is_dataclass(value)
            found[field.name] = _changed(value, usual) if nested else value
    return found


def _check_mark(found: np.ndarray, expected: np.ndarray, keep: Checkpointing) -> None:
    """Raises InputError if a checkpoint is of another run."""
    if not np.array_equal(found, expected):
        raise InputError(f"{keep.folder}: holds checkpoints of another run; use another folder")


def _with_norm(losses: np.ndarray, train_state: TrainState) -> np.ndarray:
    """The losses and the norm of the weights behind them: what the last step did shows there."""
    return np.append(losses, optax.global_norm(train_state.params))


def _fraction(records: Record, target_dice: float, max_effort: float) -> float:
    """How far a run is: by Dice or by effort, whichever is nearer to its end."""
    start, now = records.dice[0], records.dice[-1]
    by_dice = (now - start) / max(target_dice - start, 1e-6)
    by_effort = (records.effort[-1] - records.effort[0]) / max(max_effort - records.effort[0], 1e-6)
    return float(min(max(by_dice, by_effort, 0.0), 1.0))


def _standing(records: Record) -> dict[str, str]:
    """What the bar of a strategy shows."""
    return {
        "effort": f"{records.effort[-1]:.1%}",
        "Dice": f"{records.dice[-1]:.1%}",
        "queries": str(len(records.dice) - 1),
    }


class Progress:
    """A bar that shows how far a stage is; where there is no terminal, a line a minute."""

    def __init__(self, name: str):
        """The bar opens when `show` is first called; time left counts from there."""
        self._terminal = sys.stderr.isatty()
        self._name, self._bar = name, None

    def show(self, fraction: float, **values: str) -> None:
        """Moves the bar to `fraction` of its length."""
        if self._bar is None:
            self._bar = tqdm(
                total=1.0,
                initial=fraction,
                desc=f"{self._name:>9}",
                smoothing=0,
                bar_format=self._layout(fraction),
                postfix=self._listed(values),
                file=sys.stderr if self._terminal else io.StringIO(),
            )
            self._said = time.monotonic()
            return
        self._bar.n, self._bar.bar_format = fraction, self._layout(fraction)
        self._bar.set_postfix_str(self._listed(values))
        if not self._terminal and time.monotonic() - self._said >= LOG_SECONDS:
            self._log()

    def _log(self) -> None:
        print(self._bar, file=sys.stderr, flush=True)
        self._said = time.monotonic()

    @staticmethod
    def _layout(fraction: float) -> str:
        spent = "{elapsed}" if fraction >= 1 else "{remaining} left"
        return "{desc} {percentage:3.0f}%|{bar:10}| " + spent + "{postfix}"

    @staticmethod
    def _listed(values: dict[str, str]) -> str:
        return ", ".join(f"{key} {value}" for key, value in values.items())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Leaves the bar on the screen."""
        if self._bar is None:
            return
        self._bar.close()
        if not self._terminal and failure is None:
            self._log()
