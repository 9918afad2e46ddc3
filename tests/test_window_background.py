"""Work behind the window, and drafts of answers."""

import os
import sys
import threading
import time

import jax
import numpy as np
import pytest

from al_jax.core.stack import InputError
from al_jax.window import drafts
from al_jax.window.background import Background, Outcome, beside, step_back
from al_jax.window.compiling import Compiler
from al_jax.window.drafts import Draft, drop_draft, latest_draft, read_draft, write_draft
from al_jax.window.none import MANY, keep_none


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None lasts by itself")
def test_none_is_not_used_up():
    keep_none()
    keep_none()
    assert MANY // 2 < sys.getrefcount(None) < 2 * MANY


def test_pieces_are_done_until_none_is_left():
    left = [3]

    def step():
        left[0] -= 1
        return left[0] if left[0] > 0 else None

    work = Background(step)
    assert not work.busy and not work.collect()
    work.wake()
    assert work.wait(5)
    assert work.collect() == [Outcome(2, None), Outcome(1, None)] and not work.collect()
    work.end()


def test_one_piece_at_a_time_and_never_on_the_callers_thread():
    inside, most, threads = [0], [0], set()

    def step():
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threads.add(threading.get_ident())
        time.sleep(0.01)
        inside[0] -= 1

    work = Background(step)
    for _ in range(5):
        work.wake()
        time.sleep(0.004)
    assert work.wait(5)
    work.end()
    assert most == [1] and len(threads) == 1 and threading.get_ident() not in threads


def test_an_error_is_an_outcome_and_the_next_call_tries_again():
    attempts = []

    def step():
        attempts.append(1)
        if len(attempts) == 1:
            raise InputError("the loss is not finite")
        return "done" if len(attempts) == 2 else None

    work = Background(step)
    work.wake()
    assert work.wait(5) and len(attempts) == 1
    (outcome,) = work.collect()
    assert outcome.result is None and str(outcome.error) == "the loss is not finite"
    work.wake()
    assert work.wait(5) and work.collect() == [Outcome("done", None)]
    work.end()


def test_what_comes_first_is_done_before_the_steps_even_if_it_fails():
    order = []

    def first():
        order.append("first")
        raise MemoryError

    def step():
        order.append("step")

    work = Background(step, first)
    assert work.wait(5) and order == ["first", "step"]
    assert isinstance(work.collect()[0].error, MemoryError)
    work.end()


def _held_up(go_on):
    """Work in the middle of a piece, and what it has done."""
    begun, done = threading.Event(), []

    def step():
        begun.set()
        go_on.wait(5)
        done.append(1)
        return 1

    work = Background(step)
    work.wake()
    assert begun.wait(5)
    return work, done


def test_the_end_waits_for_the_piece_and_begins_no_other():
    go_on = threading.Event()
    work, done = _held_up(go_on)
    threading.Timer(0.05, go_on.set).start()
    assert work.end() and done == [1]


def test_the_end_does_not_wait_long():
    go_on = threading.Event()
    work, done = _held_up(go_on)
    assert not work.end(0.05) and not done
    go_on.set()
    assert work.end(5) and done == [1]


