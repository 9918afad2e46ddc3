"""Folders that one process holds at a time: what a lease keeps out, and what it leaves alone."""

import errno
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
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
        assert leases._is_of((tmp_path / leases.LEASE).read_bytes(), json.loads(lease))


def lease_of(folder: pathlib.Path, /, **changes) -> pathlib.Path:
    """The lease that this process would have on a folder, with changes."""
    folder.mkdir(exist_ok=True)
    lease = folder / leases.LEASE
    lease.write_bytes(leases._content(leases._this_process(folder) | changes, 7))
    return lease


def taken_after(folder: pathlib.Path) -> float:
    """Seconds until this process has the folder."""
    begun = time.monotonic()
    with leases.hold(folder):
        return time.monotonic() - begun


IN_USE = r"another process is at work in it \(process \d+ on .*, since .*\); wait for it, or end it"


def test_a_clock_that_is_set_takes_nothing_from_its_owner(tmp_path, quick, monkeypatch):
    """By days in both directions; psutil counts the begin of a process from the clock."""
    with leases.hold(tmp_path / "s"):
        for step in (-9e5, 3600.0, 9e8):
            created, now = psutil.Process().create_time(), time.time()
            with monkeypatch.context() as stepped:
                stepped.setattr(psutil.Process, "create_time", lambda _, at=created + step: at)
                stepped.setattr(time, "time", lambda at=now + step: at)
                time.sleep(0.1)  # two signs of life
                with pytest.raises(InputError, match=IN_USE), leases.hold(tmp_path / "s"):
                    pytest.fail("entered")
    assert os.listdir(tmp_path / "s") == []


@pytest.mark.parametrize("proc", [True, False])
@pytest.mark.parametrize("start", [0, None])
def test_a_number_that_another_process_has_now_is_no_owner(
    tmp_path, quick, monkeypatch, proc, start, capsys
):
    if not proc:  # another system than Linux
        monkeypatch.setattr(leases, "PROC", tmp_path / "none")
    lease_of(tmp_path / "s", start=start)
    waited = taken_after(tmp_path / "s")
    assert waited < 0.3 if start == 0 else waited >= 0.5  # one that could not tell is watched
    assert bool(capsys.readouterr().err) == (start is None)


@pytest.mark.parametrize("state", [b"Z", b"X"])
def test_a_process_that_has_ended_but_is_listed_is_none(tmp_path, monkeypatch, state):
    own = pathlib.Path("/proc/self/stat").read_bytes()
    number, _, rest = own.partition(b" (")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").touch()
    (tmp_path / number.decode()).mkdir()
    stat = tmp_path / number.decode() / "stat"
    monkeypatch.setattr(leases, "PROC", tmp_path)
    stat.write_bytes(number + b" (a) Z (\xff b)" + rest.rpartition(b")")[2])
    assert leases._start(os.getpid()) == int(rest.rpartition(b")")[2].split()[19])
    stat.write_bytes(number + b" (a) " + state + b" 1" * 40)
    with pytest.raises(ProcessLookupError):
        leases._start(os.getpid())
    stat.unlink()  # hidden from other users
    assert leases._start(os.getpid()) is None


def test_two_hosts_of_one_name_are_two(tmp_path, quick, capsys):
    """The other one's process number is nobody's here, or somebody else's; it counts on."""
    folder = tmp_path / "s"
    for pid, ends in ((2**22 + 1, False), (os.getpid(), False), (os.getpid(), True)):
        other = leases._this_process(tmp_path) | {"machine": "0000 pid:[4026531836]", "pid": pid}
        folder.mkdir(exist_ok=True)
        lease, done = folder / leases.LEASE, threading.Event()
        lease.write_bytes(leases._content(other, 0))

        def count(lease=lease, other=other, done=done):
            for number in range(1, 100):
                if done.wait(0.05):
                    return
                leases._sign(lease, other, number)

        thread = threading.Thread(target=count)
        thread.start()
        if ends:
            threading.Timer(0.2, done.set).start()
            time.sleep(0.4)
            assert taken_after(folder) >= 0.4
        else:
            with pytest.raises(InputError, match=IN_USE), leases.hold(folder):
                pytest.fail("entered")
        done.set()
        thread.join()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith(
            f"note: {folder}: waiting for process {pid} on {platform.node()}, since 20"
        )
        assert f"remove {lease} to go on at once" in lines[0]


