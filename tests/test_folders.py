"""Folders that one process holds at a time: what a lease keeps out, and what it leaves alone."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from al_jax.commands import folders
from al_jax.core.stack import InputError
from al_jax.files import leases

ROOT = pathlib.Path(__file__).parents[1]
HOLDER = """
import sys
from al_jax.files import leases
from al_jax.commands import folders
leases.BEAT, leases.EXPIRY = 0.05, 0.5
if sys.argv[2:]:
    leases._machine = lambda: sys.argv[2]
with leases.hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
print("left", flush=True)
"""


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leases of half a second."""
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(leases, "EXPIRY", 0.5)


def holder(folder: pathlib.Path, *machine: str) -> subprocess.Popen[str]:
    """A process that holds a folder until its input ends, on this machine or as if on another."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *machine],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_only_our_own_temporary_files_are_removed(tmp_path):
    ours, theirs = tmp_path / f".{'0a' * 8}.tmp", tmp_path / ".draft.tmp"
    ours.touch()
    theirs.touch()
    with leases.hold(tmp_path):
        assert sorted(os.listdir(tmp_path)) == [".draft.tmp", ".lease"]
    assert os.listdir(tmp_path) == [".draft.tmp"]


def test_a_folder_of_hidden_files_is_not_empty(tmp_path):
    (tmp_path / ".git").mkdir()
    with (
        pytest.raises(InputError, match=r"holds files of something else \(\.git\)"),
        folders.open_workdir(tmp_path, {}),
    ):
        pytest.fail("entered")
    assert os.listdir(tmp_path) == [".git"]


def test_what_a_run_leaves_that_was_killed_at_once_is_no_stranger(tmp_path):
    for name in (".lock", ".lease", f".{'f' * 16}.tmp"):  # .lock: of a former version
        (tmp_path / name).touch()
    assert folders.foreign(tmp_path) == []


def test_of_two_that_begin_at_once_the_second_sees_the_first(tmp_path, monkeypatch):
    """The other one begins and ends between our look at the folder and our lock."""
    mkdir = pathlib.Path.mkdir

    def late(path: pathlib.Path, **options: bool) -> None:
        mkdir(path, **options)
        (path / "config.json").write_text('{"seed": 5}')

    monkeypatch.setattr(pathlib.Path, "mkdir", late)
    with (
        pytest.raises(InputError, match=r"another run \(seed was 5, is 3\)"),
        folders.open_workdir(tmp_path / "out", {"seed": 3}),
    ):
        pytest.fail("entered")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"seed": 5}


def test_what_does_not_count_may_differ(tmp_path):
    def counts(configuration):
        return {"seed": configuration["seed"]}

    with folders.open_workdir(tmp_path, {"seed": 3, "alpha": 0}, counts=counts):
        pass
    with folders.open_workdir(tmp_path, {"seed": 3, "alpha": 1}, counts=counts):
        pass
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 3, "alpha": 0}
    with (
        pytest.raises(InputError, match=r"\(seed was 3, is 4\)"),
        folders.open_workdir(tmp_path, {"seed": 4, "alpha": 0}, counts=counts),
    ):
        pytest.fail("entered")


def test_a_killed_owner_of_this_machine_is_followed_at_once(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(InputError, match="another process is at work"), leases.hold(tmp_path):
        pytest.fail("entered")
    process.kill()
    process.wait()
    begun = time.monotonic()
    with leases.hold(tmp_path):
        assert time.monotonic() - begun < 2


def test_a_stopped_owner_of_this_machine_still_owns(tmp_path, quick):
    process = holder(tmp_path)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.7)
    with pytest.raises(InputError, match="another process is at work"), leases.hold(tmp_path):
        pytest.fail("entered")
    process.send_signal(signal.SIGCONT)
    assert process.communicate("", timeout=30)[0] == "left\n" and process.returncode == 0


def test_an_owner_elsewhere_lives_as_long_as_it_counts(tmp_path, quick):
    process = holder(tmp_path, "another")
    with pytest.raises(InputError, match="another process is at work"), leases.hold(tmp_path):
        pytest.fail("entered")
    assert process.communicate("", timeout=30)[0] == "left\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ends_at_once", [False, True])
def test_an_owner_elsewhere_that_was_cut_off_ends_when_it_wakes(tmp_path, quick, ends_at_once):
    """Its folder has gone to another by then, who keeps it; even if its work ended just then."""
    process = holder(tmp_path, "another")
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    with leases.hold(tmp_path):
        assert time.monotonic() - begun >= 0.5
        lease = (tmp_path / leases.LEASE).read_bytes()
        if ends_at_once:
            process.stdin.close()
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 3
        assert process.stdout.read() == ""
        line = f"error: {tmp_path}: another process has taken it over; this one ends\n"
        assert process.stderr.read() == line
        assert leases._holds((tmp_path / leases.LEASE).read_bytes(), json.loads(lease)["token"])


def test_who_waits_gets_the_folder_in_the_end(tmp_path):
    process = holder(tmp_path)
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER.replace("argv[1])", "argv[1], 60)"), str(tmp_path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    time.sleep(0.2)
    assert waiting.poll() is None
    process.communicate("", timeout=30)
    assert waiting.communicate(timeout=30)[0] == "held\nleft\n"
