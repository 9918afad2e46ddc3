"""Dask clusters: processes of this machine, jobs of a queue, or clusters that others started.

By default workers are processes of this machine; `dask_jobqueue` makes them jobs of SLURM, PBS, SGE
or LSF; any other cluster is named by its address or scheduler file. All communicate over TLS.
"""

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import dask
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Status

from al_jax.core.stack import InputError
from experiments.sweeps import units

QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
LEAVE = 120.0  # seconds before the wall time of a job at which its worker leaves
PRELOAD = "experiments.sweeps.units"
MEMORY = 4  # GB that a process asks a queue for, unless Dask's jobqueue.yaml says it
REFUSALS, AGAIN = 3, 5.0  # how often a queue is asked to take a job, and the seconds between


class Place(NamedTuple):
    """Where a worker of this machine runs: its cores, and the variables of its environment."""

    cores: frozenset[int]
    environment: dict[str, str]


def find_places(count: int | None) -> list[Place]:
    """A place for each worker; without `count`, one per accelerator, or else one per core.

    JAX is asked in a process of its own, as the process that asks occupies the accelerators.
    """
    question = "import jax; print(jax.default_backend(), jax.local_device_count())"
    asked = subprocess.run(
        [sys.executable, "-c", question],
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )
    backend, found = (asked.stdout.split() or ["cpu", "1"])[-2:]
    cores, devices = sorted(os.sched_getaffinity(0)), int(found)
    count = count or (len(cores) if backend == "cpu" else devices)
    size = max(1, len(cores) // count)  # the same for all: rounding depends on it
    shares = [
        frozenset(cores[(job * size + k) % len(cores)] for k in range(size)) for job in range(count)
    ]
    if backend == "cpu":
        return [Place(share, {}) for share in shares]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(devices)))).split(",")
    # Workers that share a device must not each take most of its memory at once.
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if count > devices else {}
    return [
        Place(share, {"CUDA_VISIBLE_DEVICES": visible[job % devices], **shared})
        for job, share in enumerate(shares)
    ]