def test_what_the_note_proposes_works(tmp_path, monkeypatch, capsys):
    lease = lease_of(tmp_path / "s", machine="another")
    threading.Timer(0.3, lease.unlink).start()
    assert 0.2 < taken_after(tmp_path / "s") < 5
    assert "waiting for process" in capsys.readouterr().err


def test_a_copy_of_a_folder_is_not_held(tmp_path, capsys):
    with leases.hold(tmp_path / "s"):
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        assert taken_after(tmp_path / "copy") < 2
        os.rename(tmp_path / "s", tmp_path / "moved")  # the folder itself stays held
        with pytest.raises(InputError, match=IN_USE), leases.hold(tmp_path / "moved"):
            pytest.fail("entered")
        (tmp_path / "link").symlink_to("moved")
        with pytest.raises(InputError, match=IN_USE), leases.hold(tmp_path / "link"):
            pytest.fail("entered")
        os.rename(tmp_path / "moved", tmp_path / "s")
    assert capsys.readouterr().err == ""
    # Where folders get new numbers, the same place is the same folder.
    lease_of(tmp_path / "s", folder="0:0")
    with pytest.raises(InputError, match=IN_USE), leases.hold(tmp_path / "s"):
        pytest.fail("entered")


@pytest.mark.parametrize(
    "content", [b"", b'{"beat": "0000', b"\0" * 200, b"[]", b"3", b'{"pid": -1}', b"\xff"]
)
def test_a_lease_that_names_nobody_is_soon_nobodys(tmp_path, monkeypatch, content, capsys):
    monkeypatch.setattr(leases, "UNREADABLE", 0.1)
    (tmp_path / leases.LEASE).write_bytes(content)
    assert 0.1 <= taken_after(tmp_path) < 2
    assert capsys.readouterr().err == (
        f"note: {tmp_path / leases.LEASE}: names nobody; going on in 0 s if that stays so\n"
    )
    assert os.listdir(tmp_path) == []


def test_a_lease_that_is_a_link_to_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "UNREADABLE", 0.1)
    (tmp_path / leases.LEASE).symlink_to("nothing")
    assert taken_after(tmp_path) < 2


