"""The units of work of a sweep: to train an initial network, or to perform a run.

A worker of a cluster imports this module and `al_jax`, and gets units as plain data. Every unit has
a folder; a finished unit is not repeated, a stopped one resumes from its checkpoint.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import errno
import filecmp
import functools
import hashlib
import json
import logging
import os
import pathlib
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from distributed import Reschedule, Status, Worker, get_worker

from al_jax.commands import command, folders, record, runs
from al_jax.commands.earlier import beginning, known_of, misfit, read_earlier
from al_jax.commands.plugins import digests, load_plugins
from al_jax.core.identity import source_digest
from al_jax.core.stack import InputError
from al_jax.core.state import true_ranges
from al_jax.core.strategies import STRATEGIES
from al_jax.files.atomic import write_atomic
from al_jax.files.stacks import read_stack
from al_jax.files.weights import read_weights
from al_jax.learner import neighbours
from al_jax.learner.config import Config, flatten, from_json
from al_jax.learner.transfer import Experience
from al_jax.model.training import TrainState
from al_jax.simulation import runner
from al_jax.simulation.loop import Record
from al_jax.simulation.prepare import Prepared, prepare, wanted_fields, with_fields
from al_jax.xla import trim_memory
from experiments.sweeps.identity import identity
from experiments.sweeps.jobs import lost_with_its_node, own_job

GROWN = 2 << 30  # bytes of a worker from which on it keeps the programs of one stack alone
PROGRESS = "al_jax"  # the topic of the workers' progress events
CORES = "AL_JAX_CORES"  # names the cores of a worker in its environment
QUERIES = 50  # assumed per run, to estimate the time left
DEATHS = 3  # of workers at the same checkpoint of a unit, before it fails
BEGUN = ".begun.json"  # in the folder of a unit on which a process works, or died
FOREVER = float("inf")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@dataclasses.dataclass(frozen=True)
class NetworkUnit:
    """An initial network to train.

    Attributes:
      folder: where its checkpoints go.
      configuration: all that it depends on.
      stack, weights: files.
      strategy: one whose loss it minimises.
      plugins: to load before.
      earlier: paths of the experience of prior stacks.
      otherwise: with those, the configuration if the stack does not fit them.
    """

    folder: str
    configuration: dict[str, Any]
    stack: str
    weights: str | None
    strategy: str = "BDa"
    plugins: list[str] = dataclasses.field(default_factory=list)
    earlier: list[str] = dataclasses.field(default_factory=list)
    otherwise: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name, unique in a cluster."""
        return _key("network", self.folder)

    @property
    def work(self) -> float:
        """Its duration in training steps."""
        return float(flatten(self.configuration)["initial_steps"])

    @property
    def done(self) -> bool:
        """Whether its last checkpoint is there."""
        either = (self.configuration, self.otherwise)
        ends = [str(flatten(one)["initial_steps"]) for one in either if one]
        return any((self.checkpoints / steps).is_dir() for steps in ends)

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where its checkpoints are."""
        return pathlib.Path(self.folder)


@dataclasses.dataclass(frozen=True)
class RunUnit:
    """A run: one strategy on one stack from one seed.

    Attributes:
      folder, configuration, otherwise: see `NetworkUnit`.
      name: the file name of its stack.
      arguments: the flags that repeat it from within its folder.
      network: with which it begins.
    """

    folder: str
    configuration: dict[str, Any]
    name: str
    arguments: list[str]
    network: NetworkUnit
    otherwise: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name, unique in a cluster."""
        return _key("run", self.folder)

    @property
    def work(self) -> float:
        """Its duration in training steps, if it needs `QUERIES` queries."""
        return float(QUERIES * flatten(self.configuration)["query_steps"])

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return pathlib.Path(self.folder, "result.json").exists()

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where its checkpoints are."""
        return pathlib.Path(self.folder, "checkpoints")


@dataclasses.dataclass(frozen=True)
class RefusedUnit:
    """A run whose files are refused: its folder, its configuration, and the message."""

    folder: str
    configuration: dict[str, Any]
    line: str


Unit = NetworkUnit | RunUnit


def _key(kind: str, folder: str) -> str:
    """A name for each folder, as several sweeps may share a cluster."""
    return f"{kind}-{hashlib.sha256(folder.encode()).hexdigest()[:32]}"


def to_data(unit: Unit) -> dict[str, Any]:
    """A unit as plain data, which `from_data` reads."""
    return dataclasses.asdict(unit)


def from_data(data: dict[str, Any]) -> Unit:
    """A unit from plain data."""
    if "network" not in data:
        return NetworkUnit(**data)
    return RunUnit(**data | {"network": NetworkUnit(**data["network"])})


# The two kinds of unit.


class Beginning(NamedTuple):
    """How a unit begins: the experience of prior stacks, if they fit, and the settings.

    Attributes:
      earlier: None without any.
      config: the settings.
      misfit: why the prior stacks are left out, one line.
    """

    earlier: Experience | None
    config: Config
    misfit: str | None


def beginning_of(unit: NetworkUnit | RunUnit) -> Beginning:
    """From the experience of prior stacks, or from scratch if its stack does not fit them."""
    network = unit.network if isinstance(unit, RunUnit) else unit
    config, line = from_json(unit.configuration), None
    if network.earlier:
        setting = from_json(network.configuration)
        line = _misfit(tuple(network.earlier), network.stack, setting)
    if line is not None:
        return Beginning(None, from_json(unit.otherwise), line)
    return Beginning(read_earlier(network.earlier), config, None)


@functools.cache  # of a network and its runs
def _misfit(paths: tuple[str, ...], place: str, config: Config) -> str | None:
    earlier, stack = read_earlier(paths), read_stack(place)
    assert earlier is not None
    return misfit(earlier, stack, true_ranges(stack, stack.truth, config.query.margin), config)


def train(
    network: NetworkUnit,
    seconds: float,
    show: runner.Show,
    prepared: Prepared | None = None,
) -> TrainState:
    """The initial network: trained, or read if it has been.

    Args:
      network: the unit.
      seconds: least time between two checkpoints.
      show: called with the fraction that is done.
      prepared: of a run that begins with it, if there is one.

    Raises:
      InputError: what `prepare` and `runner.train_network` refuse.
    """
    setting, trained, adapt = network.configuration, network.done, None
    earlier, config, _ = beginning_of(network)
    if prepared is None or not trained:
        stack = read_stack(network.stack)
        if not trained:
            weights = None if network.weights is None else read_weights(network.weights).arrays
            adapt = beginning(weights, earlier, stack.names)
        if prepared is None:
            known = known_of(earlier, stack.names)
            key = jax.random.key(setting["seed"])
            prepared = prepare(key, stack, config, prior=known)
    # Many runs may read a trained network at once.
    place = contextlib.nullcontext(pathlib.Path(network.folder)) if trained else own(network)
    with place as folder:
        return runner.train_network(
            prepared,
            config,
            STRATEGIES[network.strategy].loss,
            checkpointing=runner.Checkpointing(folder, seconds),
            adapt=adapt,
            show=show,
        )


def perform(run: RunUnit, seconds: float, show: runner.Show) -> None:
    """Performs a run in its folder; for arguments and errors see `train`."""
    setting = run.configuration
    with own(run) as folder:
        if run.done:
            return
        began = datetime.datetime.now(datetime.UTC)
        record.own_source()
        place_stack(run.network.stack, folder)
        stack = read_stack(folder / "stack.npz")
        earlier, config, line = beginning_of(run)
        known = known_of(earlier, stack.names)
        prepared = prepare(jax.random.key(setting["seed"]), stack, config, prior=known)
        initial = train(run.network, seconds, runner.silent, prepared)
        method, whole = STRATEGIES[setting["strategy"]], pathlib.Path(run.network.stack)
        # Beside the stack, so that its runs share them.
        cache = whole.with_name(f"{whole.stem}.{neighbours.FILE}")
        prepared = with_fields(prepared, wanted_fields(stack, config, [method], cache))

        def report(records: Record) -> None:
            table = runs.table_of_queries({setting["strategy"]: records}, stack)
            write_atomic(folder / "queries.csv", table)

        ended, records = runner.run_strategy(
            method,
            prepared,
            initial,
            config,
            target_dice=setting["target_dice"],
            max_effort=setting["max_effort"],
            checkpointing=runner.Checkpointing(run.checkpoints, seconds),
            report=report,
            show=show,
        )
        report(records)
        labels = runner.segmentation(ended, prepared, config)
        surfaces = runs.table_of_surfaces({setting["strategy"]: labels}, stack)
        write_atomic(folder / "surfaces.csv", surfaces)
        answered = np.argwhere(np.asarray(prepared.state.annotated).T)
        result: dict[str, Any] = {
            "input": {"stack": run.name, **runs.contents(stack)},
            "configuration": setting,
            "versions": record.versions(),
            "ceiling": round(100 * runner.ceiling(prepared, config), 3),
            "summary": runs.summarise(records),
            "start": [[int(section), stack.names[c]] for c, section in answered],
            "command": shlex.join(["python", "-m", "experiments.simulate", *run.arguments]),
        }
        if line is not None:
            result["misfit"] = line
        path = folder / "result.json"
        made = record.record(began, plugins=digests(run.network.plugins))
        write_atomic(path, record.recorded(path, result, made))
        shutil.rmtree(run.checkpoints, ignore_errors=True)


@contextlib.contextmanager
def own(unit: Unit) -> Iterator[pathlib.Path]:
    """The folder of a unit, once no other process works in it.

    Raises:
      InputError: its workers died `DEATHS` times without a checkpoint between; those whose node
        the queue took away do not count.
    """
    with folders.open_workdir(unit.folder, unit.configuration, FOREVER, identity) as folder:
        if unit.done:
            yield folder
            return
        begun, at, times = folder / BEGUN, latest(unit.checkpoints), 1
        with contextlib.suppress(FileNotFoundError, ValueError):
            before = json.loads(begun.read_text())
            if before["at"] == at:
                times += before["times"] - lost_with_its_node(before.get("job"))
        try:
            if times > DEATHS:
                raise InputError(
                    f"its process died {DEATHS} times without getting further, for want of memory "
                    "perhaps; use fewer --jobs"
                )
            now = {"at": at, "times": times, "job": own_job()}
            write_atomic(begun, json.dumps(now).encode())
            yield folder
        finally:  # which a process that dies does not reach
            begun.unlink(missing_ok=True)


def latest(checkpoints: pathlib.Path) -> int:
    """The step of the latest checkpoint in a folder, -1 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()), default=-1)
    return -1


