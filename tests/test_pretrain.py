"""A starting point by the command: what it writes, and that a stop only interrupts it."""

import functools

import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.files.stacks import write_stack
from al_jax.learner.transfer import read_experience
from al_jax.simulation import progress, runner
from experiments import pretrain

QUICK = ("--stacks=stacks", "--network=pixelwise", "--initial_steps=100", "--crop=32", "--batch=4")


@pytest.fixture(scope="module", autouse=True)
def own_flags():
    with flags_of(pretrain):
        yield


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The command, in a folder with three stacks, a checkpoint after every piece."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        pretrain, "Checkpointing", functools.partial(runner.Checkpointing, seconds=0)
    )
    (tmp_path / "stacks").mkdir()
    for seed in range(3):
        write_stack(tmp_path / f"stacks/stack_{seed}.npz", tiny.stack(seed))
    return caller(pretrain, monkeypatch, capsys)


class Stopped(Exception):
    """What a test stops a training with."""


def watched(monkeypatch, stop_at: float = 2.0) -> list[float]:
    """The fractions that the bar shows from now on; it stops the training at one."""
    seen = []

    class Bar(progress.Progress):
        def show(self, fraction, **_):
            seen.append(fraction)
            if fraction >= stop_at:
                raise Stopped

    monkeypatch.setattr(pretrain, "Progress", Bar)
    return seen


@pytest.mark.slow
def test_a_stopped_pretraining_goes_on_to_the_same_end(call, tmp_path, monkeypatch):
    status, out, _ = call(*QUICK, "--out=whole.npz")
    assert status == 0
    assert out.startswith("whole.npz: 2 stacks, 100 steps; Dice on stack_2 0.")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stacks", "whole.npz"]
    watched(monkeypatch, stop_at=0.9)
    with pytest.raises(Stopped):
        call(*QUICK, "--out=start.npz")
    assert not (tmp_path / "start.npz").exists()
    status, _, err = call(*QUICK, "--out=start.npz", "--seed=1")
    assert status == 2 and "start.npz.checkpoints: holds checkpoints of another run" in err
    seen = watched(monkeypatch)
    assert call(*QUICK, "--out=start.npz")[0] == 0
    assert seen == [0.9, 1.0]  # of pieces of 45 steps only the last one
    assert (tmp_path / "start.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "start.npz.checkpoints").exists()


@pytest.mark.slow
def test_a_starting_point_knows_all_but_the_stack_that_is_held_out(call):
    assert call(*QUICK, "--held_out=stack_0", "--leave_out=stack_1", "--out=start.npz")[0] == 0
    found = read_experience("start.npz")
    assert found.names == tiny.stack().names and np.isfinite(found.dice).all()
    shown = [(tiny.stack(2).truth == c).any((1, 2)).sum() for c in range(tiny.CLASSES)]
    np.testing.assert_array_equal(np.diagonal(found.lengths[1]), shown)
