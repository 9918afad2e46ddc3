"""A run whose sections are shared by two processes: the same bytes, one folder, one who writes."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest
import tiny
from commands import caller, flags_of

from al_jax.commands import simulate
from al_jax.files.stacks import write_stack

TESTS = pathlib.Path(__file__).parent
PATIENCE = 600  # a hang ends; how long a run takes is not tested
RUN = (
    "--stack=a.npz",
    "--plugin=pixelwise",
    "--network=pixelwise",
    "--strategies=BDa,Rand",
    "--crop=32",
    "--initial_steps=8",
    "--query_steps=2",
    "--checkpoint_seconds=0",
)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A folder with a stack in it."""
    write_stack(tmp_path / "a.npz", tiny.stack())
    return tmp_path


def start(folder: pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, with one device on one core, so that all round alike."""
    core = str(min(os.sched_getaffinity(0)))
    return subprocess.Popen(
        ["taskset", "-c", core, sys.executable, "-m", "experiments.simulate", *RUN, *arguments],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "JAX_PLATFORMS": "cpu"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def by_two(folder: pathlib.Path, *arguments: str) -> list[tuple[int, str, str]]:
    """What each of two processes says of a run that they share."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    shared = ("--devices=2", "--processes=2", f"--coordinator=127.0.0.1:{port}", *arguments)
    return [ended(p) for p in [start(folder, *shared, f"--process={k}") for k in range(2)]]


@pytest.mark.slow
def test_two_processes_ask_what_one_asks(folder):
    (status, out, err), (quiet, nothing, more) = by_two(folder, "--workdir=two", "--max_effort=0.6")
    assert (status, quiet) == (0, 0), err + more
    assert all(line.startswith("[Gloo] ") for line in nothing.splitlines())  # of JAX
    assert out.endswith("two: queries.csv, surfaces.csv, result.json, curve.png, annotations.png\n")
    assert ended(start(folder, "--workdir=one", "--max_effort=0.6"))[0] == 0
    tables = [(folder / name / "queries.csv").read_bytes() for name in ("one", "two")]
    assert tables[0] == tables[1] and tables[0].count(b"\n") > 6
    assert sorted(os.listdir(folder)) == ["a.npz", "one", "two"]
    assert sorted(os.listdir(folder / "one")) == sorted(os.listdir(folder / "two"))


@pytest.mark.slow
def test_another_run_is_refused_by_the_first_and_the_other_does_not_wait_for_it(folder):
    (status, _, err), _ = by_two(folder, "--workdir=two", "--max_effort=0.6")
    assert status == 0, err
    first, second = by_two(folder, "--workdir=two", "--max_effort=0.7")
    line = "holds another run (max_effort was 0.6, is 0.7); choose another --workdir"
    assert (first[0], first[2].splitlines()[-1]) == (2, f"error: two: {line}")
    line = "error: two: process 0 cannot have it, and says why"
    assert (second[0], second[2].splitlines()[-1]) == (2, line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--process=1"], "--process=1: of 1 the last is 0; see --processes"),
        (["--processes=2"], "--processes and --coordinator go together; give both or neither"),
        (["--coordinator=a:1"], "--processes and --coordinator go together; give both or neither"),
    ],
)
def test_what_is_refused(monkeypatch, capsys, arguments, line):
    with flags_of(simulate):
        status, out, err = caller(simulate, monkeypatch, capsys)(*arguments)
    assert (status, out, err) == (2, "", f"error: {line}\n")
