"""Simulations with checkpoints and progress, which can be stopped at any time and resumed.

The functions of `loop` are compiled here, so that a process with many runs compiles each program
once.

Example:
  prepared = prepare(jax.random.key(0), stack, config)
  checkpoints = Checkpointing(pathlib.Path("run"))
  network = train_network(prepared, config, checkpointing=checkpoints.at("network"))
  run, records = run_strategy(BDa, prepared, network, config, checkpointing=checkpoints.at("BDa"))
"""

import functools
import hashlib
import json
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from al_jax.core.identity import source_digest
from al_jax.core.losses import Loss, partial_cross_entropy
from al_jax.core.stack import InputError
from al_jax.core.state import ALState
from al_jax.core.strategies import Strategy, shares_program
from al_jax.files import checkpoints
from al_jax.learner.config import Config, Keys, model_of, to_json
from al_jax.learner.learner import check_loss, fit_initial, segment_stack
from al_jax.model.training import TrainState, init_train_state
from al_jax.simulation import loop, scores
from al_jax.simulation.loop import Record, Run
from al_jax.simulation.prepare import Prepared, place
from al_jax.simulation.task import Task
from al_jax.xla import compiler_options

QUERIES = 4  # in one scan, after which progress is shown
STEPS = 45  # of the initial training, likewise

Show = Callable[..., None]
"""Called with the fraction of a stage that is done, and values to show with it, by name."""

Adapt = Callable[[chex.ArrayTree], chex.ArrayTree]
"""From a network's drawn weights to those that its training begins with."""

Piece = Callable[[TrainState, int, int], tuple[TrainState, jax.Array]]
"""(state, first step, number of steps) -> the state after these steps, and their losses."""


class Checkpointing(NamedTuple):
    """Where checkpoints go, and the least time between two of them in seconds."""

    folder: pathlib.Path
    seconds: float = 10.0

    def at(self, name: str) -> "Checkpointing":
        """The same in a folder below."""
        return self._replace(folder=self.folder / name)


def silent(_fraction: float, **_values: str) -> None:
    """Shows nothing."""


def unreported(_records: Record) -> None:
    """Reports nothing."""


def _new_network(keys: Keys, task: Task, config: Config) -> TrainState:
    return init_train_state(keys.weights, model_of(config, task.present.shape[1]))


def _piece(
    keys: Keys,
    train_state: TrainState,
    state: ALState,
    task: Task,
    config: Config,
    *,
    loss: Loss,
    first_step: int,
    steps: int,
) -> tuple[TrainState, jax.Array]:
    return fit_initial(
        keys.training,
        train_state,
        state,
        task.sections,
        config,
        loss=loss,
        first_step=first_step,
        steps=steps,
    )


# The static arguments of each function, and the one whose memory it may overwrite.
_PROGRAMS: dict[Callable, tuple[tuple[str, ...], str | None]] = {
    scores.ceiling: ((), None),
    _new_network: ((), None),
    _piece: (("loss", "steps"), "train_state"),
    loop.begin: (("strategy",), None),
    loop.run_queries: (("strategies", "count"), "run"),
    segment_stack: (("mesh",), None),
}


@functools.cache
def _compiled(function: Callable) -> Callable:
    """A function of `_PROGRAMS`."""
    # Made when first called: the options ask for the device, which a sweep leaves to its workers.
    static, donated = _PROGRAMS[function]
    long = function in (_piece, loop.run_queries)  # most of a run's time
    return jax.jit(
        function,
        static_argnames=static,
        donate_argnames=donated,
        compiler_options=compiler_options() if long else None,
    )


def ceiling(prepared: Prepared, config: Config) -> float:
    """`scores.ceiling` of a prepared run: 1 unless the person's outlines are off."""
    return float(_compiled(scores.ceiling)(prepared.task, config))


def segmentation(run: Run, prepared: Prepared, config: Config) -> np.ndarray:
    """Eq. 4 of all sections as the run stands, [N, H, W] int16; meaningless outside the domain."""
    sections, mesh = prepared.task.sections, prepared.task.mesh
    found, _ = _compiled(segment_stack)(run.learner, run.state, sections, config, mesh=mesh)
    return np.asarray(found)