def test_without_hard_links(tmp_path, quick, monkeypatch):
    """exFAT, SMB: a lease is made, refused, taken from a dead owner, given back to a quick one."""

    def link(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with leases.hold(tmp_path / "s"):
        assert os.listdir(tmp_path / "s") == [leases.LEASE]
        with pytest.raises(InputError, match=IN_USE), leases.hold(tmp_path / "s"):
            pytest.fail("entered")
        time.sleep(0.1)
    dead = lease_of(tmp_path / "s", start=0).read_bytes()
    assert taken_after(tmp_path / "s") < 0.4
    lease = lease_of(tmp_path / "s", start=1)
    quicker = lease.read_bytes()
    # Another process has taken it between our two looks.
    looks = iter([dead])
    read = leases._read
    monkeypatch.setattr(leases, "_read", lambda path: next(looks, None) or read(path))
    leases._discard(lease, dead)
    assert lease.read_bytes() == quicker and os.listdir(tmp_path / "s") == [leases.LEASE]


def test_a_folder_in_one_that_may_not_be_written(tmp_path, monkeypatch):
    """Nothing is written beside it; as root may write anywhere, every write is looked at."""
    (tmp_path / "s").mkdir()
    places, write = [], pathlib.Path.write_bytes
    monkeypatch.setattr(
        pathlib.Path,
        "write_bytes",
        lambda path, data: places.append(path.parent) or write(path, data),
    )
    with leases.hold(tmp_path / "s"):
        pass
    assert set(places) == {tmp_path / "s"}


def test_leases_of_a_former_version(tmp_path, quick, capsys):
    """They know the machine by name, the process by the clock: what they cannot say is watched."""
    folder = tmp_path / "s"
    folder.mkdir()
    space = os.readlink("/proc/self/ns/pid")
    former = {"beat": "000000000004", "token": "ab" * 16, "machine": f"{platform.node()} {space}"}
    former |= {"pid": os.getpid(), "started": psutil.Process().create_time()}
    lease = folder / leases.LEASE
    lease.write_text(json.dumps(former) + "\n")
    with pytest.raises(InputError, match=IN_USE), leases.hold(folder):
        pytest.fail("entered")
    assert capsys.readouterr().err == ""
    for change in ({"pid": 2**22 + 1}, {"started": 1e9}, {"started": 1e30}, {"machine": "b"}):
        lease.write_text(json.dumps(former | change) + "\n")
        assert 0.5 <= taken_after(folder) < 2
        assert f"waiting for process {(former | change)['pid']} on" in capsys.readouterr().err


def test_an_owner_looks_again_before_it_ends(tmp_path, quick, monkeypatch):
    """Who discards a dead owner's lease may have the living one's in its hands for a moment."""
    ended = []
    monkeypatch.setattr(leases, "_end", ended.append)
    with leases.hold(tmp_path):
        lease = tmp_path / leases.LEASE
        content = lease.read_bytes()
        for between in (0.06, 0.06):
            lease.unlink()
            time.sleep(between / 10)
            lease.write_bytes(content)
            time.sleep(0.1)
        assert ended == [] and lease.read_bytes() != content
        lease.unlink()
        time.sleep(0.2)
        assert ended[0] == tmp_path


def test_a_leftover_may_be_a_folder(tmp_path):
    (tmp_path / f".{'0a' * 8}.tmp" / "half").mkdir(parents=True)
    with leases.hold(tmp_path):
        assert os.listdir(tmp_path) == [leases.LEASE]


def test_who_waits_gets_the_folder_in_the_end(tmp_path):
    process = holder(tmp_path)
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER.replace("argv[1])", "argv[1], 60)"), str(tmp_path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert waiting.stderr is not None
    line = waiting.stderr.readline()
    assert line.startswith(f"note: {tmp_path}: waiting for process {process.pid} on ")
    assert line.endswith(", which is at work in it\n") and waiting.poll() is None
    process.communicate("", timeout=30)
    assert waiting.communicate(timeout=30)[0] == "held\nleft\n"


@pytest.mark.parametrize("name", [leases.LEASE, f".{'0a' * 8}.tmp"])
def test_what_cannot_be_removed_is_a_note(tmp_path, monkeypatch, capsys, name):
    """The work is done, whatever becomes of the lease and of what a killed writer left."""
    unlink = pathlib.Path.unlink

    def failing(path: pathlib.Path, missing_ok: bool = False) -> None:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        unlink(path, missing_ok=missing_ok)

    (tmp_path / f".{'0a' * 8}.tmp").touch()
    monkeypatch.setattr(pathlib.Path, "unlink", failing)
    with leases.hold(tmp_path):
        pass
    said = capsys.readouterr().err
    assert said == (
        f"note: {tmp_path / name}: cannot be removed (Input/output error); remove it yourself\n"
    )
    assert os.listdir(tmp_path) == [name]


def test_on_a_full_disk_another_folder_is_no_help(tmp_path, monkeypatch):
    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(leases, "_make", full)
    with (
        pytest.raises(InputError, match=r": No space left on device; make room$"),
        leases.hold(tmp_path),
    ):
        pytest.fail("entered")
