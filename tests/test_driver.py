"""Loops with checkpoints: the same as `simulate`, whatever stops them."""

import jax
import numpy as np
import pytest
import tiny

from al_jax import driver, simulation
from al_jax.driver import Checkpointing
from al_jax.oracle import Config
from al_jax.stack import InputError, make_stack
from al_jax.training import Training

STACK = tiny.stack()
CONFIG = Config(
    network="pixelwise",
    initial_epochs=20,
    query_epochs=1,
    query_learning_rate=0.3,
    training=Training(crop=32, batch=4),
)


@pytest.fixture(autouse=True)
def _pixelwise(monkeypatch):
    """`Config.network` may be 'pixelwise'."""
    monkeypatch.setattr(simulation, "make_network", tiny.make)


class Stopped(Exception):
    """What a test stops a loop with."""


def _stopping(after):
    """Shows nothing, and stops the loop at the call `after`."""
    calls = []

    def show(*_, **__):
        calls.append(1)
        if len(calls) == after:
            raise Stopped

    return show


def _run(folder, strategy="BDa", stop_network=0, stop_run=0, reports=None):
    prepared, keep = driver.prepare(STACK, CONFIG, 0), Checkpointing(folder, 0)
    network = driver.train_network(
        prepared, CONFIG, keep=keep.at("network"), show=_stopping(stop_network)
    )
    return driver.run_strategy(
        strategy,
        prepared,
        network,
        CONFIG,
        target_dice=0.97,
        keep=keep.at(strategy),
        report=driver.unreported if reports is None else lambda *given: reports.append(given),
        show=_stopping(stop_run),
    )[1]


def test_it_is_the_simulation_and_goes_on_after_any_stop(tmp_path):
    reports = []
    whole = _run(tmp_path / "whole", reports=reports)
    assert [name for name, _ in reports] == ["BDa"] * len(reports)
    assert len(reports[0][1].dice) == 1 and len(reports[-1][1].dice) == len(whole.dice)
    expected = simulation.simulate(
        jax.random.key(0), STACK, "BDa", CONFIG, queries=len(whole.dice) - 1, target_dice=0.97
    )[1]
    np.testing.assert_array_equal(whole.section, expected.section)
    np.testing.assert_array_equal(whole.structure, expected.structure)
    np.testing.assert_allclose(whole.dice, expected.dice, rtol=1e-4)

    for stops in ({"stop_network": 2}, {"stop_run": 1}, {"stop_run": 3}):
        folder = tmp_path / str(stops)
        with pytest.raises(Stopped):
            _run(folder, **stops)
        jax.tree.map(np.testing.assert_array_equal, _run(folder), whole)


def test_a_loss_that_is_not_finite_stops_with_its_place():
    driver.check_loss(np.ones(3), "query {}", 5)
    with pytest.raises(InputError, match="the loss is not finite at query 7 with rate=3; lower it"):
        driver.check_loss(np.array([1, 2, np.nan, np.inf]), "query {} with rate=3", 5)


def test_a_stack_without_outlines_is_refused():
    truth = np.zeros((2, 16, 16), int)
    truth[1] = 1
    flat = make_stack(np.zeros(truth.shape, np.uint8), truth, ("background", "a"))
    with pytest.raises(InputError, match="nothing to trace"):
        driver.prepare(flat, CONFIG, 0)


def test_each_function_is_compiled_once():
    assert driver._compiled(simulation.begin) is driver._compiled(simulation.begin)
