"""Loops with checkpoints: the same as `simulate`, whatever stops them."""

import dataclasses
import functools
import pathlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny

from al_jax.core.losses import cross_entropy, partial_cross_entropy
from al_jax.core.stack import InputError, make_stack
from al_jax.core.strategies import STRATEGIES, BDa, strategy_of
from al_jax.learner import learner
from al_jax.learner.config import changed
from al_jax.simulation import loop, runner
from al_jax.simulation.prepare import _make_task, prepare
from al_jax.simulation.runner import Checkpointing

STACK = tiny.stack()
PLACE = runner.Checkpointing(pathlib.Path("kept"))
CONFIG = tiny.config(
    initial_steps=40,
    query_steps=2,
    learning_rate=0.05,
    query_learning_rate=0.3,
    downsampling=2,
    crop=32,
    batch=4,
    optimiser="sgd",
)


def _prepare(seed=0, config=CONFIG):
    return prepare(jax.random.key(seed), STACK, config)


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


def _run(folder, stop_network=0, stop_run=0, reports=None, seen=None):
    prepared, checkpointing = _prepare(), Checkpointing(folder, 0)
    first = None if seen is None else seen[0]
    network = runner.train_network(
        prepared,
        CONFIG,
        checkpointing=checkpointing.at("network"),
        show=_stopping(stop_network, first),
    )
    return runner.run_strategy(
        BDa,
        prepared,
        network,
        CONFIG,
        target_dice=0.97,
        checkpointing=checkpointing.at("BDa"),
        report=runner.unreported if reports is None else reports.append,
        show=_stopping(stop_run, None if seen is None else seen[1]),
    )[1]


@pytest.mark.slow
def test_it_is_the_simulation_and_goes_on_after_any_stop(tmp_path):
    reports = []
    whole = _run(tmp_path / "whole", reports=reports)
    assert len(reports[0].dice) == 1 and len(reports[-1].dice) == len(whole.dice)
    expected = loop.simulate(_prepare(), CONFIG, queries=len(whole.dice) - 1, target_dice=0.97)[1]
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


@pytest.mark.slow
def test_checkpoints_of_another_run_are_refused(tmp_path):
    prepared, places = _prepare(), Checkpointing(tmp_path, 0)
    network = runner.train_network(prepared, CONFIG, checkpointing=places.at("network"))
    given = {"network": network, "config": CONFIG, "checkpointing": places.at("run")}
    run = functools.partial(runner.run_strategy, **given)
    short = run(BDa, prepared, max_effort=0.5)[1]
    other = _prepare(1)
    for strategy, which in ((STRATEGIES["Rand"], prepared), (BDa, other)):
        with pytest.raises(InputError, match="run: holds checkpoints of another run; use another"):
            run(strategy, which, max_effort=0.5)
    with pytest.raises(InputError, match="network: holds checkpoints of another run"):
        runner.train_network(other, CONFIG, checkpointing=places.at("network"))
    # With another target the same run goes on.
    longer = run(BDa, prepared, max_effort=0.7)[1]
    assert len(longer.dice) > len(short.dice) and longer.effort_unique[-1] >= np.float32(0.7)
    np.testing.assert_array_equal(longer.dice[: len(short.dice)], short.dice)


def test_checkpoints_are_marked_by_settings_and_strategy():
    prepared, other = _prepare(), changed(CONFIG, {"alpha": 0.2})
    edited = dataclasses.replace(BDa, gain=lambda evidence: 1 - evidence.dice)
    marks = {
        runner._mark(prepared, config, what, PLACE).tobytes()
        for config in (CONFIG, other)
        for what in (BDa, STRATEGIES["Rand"], edited)
    }
    assert len(marks) == 6
    # Another way to measure lengths is another run, of the same network.
    crofton = _prepare(config=changed(CONFIG, {"length": "crofton"}))
    for loss in (partial_cross_entropy, cross_entropy):
        same = (runner._mark(p, CONFIG, loss, PLACE) for p in (prepared, crofton))
        np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ({"initial_steps": -1}, "initial_steps is -1; it must be at least 0"),
        ({"query_steps": 0}, "query_steps is 0; it must be at least 1"),
    ],
)
def test_an_update_has_a_step_at_least(steps, line):
    with pytest.raises(ValueError, match=line):
        tiny.config(**steps)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="strategy 'foo' is not one of"):
        strategy_of("foo")


