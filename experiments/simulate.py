"""Simulates suggestive annotation of a stack and shows how little tracing reaches a given Dice.

    python -m experiments.simulate

On the shipped stack: BDa and Rand from one start and one initial network. It writes `queries.csv`,
`result.json`, `curve.png` and `annotations.png` into --workdir, and goes on where it was stopped.
"""

import csv
import dataclasses
import hashlib
import importlib.metadata
import io as text_io
import json
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import numpy as np
import optax
from absl import flags
from tqdm import tqdm

from al_jax import checkpoints, figures, io, simulation
from al_jax.augment import FIELDS, Augmentation
from al_jax.boundary import DIRECTIONS
from al_jax.networks import NETWORKS, init_params, make_network, with_weights
from al_jax.simulation import Config, Record, Run, Task
from al_jax.stack import InputError, Stack
from al_jax.state import ALState
from al_jax.statistics import effort_at
from al_jax.strategies import STRATEGIES
from al_jax.training import Training, TrainState, steps_per_epoch
from experiments import command

TARGETS = (0.8, 0.9, 0.95)
QUERIES = 4  # in one scan, between two looks at progress
EPOCHS = 15
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command; those that shape the run are its configuration."""
    command.define_stack_flags()
    flags.adopt_module_key_flags(command)  # so that --help shows them
    default, training = Config(), Training()
    flags.DEFINE_list("strategies", ["BDa", "Rand"], f"Any of {', '.join(STRATEGIES)}.")
    flags.DEFINE_integer("seed", 0, "Seed of all randomness.", 0, 2**32 - 1)
    flags.DEFINE_enum("network", default.network, list(NETWORKS), "FCN-8s, or an eighth of it.")
    flags.DEFINE_string("weights", None, "npz of VGG-16 trained on ImageNet; default: drawn.")
    flags.DEFINE_integer(
        "initial_epochs", default.initial_epochs, "Epochs before the first query.", 1
    )
    flags.DEFINE_integer("query_epochs", default.query_epochs, "Epochs after each answer.", 1)
    flags.DEFINE_float("learning_rate", default.learning_rate, "Learning rate at the start.", 0)
    flags.DEFINE_float(
        "query_learning_rate", default.query_learning_rate, "The same after each answer.", 0
    )
    flags.DEFINE_integer("crop", training.crop, "Side of a training crop, pixels.", 16, 2048)
    flags.DEFINE_integer("batch", training.batch, "Crops in a training step.", 1)
    flags.DEFINE_float("clip", training.clip, "Largest global norm of a gradient.", 1e-6)
    flags.DEFINE_enum("field", training.augmentation.field, list(FIELDS), "Non-linear field.")
    flags.DEFINE_float("alpha", default.alpha, "Weight of D(T-1) in Eq. 6.", 0, 1)
    flags.DEFINE_enum("dice_estimate", default.dice_estimate, simulation.ESTIMATES, "D of Eq. 6.")
    flags.DEFINE_float("min_effort", default.min_effort, "Least predicted effort, pixels.", 1e-3)
    flags.DEFINE_enum("length", default.length, list(DIRECTIONS), "How outlines are measured.")
    flags.DEFINE_integer("margin", default.margin, "Sections added to a structure's range.", 0)
    flags.DEFINE_integer("dropout_samples", default.dropout_samples, "S of Eq. 9.", 1)
    flags.DEFINE_enum("dice_over", default.dice_over, simulation.DICE_OVER, "Reported Dice.")
    flags.DEFINE_bool("count_background", default.count_background, "Background in reported Dice.")
    flags.DEFINE_float("target_dice", 0.95, "Stop at this Dice; a fraction.", 0, 1)
    flags.DEFINE_float("max_effort", 1.0, "Stop at this effort; a fraction.", 0, 1)
    flags.DEFINE_string("workdir", "results/simulate", "Where the results go.")
    flags.DEFINE_float("checkpoint_seconds", 10.0, "Least time between two checkpoints.", 0)


def read_config() -> Config:
    """The flags as a `Config`."""
    names = {f.name for f in dataclasses.fields(Config)} - {"training"}
    shared: dict[str, Any] = {name: FLAGS[name].value for name in names}
    return Config(
        training=Training(
            crop=FLAGS.crop,
            batch=FLAGS.batch,
            clip=FLAGS.clip,
            caffe=FLAGS.weights is not None,
            augmentation=Augmentation(field=FLAGS.field),
        ),
        **shared,
    )


def digest(*arrays: np.ndarray) -> str:
    """Names arrays by their content."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:16]


def check_strategies(names: list[str]) -> None:
    """Raises InputError for unknown and repeated names."""
    for index, name in enumerate(names):
        if name not in STRATEGIES:
            raise InputError(f"strategy '{name}' is unknown; use {', '.join(STRATEGIES)}")
        if name in names[:index]:
            raise InputError(f"strategy '{name}' is named twice; name it once")
    if not names:
        raise InputError(f"--strategies is empty; use {', '.join(STRATEGIES)}")


