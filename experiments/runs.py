"""A run with its checkpoints, and what is written of it: for one run and for a sweep alike.

Functions under `jax.jit` are made here once, so that a process that does many runs compiles each
program once.
"""

import csv
import dataclasses
import functools
import hashlib
import importlib.metadata
import io as text_io
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from al_jax import checkpoints, simulation
from al_jax.convolution import compiler_options
from al_jax.networks import with_weights
from al_jax.simulation import Config, Record, Run, Task
from al_jax.stack import InputError, Stack
from al_jax.state import ALState
from al_jax.statistics import effort_at
from al_jax.training import TrainState, steps_per_epoch

TARGETS = (0.8, 0.9, 0.95)
QUERIES = 4  # in one scan, between two looks at progress
EPOCHS = 15
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal

Tree = TypeVar("Tree")

Show = Callable[..., None]
"""Told the fraction of a stage that is done, and by name what to show beside it."""

_task = jax.jit(simulation.make_task, static_argnames=("config", "mesh"), donate_argnames="stack")
_start = jax.jit(simulation.start, static_argnames="config")
_initial = jax.jit(simulation.initial_train_state, static_argnames="config")
_begin = jax.jit(simulation.begin, static_argnames=("config", "strategy"))


@functools.cache
def _programs() -> tuple[Callable, Callable]:
    """Training and queries, most of a run's time; the rest is not worth the options.

    Made when first called: the options ask for the device, which a sweep leaves to its workers.
    """
    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    train = jit(
        simulation.train_initial,
        static_argnames=("config", "loss", "epochs"),
        donate_argnames="train_state",
    )
    query = jit(
        simulation.run_queries,
        static_argnames=("config", "strategies", "count"),
        donate_argnames="run",
    )
    return train, query


def digest(*arrays: np.ndarray) -> str:
    """Names arrays by their content."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:16]


def digest_stack(stack: Stack) -> str:
    """Names a stack by its content."""
    return digest(stack.images, stack.inside, stack.truth, np.array(stack.names))


def digest_weights(weights: dict[str, np.ndarray] | None) -> str | None:
    """Names published weights by their content."""
    return None if weights is None else digest(*weights.values())


def describe(
    stack: str, weights: str | None, chosen: dict[str, Any], config: Config
) -> dict[str, Any]:
    """The configuration of a run as plain JSON.

    Args:
      stack, weights: their digests.
      chosen: what `config` does not say of the run.
      config: the rest.
    """
    settings = {"stack": stack, "weights": weights, **chosen, **dataclasses.asdict(config)}
    return json.loads(json.dumps(settings))


def place(tree: Tree, mesh: Mesh | None) -> Tree:
    """The arrays on every device of a mesh, once for all calls; without a mesh where they are."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def prepare(
    stack: Stack, config: Config, seed: int, mesh: Mesh | None = None
) -> tuple[simulation.Keys, Task, ALState]:
    """Keys, task and start of the run that `seed` names, which the devices of `mesh` share.

    Raises:
      InputError: the stack has no outline.
    """
    # A copy that becomes the task, which would be a second one else.
    task = _task(jax.tree.map(jnp.array, stack), config=config, mesh=mesh)
    task = place(task, task.mesh)
    if float(task.total) == 0:
        raise InputError("no section shows two classes side by side; there is nothing to trace")
    keys = simulation.make_keys(jax.random.key(seed))
    return keys, task, _start(keys.start, task, config=config)


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
                total=1.0, initial=fraction, desc=f"{self._name:>9}", smoothing=0,
                bar_format=self._layout(fraction), postfix=self._listed(values),
                file=sys.stderr if self._terminal else text_io.StringIO(),
            )  # fmt: skip
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


def _with_norm(losses: np.ndarray, train_state: TrainState) -> np.ndarray:
    """The losses and the norm of the weights behind them: what the last step did shows there."""
    return np.append(losses, optax.global_norm(train_state.params))


