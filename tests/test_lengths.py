"""Queries without a network: what is answered at which effort."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny

from al_jax.core.state import annotate, candidates
from al_jax.files.stacks import write_stack
from al_jax.learner.config import Config
from al_jax.simulation import runner
from al_jax.simulation.loop import draw_priority
from experiments.bench import lengths


@pytest.mark.parametrize("strategy", ["BDa", "Da", "Rand"])
def test_all_is_answered_in_the_end_and_costs_all(strategy):
    keys, task, state = runner.prepare(tiny.stack(), Config(), 0)
    priority = draw_priority(keys.priority, task.present, strategy)
    run = jax.jit(lengths.trace, static_argnames="strategy")
    effort, answers = map(np.asarray, run(state, priority, task, strategy=strategy))
    assert effort.shape == answers.shape == (1 + task.present.size,)
    assert answers[0] == 4 and (np.diff(answers) <= 2).all() and (np.diff(effort) > -1e-6).all()
    # The last class of a section is known from the outlines around it.
    assert answers[-1] == task.present.sum()
    assert effort[-1] == pytest.approx(1)
    if strategy == "BDa":  # the first answer is the one that Eq. 5 takes for the shortest
        assert effort[1] - effort[0] < 0.1


def test_true_lengths_choose_the_least_outline_of_all():
    stack = tiny.stack()
    _, task, state = runner.prepare(stack, Config(), 0)
    true = lengths.true_lengths(stack)
    open_pairs = np.asarray(candidates(state) & task.present)
    for strategy in ("BDa", "Da"):
        section, structure = lengths.cheapest(state, true, strategy)
        costs = np.full(open_pairs.shape, np.inf)
        for n, c in np.argwhere(open_pairs):
            mask = task.truth[n] == c
            whole = float(true[n, c, c])
            costs[n, c] = (
                float(annotate(state, n, c, mask, task.sections.inside[n])[1])
                if strategy == "BDa"
                else whole
            )
        assert costs[section, structure] == costs.min()


def test_outlines_of_the_two_longest_by_hand():
    # The longest are 2 with 9 and 1 with 8 (as 0 has), and no outline is between 0 and 3.
    between = np.zeros((4, 4))
    for a, b, length in ((0, 1, 5), (0, 2, 3), (1, 2, 2), (2, 3, 4), (1, 3, 1)):
        between[a, b] = between[b, a] = length
    whole = between + np.diag(between.sum(1))
    assert lengths.bordering(whole) == ([2, 1], pytest.approx(1))
    between[0, 3] = between[3, 0] = 6
    whole = between + np.diag(between.sum(1))
    # 0 has 14 and 3 has 11; 1-2 alone is neither's: 2 of 21.
    assert lengths.bordering(whole) == ([0, 3], pytest.approx(1 - 2 / 21))


def test_the_command(tmp_path):
    write_stack(tmp_path / "stack.npz", tiny.stack())
    program = [
        sys.executable,
        "-m",
        "experiments.bench.lengths",
        f"--stack={tmp_path / 'stack.npz'}",
    ]
    said = subprocess.run([*program, "--seed=3"], capture_output=True, text=True)
    rows = [line.split() for line in said.stdout.splitlines()[2:-1]]
    assert [row[:2] for row in rows] == [["3", "BDa"], ["3", "Da"]]
    assert len({row[2] for row in rows}) == 1 and all(len(row) == 8 for row in rows)
    assert said.stdout.splitlines()[-1].startswith("100% of all outlines are those of ")
    known = subprocess.run([*program, "--truth"], capture_output=True, text=True)
    rand = subprocess.run(
        [*program, "--truth", "--strategies=Rand"], capture_output=True, text=True
    )
    assert rand.returncode == 2 and "--truth has no effect on strategy 'Rand'" in rand.stderr
    assert [line.split()[1] for line in known.stdout.splitlines()[2:-1]] == ["BDa", "Da"]
    refused = subprocess.run([*program, "--strategies=H"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "error: strategy 'H' needs a network; leave it out\n"