def test_a_loss_that_is_not_finite_stops_with_its_place():
    learner.check_loss(np.ones(3), "query {}", 5)
    with pytest.raises(InputError, match="the loss is not finite at query 7 with rate=3; lower it"):
        learner.check_loss(np.array([1, 2, np.nan, np.inf]), "query {} with rate=3", 5)


def test_a_stack_without_outlines_is_refused():
    truth = np.zeros((2, 16, 16), int)
    truth[1] = 1
    flat = make_stack(np.zeros(truth.shape, np.uint8), truth, ("background", "a"))
    with pytest.raises(InputError, match="nothing to trace"):
        prepare(jax.random.key(0), flat, CONFIG)


def test_each_function_is_compiled_once():
    assert runner._compiled(loop.begin) is runner._compiled(loop.begin)
    # Stacks whose sections have other names share a program.
    _prepare()
    before = _make_task._cache_size()
    called = tuple(f"s{n}.png" for n in range(STACK.num_sections))
    prepare(jax.random.key(0), dataclasses.replace(STACK, sections=called), CONFIG)
    assert _make_task._cache_size() == before > 0


def test_five_alphas_share_a_program():
    """A sweep over them compiles the queries once, and each asks by its own."""
    prepared, run_queries = _prepare(), runner._compiled(loop.run_queries)
    network = runner.train_network(prepared, CONFIG)
    run_queries.clear_cache()
    predicted = [
        runner.run_strategy(BDa, prepared, network, changed(CONFIG, {"alpha": alpha}))[
            1
        ].predicted_dice
        for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert run_queries._cache_size() == 1
    assert np.ptp([dice[1] for dice in predicted]) < 1e-6  # D is known at one step alone


def test_the_segmentation_of_a_run_is_what_its_last_dice_is_of():
    prepared = _prepare()
    network = runner._compiled(runner._new_network)(prepared.keys, prepared.task, CONFIG)
    run, records = runner.run_strategy(BDa, prepared, network, CONFIG, max_effort=0.4)
    found, truth = runner.segmentation(run, prepared, CONFIG), np.asarray(STACK.truth)
    for c in range(1, STACK.num_classes):
        ours, theirs = ((labels == c) & STACK.inside for labels in (found, truth))
        present = theirs.any((1, 2))
        sums = (ours.sum((1, 2)) + theirs.sum((1, 2)))[present]
        dice = 2 * (ours & theirs).sum((1, 2))[present] / sums
        assert dice.mean() == pytest.approx(records.class_dice[-1, c], rel=1e-5)


def test_each_alpha_asks_by_its_own():
    prepared = _prepare()
    network = runner._compiled(runner._new_network)(prepared.keys, prepared.task, CONFIG)
    run, _ = loop.begin(network, prepared.state, prepared.task, CONFIG, BDa)
    ones = np.ones(STACK.num_classes, np.float32)
    run = run.replace(learner=run.learner.replace(dice=np.stack([ones, 0 * ones])))
    nothing, alphas = np.zeros(prepared.task.present.shape), (0.0, 0.25, 0.5, 0.75, 1.0)
    for alpha in alphas:  # D is 1 at T-1 and 0 at T-2
        config = changed(CONFIG, {"alpha": alpha})
        query = loop.ask(run, nothing, prepared.task, config, strategies=(BDa,), which=0)
        assert float(query.dice) == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("dice", "effort", "target", "most", "expected"),
    [
        # Of what Dice lacks two halvings are two thirds of three.
        ((0.2, 0.8), (0.1, 0.2), 0.9, 1.0, 2 / 3),
        ((0.2, 0.8), (0.1, 0.4), 0.9, 0.5, 0.75),  # nearer by effort
        ((0.5, 0.4), (0.1, 0.1), 0.9, 1.0, 0.0),  # worse than at the start
        ((0.92, 0.93), (0.1, 0.1), 0.9, 1.0, 1.0),  # there before the first answer
        ((0.5, 0.75), (0.1, 0.1), 1.0, 1.0, np.log(2) / np.log(500)),
    ],
)
def test_the_progress_of_a_run(dice, effort, target, most, expected):
    records = SimpleNamespace(dice=np.array(dice), effort_unique=np.array(effort))
    assert runner._fraction(records, target, most) == pytest.approx(expected)
