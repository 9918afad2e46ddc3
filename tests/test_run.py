"""The call for Python: arrays in, a table out, and nothing on the disk but compiled programs."""

import dataclasses
import os

import jax
import numpy as np
import pytest
import tiny

from al_jax.core.evidence import Evidence
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES, Strategy
from al_jax.simulation import runner
from al_jax.simulation.prepare import prepare
from al_jax.simulation.run import run

STACK = tiny.stack()
CONFIG = tiny.config(
    initial_steps=20, query_steps=2, learning_rate=0.05, crop=32, batch=4, optimiser="sgd"
)
STOP = {"target_dice": 1.0, "max_effort": 0.7}


def last_class_first(evidence: Evidence) -> jax.Array:
    """[N, C]."""
    return jax.numpy.arange(evidence.seen.shape[1]) * jax.numpy.ones(evidence.seen.shape)


OWN = Strategy(last_class_first, lambda evidence: jax.numpy.ones(evidence.seen.shape), reads=())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two strategies, one of them our own, from two seeds."""
    folder, before = tmp_path_factory.mktemp("run"), os.getcwd()
    os.chdir(folder)
    try:
        strategies = {"BDa": STRATEGIES["BDa"], "mine": OWN}
        found = run(STACK, strategies, seeds=(0, 1), config=CONFIG, progress=False, **STOP)
        left = os.listdir(folder)
    finally:
        os.chdir(before)
    assert not left
    return found


def test_columns_are_of_one_length(table):
    assert len({len(column) for column in table.values()}) == 1
    assert list(table)[:5] == ["strategy", "seed", "step", "section", "structure"]
    runs = set(zip(table["strategy"].tolist(), table["seed"].tolist(), strict=True))
    assert runs == {(name, seed) for name in ("BDa", "mine") for seed in (0, 1)}
    starts = table["step"] == 0
    assert starts.sum() == 4
    assert (table["section"][starts] == -1).all() and (table["structure"][starts] == "").all()
    assert set(table["structure"][~starts]) <= set(STACK.names)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_the_runner_gives_piece_by_piece(table, seed):
    prepared = prepare(jax.random.key(seed), STACK, CONFIG)
    network = runner.train_network(prepared, CONFIG)
    for name, strategy in (("BDa", STRATEGIES["BDa"]), ("mine", OWN)):
        _, records = runner.run_strategy(strategy, prepared, network, CONFIG, **STOP)
        rows = (table["strategy"] == name) & (table["seed"] == seed)
        for column in ("section", "effort_unique", "effort_whole", "dice", "predicted_length"):
            np.testing.assert_array_equal(table[column][rows], getattr(records, column))
        asked = [STACK.names[c] for c in records.structure[1:]]
        assert table["structure"][rows][1:].tolist() == asked and len(asked) > 1
    # Of a class known already, as all are after the start, ours asks for the last first.
    assert asked[0] == STACK.names[-1]


def test_what_is_refused():
    with pytest.raises(ValueError, match="strategy 'best' is not one of"):
        run(STACK, ["best"], config=CONFIG, progress=False)
    flat = dataclasses.replace(STACK, truth=np.zeros_like(STACK.truth))
    with pytest.raises(InputError, match="nothing to trace"):
        run(flat, ["BDa"], config=CONFIG, progress=False)
    assert run(STACK, {}, config=CONFIG, progress=False) == {}