class Progress:
    """A bar that shows how far a stage is; where there is no terminal, a line a minute."""

    def __init__(self, name: str, fraction: float, **values: str):
        """Opens the bar at `fraction` of its length; time left counts from there."""
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=1.0, initial=fraction, desc=f"{name:>9}", bar_format=self._layout(fraction),
            smoothing=0, postfix=self._listed(values),
            file=sys.stderr if self._terminal else text_io.StringIO(),
        )  # fmt: skip
        self._said = time.monotonic()

    def show(self, fraction: float, **values: str) -> None:
        """Moves the bar to `fraction` of its length."""
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
        self._bar.close()
        if not self._terminal and failure is None:
            self._log()


def _with_norm(losses: np.ndarray, train_state: TrainState) -> np.ndarray:
    """The losses and the norm of the weights behind them: what the last step did shows there."""
    return np.append(losses, optax.global_norm(train_state.params))


def check_loss(losses: np.ndarray, first: int, what: str, rate: str) -> None:
    """Raises InputError if a loss is not finite; `rate` is the flag of the learning rate."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    if wrong.size:
        raise InputError(
            f"the loss is not finite at {what} {first + wrong[0]} "
            f"with --{rate}={FLAGS[rate].value:g}; lower it"
        )


def train_initially(
    keys: simulation.Keys,
    task: Task,
    state: ALState,
    config: Config,
    loss: str,
    weights: dict[str, np.ndarray] | None,
    folder: pathlib.Path,
) -> TrainState:
    """The initial network, from its latest checkpoint on."""
    initial = jax.jit(simulation.initial_train_state, static_argnames="config")
    piece = jax.jit(simulation.train_initial, static_argnames=("config", "loss", "epochs"))
    saved = checkpoints.open_checkpoints(folder)
    train_state, epoch = initial(keys.weights, task, config=config), 0
    if weights is not None:
        train_state = train_state.replace(params=with_weights(train_state.params, weights))
    if (latest := checkpoints.restore(saved, train_state)) is not None:
        epoch, train_state = latest
    written = time.monotonic()
    steps = steps_per_epoch(task.truth.shape[0], config.training.batch)
    with Progress("network", epoch / config.initial_epochs, epoch=str(epoch)) as bar:
        while epoch < config.initial_epochs:
            count = min(EPOCHS, config.initial_epochs - epoch)
            train_state, losses = piece(
                keys.training, train_state, state, task,
                config=config, loss=loss, first_epoch=epoch, epochs=count,
            )  # fmt: skip
            losses = np.asarray(losses)
            seen = _with_norm(losses, train_state)
            check_loss(seen, epoch * steps + 1, "training step", "learning_rate")
            epoch += count
            done = epoch == config.initial_epochs
            if done or time.monotonic() - written >= FLAGS.checkpoint_seconds:
                checkpoints.save(saved, epoch, train_state)
                written = time.monotonic()
            bar.show(epoch / config.initial_epochs, epoch=str(epoch), loss=f"{losses.mean():.4f}")
    saved.close()
    return train_state


def run_strategy(
    strategy: str,
    keys: simulation.Keys,
    task: Task,
    begun: tuple[Run, Record],
    config: Config,
    folder: pathlib.Path,
    report: Callable[[str, Record], None],
) -> tuple[Run, Record]:
    """All queries of a strategy, from its latest checkpoint on; the records have a leading axis."""
    piece = jax.jit(simulation.run_queries, static_argnames=("config", "strategies", "count"))
    peers = simulation.alike(strategy)
    saved = checkpoints.open_checkpoints(folder)
    run, first = begun
    records = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first)
    finished = np.zeros((), bool)
    if (found := checkpoints.restore(saved, (run, records, finished))) is not None:
        run, records, finished = found[1]
    else:
        report(strategy, records)
    priority = simulation.draw_priority(keys.priority, task.present, strategy)
    written = time.monotonic()
    with Progress(strategy, 1.0 if finished else _fraction(records), **_standing(records)) as bar:
        while not finished:
            run, more = piece(
                run, priority, task, config=config, strategies=peers, which=peers.index(strategy),
                count=QUERIES, target_dice=FLAGS.target_dice, max_effort=FLAGS.max_effort,
            )  # fmt: skip
            more = jax.tree.map(np.asarray, more)
            kept = int((~more.done).sum())
            seen = _with_norm(more.loss[:kept], run.train)
            check_loss(seen, len(records.dice), "query", "query_learning_rate")
            more = jax.tree.map(lambda leaf, kept=kept: leaf[:kept], more)
            records = jax.tree.map(lambda *leaves: np.concatenate(leaves), records, more)
            finished = np.asarray(kept < QUERIES)
            if finished or time.monotonic() - written >= FLAGS.checkpoint_seconds:
                report(strategy, records)
                # One more than the queries, as the finished run may have as many as the one before.
                step = len(records.dice) - 1 + int(finished)
                checkpoints.save(saved, step, (run, records, finished))
                written = time.monotonic()
            bar.show(1.0 if finished else _fraction(records), **_standing(records))
    saved.close()
    return run, records


def _fraction(records: Record) -> float:
    """How far a run is: by Dice or by effort, whichever is nearer to its end."""
    start, now, target = records.dice[0], records.dice[-1], FLAGS.target_dice
    by_dice = (now - start) / max(target - start, 1e-6)
    by_effort = (records.effort[-1] - records.effort[0]) / max(
        FLAGS.max_effort - records.effort[0], 1e-6
    )
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


def print_table(summary: dict[str, dict]) -> None:
    """Effort at 80, 90 and 95% Dice for each strategy."""
    print("\neffort (% of all outlines) to reach a Dice of")
    print(f"{'strategy':>10} {'start':>7} {'80%':>7} {'90%':>7} {'95%':>7} {'queries':>8}")
    for strategy, row in summary.items():
        cells = [row["initial_effort"], *(row[f"effort_at_{t:.0%}"[:-1]] for t in TARGETS)]
        shown = " ".join(f"{'-' if c is None else f'{c:.1f}':>7}" for c in cells)
        print(f"{strategy:>10} {shown} {row['queries']:>8}")


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


def main() -> None:
    """Simulates every strategy on one stack."""
    check_strategies(FLAGS.strategies)
    config, stack = read_config(), command.load_stack()
    weights = None if FLAGS.weights is None else io.read_weights(FLAGS.weights)
    if weights is not None:
        network = make_network(config.network, stack.num_classes)
        shapes = jax.eval_shape(lambda key: init_params(key, network), jax.random.key(0))
        with_weights(shapes, weights)  # refuses other shapes
    configuration = {
        "stack": digest(stack.images, stack.inside, stack.truth, np.array(stack.names)),
        "weights": None if weights is None else digest(*weights.values()),
        "strategies": FLAGS.strategies,
        "seed": FLAGS.seed,
        "target_dice": FLAGS.target_dice,
        "max_effort": FLAGS.max_effort,
        **dataclasses.asdict(config),
    }
    configuration = json.loads(json.dumps(configuration))
    task = jax.jit(simulation.make_task, static_argnames="config")(stack, config=config)
    if float(task.total) == 0:
        raise InputError("no section shows two classes side by side; there is nothing to trace")
    with command.open_workdir(FLAGS.workdir, configuration) as workdir:
        simulate_into(workdir, stack, task, weights, config, configuration)


def simulate_into(
    workdir: pathlib.Path,
    stack: Stack,
    task: Task,
    weights: dict[str, np.ndarray] | None,
    config: Config,
    configuration: dict,
) -> None:
    """The run itself; everything it writes goes into `workdir`."""
    keys = simulation.make_keys(jax.random.key(FLAGS.seed))
    state = jax.jit(simulation.start, static_argnames="config")(keys.start, task, config=config)
    total = float(task.total)
    print(
        f"{stack.num_sections} sections of {stack.images.shape[1]}x{stack.images.shape[2]}, "
        f"{stack.num_classes} classes, {total:.0f} px of outline; results in {workdir}",
        flush=True,
    )
    begin = jax.jit(simulation.begin, static_argnames=("config", "strategy"))
    traces: dict[str, Record] = {}

    def report(strategy: str, records: Record) -> None:
        traces[strategy] = records
        io.write_whole(workdir / "queries.csv", table_of_queries(traces, stack.names))

    networks: dict[str, TrainState] = {}
    initial = float(state.traced.sum()) / total
    rows = [(f"start ({initial:.1%})", np.asarray(state.labels), np.asarray(state.annotated))]
    for strategy in FLAGS.strategies:
        loss = STRATEGIES[strategy].loss
        if loss not in networks:
            folder = workdir / "checkpoints" / f"initial_{loss}"
            networks[loss] = train_initially(keys, task, state, config, loss, weights, folder)
        first_alike = simulation.alike(strategy)[0]
        begun = begin(networks[loss], state, task, config=config, strategy=first_alike)
        folder = workdir / "checkpoints" / strategy
        run, records = run_strategy(strategy, keys, task, begun, config, folder, report)
        traces[strategy] = records
        labels, annotated = np.asarray(run.state.labels), np.asarray(run.state.annotated)
        rows.append((f"{strategy} ({float(records.effort[-1]):.1%})", labels, annotated))

    io.write_whole(workdir / "queries.csv", table_of_queries(traces, stack.names))
    summary = {strategy: summarise(records) for strategy, records in traces.items()}
    figures.curve(
        {
            name: {
                "effort_percent": 100 * records.effort,
                "dice": records.dice,
                "dice_unclamped": records.dice_unclamped,
            }
            for name, records in traces.items()
        },
        workdir / "curve.png",
        TARGETS,
    )
    picture = workdir / "annotations.png"
    figures.annotations(stack.images, stack.truth, stack.inside, stack.names, rows, picture)
    result = {
        "input": command.stack_flags(),
        "configuration": configuration,
        "versions": versions(),
        "summary": summary,
    }
    io.write_whole(workdir / "result.json", (json.dumps(result, indent=2) + "\n").encode())
    print_table(summary)
    print(f"\n{workdir}: queries.csv, result.json, curve.png, annotations.png")


if __name__ == "__main__":
    define_flags()
    command.run(main)
