"""Simulates a grid of stacks, strategies, seeds and settings, several runs at a time.

    python -m experiments.sweep --workdir=results/nine --stack=a.npz,b.npz --seed=0,1,2 \\
        --strategies=BDa,Da,Rand --alpha=0,0.5,1

Every flag that shapes a run of `experiments.simulate` takes a list here, and --config names a TOML
file with the same names as keys. Each run has a directory of its own under --workdir; what is
finished is not run again, and what was stopped goes on where it was.
"""

import contextlib
import copy
import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Hashable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from al_jax import driver, simulation
from al_jax.files.stacks import load_default, read_stack, write_stack
from al_jax.files.weights import read_weights
from al_jax.files.whole import write_whole
from al_jax.oracle import Config
from al_jax.simulation import Record
from al_jax.stack import InputError
from al_jax.strategies import STRATEGIES
from al_jax.training import TrainState
from experiments import command, runs, simulate, stack_flags

FLAGS = flags.FLAGS
COLIN27 = "colin27.npz"  # what the shipped stack is called
WHOLE = ("workdir", "checkpoint_seconds", "devices")  # no part of what a run is
FILES = (
    "images",
    "labels",
    "names",
    *stack_flags.VOLUME_FLAGS,
    "outside_id",
)  # stacks are npz here
PATIENCE = 60.0  # seconds to wait for the directory of a process that is dying
QUERIES = 50  # in a run, for the time left
DIGEST = "[0-9a-f]" * 16  # the name of a run's folder, as a pattern


class Network(NamedTuple):
    """An initial network to train.

    Attributes:
      folder: where its checkpoints go.
      configuration: all that it depends on; `config` is the part that the functions take.
      group: one compilation serves a group.
      work: how long it takes, in epochs.
      stack, weights: files.
    """

    folder: pathlib.Path
    configuration: dict[str, Any]
    config: Config
    group: Hashable
    work: float
    stack: pathlib.Path
    weights: str | None


class Run(NamedTuple):
    """A run: one strategy on one stack from one seed.

    Attributes:
      folder, configuration, config, group, work: as of `Network`.
      name: the file name of its stack.
      arguments: what repeats it from within its folder.
      network: the one it begins with.
    """

    folder: pathlib.Path
    configuration: dict[str, Any]
    config: Config
    group: Hashable
    work: float
    name: str
    arguments: list[str]
    network: Network


class Refused(NamedTuple):
    """A run that cannot be: its folder, its configuration, and the line about its files."""

    folder: pathlib.Path
    configuration: dict[str, Any]
    line: str


Unit = Network | Run


# The grid.


@functools.cache
def flags_of_a_run() -> flags.FlagValues:
    """The flags of `experiments.simulate`, apart from those of this command."""
    before = set(FLAGS)
    simulate.define_flags()
    values = flags.FlagValues()
    for name in [name for name in FLAGS if name not in before]:
        flag = FLAGS[name]
        delattr(FLAGS, name)
        values[name] = flag
    return values


def lists() -> list[str]:
    """The flags that take a list: those that shape a run."""
    return [name for name in flags_of_a_run() if name not in (*WHOLE, *FILES)]


def define_flags() -> None:
    """All flags of the command."""
    single = flags_of_a_run()
    for name in lists():
        flags.DEFINE_list(name, None, f"List. {single[name].help}")
    flags.DEFINE_string("config", None, "TOML: lists by the names of these flags; [[grid]] tables.")
    flags.DEFINE_integer("jobs", None, "Runs at a time; default: one an accelerator or core.", 1)
    flags.DEFINE_string("workdir", "results/sweep", "Where the results go.")
    flags.DEFINE_float("checkpoint_seconds", 10.0, single["checkpoint_seconds"].help, 0)


