"""Queries without a network: what is answered at which effort."""

import functools

import jax
import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.core.state import annotate, candidates
from al_jax.core.strategies import STRATEGIES, BDa
from al_jax.files.stacks import write_stack
from al_jax.learner.config import Config
from al_jax.simulation.loop import draw_priority
from al_jax.simulation.prepare import prepare
from experiments.bench import lengths


@pytest.mark.parametrize("name", ["BDa", "Da", "Rand"])
def test_all_is_answered_in_the_end_and_costs_all(name):
    strategy = STRATEGIES[name]
    keys, task, state = prepare(jax.random.key(0), tiny.stack(), Config())
    priority = draw_priority(keys.priority, task.present, strategy)
    run = jax.jit(lengths.trace, static_argnames="strategy")
    effort, answers = map(np.asarray, run(state, priority, task, strategy=strategy))
    assert effort.shape == answers.shape == (1 + task.present.size,)
    assert answers[0] == 4 and (np.diff(answers) <= 2).all() and (np.diff(effort) > -1e-6).all()
    # The last class of a section is known from the outlines around it.
    assert answers[-1] == task.present.sum()
    assert effort[-1] == pytest.approx(1)
    if strategy == BDa:  # the first answer is the one that Eq. 5 takes for the shortest
        assert effort[1] - effort[0] < 0.1


def test_true_lengths_choose_the_least_outline_of_all():
    stack = tiny.stack()
    _, task, state = prepare(jax.random.key(0), stack, Config())
    true = lengths.true_lengths(stack)
    open_pairs = np.asarray(candidates(state) & task.present)
    for strategy in (BDa, STRATEGIES["Da"]):
        section, structure = lengths.cheapest(state, true, strategy)
        costs = np.full(open_pairs.shape, np.inf)
        for n, c in np.argwhere(open_pairs):
            mask = task.truth[n] == c
            whole = float(true[n, c, c])
            costs[n, c] = (
                float(annotate(state, n, c, mask, task.sections.inside[n])[1])
                if strategy == BDa
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


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The command on the small stack."""
    monkeypatch.chdir(tmp_path)
    write_stack("stack.npz", tiny.stack())
    with flags_of(lengths):
        yield functools.partial(caller(lengths, monkeypatch, capsys), "--stack=stack.npz")


def test_the_command(call):
    _, out, _ = call("--seed=3")
    rows = [line.split() for line in out.splitlines()[2:-1]]
    assert [row[:2] for row in rows] == [["3", "BDa"], ["3", "Da"]]
    assert len({row[2] for row in rows}) == 1 and all(len(row) == 8 for row in rows)
    assert out.splitlines()[-1].startswith("100% of all outlines are those of ")
    _, out, _ = call("--truth")
    assert [line.split()[1] for line in out.splitlines()[2:-1]] == ["BDa", "Da"]


def test_strategies_that_are_refused(call):
    status, _, err = call("--truth", "--strategies=Rand")
    assert status == 2 and "--truth has no effect on strategy 'Rand'" in err
    refused = call("--strategies=H")
    assert refused == (2, "", "error: strategy 'H' needs a network; leave it out\n")
