"""Loops with checkpoints: the same as `simulate`, whatever stops them."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny

from al_jax.core.stack import InputError, make_stack
from al_jax.learner import config as settings
from al_jax.learner import learner
from al_jax.learner.config import Config
from al_jax.model.training import Training
from al_jax.simulation import annotator, loop, runner
from al_jax.simulation.runner import Checkpointing

STACK = tiny.stack()
CONFIG = Config(
    network="pixelwise",
    initial_steps=40,
    query_steps=2,
    learning_rate=0.05,
    query_learning_rate=0.3,
    training=Training(reduction=2, crop=32, batch=4, optimiser="sgd"),
)


@pytest.fixture(autouse=True)
def _pixelwise(monkeypatch):
    """`Config.network` may be 'pixelwise'."""
    monkeypatch.setattr(settings, "make_network", tiny.make)


class Stopped(Exception):
    """What a test stops a loop with."""


def _stopping(after, seen=None):
    """Stops the loop at the call `after`; the fractions that it is called with go into `seen`."""
    seen = [] if seen is None else seen

    def show(fraction, **_):
        seen.append(fraction)
        if len(seen) == after:
            raise Stopped

    return show


def _run(folder, strategy="BDa", stop_network=0, stop_run=0, reports=None, seen=None):
    prepared, keep = runner.prepare(STACK, CONFIG, 0), Checkpointing(folder, 0)
    first = None if seen is None else seen[0]
    network = runner.train_network(
        prepared, CONFIG, keep=keep.at("network"), show=_stopping(stop_network, first)
    )
    return runner.run_strategy(
        strategy,
        prepared,
        network,
        CONFIG,
        target_dice=0.97,
        keep=keep.at(strategy),
        report=runner.unreported if reports is None else lambda *given: reports.append(given),
        show=_stopping(stop_run, None if seen is None else seen[1]),
    )[1]


def test_it_is_the_simulation_and_goes_on_after_any_stop(tmp_path):
    reports = []
    whole = _run(tmp_path / "whole", reports=reports)
    assert [name for name, _ in reports] == ["BDa"] * len(reports)
    assert len(reports[0][1].dice) == 1 and len(reports[-1][1].dice) == len(whole.dice)
    expected = loop.simulate(
        jax.random.key(0), STACK, "BDa", CONFIG, queries=len(whole.dice) - 1, target_dice=0.97
    )[1]
    np.testing.assert_array_equal(whole.section, expected.section)
    np.testing.assert_array_equal(whole.structure, expected.structure)
    np.testing.assert_allclose(whole.dice, expected.dice, rtol=1e-4)

    for stops in ({"stop_network": 2}, {"stop_run": 3}):
        folder = tmp_path / str(stops)
        with pytest.raises(Stopped):
            _run(folder, **stops)
        seen = ([], [])
        jax.tree.map(np.testing.assert_array_equal, _run(folder, seen=seen), whole)
        # It went on where it was: a finished network is not trained again.
        assert seen[0][0] > 0 and (seen[1][0] > 0) == (stops == {"stop_run": 3})


def test_checkpoints_of_another_run_are_refused(tmp_path):
    prepared, keep = runner.prepare(STACK, CONFIG, 0), Checkpointing(tmp_path, 0)
    network = runner.train_network(prepared, CONFIG, keep=keep.at("network"))
    run = functools.partial(runner.run_strategy, network=network, keep=keep.at("run"))
    short = run("BDa", prepared, config=CONFIG, max_effort=0.5)[1]
    other = runner.prepare(STACK, CONFIG, 1)
    for strategy, which in (("Rand", prepared), ("BDa", other)):
        with pytest.raises(InputError, match="run: holds checkpoints of another run; use another"):
            run(strategy, which, config=CONFIG, max_effort=0.5)
    with pytest.raises(InputError, match="network: holds checkpoints of another run"):
        runner.train_network(other, CONFIG, keep=keep.at("network"))
    # With another target the same run goes on.
    longer = run("BDa", prepared, config=CONFIG, max_effort=0.7)[1]
    assert len(longer.dice) > len(short.dice) and longer.effort[-1] >= np.float32(0.7)
    np.testing.assert_array_equal(longer.dice[: len(short.dice)], short.dice)


def test_settings_count_where_they_are_not_at_their_defaults():
    # As `Config` will have new ones, whose defaults change nothing.
    prepared = runner.prepare(STACK, CONFIG, 0)
    assert runner._changed(Config(), Config()) == {}
    given = {"reduction": 2, "crop": 32, "batch": 4, "optimiser": "sgd"}
    changed = Config(alpha=0.2, training=Training(**given))
    expected = {"alpha": 0.2, "training": given}
    assert runner._changed(changed, Config()) == expected
    marks = {
        runner._mark(prepared, config, what).tobytes()
        for config in (CONFIG, changed)
        for what in ("BDa", "Rand")
    }
    assert len(marks) == 4
    # Another way to measure lengths is another run, of the same network.
    crofton = runner.prepare(STACK, dataclasses.replace(CONFIG, length="crofton"), 0)
    for what in ("partial", "labelled"):
        same = (runner._mark(p, CONFIG, what) for p in (prepared, crofton))
        np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("steps", [{"initial_steps": -1}, {"query_steps": 0}])
def test_an_update_has_a_step_at_least(steps):
    with pytest.raises(ValueError, match="initial_steps must be at least 0 and query_steps at"):
        Config(**steps)
    with pytest.raises(ValueError, match="strategy 'foo' is not one of"):
        loop.alike("foo")


def test_a_loss_that_is_not_finite_stops_with_its_place():
    learner.check_loss(np.ones(3), "query {}", 5)
    with pytest.raises(InputError, match="the loss is not finite at query 7 with rate=3; lower it"):
        learner.check_loss(np.array([1, 2, np.nan, np.inf]), "query {} with rate=3", 5)


def test_a_stack_without_outlines_is_refused():
    truth = np.zeros((2, 16, 16), int)
    truth[1] = 1
    flat = make_stack(np.zeros(truth.shape, np.uint8), truth, ("background", "a"))
    with pytest.raises(InputError, match="nothing to trace"):
        runner.prepare(flat, CONFIG, 0)


def test_each_function_is_compiled_once():
    assert runner._compiled(loop.begin) is runner._compiled(loop.begin)
    # Stacks whose sections have other names share a program.
    make_task = runner._compiled(annotator.make_task)
    runner.prepare(STACK, CONFIG, 0)
    before = make_task._cache_size()
    called = tuple(f"s{n}.png" for n in range(STACK.num_sections))
    runner.prepare(dataclasses.replace(STACK, sections=called), CONFIG, 0)
    assert make_task._cache_size() == before > 0
