"""Sweeps on clusters: TLS scheduler and workers, a real SLURM, and who is kept out."""

import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import tiny
from commands import caller, flags_of
from distributed import Security

from al_jax.core.stack import InputError
from al_jax.files.stacks import write_stack
from experiments import report
from experiments import sweep as sweep_command
from experiments.report.read import read_sweep
from experiments.sweeps import clusters, jobs, units

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent
PRETEND = str(TESTS / "pretend_worker.py")
# Dask copies what a worker loads, so what that imports is not beside it.
MODULES = f"{ROOT}{os.pathsep}{TESTS}"
PATIENCE = 120
# One core a worker, whatever the machine has, so that all round alike.
CORE = str(min(os.sched_getaffinity(0)))
REAL = (
    "--stack=a.npz",
    "--plugin=pixelwise",  # which workers load as well
    "--network=pixelwise",
    "--strategies=Da,Rand",
    "--crop=32",
    "--initial_steps=4",
    "--query_steps=2",
    "--max_effort=0.6",
    "--checkpoint_seconds=0",
)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A folder with a stack in it."""
    write_stack(tmp_path / "a.npz", tiny.stack())
    return tmp_path


@pytest.fixture
def here(folder, monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """The command in this process, with one worker and a tiny network; compilations are shared."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        clusters, "find_places", lambda _: [clusters.Place(frozenset({int(CORE)}), {})]
    )
    with flags_of(sweep_command):
        yield caller(sweep_command, monkeypatch, capsys)