def check_loss(losses: np.ndarray, first: int, what: str, flag: str, rate: float) -> None:
    """Raises InputError if a loss is not finite; `flag` set the learning rate to `rate`."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    if wrong.size:
        raise InputError(
            f"the loss is not finite at {what} {first + wrong[0]} with --{flag}={rate:g}; lower it"
        )


def train_initially(
    keys: simulation.Keys,
    task: Task,
    state: ALState,
    config: Config,
    loss: str,
    weights: dict[str, np.ndarray] | None,
    folder: pathlib.Path,
    checkpoint_seconds: float,
    show: Show,
) -> TrainState:
    """The initial network, from its latest checkpoint in `folder` on.

    Raises:
      InputError: the weights do not fit, a loss is not finite, or a checkpoint cannot be written.
    """
    saved = checkpoints.open_checkpoints(folder)
    train_state, epoch = _initial(keys.weights, task, config=config), 0
    if weights is not None:
        train_state = train_state.replace(params=with_weights(train_state.params, weights))
    if (latest := checkpoints.restore(saved, train_state)) is not None:
        epoch, train_state = latest
    train_state = place(train_state, task.mesh)
    written = time.monotonic()
    steps = steps_per_epoch(task.truth.shape[0], config.training.batch)
    show(epoch / config.initial_epochs, epoch=str(epoch))
    train, _ = _programs()
    while epoch < config.initial_epochs:
        count = min(EPOCHS, config.initial_epochs - epoch)
        train_state, losses = train(
            keys.training, train_state, state, task,
            config=config, loss=loss, first_epoch=epoch, epochs=count,
        )  # fmt: skip
        losses = np.asarray(losses)
        seen, first = _with_norm(losses, train_state), epoch * steps + 1
        check_loss(seen, first, "training step", "learning_rate", config.learning_rate)
        epoch += count
        done = epoch == config.initial_epochs
        if done or time.monotonic() - written >= checkpoint_seconds:
            checkpoints.save(saved, epoch, train_state)
            written = time.monotonic()
        show(epoch / config.initial_epochs, epoch=str(epoch), loss=f"{losses.mean():.4f}")
    saved.close()
    return train_state


def run_strategy(
    strategy: str,
    keys: simulation.Keys,
    task: Task,
    state: ALState,
    network: TrainState,
    config: Config,
    target_dice: float,
    max_effort: float,
    folder: pathlib.Path,
    checkpoint_seconds: float,
    report: Callable[[str, Record], None],
    show: Show,
) -> tuple[Run, Record]:
    """All queries of a strategy, from its latest checkpoint on.

    Args:
      strategy: a key of `STRATEGIES`.
      keys, task, state: of the run; `state` is the start.
      network: the initial one.
      config, target_dice, max_effort: as `simulation.run_queries` takes them.
      folder: of the checkpoints.
      checkpoint_seconds: least time between two of them.
      report: called with the strategy and its records at the start and before every checkpoint.
      show: told how far the run is.

    Returns:
      The run after the last query, and its records with a leading axis: the start, then one each.

    Raises:
      InputError: a loss is not finite, or a checkpoint cannot be written.
    """
    peers = simulation.alike(strategy)
    saved = checkpoints.open_checkpoints(folder)
    run, first = _begin(network, state, task, config=config, strategy=peers[0])
    # Every step takes over the memory of the run before it, which must not be the network's.
    run = jax.tree.map(lambda leaf: leaf.copy(), run)
    records = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first)
    finished = np.zeros((), bool)
    if (found := checkpoints.restore(saved, (run, records, finished))) is not None:
        run, records, finished = found[1]
    else:
        report(strategy, records)
    run = place(run, task.mesh)
    priority = simulation.draw_priority(keys.priority, task.present, strategy)
    written = time.monotonic()

    def tell() -> None:
        fraction = 1.0 if finished else _fraction(records, target_dice, max_effort)
        show(fraction, **_standing(records))

    tell()
    _, query = _programs()
    while not finished:
        run, more = query(
            run, priority, task, config=config, strategies=peers, which=peers.index(strategy),
            count=QUERIES, target_dice=target_dice, max_effort=max_effort,
        )  # fmt: skip
        more = jax.tree.map(np.asarray, more)
        kept = int((~more.done).sum())
        seen, rate = _with_norm(more.loss[:kept], run.train), config.query_learning_rate
        check_loss(seen, len(records.dice), "query", "query_learning_rate", rate)
        more = jax.tree.map(lambda leaf, kept=kept: leaf[:kept], more)
        records = jax.tree.map(lambda *leaves: np.concatenate(leaves), records, more)
        finished = np.asarray(kept < QUERIES)
        if finished or time.monotonic() - written >= checkpoint_seconds:
            report(strategy, records)
            # One more than the queries, as the finished run may have as many as the one before.
            step = len(records.dice) - 1 + int(finished)
            checkpoints.save(saved, step, (run, records, finished))
            written = time.monotonic()
        tell()
    saved.close()
    return run, records


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


def table_of_queries(traces: dict[str, Record], names: tuple[str, ...]) -> bytes:
    """queries.csv: a row per strategy and step; step 0 is the start."""
    file = text_io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["strategy", "step", "section", "structure", "predicted_dice", "predicted_length",
         "actual_length", "effort_px", "effort_percent", "dice", "dice_unclamped"]
        + [f"dice_{name}" for name in names]
        + [f"dice_unclamped_{name}" for name in names]
    )  # fmt: skip

    def figure(value: float) -> str:
        return "" if np.isnan(value) else f"{float(value):.6g}"

    for strategy, records in traces.items():
        traced = np.cumsum(records.length, dtype=np.float64)
        for step in range(len(records.dice)):
            r = jax.tree.map(lambda leaf, step=step: leaf[step], records)
            asked = step > 0
            writer.writerow(
                [strategy, step, int(r.section) if asked else "",
                 names[int(r.structure)] if asked else ""]
                + [figure(x) for x in (r.predicted_dice, r.predicted_length, r.length)]
                + [f"{traced[step]:.8g}"]
                + [figure(x) for x in (100 * r.effort, r.dice, r.dice_unclamped,
                                       *r.class_dice, *r.class_dice_unclamped)]
            )  # fmt: skip
    return file.getvalue().encode()


def summarise(records: Record) -> dict[str, float | int | None]:
    """Efforts in % of the stack's outline at the targets (None: not reached), and the end."""
    effort, dice = 100 * records.effort, records.dice
    reached = {f"effort_at_{t:.0%}".rstrip("%"): effort_at(effort, dice, t) for t in TARGETS}
    return {
        "initial_effort": round(float(effort[0]), 3),
        **{k: None if np.isnan(v) else round(v, 6) for k, v in reached.items()},
        "queries": len(dice) - 1,
        "final_effort": round(float(effort[-1]), 3),
        "final_dice": round(100 * float(dice[-1]), 3),
        "final_dice_unclamped": round(100 * float(records.dice_unclamped[-1]), 3),
    }


def versions() -> dict[str, str]:
    """What the numbers depend on beside the configuration."""
    return {
        "al_jax": importlib.metadata.version("al_jax"),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def machine() -> dict[str, str | int]:
    """What a time was measured on."""
    return {"cores": len(os.sched_getaffinity(0)), "device": jax.devices()[0].device_kind}