def place_stack(stack: str | os.PathLike, folder: pathlib.Path) -> None:
    """stack.npz: a hard link to the stack, or a copy where there are no links.

    A file that is there and differs is a damaged copy, and is replaced.
    """
    place = folder / "stack.npz"
    if place.exists():
        same = os.path.samefile(stack, place)  # which reads neither
        if same or filecmp.cmp(stack, place, shallow=False):
            return
    place.unlink(missing_ok=True)
    try:
        os.link(stack, place)
    except OSError:
        write_atomic(place, pathlib.Path(stack).read_bytes())


def record_failure(unit: Unit | RefusedUnit, line: str) -> None:
    """Writes error.json, so that this sweep does not try the unit again.

    Raises:
      InputError: the disk is full.
    """
    try:
        with folders.open_workdir(unit.folder, unit.configuration, 60, identity) as folder:
            if isinstance(unit, RunUnit):
                place_stack(unit.network.stack, folder)
            text = json.dumps({"error": line}, indent=2) + "\n"
            write_atomic(folder / "error.json", text.encode())
    except (InputError, OSError) as error:
        if is_full(error):
            raise InputError(str(error)) from error


def failure(unit: Unit) -> str | None:
    """The message in error.json, None if there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return str(json.loads(pathlib.Path(unit.folder, "error.json").read_text())["error"])
    return None


def forget_failure(unit: Unit) -> None:
    """Removes error.json, so that the unit is tried again."""
    pathlib.Path(unit.folder, "error.json").unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):  # of libraries that give no number
            return True
        error = error.__cause__ or error.__context__
    return False


# In a worker.


def dask_setup(worker: Worker) -> None:
    """Prepares a worker before JAX runs; Dask calls it for `--preload`.

    It takes the cores that its environment names. It ignores Ctrl-C, on which the sweep ends its
    workers.
    """
    _keep_memory()
    if CORES in os.environ:
        cores = set(map(int, os.environ[CORES].split(",")))
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _keep_memory() -> None:
    """Undoes Dask's MALLOC_TRIM_THRESHOLD_, by which glibc returns large arrays at every step."""
    # A training step would then fault in all its pages anew. glibc by itself arrives at these
    # thresholds; other C libraries do not have them.
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 64 << 20)


