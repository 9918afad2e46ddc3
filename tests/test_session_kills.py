"""SIGKILL at random moments: no answer is lost, none is there twice, the ledger says the same."""

import itertools
import multiprocessing
import pathlib
import random
import time

import killed_session
import pytest
import tiny_session as ts

from al_jax import session as sessions
from al_jax.learner.config import changed
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


def test_four_kills(tmp_path, processes):
    survive(ts.create(tmp_path / "s"), processes, 4, quick=True, most=0.3)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path, processes):
    for round in range(10):  # as each ends some time
        folder = ts.create(tmp_path / f"s{round}")
        survive(folder, processes, 20, quick=False, most=3.0)


def stored(path: pathlib.Path) -> tuple[int, list[str]]:
    """How many events commands have acknowledged, and what they announced, in whole lines."""
    whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    words = [line[2:] for line in whole if line.startswith("> ")]
    pairs = itertools.pairwise(whole)
    count = sum(
        before[:2] == "> " and before[2:] in killed_session.STORING and after[:2] != "> "
        for before, after in pairs
    )
    return count, words


def survive_commands(folder: pathlib.Path, processes, kills: int, *, training: bool) -> int:
    """Kills processes that run commands, and checks the session after each; how many at work."""
    at_work = 0
    for _ in range(kills):
        before, _ = ledger.read_ledger(folder)
        seed, said = len(before), folder.with_suffix(".printed")
        draw = random.Random(seed)
        process = processes.Process(
            target=killed_session.commands, args=(folder, said, seed, training)
        )
        process.start()
        wanted, deadline = draw.randint(1, 4), time.monotonic() + 300
        while time.monotonic() < deadline:
            count, words = stored(said)
            if words.count("a piece") >= wanted if training else count >= wanted:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 2.0 if training else 0.5))
        process.kill()
        process.join()
        acknowledged, words = stored(said)
        session = sessions.read_session(folder)
        assert session.events[: len(before)] == before
        assert len(session.events) >= len(before) + acknowledged
        assert not any("lost" in event for event in session.events)
        assert all("not finished" in line for line in session.notices), session.notices
        at_work += words[-1:] == ["a piece"] if training else len(words) > 0
        said.unlink()
    return at_work


def begun(folder: pathlib.Path, steps: int) -> pathlib.Path:
    """A session of 30 events, with examples of all structures; its long training takes `steps`."""
    config = changed(ts.CONFIG, {"initial_steps": steps})
    ts.create(folder, settings=sessions.Settings(0, config))
    with sessions.open_session(folder) as session:
        for section, structure in itertools.product((1, 2, 3), range(1, 4)):
            ts.answer(session, section, structure)
        ts.answer(session, 4, 0)
        for number in range(20):
            session.note(str(number))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kills, training", [(800, False), (200, True)])
def test_a_thousand_kills_of_commands(tmp_path, processes, kills, training):
    """With every process that is killed, at least one command has been acknowledged, or a piece."""
    folder = begun(tmp_path / "s", 90_000 if training else 8)
    count = survive_commands(folder, processes, kills, training=training)
    print(f"{kills} kills, {count} of them at work; {len(ledger.read_ledger(folder)[0])} events")
    assert count > 0.9 * kills
