"""SIGKILL at random moments: no answer is lost, none is there twice, the ledger says the same."""

import multiprocessing
import pathlib
import random
import time

import killed_session
import pytest
import tiny_session as ts

from al_jax import session as sessions
from al_jax.session import events as event_model
from al_jax.session import ledger


@pytest.fixture(scope="module")
def processes():
    """Processes that begin with everything imported, and nothing of JAX begun."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_session"])
    return context


def said(path: pathlib.Path) -> list[tuple[int, str]]:
    """What a process said before it was killed, whole lines."""
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [(int(line.split()[0]), line.split()[1]) for line in whole.splitlines()]


def survive(folder: pathlib.Path, processes, kills: int, *, quick: bool, most: float) -> None:
    """Kills a process at work on a session again and again, and checks the session after each."""
    draw, out = random.Random(kills), folder.with_suffix(".said")
    known: dict[int, str] = {}
    for _ in range(kills):
        out.unlink(missing_ok=True)
        process = processes.Process(target=killed_session.work, args=(folder, out, quick))
        process.start()
        stored = draw.randint(1, 4)
        while len(said(out)) <= stored and process.is_alive():
            time.sleep(0.01)
        time.sleep(draw.uniform(0, most))
        process.kill()
        process.join()
        events, _ = ledger.read_ledger(folder)
        for number, digest in said(out):
            # What was said once is what is said of as many events ever after.
            assert known.setdefault(number, digest) == digest
            assert number <= len(events)
        pairs = [
            (e["section"], e["structure"])
            for e in event_model.effective(events)
            if e["event"] in ("answer", "absent")
        ]
        assert len(pairs) == len(set(pairs))
    session = sessions.read_session(folder)
    digest = killed_session.digest(session)
    assert known.get(len(session.events), digest) == digest
    assert len(session.events) > 0


def test_ten_kills(tmp_path, processes):
    survive(ts.create(tmp_path / "s"), processes, 10, quick=True, most=0.3)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path, processes):
    for round in range(10):  # as each ends some time
        folder = ts.create(tmp_path / f"s{round}")
        survive(folder, processes, 20, quick=False, most=3.0)