def start(folder: pathlib.Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """A Python command in a folder."""
    return subprocess.Popen(
        ["taskset", "-c", CORE, sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": MODULES} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_sweep(folder: pathlib.Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = "-m", "experiments.sweep", "--stack=a.npz", "--workdir=out"
    return start(folder, *command, *arguments, **environment)


def sweep(folder: pathlib.Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start_sweep(folder, *arguments, **environment)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def begun(folder: pathlib.Path, process: subprocess.Popen[str]) -> list[tuple[int, int]]:
    """The steps of the one run, once there is one."""
    deadline = time.monotonic() + PATIENCE
    while not (found := steps(folder)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    return found


def steps(folder: pathlib.Path) -> list[tuple[int, int]]:
    """Steps of the one run that pretends, and which process made them."""
    text = "".join(file.read_text() for file in folder.glob("out/runs/*/steps"))
    return [(int(step), int(pid)) for step, pid in map(str.split, text.splitlines())]


def assert_made_once(made: list[tuple[int, int]], processes: int) -> None:
    """Of a killed process the last step may lack its line."""
    numbers = [step for step, _ in made]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 99, numbers
    assert len(numbers) > 100 - processes and len({pid for _, pid in made}) == processes


def csv_files(folder: pathlib.Path, workdir: str) -> dict[str, bytes]:
    """The tables of the report on a sweep, but for when its runs were made."""
    out = folder / f"report_{workdir}"
    report.report(*read_sweep(str(folder / workdir)), "mri", None, out)
    found = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    assert len(found) >= 8
    runs = pd.read_csv(out / "runs.csv").drop(columns=["started", "seconds"])
    return found | {"runs.csv": runs.to_csv().encode()}


class Dask:
    """A scheduler and two workers that others started, over TLS."""

    def __init__(
        self, folder: pathlib.Path, preload: str, first: tuple[str, ...] = (), **environment: str
    ):
        """The first worker has more arguments; `environment` is both workers'."""
        security = Security.temporary()
        pems = security.get_tls_config_for_role("scheduler")
        for name, content in (("key.pem", pems["key"]), ("cert.pem", pems["cert"])):
            (folder / name).touch(0o600)
            (folder / name).write_text(content)
        tls = {"CA_FILE": "cert.pem"}
        for role in ("SCHEDULER", "WORKER", "CLIENT"):
            tls |= {f"{role}__CERT": "cert.pem", f"{role}__KEY": "key.pem"}
        self.environment = {
            f"DASK_DISTRIBUTED__COMM__TLS__{key}": str(folder / name) for key, name in tls.items()
        }
        self.file = folder / "scheduler.json"
        self.file.unlink(missing_ok=True)
        place = ("--host", "127.0.0.1", "--protocol", "tls")
        self.scheduler = start(
            folder,
            "-m",
            "distributed.cli.dask_scheduler",
            *place,
            "--port",
            "0",
            "--scheduler-file",
            str(self.file),
            "--dashboard-address",
            "127.0.0.1:0",
            **self.environment,
        )
        deadline = time.monotonic() + PATIENCE
        while not self.file.exists():
            assert time.monotonic() < deadline and self.scheduler.poll() is None
            time.sleep(0.1)
        self.workers = [
            start(
                folder,
                "-m",
                "distributed.cli.dask_worker",
                *place,
                "--nthreads",
                "1",
                "--scheduler-file",
                str(self.file),
                "--preload",
                preload,
                "--dashboard-address",
                "127.0.0.1:0",
                *more,
                **self.environment,
                **environment,
            )
            for more in (first, ())
        ]

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.fixture
def dask(folder) -> Iterator[Dask]:
    """A cluster of workers that pretend."""
    made = Dask(folder, PRETEND)
    yield made
    made.end()


@pytest.mark.parametrize(
    "where, line",
    [
        (
            "moon",
            "is none of local, slurm, pbs, sge, lsf, no address (tls://host:port) and no file",
        ),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1 does not use TLS, so that anybody could run code"),
        ("tls://127.0.0.1:1", "no keys for TLS; name them in Dask's configuration"),
        ("a.npz", "is no scheduler file of Dask"),
    ],
)
def test_clusters_that_are_refused(folder, monkeypatch, where, line):
    monkeypatch.chdir(folder)
    with (
        pytest.raises(InputError) as refusal,
        clusters.connect(where, None, folder, 1),
    ):
        pytest.fail("connected")
    assert str(refusal.value).startswith(f"--cluster={where}: ") and line in str(refusal.value)


@pytest.mark.parametrize(
    "text, where, seconds",
    [
        ("30", "slurm", 1800),
        ("00:30:00", "pbs", 1800),
        ("1-00:00:30", "slurm", 86430),
        ("30:00", "slurm", 1800),
        ("10:00", "lsf", 36000),
        ("1-12", "slurm", 129600),
        ("1-12:30", "slurm", 131400),
    ],
)
def test_wall_times(text, where, seconds):
    assert clusters.wall_time(text, where) == seconds
    with pytest.raises(InputError, match="write hours:minutes:seconds"):
        clusters.wall_time("soon", where)


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="other C libraries keep memory")
@pytest.mark.slow
def test_a_worker_keeps_its_memory_between_training_steps():
    """Dask's MALLOC_TRIM_THRESHOLD_ gives every large array back: its pages fault in anew."""
    code = """
import resource, sys
import numpy as np
from experiments.sweeps import units
if "keep" in sys.argv:
    units._keep_memory()
for _ in range(3):
    np.ones(2 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(2 << 20)  # 16 MiB: 4096 pages, or 8 huge ones
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    dask_sets = {"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": str(ROOT)}

    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(
            command, env=os.environ | dask_sets, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert 10 * faults("keep") < faults()


@pytest.mark.slow
def test_a_sweep_on_a_cluster_of_others(folder, dask):
    arguments = ("--strategies=HB,Da,Rand", f"--cluster={dask.file}")
    status, out, err = sweep(folder, *arguments, **dask.environment)
    assert (status, out.split("; ")[0]) == (1, "out: 3 runs: 2 ran, 0 were there, 1 failed"), err
    # The client is killed, and the same command goes on.
    process = start_sweep(folder, *arguments, "--seed=1,2,3", **dask.environment)
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("out/runs/*/result.json"))) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out, err = sweep(folder, *arguments, "--seed=1,2,3", **dask.environment)
    assert status == 1 and " 3 failed" in out and "out: 9 runs: " in out, err
    assert len(list(folder.glob("out/runs/*/result.json"))) == 8


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_the_sweep_and_the_next_goes_on(folder):
    """With a line; no step is made twice, though the old worker may still be at work."""
    made = Dask(folder, PRETEND)
    arguments = ("--strategies=BDa_CE", f"--cluster={made.file}")
    process = start_sweep(folder, *arguments, **made.environment)
    begun(folder, process)
    made.scheduler.kill()
    out, err = process.communicate(timeout=PATIENCE)
    line = "error: the cluster's scheduler is gone; run the same command again"
    assert (process.returncode, out, err.splitlines()[-1]) == (2, "", line), err
    status, out, err = sweep(folder, *arguments, **made.environment)
    assert (status, out) == (2, "") and "does not answer" in err and err.count("\n") == 1
    made.end()
    again = Dask(folder, PRETEND)
    status, _, err = sweep(folder, *arguments, **again.environment)
    again.end()
    assert status == 0, err
    assert_made_once(steps(folder), len({pid for _, pid in steps(folder)}))


@pytest.mark.slow
def test_a_worker_at_its_wall_time_leaves_its_run_to_another(folder):
    """Which goes on from the checkpoint; no step is made twice."""
    made = Dask(folder, PRETEND, ("--lifetime", "20s"), PRETEND_STEP="0.4")
    arguments = ("--strategies=BDa_CE", "--seed=0,1", f"--cluster={made.file}")
    status, out, err = sweep(folder, *arguments, **made.environment)
    made.end()
    assert (status, out.split("; ")[0]) == (0, "out: 2 runs: 2 ran, 0 were there, 0 failed"), err
    workers = []
    for run in folder.glob("out/runs/*/steps"):
        lines = [line.split() for line in run.read_text().splitlines()]
        assert [int(step) for step, _ in lines] == list(range(100))
        workers.append({pid for _, pid in lines})
    assert sorted(map(len, workers)) == [1, 2] and len(set.union(*workers)) == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_is_followed_by_another(folder):
    made = Dask(folder, PRETEND)
    arguments = ("--strategies=BDa_CE", f"--cluster={made.file}")
    process = start_sweep(folder, *arguments, **made.environment)
    os.kill(begun(folder, process)[0][1], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    made.end()
    assert process.returncode == 0, err
    assert_made_once(steps(folder), 2)


@pytest.fixture
def small_disk(folder) -> Iterator[pathlib.Path]:
    """The folder of a sweep, on a disk that its checkpoints fill."""
    place = folder / "out"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root alone, where that is allowed")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_a_sweep_and_with_more_room_it_goes_on(here, folder, small_disk):
    status, out, err = here("--workdir=out", *REAL)
    assert (status, out) == (2, ""), err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "No space left on device" in line
    assert not list(small_disk.glob("runs/*/result.json"))
    more = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(more, check=True, capture_output=True)
    status, out, err = here("--workdir=out", *REAL)
    assert (status, out.split("; ")[0]) == (0, "out: 2 runs: 2 ran, 0 were there, 0 failed"), err
    assert here("--workdir=whole", *REAL)[0] == 0
    assert csv_files(folder, "out") == csv_files(folder, "whole")


INTRUDER = """
import sys
from distributed import Client, Security
security = Security.temporary() if sys.argv[2] == "keys" else None
try:
    Client(sys.argv[1], security=security, timeout=5).submit(print, 1).result()
except Exception as error:
    print("kept out:", type(error).__name__)
"""


def test_another_user_cannot_connect(folder, monkeypatch):
    """Not without keys, not with keys of his own; and nothing listens beyond this machine."""
    monkeypatch.setattr(clusters, "PRELOAD", PRETEND)
    command = [sys.executable, "-c", INTRUDER]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    with clusters.connect("local", 1, folder, 1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        for keys in ("keys", "none"):
            intruder = subprocess.run(
                [*command, address, keys], capture_output=True, text=True, timeout=60, cwd="/"
            )
            assert intruder.stdout.startswith("kept out: "), intruder.stderr
        assert client.submit(abs, -1).result() == 1  # who has the keys may
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            hosts = {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"}
            assert hosts <= {"127.0.0.1"}, process


@pytest.fixture
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """A real SLURM of one node: what a sweep needs in its environment."""
    beside = pathlib.Path(os.environ.get("AL_JAX_DATA", ROOT.parent / "shared")) / "slurm"
    if not (shutil.which("slurmctld") and shutil.which("munged") and os.geteuid() == 0):
        pytest.skip("no slurmctld, munged or no root: apt-get install slurmctld slurmd munge")
    if not (beside / "up.sh").exists():
        pytest.skip(f"no {beside / 'up.sh'}: set AL_JAX_DATA to the folder that holds slurm/")
    base = tmp_path_factory.mktemp("slurm")
    up = subprocess.run(
        ["taskset", "-c", CORE, "bash", beside / "up.sh", base],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    if up.returncode != 0:
        pytest.skip(f"SLURM does not start: {up.stdout[-300:]}")
    settings = {
        "name": "al_jax",
        "cores": 1,
        "memory": "2GB",
        "interface": "lo",
        "walltime": "00:10:00",
        "python": sys.executable,
        "log-directory": str(base / "log"),
        "job-script-prologue": [f"export PYTHONPATH={MODULES}"],
    }
    (base / "jobqueue.yaml").write_text(json.dumps({"jobqueue": {"slurm": settings}}))
    yield {"SLURM_CONF": str(base / "slurm.conf"), "DASK_CONFIG": str(base / "jobqueue.yaml")}
    subprocess.run(["bash", beside / "down.sh", base], capture_output=True, timeout=PATIENCE)


def jobs_of(slurm: dict[str, str]) -> list[str]:
    asked = subprocess.run(
        ["squeue", "-h"], env=os.environ | slurm, capture_output=True, text=True, check=True
    )
    return asked.stdout.splitlines()


def preloading(slurm: dict[str, str], file: str) -> None:
    """Its workers load a file of the tests as well."""
    settings = json.loads(pathlib.Path(slurm["DASK_CONFIG"]).read_text())
    settings["jobqueue"]["slurm"]["worker-extra-args"] = ["--preload", file]
    pathlib.Path(slurm["DASK_CONFIG"]).write_text(json.dumps(settings))


@pytest.mark.slow
def test_slurm_gives_the_bytes_that_are_given_here(here, folder, slurm):
    status, _, err = here(*REAL, "--workdir=local")
    assert status == 0, err
    status, _, err = sweep(folder, *REAL, "--workdir=slurm", "--cluster=slurm", **slurm)
    assert status == 0, err
    assert csv_files(folder, "slurm") == csv_files(folder, "local")
    assert not list((folder / "slurm" / ".dask").iterdir())


@pytest.mark.slow
def test_slurm_runs_an_edited_plugin_anew(folder, slurm):
    """Its workers load it, and the report has a row for each of its sources."""
    path = folder / "mine.py"
    path.write_text((ROOT / "experiments/plugins/shortest.py").read_text())
    plugin = "--plugin=mine.py,pixelwise"
    rest = [flag for flag in REAL if not flag.startswith(("--plugin", "--strategies"))]
    command = (plugin, "--strategies=short,Da", *rest, "--cluster=slurm")
    before = sweep(folder, *command, **slurm)
    path.write_text(path.read_text().replace("(1 - evidence.dice)", "(2 - evidence.dice)"))
    after = sweep(folder, *command, **slurm)
    lines = [out.split("; ")[0] for _, out, _ in (before, after)]
    assert lines[0] == "out: 2 runs: 2 ran, 0 were there, 0 failed", (before, after)
    assert lines[1] == "out: 2 runs: 1 ran, 1 were there, 0 failed", (before, after)
    done = start(folder, "-m", "experiments.report", plugin, "--sweep=out", "--out=report")
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    names = pd.read_csv(folder / "report" / "runs.csv").method.tolist()
    (other,) = (name for name in set(names) if name.startswith("short (digest "))
    assert sorted(names) == ["Da", "short", other]


@pytest.mark.slow
def test_a_cluster_of_others_gives_the_bytes_that_are_given_here(here, folder):
    """By a TLS scheduler with two workers."""
    status, _, err = here(*REAL, "--workdir=local")
    assert status == 0, err
    made = Dask(folder, "experiments.sweeps.units")
    arguments = (*REAL, "--workdir=dask", f"--cluster={made.file}")
    status, _, err = sweep(folder, *arguments, **made.environment)
    made.end()
    assert status == 0, err
    assert csv_files(folder, "dask") == csv_files(folder, "local")


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["worker", "node"])
def test_what_slurm_loses_does_no_harm(folder, slurm, lost):
    """A worker that is killed is followed by another; a node that is given up may write on."""
    preloading(slurm, PRETEND)
    arguments = ("--strategies=BDa_CE", "--cluster=slurm", "--jobs=1")
    step = "0.1" if lost == "worker" else "0.8"  # it takes SLURM half a minute to see it
    process = start_sweep(folder, *arguments, PRETEND_STEP=step, **slurm)
    ((_, worker), *_) = begun(folder, process)
    above = psutil.Process(worker).parents()
    if lost == "worker":
        os.kill(worker, signal.SIGKILL)
    else:
        number = pathlib.Path(slurm["SLURM_CONF"]).parent / "run" / "slurmd.pid"
        os.kill(int(number.read_text()), signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(" R " in line for line in jobs_of(slurm)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        assert len(steps(folder)) < 100  # so it wrote on
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert_made_once(steps(folder), 2 if lost == "worker" else 1)
    for one in above:  # what a node that is no more leaves
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.name() == "slurmstepd":
                one.kill()


@pytest.mark.slow
def test_a_queue_that_refuses_jobs_is_said(folder, slurm):
    settings = json.loads(pathlib.Path(slurm["DASK_CONFIG"]).read_text())
    settings["jobqueue"]["slurm"]["queue"] = "nowhere"
    pathlib.Path(slurm["DASK_CONFIG"]).write_text(json.dumps(settings))
    status, out, err = sweep(folder, "--strategies=Da", "--cluster=slurm", "--jobs=1", **slurm)
    assert (status, out) == (2, ""), err
    assert "the queue takes no job: " in err.splitlines()[-1] and "Traceback" not in err
    assert "partition" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_sweep_that_waits_in_a_queue_and_is_stopped_cancels_its_jobs(folder, slurm):
    arguments = ("--strategies=Da", "--cluster=slurm", "--jobs=1")
    process = start_sweep(folder, *arguments, **slurm)
    deadline = time.monotonic() + PATIENCE
    while not jobs_of(slurm):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "stopped; run the same command again"
    while jobs_of(slurm):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("JobId=7 JobState=NODE_FAIL Restarts=0 Reason=None", True),
        ("JobId=7 JobState=PREEMPTED Restarts=0", True),
        ("JobId=7 JobState=PENDING Restarts=2 BatchFlag=1", True),  # it was begun anew since
        ("JobId=7 JobState=RUNNING Restarts=1", False),
        ("JobId=7 JobState=OUT_OF_MEMORY Restarts=1", False),
        ("", False),  # it forgot the job
        (None, False),  # it is another queue
    ],
)
def test_a_unit_whose_node_was_lost_has_not_died(tmp_path, monkeypatch, said, lost):
    path = tmp_path / "bin"
    path.mkdir()
    if said is not None:
        (path / "scontrol").write_text(f"#!/bin/sh\necho '{said}'\n")
        (path / "scontrol").chmod(0o700)
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep if said is not None else None)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    folder = tmp_path / "unit"
    unit = SimpleNamespace(
        folder=folder, configuration={}, done=False, checkpoints=folder / "checkpoints"
    )
    with units.own(unit):
        pass
    times = {"at": -1, "times": units.DEATHS, "job": ["7", "1"]}
    (folder / units.BEGUN).write_text(json.dumps(times))
    refused = contextlib.nullcontext() if lost else pytest.raises(InputError, match="died 3 times")
    with refused, units.own(unit):
        now = json.loads((folder / units.BEGUN).read_text())
        assert now == times | {"job": ["8", "0"]}


@pytest.mark.slow
def test_slurm_tells_of_a_node_that_is_lost(slurm):
    """A job whose node is taken away is queued once more; one that fails is not lost."""

    def ask(*words: str) -> str:
        env = os.environ | slurm
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout

    def until(number: str, state: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while f"JobState={state} " not in ask("scontrol", "show", "job", "-o", number):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
        fails, waits = (
            ask("sbatch", "--parsable", "--requeue", "-o", os.devnull, f"--wrap={script}").strip()
            for script in ("exit 9", "sleep 600")
        )
        until(fails, "FAILED")
        until(waits, "RUNNING")
        assert not jobs.lost_with_its_node([fails, "0"])
        assert not jobs.lost_with_its_node([waits, "0"])
        host = ask("sinfo", "-h", "-o", "%n").strip()
        ask("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=gone")
        until(waits, "PENDING")
        assert jobs.lost_with_its_node([waits, "0"])
        ask("scancel", waits)