def read_grids(path: str | None, given: dict[str, list[str]]) -> list[dict[str, list[str]]]:
    """The grids of a TOML file, each as values by flag; what is `given` overrides the file.

    Raises:
      InputError: the file is unreadable, or a key or value is none of the flags'.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(pathlib.Path(path).read_text())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: cannot be read ({reason}); correct it") from error
    tables = content.pop("grid", [{}])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: 'grid' is no table; begin each grid with [[grid]]")
    known, single = lists(), flags_of_a_run()
    grids = []
    for table in tables:
        merged = content | table
        for key in merged:
            if key not in known:
                raise InputError(f"{path}: '{key}' is no setting; use {', '.join(known)}")
        usual = {"strategies": list(single["strategies"].default or [])}
        own = {key: _texts(path, key, value) for key, value in merged.items()}
        grids.append(usual | own | given)
    for grid in grids:
        for key, values in grid.items():
            where = "" if key in given else f"{path}: "
            if not values:
                raise InputError(f"{where}--{key} is empty; give at least one value")
            for value in values:
                try:
                    _parse(single, [f"--{key}={value}"])
                    if key == "strategies":
                        simulate.check_strategies([value])
                except (InputError, flags.Error) as error:
                    raise InputError(f"{where}{error}") from error
    return grids


def _texts(path: str | None, key: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise InputError(f"{path}: '{key}' is neither a value nor a list of values")
    return [str(item) for item in values]


def _parse(single: flags.FlagValues, arguments: list[str]) -> flags.FlagValues:
    values = copy.deepcopy(single)
    values(["simulate", *arguments])
    command.check_finite(values)
    return values


def points(grids: list[dict[str, list[str]]]) -> Iterator[flags.FlagValues]:
    """The flags of every run of the grids."""
    for grid in grids:
        for values in itertools.product(*grid.values()):
            yield _parse(
                flags_of_a_run(), [f"--{k}={v}" for k, v in zip(grid, values, strict=True)]
            )


def digest(configuration: dict[str, Any]) -> str:
    """Names a configuration by its content."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


def initial_config(config: Config) -> Config:
    """What of a configuration the initial network depends on; the rest as it is by default."""
    names = ("network", "initial_epochs", "learning_rate", "margin", "training")
    return Config(**{name: getattr(config, name) for name in names})


def plan(workdir: pathlib.Path, grids: list[dict[str, list[str]]]) -> list[Run | Refused]:
    """All runs of the grids, each once; stacks are written into `workdir`."""

    @functools.cache
    def stack_of(path: str | None) -> tuple[pathlib.Path, tuple[int, ...]]:
        stack = load_default() if path is None else read_stack(path)
        kept = workdir / "stacks" / f"{runs.digest_stack(stack)}.npz"
        if not kept.exists():
            try:
                kept.parent.mkdir(exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{kept.parent}: {error.strerror}; choose another --workdir"
                ) from error
            write_stack(kept, stack)
        return kept, (*stack.images.shape, stack.num_classes)

    @functools.cache
    def weights_of(path: str | None) -> tuple[str | None, str]:
        if path is None:
            return None, "plain"
        weights, convention = read_weights(path)
        return runs.digest_weights(weights), convention

    def plan_run(values: flags.FlagValues) -> Run | Refused:
        strategy, path = values.strategies[0], values.stack
        chosen = {k: values[k].value for k in ("seed", "target_dice", "max_effort")}
        chosen["strategy"] = strategy
        try:
            (stack, shape), (weights, convention) = stack_of(path), weights_of(values.weights)
        except InputError as error:
            if full(error):
                raise
            # What cannot be read has no content to be named by.
            config = simulate.read_config("plain", values)
            configuration = runs.describe(str(path), values.weights, chosen, config)
            return Refused(workdir / "runs" / digest(configuration), configuration, str(error))
        config = simulate.read_config(convention, values)
        configuration = runs.describe(stack.stem, weights, chosen, config)
        return Run(
            folder=workdir / "runs" / digest(configuration),
            configuration=configuration,
            config=config,
            group=(config, simulation.alike(strategy), shape),
            work=float(QUERIES * config.query_epochs),
            name=COLIN27 if path is None else pathlib.Path(path).name,
            arguments=_arguments(values),
            network=plan_network(config, stack, shape, weights, values, STRATEGIES[strategy].loss),
        )

    def plan_network(
        config: Config,
        stack: pathlib.Path,
        shape: tuple[int, ...],
        weights: str | None,
        values: flags.FlagValues,
        loss: str,
    ) -> Network:
        config = initial_config(config)
        configuration = runs.describe(
            stack.stem, weights, {"seed": values.seed, "loss": loss}, config
        )
        folder, group = workdir / "networks" / digest(configuration), (config, loss, shape)
        work = float(config.initial_epochs)
        return Network(folder, configuration, config, group, work, stack, values.weights)

    planned = map(plan_run, points(grids))
    return list({run.folder: run for run in planned}.values())