def train_network(
    prepared: Prepared,
    config: Config,
    loss: Loss = partial_cross_entropy,
    *,
    checkpointing: Checkpointing | None = None,
    adapt: Adapt | None = None,
    show: Show = silent,
) -> TrainState:
    """The initial network, from its latest checkpoint on.

    Args:
      prepared, config: the run.
      loss: that it minimises.
      checkpointing: where its checkpoints go, if anywhere.
      adapt: replaces drawn weights by published ones (`networks.with_weights`), or by those of
        prior stacks (`transfer.with_experience`).
      show: called with the progress.

    Raises:
      InputError: the weights do not fit, a loss is not finite, a checkpoint cannot be written, or
        is of another run.
    """
    keys, task, state = prepared
    train_state = _compiled(_new_network)(keys, task, config)
    if adapt is not None:
        train_state = train_state.replace(params=adapt(train_state.params))

    def piece(train_state: TrainState, first: int, count: int) -> tuple[TrainState, jax.Array]:
        return _compiled(_piece)(
            keys, train_state, state, task, config, loss=loss, first_step=first, steps=count
        )

    mark = _mark(prepared, config, loss, checkpointing)
    return train_pieces(
        piece, train_state, config, mark, checkpointing=checkpointing, mesh=task.mesh, show=show
    )


def train_pieces(
    piece: Piece,
    train_state: TrainState,
    config: Config,
    mark: np.ndarray,
    *,
    checkpointing: Checkpointing | None,
    mesh: Mesh | None = None,
    show: Show = silent,
) -> TrainState:
    """The `initial_steps` of a long training, a piece at a time, from its latest checkpoint.

    Args:
      piece: trains some steps; may overwrite the state that it is given.
      train_state: before the first step.
      config: of the training.
      mark: from `make_mark`.
      checkpointing, show: see `train_network`.
      mesh: devices that share the work, or None.

    Raises:
      InputError: a loss is not finite, a checkpoint cannot be written, or is of another run.
    """
    saved, step, total = _Saved(checkpointing), 0, config.training.initial_steps
    if (latest := saved.restore((train_state, mark))) is not None:
        step, (train_state, other) = latest
        saved.check_mark(other, mark)
    train_state = place(train_state, mesh)
    if latest is None and not total:
        saved.save(0, (train_state, mark))
    show(step / max(total, 1), step=str(step))
    while step < total:
        count = min(STEPS, total - step)
        train_state, found = piece(train_state, step, count)
        losses = np.asarray(found)
        seen = _with_norm(losses, train_state)
        where = f"training step {{}} with learning_rate={config.training.learning_rate:g}"
        check_loss(seen, where, step + 1)
        step += count
        done = step == total
        if done or saved.is_due():
            saved.save(step, (train_state, mark))
        show(step / total, step=str(step), loss=f"{losses.mean():.4f}")
    saved.close()
    return train_state


class _Saved:
    """The checkpoints of a stage; without a folder nothing is written or read."""

    def __init__(self, checkpointing: Checkpointing | None):
        self._place, self._written = checkpointing, time.monotonic()
        folder = None if checkpointing is None else checkpointing.folder
        self._manager = None if folder is None else checkpoints.open_checkpoints(folder)

    def restore(self, like: chex.ArrayTree) -> tuple[int, chex.ArrayTree] | None:
        return None if self._manager is None else checkpoints.restore(self._manager, like)

    def check_mark(self, found: np.ndarray, expected: np.ndarray) -> None:
        if self._place is not None and not np.array_equal(found, expected):
            raise InputError(
                f"{self._place.folder}: holds checkpoints of another run; use another folder"
            )

    def is_due(self) -> bool:
        """Whether one is due; of several processes the first one's clock counts."""
        seconds = 0.0 if self._place is None else self._place.seconds
        due = time.monotonic() - self._written >= seconds
        if jax.process_count() == 1:
            return due
        return bool(multihost_utils.broadcast_one_to_all(np.array(due)))

    def save(self, step: int, tree: chex.ArrayTree) -> None:
        if self._manager is not None:
            checkpoints.save(self._manager, step, tree)
        self._written = time.monotonic()

    def close(self) -> None:
        if self._manager is not None:
            self._manager.close()