def work(
    data: dict[str, Any], seconds: float, before: tuple[str, str] = ("done", "")
) -> tuple[str, str]:
    """Does a unit: the task of a worker.

    Args:
      data: from `to_data`.
      seconds: least time between two checkpoints.
      before: the result for the unit that this one needs.

    Returns:
      'done', 'failed' or (the disk is) 'full', and a message about a failure.
    """
    command.prepare()
    worker, unit, reported = get_worker(), from_data(data), 0.0
    if before[0] != "done":
        return _ended(unit, *before)
    if worker.monitor.get_process_memory() > GROWN:
        keep_programs_of((unit if isinstance(unit, NetworkUnit) else unit.network).stack)

    def show(fraction: float, **_: str) -> None:
        nonlocal reported
        if worker.status is not Status.running:  # it leaves, near its wall time for instance
            raise Reschedule
        if time.monotonic() - reported >= 1:
            worker.log_event(PROGRESS, (unit.key, fraction))
            reported = time.monotonic()

    show(0.0)
    return attempt(unit, seconds, show)


@functools.lru_cache(maxsize=1)
def keep_programs_of(_stack: str) -> None:
    """Forgets the compiled programs of the stack before: each takes hundreds of MiB of a worker.

    Should they be wanted again, to trace and to read them takes some seconds.
    """
    jax.clear_caches()
    trim_memory()