def _arguments(values: flags.FlagValues) -> list[str]:
    """The flags that repeat a run from within its folder."""
    given = {name: values[name].value for name in lists() if values[name].present}
    given |= {"stack": "stack.npz", "strategies": values.strategies[0]}
    if values.weights is not None:
        given["weights"] = os.path.abspath(values.weights)
    return [f"--{name}={value}" for name, value in given.items()]


# A unit of work.


def full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):  # of libraries that tell it in words
            return True
        error = error.__cause__ or error.__context__
    return False


def is_trained(network: Network) -> bool:
    """Whether its last checkpoint is there."""
    return (network.folder / str(network.config.initial_epochs)).is_dir()


def is_finished(run: Run | Refused) -> bool:
    """Whether its result is there."""
    return (run.folder / "result.json").exists()


def train(network: Network, seconds: float, show: driver.Show) -> TrainState:
    """The initial network: trained, or read if it has been.

    Args:
      network: which.
      seconds: least time between two checkpoints.
      show: told how far it is.

    Raises:
      InputError: what `runs.prepare` and `runs.train_initially` refuse.
    """
    setting, trained = network.configuration, is_trained(network)
    weights = None
    if network.weights is not None and not trained:
        weights = read_weights(network.weights).arrays
    prepared = driver.prepare(read_stack(network.stack), network.config, setting["seed"])
    # Many runs may read a trained network at once.
    place = (
        contextlib.nullcontext(network.folder)
        if trained
        else command.open_workdir(network.folder, setting, PATIENCE)
    )
    with place as folder:
        return driver.train_network(
            prepared,
            network.config,
            setting["loss"],
            keep=driver.Checkpointing(folder, seconds),
            weights=weights,
            show=show,
        )