def run_strategy(
    strategy: Strategy,
    prepared: Prepared,
    network: TrainState,
    config: Config,
    *,
    target_dice: float = 1.0,
    max_effort: float = 1.0,
    checkpointing: Checkpointing | None = None,
    report: Callable[[Record], None] = unreported,
    show: Show = silent,
) -> tuple[Run, Record]:
    """All queries of a strategy, from its latest checkpoint on.

    Args:
      strategy: what asks.
      prepared: the run.
      network: the initial one.
      config, target_dice, max_effort: see `loop.run_queries`.
      checkpointing: where its checkpoints go, if anywhere.
      report: called with the records at the start and before every checkpoint.
      show: called with the progress.

    Returns:
      The run after the last query, and its records with a leading axis: the start, then one each.

    Raises:
      InputError: a loss is not finite, a checkpoint cannot be written, or is of another run.
    """
    keys, task, state = prepared
    peers = shares_program(strategy, neighbours=config.query.neighbours)
    saved = _Saved(checkpointing)
    run, first = _compiled(loop.begin)(network, state, task, config, strategy=peers[0])
    # Every step takes over the memory of the run before it, which must not be the network's.
    run = jax.tree.map(lambda leaf: leaf.copy(), run)
    records = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first)
    finished = np.zeros((), bool)
    mark, targets = (
        _mark(prepared, config, strategy, checkpointing),
        np.array([target_dice, max_effort]),
    )
    latest = saved.restore((run, records, finished, targets, mark))
    if latest is not None:
        run, records, finished, before, found = latest[1]
        saved.check_mark(found, mark)
        finished &= (before == targets).all()  # with other targets a run may go on
    else:
        report(records)
    run = place(run, task.mesh)
    priority = loop.draw_priority(keys.priority, task.present, strategy)

    def show_now() -> None:
        fraction = 1.0 if finished else _fraction(records, target_dice, max_effort)
        show(fraction, **_figures(records))

    show_now()
    while not finished:
        run, more = _compiled(loop.run_queries)(
            run,
            priority,
            task,
            config,
            strategies=peers,
            which=peers.index(strategy),
            count=QUERIES,
            target_dice=target_dice,
            max_effort=max_effort,
        )
        more = jax.tree.map(np.asarray, more)
        kept = int((~more.done).sum())
        seen = _with_norm(more.loss[:kept], run.learner.train)
        rate = config.training.query_learning_rate
        check_loss(seen, f"query {{}} with query_learning_rate={rate:g}", len(records.dice))
        more = jax.tree.map(lambda leaf, kept=kept: leaf[:kept], more)
        records = jax.tree.map(lambda *leaves: np.concatenate(leaves), records, more)
        finished = np.asarray(kept < QUERIES)
        if finished or saved.is_due():
            report(records)
            # One more than the queries, as the finished run may have as many as the one before.
            step = len(records.dice) - 1 + int(finished)
            saved.save(step, (run, records, finished, targets, mark))
        show_now()
    saved.close()
    return run, records


def _mark(
    prepared: Prepared, config: Config, what: Loss | Strategy, place: Checkpointing | None
) -> np.ndarray:
    """Names a run by its strategy, or an initial network by its loss, in its checkpoints."""
    if place is None:  # and what is not kept needs no name
        return np.zeros(8, np.uint32)
    sections, state, task = prepared.task.sections, prepared.state, prepared.task
    # The stack is known by its intensities: a network does not depend on how lengths are measured.
    known = (task.present, sections.low, sections.high, state.annotated, state.unlabelled)
    # The person's key follows from the others.
    arrays = (known, prepared.keys.replace(person=None), task.prior)
    return make_mark(config, source_digest(what), arrays)


def make_mark(config: Config, what: str, known: chex.ArrayTree) -> np.ndarray:
    """Names a training in its checkpoints, [8] uint32: a digest of its settings and inputs."""
    text = hashlib.sha256(f"{json.dumps(to_json(config), sort_keys=True)}{what}".encode())
    for leaf in jax.tree.leaves(known):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        text.update(np.asarray(leaf).tobytes())
    return np.frombuffer(text.digest(), np.uint32)


def _with_norm(losses: np.ndarray, train_state: TrainState) -> np.ndarray:
    """The losses, and the norm of the weights, which shows what the last step did."""
    return np.append(losses, optax.global_norm(train_state.params))


def _fraction(records: Record, target_dice: float, max_effort: float) -> float:
    """The progress of a run: by Dice or by effort, whichever is nearer to its target.

    Each answer takes about the same share of what Dice lacks: by its logarithm half of the answers
    are half of the way (0.4 to 0.6 in 32 runs), by Dice itself they are 0.6 to 0.8 of it.
    """
    start, now, end = (max(1 - dice, 1e-3) for dice in (*records.dice[[0, -1]], target_dice))
    by_dice = np.log(start / now) / max(np.log(start / end), 1e-6)
    by_effort = (records.effort_unique[-1] - records.effort_unique[0]) / max(
        max_effort - records.effort_unique[0], 1e-6
    )
    return float(min(max(by_dice, by_effort, 0.0), 1.0))


def _figures(records: Record) -> dict[str, str]:
    return {
        "effort": f"{records.effort_unique[-1]:.1%}",
        "Dice": f"{records.dice[-1]:.1%}",
        "queries": str(len(records.dice) - 1),
    }
