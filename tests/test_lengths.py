"""Queries without a network: what is answered at which effort."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny

from al_jax import io
from al_jax.simulation import Config, draw_priority
from experiments import lengths, runs


@pytest.mark.parametrize("strategy", ["BDa", "Da", "Rand"])
def test_all_is_answered_in_the_end_and_costs_all(strategy):
    keys, task, state = runs.prepare(tiny.stack(), Config(), 0)
    priority = draw_priority(keys.priority, task.present, strategy)
    run = jax.jit(lengths.trace, static_argnames="strategy")
    effort, answers = map(np.asarray, run(state, priority, task, strategy=strategy))
    assert effort.shape == answers.shape == (1 + task.present.size,)
    assert answers[0] == 4 and (np.diff(answers) <= 1).all() and (np.diff(effort) > -1e-6).all()
    # One class is left on each section, whose outline has been traced from the other side.
    assert answers[-1] == task.present.sum() - len(task.present)
    assert effort[-1] == pytest.approx(1)
    if strategy == "BDa":  # the first answer is the one that Eq. 5 takes for the shortest
        assert effort[1] - effort[0] < 0.1


def test_the_command(tmp_path):
    io.write_stack(tmp_path / "stack.npz", tiny.stack())
    program = [sys.executable, "-m", "experiments.lengths", f"--stack={tmp_path / 'stack.npz'}"]
    said = subprocess.run([*program, "--seed=3"], capture_output=True, text=True)
    rows = [line.split() for line in said.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["3", "BDa"], ["3", "Da"], ["3", "Rand"]]
    assert len({row[2] for row in rows}) == 1 and all(len(row) == 8 for row in rows)
    refused = subprocess.run([*program, "--strategies=H"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "error: strategy 'H' needs a network; leave it out\n"