@contextlib.contextmanager
def connect(where: str, count: int | None, workdir: pathlib.Path, most: int) -> Iterator[Client]:
    """The client of a cluster, which ends with the block unless others started it.

    Args:
      where: 'local', a key of `QUEUES`, or the address or scheduler file of a Dask cluster.
      count: the number of workers; by default one per accelerator or core, or one job.
      workdir: where the keys of a job queue are, readable by their owner alone.
      most: the largest number of workers that is of use.

    Raises:
      InputError: there is no such cluster, or it does not use TLS.
    """
    settings = {
        "distributed.scheduler.allowed-failures": 1_000_000,  # `units.own` counts them
        "distributed.scheduler.work-stealing-interval": "100ms",
        "distributed.admin.low-level-log-length": 0,
        # Nobody reads what these measure, and they take time from the training.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
    }
    for logger in ("distributed", "tornado.application"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    own: dict[str, Any] = {
        # No pages are served, as they have no TLS.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # A worker that dies is started again, however long that takes.
        "distributed.deploy.lost-worker-timeout": "3650 days",
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    }
    cluster = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if where in ("local", *QUEUES):
            stack.enter_context(_in_order())
        if where == "local":
            stack.enter_context(dask.config.set(own))
            cluster = stack.enter_context(_local(find_places(count)[:most]))
        elif where in QUEUES:
            cluster = stack.enter_context(_queue(where, min(count or 1, most), workdir))
        yield stack.enter_context(_existing(where) if cluster is None else Client(cluster))


def _local(places: list[Place]) -> SpecCluster:
    """Processes of this machine that this process alone can reach."""
    security = Security.temporary()
    common = {
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": security,
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    worker = {"nthreads": 1, "memory_limit": None, "preload": [PRELOAD]}
    workers = {}
    for number, place in enumerate(places):
        cores = {units.CORES: ",".join(map(str, sorted(place.cores)))}
        options = common | worker | {"env": place.environment | cores}
        workers[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": common | {"port": 0}}
    # Python's tracker would warn of what a stopped sweep leaves; the system cleans it up.
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    resource_tracker.ensure_running()
    del os.environ["PYTHONWARNINGS"]
    if before is not None:
        os.environ["PYTHONWARNINGS"] = before
    return SpecCluster(workers, scheduler, security=security, silence_logs=logging.CRITICAL)


def _queue(where: str, count: int, workdir: pathlib.Path) -> Any:
    """Jobs of a queue; what a site needs is in Dask's `jobqueue.yaml`."""
    ours = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue  # which takes Ctrl-C over
    except ImportError as error:
        raise InputError(
            f"--cluster={where} needs dask-jobqueue; run: python -m pip install -e '.[cluster]'"
        ) from error
    signal.signal(signal.SIGINT, ours)
    own = dask.config.get(f"jobqueue.{where}")
    keys = workdir / ".dask"
    keys.mkdir(parents=True, mode=0o700, exist_ok=True)
    keys.chmod(0o700)
    arguments = ["--nthreads", "1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    arguments += ["--preload", PRELOAD, *(own.get("worker-extra-args") or [])]
    # A worker leaves before the wall time of its job, and another job takes its place.
    given = any(argument.startswith("--lifetime") for argument in arguments)
    if not given and own.get("walltime"):
        limit = wall_time(str(own["walltime"]), where)
        arguments += ["--lifetime", f"{limit - min(LEAVE, limit / 4):.0f}s"]
    queue: Any = getattr(dask_jobqueue, QUEUES[where])
    processes = own.get("processes") or 1
    refused: list[str] = []

    class Job(queue.job_cls):  # type: ignore[misc]
        """A job that is offered again, and keeps what the queue says; Dask then waits for ever."""

        async def _submit_job(self, script_filename: str) -> str:
            while True:
                try:
                    out = await super()._submit_job(script_filename)
                except (RuntimeError, OSError) as error:
                    refused.append(_last_line(error))
                    if len(refused) >= REFUSALS:
                        self.status = Status.failed
                        raise
                    await asyncio.sleep(AGAIN)
                else:
                    refused.clear()
                    return out

    pages = {"dashboard_address": "127.0.0.1:8787"}  # which have no TLS
    warnings.filterwarnings("ignore", "Port .* is already in use")  # then it takes another
    try:
        cluster = queue(
            job_cls=Job,
            security=Security.temporary(),
            shared_temp_directory=str(keys),
            worker_extra_args=arguments,
            processes=processes,
            memory=own.get("memory") or f"{MEMORY * processes}GB",
            scheduler_options=pages | (own.get("scheduler-options") or {}),
            silence_logs=logging.CRITICAL,
        )
    except (ValueError, OSError) as error:
        raise InputError(f"--cluster={where}: {error}; correct Dask's jobqueue.yaml") from error
    cluster.refused = refused
    cluster.adapt(minimum_jobs=count, maximum_jobs=count, interval="5s")
    return cluster


def check_queue(client: Client) -> None:
    """Raises InputError if the queue of a cluster takes no jobs, and no worker is left."""
    refused: list[str] = getattr(client.cluster, "refused", [])
    if len(refused) >= REFUSALS and not client.nthreads():
        raise InputError(f"the queue takes no job: {refused[-1]}; correct Dask's jobqueue.yaml")


def _last_line(error: Exception) -> str:
    """What the command of a queue said last, of the error that Dask makes of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.lower().startswith(("stdout", "command", "stderr:"))]
    return (said or lines or [type(error).__name__])[-1]


def wall_time(text: str, where: str) -> float:
    """Seconds of 'minutes', 'hours:minutes:seconds' or 'days-hours:minutes:seconds'.

    Two numbers are minutes and seconds, but hours and minutes for LSF and after days; one number
    after days is hours.

    Raises:
      InputError: it is none of these.

    Example:
      >>> wall_time("1-00:30:00", "slurm")
      88200.0
    """
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    try:
        numbers = [int(days or 0), *map(int, parts)]
    except ValueError:
        raise InputError(
            f"walltime '{text}' in jobqueue.yaml: write hours:minutes:seconds"
        ) from None
    day, *rest = numbers
    if not days and (len(rest) == 1 or (len(rest) == 2 and where != "lsf")):
        rest = [0, *rest]
    hours, minutes, seconds = [*rest, 0, 0][:3]
    return float(86400 * day + 3600 * hours + 60 * minutes + seconds)


def _existing(where: str) -> Client:
    """A cluster that others started, by its address or scheduler file."""
    address = where
    if "://" not in where:
        try:
            address = json.loads(pathlib.Path(where).read_text())["address"]
        except FileNotFoundError:
            known = ", ".join(("local", *QUEUES))
            raise InputError(
                f"--cluster={where}: is none of {known}, no address (tls://host:port) and no file"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"--cluster={where}: is no scheduler file of Dask") from error
    if not address.startswith("tls://"):
        raise InputError(
            f"--cluster={where}: {address} does not use TLS, so that anybody could run code there; "
            "start it with --tls-ca-file, --tls-cert and --tls-key"
        )
    security = Security(require_encryption=True)
    keys = security.get_tls_config_for_role("client")
    if not all(keys.get(name) for name in ("ca_file", "cert", "key")):
        raise InputError(
            f"--cluster={where}: no keys for TLS; name them in Dask's configuration "
            "(distributed.comm.tls)"
        )
    try:
        return Client(address, security=security, timeout="30s")
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"--cluster={where}: {address} does not answer ({error})") from error


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """Ctrl-C first leaves the block, which ends workers and jobs, and then acts as before."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, before)
        signal.raise_signal(signal.SIGINT)
        raise
    finally:
        signal.signal(signal.SIGINT, before)
