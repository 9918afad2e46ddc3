"""Whatever a system call does, at whatever place: what was acknowledged is there, whole.

Each call that storing makes fails once in each way of `faults`, or is the last one before a kill.
Then the session opens with all that it had said was stored, and the next answer can be stored.
"""

import contextlib
import functools
import os
import shutil
import signal

import faults
import numpy as np
import pytest
from small_session import create, opened, square

from al_jax import session as sessions
from al_jax.core.stack import InputError
from al_jax.session import ledger

LABELS = np.zeros((3, 8, 8), int)
LABELS[1][square(5)] = 2


STORING = {
    "answer": lambda session: session.store_answer(1, 1, square(2)),
    "the same mask again": lambda session: session.store_answer(2, 1, square(0)),
    "absent": lambda session: session.store_absent(1, 2),
    "correction": lambda session: session.store_answer(0, 1, square(0, 4)),
    "labels": lambda session: session.take_over(
        np.stack([0 * square(0), 2 * square(5), 0 * square(0)])
    ),
    "withdrawal": lambda session: session.withdraw(1),
    "skip": lambda session: session.skip(1, 2),
    "range": lambda session: session.set_range(1, (0, 1)),
    "note": lambda session: session.note("x"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A session with two answers, and all compiled."""
    folder = create(tmp_path_factory.mktemp("faults") / "begun")
    session = opened(folder)
    session.store_answer(0, 1, square(0))
    session.store_answer(0, 2, square(4))
    for name, store in STORING.items():
        shutil.copytree(folder, folder.with_name(name))
        store(opened(folder.with_name(name)))
    return folder


def check(folder, acknowledged: list) -> None:
    """The session opens with these events first, nothing torn; an answer is stored then."""
    (folder / ".lease").unlink(missing_ok=True)
    session = opened(folder)
    assert session.events[: len(acknowledged)] == acknowledged
    assert not any("lost" in event for event in session.events)
    assert not [line for line in session.notices if "not finished" not in line]
    done = session.annotations.state.annotated
    pair = next(pair for pair in ((2, 2), (1, 2), (1, 1)) if not done[pair])
    session.store_answer(*pair, square(3))
    events, end = ledger.read_ledger(folder)
    assert len(events) == len(session.events) and end.half == b""
    assert len((folder / ledger.LEDGER).read_bytes().splitlines()) == len(events)


def fail(begun, folder, store, at: int, how: str, after: bool) -> None:
    """An operation with a call that fails, and what the session is then."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begun, folder)
    session = opened(folder)
    acknowledged = list(session.events)
    with faults.failing(at, how, after):
        try:
            store(session)
            acknowledged = list(session.events)
        except (InputError, KeyboardInterrupt) as error:
            assert "\n" not in str(error)
    assert session.events == acknowledged
    with contextlib.suppress(InputError):  # it goes on, or says that it has to be opened again
        session.note("after it")
        acknowledged = list(session.events)
    check(folder, acknowledged)


def points(begun, name: str) -> list[tuple[int, str, bool]]:
    """All places and ways in which an operation can fail."""
    folder = begun.with_name(f"{name} in order")
    shutil.copytree(begun, folder, dirs_exist_ok=True)
    session = opened(folder)
    with faults.failing() as calls:
        STORING[name](session)
    return [(at, *way) for at, call in enumerate(calls) for way in faults.ways(call)]


def run(begun, step: int) -> int:
    """Every `step`-th of all points; how many they are."""
    count, seen = 0, 0
    for name, store in STORING.items():
        for point in points(begun, name):
            seen += 1
            if seen % step == 0:
                fail(begun, begun.with_name("failed"), store, *point)
                count += 1
    return count


def test_some_calls_that_fail(begun):
    assert run(begun, 23) > 15


@pytest.mark.slow
def test_each_call_that_storing_makes_fails_once_in_each_way(begun):
    count = run(begun, 1)
    print(f"{count} failures of storing")
    assert count >= 300


def killed(begun, folder, name: str) -> list:
    """What kills at each moment of an operation leave."""
    shutil.copytree(begun, folder)
    session = opened(folder)
    into = folder.with_name(f"{folder.name} killed")
    with faults.failing(seen=faults.copies(folder, into)):
        STORING[name](session)
    return sorted(into.iterdir())


@pytest.mark.parametrize("name", ["answer", pytest.param("all", marks=pytest.mark.slow)])
def test_a_kill_at_each_call(begun, tmp_path, name):
    acknowledged, count = list(opened(begun).events), 0
    for one in STORING if name == "all" else [name]:
        for left in killed(begun, tmp_path / one, one):
            check(left, acknowledged)
            count += 1
    print(f"{count} kills of storing")
    assert count > (60 if name == "all" else 15)


def keep(folder, acknowledge) -> None:
    """What storing does to the disk, without what JAX computes: that cannot be forked."""
    create(folder)
    end = ledger.End()
    for number in (1, 2, 3):
        event = {"event": "answer", "section": 0, "structure": "a", "number": number}
        event["mask"] = ledger.store_mask(folder, square(number))
        end = ledger.append(folder, [event], end)
        acknowledge()


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.slow
def test_a_process_is_killed_at_each_call(tmp_path):
    keep(tmp_path / "before", lambda: None)  # all is imported
    with faults.failing() as calls:
        keep(tmp_path / "in order" / "s", lambda: None)
    places = [(at, after) for at, call in enumerate(calls) for after in (False, True)]
    places = [(at, after) for at, after in places if not after or calls[at] in faults.LASTING]
    write = os.write  # unseen
    for number, (at, after) in enumerate(places):
        folder = tmp_path / str(number) / "s"
        heard, said = os.pipe()
        acknowledge = functools.partial(write, said, b".")
        process = os.fork()
        if not process:
            try:
                with faults.failing(at, "SIGKILL", after):
                    keep(folder, acknowledge)
            finally:
                os._exit(0)
        os.close(said)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL, (at, calls[at])
        acknowledged = len(os.read(heard, 9))
        os.close(heard)
        if not folder.exists():
            assert not acknowledged
            create(folder)
        events, end = ledger.read_ledger(folder)
        assert acknowledged <= len(events) <= acknowledged + 1
        for event in events:
            ledger.read_mask(folder, event["mask"])
        note = {"number": len(events) + 1, "event": "note", "text": "after it"}
        ledger.append(folder, [note], end)
        assert ledger.read_ledger(folder)[0] == [*events, note]
    print(f"{len(places)} processes killed")
    assert len(places) > 80


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_session_is_made_whole_or_not_at_all(tmp_path, step):
    """Each call fails; what is left opens, or is nothing, so that the same command works."""
    with faults.failing(seen=faults.copies(tmp_path / "in order", tmp_path / "killed")) as calls:
        create(tmp_path / "in order")
    every = [(at, *way) for at, call in enumerate(calls) for way in faults.ways(call)]
    for number, point in enumerate(every[::step]):
        folder = tmp_path / f"{number}" / "s"
        with faults.failing(*point):
            try:
                create(folder)
            except (InputError, KeyboardInterrupt) as error:
                assert "\n" not in str(error)
        if not folder.exists():
            create(folder)
        check(folder, [])
        shutil.rmtree(tmp_path / f"{number}")
    print(f"{len(every[::step])} failures of create")
    for left in sorted((tmp_path / "killed").iterdir())[::step]:
        check(left, [])


def test_a_power_cut_leaves_what_was_acknowledged(tmp_path):
    """Of files and folders only what was synced is there: bytes and names."""
    root, disk = tmp_path / "root", faults.Disk()
    root.mkdir()
    acknowledged: list = []
    with faults.failing(seen=disk):
        create(root / "new" / "s")
        disk.after_a_power_cut(root, tmp_path / "made")
        session = opened(root / "new" / "s")
        for name in ("answer", "labels", "correction", "withdrawal", "note"):
            if name == "correction":
                session.store_answer(0, 1, square(0))
            STORING[name](session)
            acknowledged = list(session.events)
            disk.after_a_power_cut(root, tmp_path / name)
            found, _ = ledger.read_ledger(tmp_path / name / "new" / "s")
            assert found == acknowledged
    check(tmp_path / "made" / "new" / "s", [])
    check(tmp_path / "note" / "new" / "s", acknowledged)


def test_an_interrupt_inside_fsync_stores_nothing(begun, tmp_path, monkeypatch):
    """A notebook's: the answer is given again, and is there once."""
    folder = shutil.copytree(begun, tmp_path / "s")
    session = opened(folder)
    before = (folder / ledger.LEDGER).read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ledger.os, "fsync", interrupted)
        session.note("lost")
    assert (folder / ledger.LEDGER).read_bytes() == before
    session.note("again")
    assert [event.get("text") for event in opened(folder).events] == [None, None, "again"]


def interrupted(_):
    raise KeyboardInterrupt


def test_what_cannot_be_taken_back_stops_the_session(begun, tmp_path):
    """The line is there, and nobody was told: whoever opens the session again sees it."""
    folder = shutil.copytree(begun, tmp_path / "s")
    session = opened(folder)
    with faults.failing() as calls:
        session.note("first")
    at = len(calls) - 1
    assert calls[at] == "fsync"
    with (
        faults.failing(at, "EIO for good"),
        pytest.raises(InputError, match="what was stored shows when the session is opened again"),
    ):
        session.note("second")
    for _ in range(2):
        with pytest.raises(InputError, match="open the session again"):
            session.note("third")
    assert [event.get("text") for event in opened(folder).events[2:]] == ["first", "second"]


def test_a_session_that_is_read_stores_nothing(begun, tmp_path):
    folder = shutil.copytree(begun, tmp_path / "s")
    with sessions.open_session(folder) as closed:
        pass
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for session in (sessions.read_session(folder), closed):
        for store in (
            *STORING.values(),
            lambda session: session.undo(),
            lambda session: session.save_network(),
            lambda session: session.train_step(),
        ):
            with pytest.raises(InputError, match="reading alone, or was closed; nothing is stored"):
                store(session)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