def attempt(unit: Unit, seconds: float, show: runner.Show) -> tuple[str, str]:
    """Does a unit unless it is done or has failed in this sweep; for results see `work`."""
    if unit.done:
        return "done", ""
    if (line := failure(unit)) is not None:
        return "failed", line
    try:
        load_plugins(unit.plugins if isinstance(unit, NetworkUnit) else unit.network.plugins)
        check_sources(unit)
        if isinstance(unit, NetworkUnit):
            train(unit, seconds, show)
        else:
            perform(unit, seconds, show)
    except Reschedule:
        raise
    # No error of one run, such as an accelerator out of memory, may end the others.
    except Exception as error:
        line = " ".join(str(error).split())[:500]
        if not isinstance(error, InputError):
            line = f"{type(error).__name__}: {line}"
        return _ended(unit, "full" if is_full(error) else "failed", line)
    return "done", ""


def check_sources(unit: Unit) -> None:
    """Refuses a plugin that is no longer what the sweep was planned with.

    Raises:
      InputError: its strategy or loss has another source.
    """
    network = unit if isinstance(unit, NetworkUnit) else unit.network
    given = unit.configuration
    method = STRATEGIES[given.get("strategy", network.strategy)]
    for kind, thing in (("strategy", method), ("loss", method.loss)):
        if given.get(f"{kind}_digest") not in (None, source_digest(thing)):
            raise InputError(f"its {kind} has changed since the sweep began; start the sweep again")


def _ended(unit: Unit, how: str, line: str) -> tuple[str, str]:
    """The result for a unit that is not done, also recorded in its folder if there is space."""
    try:  # so that it is known even if this worker is lost
        if how == "failed":
            record_failure(unit, line)
    except InputError as error:
        return "full", str(error)
    return how, line