def test_what_is_done_beside_comes_back_and_so_does_what_it_raises():
    def fail():
        raise InputError("no room")

    assert beside(threading.get_ident).result(5) != threading.get_ident()
    with pytest.raises(InputError, match="no room"):
        beside(fail).result(5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no niceness")
def test_what_computes_steps_back_behind_the_window_whatever_its_priority(monkeypatch):
    set_to = []
    monkeypatch.setattr(os, "setpriority", lambda *given: set_to.append(given[2]))
    for own in (0, 5, 15):
        monkeypatch.setattr(os, "getpriority", lambda *_, own=own: own)
        step_back()
    assert set_to == [10, 15, 19]


def test_training_is_compiled_by_a_process_that_ends_with_the_window(tmp_path, monkeypatch):
    """Of the same cache, silent, and waited for by the thread that trains alone."""
    started = []

    class Process:
        def __init__(self, call, env, **_):
            started.append((call[1:], env["JAX_COMPILATION_CACHE_DIR"]))
            self.killed = threading.Event()

        def wait(self):
            assert self.killed.wait(5)

        def kill(self):
            self.killed.set()

    monkeypatch.setattr("subprocess.Popen", Process)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        compiler = Compiler(tmp_path / "session")
        waits = threading.Thread(target=compiler)
        waits.start()
        while not started:
            time.sleep(0.01)
        compiler.end()
        waits.join(5)
        compiler()  # nothing any more
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    module = "al_jax.window.compiling"
    assert started == [(["-m", module, str(tmp_path / "session")], str(tmp_path))]


def test_a_draft_comes_back(tmp_path):
    mask = np.eye(5, dtype=bool)
    place = (tmp_path, 3, 1)
    assert read_draft(*place, (5, 5)) == (None, "") and latest_draft(tmp_path) is None
    write_draft(tmp_path, 3, 1, Draft(mask, True, 2.5))
    found, lost = read_draft(*place, (5, 5))
    assert found is not None and not lost
    np.testing.assert_array_equal(found.mask, mask)
    assert found[1:3] == (True, 2.5) and read_draft(tmp_path, 1, 3, (5, 5)) == (None, "")
    assert not len(found.corners)
    corners = np.array([[1.5, 2.5], [3.5, 0.5]])
    write_draft(tmp_path, 3, 1, Draft(mask & False, True, 2.5, corners))
    found, _ = read_draft(*place, (5, 5))
    assert found.any()
    np.testing.assert_array_equal(found.corners, corners)
    drop_draft(tmp_path, 3, 1)
    drop_draft(tmp_path, 3, 1)
    assert read_draft(*place, (5, 5)) == (None, "")


def test_a_draft_of_before_its_pair_was_in_it_comes_back(tmp_path):
    (tmp_path / "drafts").mkdir()
    mask = np.eye(5, dtype=bool)
    np.savez(tmp_path / "drafts" / "3_1.npz", mask=mask, from_proposal=False, seconds=1.5)
    assert read_draft(tmp_path, 3, 1, (5, 5))[0].seconds == 1.5


def test_a_draft_says_its_form(tmp_path, monkeypatch):
    draft, path = Draft(np.eye(5, dtype=bool), True, 2.5), tmp_path / "drafts" / "3_1.npz"
    monkeypatch.setattr(drafts, "FORM", 2)
    write_draft(tmp_path, 3, 1, draft)
    monkeypatch.undo()
    found, said = read_draft(tmp_path, 3, 1, (5, 5))
    assert found is None and "3_1.npz: is of a newer version" in said
    np.savez(path, **draft._asdict())  # of before
    assert read_draft(tmp_path, 3, 1, (5, 5))[0].seconds == 2.5


def test_the_draft_that_was_written_last_is_gone_on_with(tmp_path):
    for number, (section, structure) in enumerate([(1, 2), (12, 0), (3, 3)]):
        write_draft(tmp_path, section, structure, Draft(np.ones((2, 2), bool), False, 0.0))
        place = tmp_path / "drafts" / f"{section}_{structure}.npz"
        os.utime(place, (100 - number, 100 - number))
    (tmp_path / "drafts" / ".0123456789abcdef.tmp").write_bytes(b"half of one")
    assert latest_draft(tmp_path) == (1, 2)


def _written(folder, mask, **more):
    write_draft(folder, 3, 1, Draft(mask, False, more.pop("seconds", 0.0)))


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda path: path.write_bytes(b"nothing"), "cannot be read as a draft"),
        (lambda path: path.write_bytes(b""), "cannot be read as a draft"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "cannot be read as a draft"),
        (lambda path: path.rename(path.with_name("2_0.npz")), "is the draft of another pair"),
        (lambda path: _written(path.parent.parent, np.eye(6, dtype=bool)), "is no draft of this"),
        (lambda path: _written(path.parent.parent, np.eye(5)), "is no draft of this"),
        (
            lambda path: _written(path.parent.parent, np.eye(5, dtype=bool), seconds=np.nan),
            "is no draft of this",
        ),
    ],
    ids=["noise", "empty", "torn", "renamed", "another size", "another type", "no time"],
)
def test_a_damaged_draft_is_moved_aside_and_said(tmp_path, damage, says):
    write_draft(tmp_path, 3, 1, Draft(np.eye(5, dtype=bool), False, 0.0))
    damage(tmp_path / "drafts" / "3_1.npz")
    (path,) = (tmp_path / "drafts").glob("*.npz")
    section, structure = map(int, path.stem.split("_"))
    content = path.read_bytes()
    draft, lost = read_draft(tmp_path, section, structure, (5, 5))
    assert draft is None and says in lost and lost.count("\n") == 0
    aside = path.with_suffix(".damaged")
    assert aside.name in lost and aside.read_bytes() == content
    assert not path.exists() and latest_draft(tmp_path) is None