def perform(run: Run, seconds: float, show: driver.Show) -> None:
    """The run, in its folder; arguments and errors as of `train`."""
    setting = run.configuration
    strategy = setting["strategy"]
    with command.open_workdir(run.folder, setting, PATIENCE) as folder:
        if is_finished(run):
            return
        (folder / "error.json").unlink(missing_ok=True)
        _place_stack(run.network, folder)
        stack = read_stack(folder / "stack.npz")
        prepared = driver.prepare(stack, run.config, setting["seed"])
        initial = train(run.network, seconds, driver.silent)

        def report(strategy: str, records: Record) -> None:
            table = runs.table_of_queries({strategy: records}, stack)
            write_whole(folder / "queries.csv", table)

        _, records = driver.run_strategy(
            strategy,
            prepared,
            initial,
            run.config,
            target_dice=setting["target_dice"],
            max_effort=setting["max_effort"],
            keep=driver.Checkpointing(folder / "checkpoints", seconds),
            report=report,
            show=show,
        )
        report(strategy, records)
        answered = np.argwhere(np.asarray(prepared.state.annotated).T)
        result = {
            "input": {"stack": run.name},
            "configuration": setting,
            "versions": runs.versions() | {"cores": len(os.sched_getaffinity(0))},
            "summary": runs.summarise(records),
            "start": [[int(section), stack.names[c]] for c, section in answered],
            "command": shlex.join(["python", "-m", "experiments.simulate", *run.arguments]),
        }
        write_whole(folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _place_stack(network: Network, folder: pathlib.Path) -> None:
    """stack.npz: the stack once more under another name, or a copy where there are no links."""
    place = folder / "stack.npz"
    if place.exists():
        return
    try:
        os.link(network.stack, place)
    except OSError:
        write_whole(place, network.stack.read_bytes())


def record_failure(run: Run | Refused, line: str) -> None:
    """error.json."""
    try:
        with command.open_workdir(run.folder, run.configuration, PATIENCE) as folder:
            if isinstance(run, Run):
                _place_stack(run.network, folder)
            text = json.dumps({"error": line}, indent=2) + "\n"
            write_whole(folder / "error.json", text.encode())
    except (InputError, OSError) as error:
        if full(error):
            raise InputError(str(error)) from error


# Workers.


class Place(NamedTuple):
    """Where a worker runs: its cores, and what its environment says."""

    cores: frozenset[int]
    environment: dict[str, str]


def find_places(jobs: int | None) -> list[Place]:
    """A place for each worker; without `jobs`, one an accelerator, or else one a core.

    JAX is asked in a process of its own, as whoever asks holds the accelerators.
    """
    question = "import jax; print(jax.default_backend(), jax.local_device_count())"
    asked = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True,
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )  # fmt: skip
    backend, devices = (asked.stdout.split() or ["cpu", "1"])[-2:]
    cores, count = sorted(os.sched_getaffinity(0)), int(devices)
    jobs = jobs or (len(cores) if backend == "cpu" else count)
    size = max(1, len(cores) // jobs)  # the same for all: rounding depends on it
    shares = [
        frozenset(cores[(job * size + k) % len(cores)] for k in range(size)) for job in range(jobs)
    ]
    if backend == "cpu":
        return [Place(share, {}) for share in shares]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    # Workers that share a device must not each take most of its memory at once.
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if jobs > count else {}
    return [
        Place(share, {"CUDA_VISIBLE_DEVICES": visible[job % count], **shared})
        for job, share in enumerate(shares)
    ]


@contextlib.contextmanager
def _placed(place: Place) -> Iterator[None]:
    """What a process inherits that is started within: its place, and that it ignores Ctrl-C.

    A worker ends when its parent does; it would only add a traceback.
    """
    cores, environment = os.sched_getaffinity(0), dict(os.environ)
    resource_tracker.ensure_running()  # which starts with the first worker and undoes the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.sched_setaffinity(0, place.cores)
        os.environ.update(place.environment)
        yield
    finally:
        for name in place.environment.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.sched_setaffinity(0, cores)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclasses.dataclass
class Worker:
    """A process that takes one unit after another, as its parent sees it.

    Attributes:
      place, process, pipe: of the worker.
      unit: what it is at, None if idle; `fraction` of it is done.
      group: of its latest unit, whose programs it has compiled.
    """

    place: Place
    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None
    fraction: float = 0.0
    group: Hashable = None


def hire(place: Place, seconds: float) -> Worker:
    """Starts a worker."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, seconds))
    with _placed(place):
        process.start()
    theirs.close()  # the worker's copy alone is left, so its end is seen here
    return Worker(place, process, ours)


def work(pipe: Connection, seconds: float) -> None:
    """The life of a worker: units come in, fractions go out, and what `attempt` says of each."""
    command.prepare()
    units: queue.SimpleQueue[Unit] = queue.SimpleQueue()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                units.put(pipe.recv())
        os._exit(0)  # the parent is gone

    threading.Thread(target=listen, daemon=True).start()

    def show(fraction: float, **_: str) -> None:
        pipe.send(fraction)

    while True:
        pipe.send(attempt(units.get(), seconds, show))


def attempt(unit: Unit, seconds: float, show: driver.Show) -> tuple[str, str]:
    """Does a unit; 'done', 'failed' or (the disk is) 'full', and a line about a failure."""
    try:
        if isinstance(unit, Network):
            train(unit, seconds, show)
        else:
            perform(unit, seconds, show)
    # Nothing that one run meets, an accelerator out of memory say, may end the others.
    except Exception as error:
        line = " ".join(str(error).split())[:500]
        if not isinstance(error, InputError):
            line = f"{type(error).__name__}: {line}"
        return ("full" if full(error) else "failed"), line
    return "done", ""


# The sweep.


def choose(ready: list[Unit], worker: Worker, workers: list[Worker]) -> Unit:
    """What an idle worker does next.

    Networks first; then what the worker has compiled the programs of, or else no other worker has.
    """
    others = {other.group for other in workers if other is not worker}

    def rank(unit: Unit) -> tuple[bool, bool, bool]:
        return isinstance(unit, Run), unit.group != worker.group, unit.group in others

    return min(ready, key=rank)


def carry_out(
    planned: list[Run | Refused], jobs: int | None, seconds: float
) -> dict[pathlib.Path, str]:
    """Does what is not done yet; the lines of the runs that failed, by folder.

    Raises:
      InputError: the disk is full.
    """
    failures: dict[pathlib.Path, str] = {}

    def fail(run: Run | Refused, line: str) -> None:
        record_failure(run, line)
        failures[run.folder] = line

    for run in planned:
        if isinstance(run, Refused):
            fail(run, run.line)
    able = [run for run in planned if isinstance(run, Run)]
    missing = [run for run in able if not is_finished(run)]
    networks = {run.network.folder: run.network for run in missing}
    untrained = {folder: net for folder, net in networks.items() if not is_trained(net)}
    todo: list[Unit] = [*untrained.values(), *missing]
    everything: list[Unit] = [*untrained.values(), *able]
    total = sum(unit.work for unit in everything)
    done = total - sum(unit.work for unit in todo)
    workers: list[Worker] = []

    def end(worker: Worker, how: str, line: str) -> None:
        nonlocal done
        unit, worker.unit, worker.fraction = worker.unit, None, 0.0
        if unit is None:
            return
        if how == "full":
            raise InputError(line)
        done += unit.work
        if isinstance(unit, Run):
            if how == "failed":
                fail(unit, line)
        elif how == "done":
            del untrained[unit.folder]
        else:
            for run in [run for run in todo if isinstance(run, Run)]:
                if run.network.folder == unit.folder:
                    todo.remove(run)
                    done += run.work
                    fail(run, line)

    def listen(worker: Worker) -> None:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            end(worker, "failed", _epitaph(worker.process.exitcode))
            workers.remove(worker)
            if todo:
                workers.append(hire(worker.place, seconds))
        else:
            if isinstance(said, tuple):
                end(worker, *said)
            else:
                worker.fraction = said

    def tell() -> None:
        at = [(worker.unit, worker.fraction) for worker in workers if worker.unit is not None]
        running = sum(isinstance(unit, Run) for unit, _ in at)
        left = sum(isinstance(unit, Run) for unit in todo) + running
        finished = done + sum(unit.work * fraction for unit, fraction in at)
        bar.show(
            finished / total, done=str(len(planned) - left - len(failures)), running=str(running),
            failed=str(len(failures)), of=str(len(planned)),
        )  # fmt: skip

    try:
        with driver.Progress("sweep") as bar:
            while todo or any(worker.unit is not None for worker in workers):
                if not workers:
                    workers += [hire(place, seconds) for place in find_places(jobs)[: len(todo)]]
                for worker in workers:
                    ready = [
                        unit
                        for unit in todo
                        if isinstance(unit, Network) or unit.network.folder not in untrained
                    ]
                    if worker.unit is None and ready:
                        unit = choose(ready, worker, workers)
                        todo.remove(unit)
                        worker.unit, worker.group = unit, unit.group
                        with contextlib.suppress(OSError):  # it has died, as `listen` will notice
                            worker.pipe.send(unit)
                tell()
                pipes = wait([worker.pipe for worker in workers], timeout=1.0)
                for worker in [worker for worker in workers if worker.pipe in pipes]:
                    listen(worker)
            if missing:
                tell()
    finally:
        for worker in workers:
            worker.pipe.close()  # which ends it
    return failures


def _epitaph(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"its process was ended by {name}, for want of memory perhaps; use fewer --jobs"
    return f"its process ended with status {status}; run the same command again"


def check_directory(workdir: pathlib.Path) -> None:
    """Raises InputError for a directory that holds something else than a sweep."""
    try:
        held = sorted(path.name for path in workdir.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{workdir}: {error.strerror}; choose another --workdir") from error
    if held and not {"stacks", "runs"} & set(held):
        raise InputError(
            f"{workdir}: holds files of something else ({held[0]}); choose another --workdir"
        )


def tidy(workdir: pathlib.Path) -> None:
    """Removes what a killed sweep leaves, and the errors of files that could not be read."""
    for leftover in (workdir / "stacks").glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    for run in (workdir / "runs").glob(DIGEST):  # nobody else's folders
        if not (run / "config.json").exists():
            continue
        if (run / "error.json").exists() and not (run / "stack.npz").exists():
            shutil.rmtree(run, ignore_errors=True)
        if (run / "result.json").exists():
            shutil.rmtree(run / "checkpoints", ignore_errors=True)


def main() -> int:
    """Does what is missing; exit status 1 if anything failed."""
    values: dict[str, Any] = {name: FLAGS[name].value for name in lists()}
    given = {name: value for name, value in values.items() if value is not None}
    grids, workdir = read_grids(FLAGS.config, given), pathlib.Path(FLAGS.workdir)
    check_directory(workdir)
    with command.hold(workdir):
        tidy(workdir)
        planned = plan(workdir, grids)
        there = sum(map(is_finished, planned))
        failures = carry_out(planned, FLAGS.jobs, FLAGS.checkpoint_seconds)
    for folder, line in failures.items():
        print(f"{folder}: {line}", file=sys.stderr)
    print(
        f"{workdir}: {len(planned)} runs: {len(planned) - there - len(failures)} ran, {there} were "
        f"there, {len(failures)} failed; next: python -m experiments.report --sweep={workdir}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    define_flags()
    command.run(main)
