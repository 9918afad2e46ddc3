"""Tests for a process with four devices; `test_devices.py` starts it."""

import functools
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core.stack import Stack, make_stack
from al_jax.core.strategies import STRATEGIES, BDa
from al_jax.learner.config import model_of
from al_jax.model.training import init_train_state
from al_jax.simulation import loop, runner
from al_jax.simulation.prepare import place, prepare

CONFIG = tiny.config(
    initial_steps=8,
    query_steps=2,
    dropout_samples=2,
    downsampling=1,
    crop=32,
    batch=4,
    optimiser="sgd",
)
# As anyone would write it; `make_task` makes of it what the loops need.
MESH = jax.make_mesh((4,), ("sections",))
EVEN, ODD, FEW = 8, 6, 3  # sections


@functools.cache
def _stack(count: int) -> Stack:
    """The first sections of two small stacks."""
    stacks = tiny.stack(0), tiny.stack(1)
    images, truth, inside = (
        np.concatenate([getattr(stack, name) for stack in stacks])[:count]
        for name in ("images", "truth", "inside")
    )
    return make_stack(images, truth, stacks[0].names, inside)


@functools.cache
def _jit(name: str, *static: str):
    return jax.jit(getattr(loop, name), static_argnames=static)


def _assert_same(found, expected, tolerance):
    """Integers and booleans exactly, floats to a relative and absolute tolerance."""

    def same(a, b):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype
        rounded = tolerance if a.dtype == np.float32 else 0
        np.testing.assert_allclose(a, b, rtol=rounded, atol=rounded)

    jax.tree.map(same, found, expected)


def test_there_are_four_devices():
    assert jax.device_count() == 4


@pytest.mark.parametrize(
    ("strategy", "count"),
    [("HBDa", EVEN), ("H_dropout", ODD)],
)
@pytest.mark.slow
def test_the_same_queries(strategy, count):
    simulate = _jit("simulate", "strategy", "queries")
    shared, one = (
        simulate(
            prepare(jax.random.key(0), _stack(count), CONFIG, mesh=mesh),
            CONFIG,
            strategy=STRATEGIES[strategy],
            queries=3,
            params=tiny.weights(tiny.Pixelwise(tiny.CLASSES)),
        )
        for mesh in (MESH, None)
    )
    assert not one[1].done.any()
    # XLA compiles the training itself otherwise for several devices, which rounds otherwise.
    _assert_same(shared, one, 1e-6)
    for field in ("effort_unique", "length", "predicted_length"):
        np.testing.assert_array_equal(getattr(shared[1], field), getattr(one[1], field))


def _begun(strategy: str, count: int, mesh: jax.sharding.Mesh | None):
    """The arguments of `loop.begin`, with a network that was not trained."""
    keys, task, state = prepare(jax.random.key(0), _stack(count), CONFIG, mesh=mesh)
    weights = tiny.weights(tiny.Pixelwise(tiny.CLASSES), heads=True)
    network = init_train_state(keys.weights, model_of(CONFIG, tiny.CLASSES), weights)
    return place(network, task.mesh), state, task, CONFIG, STRATEGIES[strategy]


@pytest.mark.parametrize(
    ("strategy", "count"),
    [("HBDa", ODD), pytest.param("H_dropout", FEW, marks=pytest.mark.slow)],
)
def test_the_same_prediction_to_the_bit(strategy, count):
    begin = _jit("begin", "strategy")
    (shared, _), (one, _) = (begin(*_begun(strategy, count, mesh)) for mesh in (MESH, None))
    assert shared.learner.uncertainty.shape == (count, tiny.CLASSES)
    _assert_same((shared.learner, shared.scores), (one.learner, one.scores), 0)


@pytest.mark.parametrize(
    ("count", "share"),
    [
        pytest.param(EVEN, 2, marks=pytest.mark.slow),
        (ODD, 2),
        pytest.param(FEW, 1, marks=pytest.mark.slow),
    ],
)
def test_each_device_predicts_its_share(count, share):
    arguments = _begun("HBDa", count, MESH)
    begin = functools.partial(loop.begin, config=CONFIG, strategy=STRATEGIES["HBDa"])
    (shared,) = (
        step
        for step in jax.make_jaxpr(begin)(*arguments[:3]).eqns
        if step.primitive.name == "shard_map"
    )
    loops = [e for e in shared.params["jaxpr"].eqns if e.primitive.name == "scan"]
    assert [loop.params["length"] for loop in loops] == [share]
    # Of what lies on each section, only what is reported of it travels.
    text = _jit("begin", "strategy").lower(*arguments).compile().as_text()
    travels = re.findall(r"\w+\[([\d,]*)\]\S* (all-[\w-]+|collective-\w+|reduce-scatter)\(", text)
    assert {kind for _, kind in travels} == {"all-gather"}
    largest = max(np.prod([int(size) for size in shape.split(",")]) for shape, _ in travels)
    assert largest == 4 * share * 2 * tiny.CLASSES


@pytest.mark.slow
def test_a_run_goes_on_with_more_and_with_fewer_devices(tmp_path):
    """What the commands do: checkpoints of four devices are read by one, and the reverse."""
    records, network = [], tmp_path / "network"

    def perform(folder, mesh):
        prepared = prepare(jax.random.key(0), _stack(ODD), CONFIG, mesh=mesh)
        places = runner.Checkpointing(network, 0), runner.Checkpointing(folder, 0)
        initial = runner.train_network(prepared, CONFIG, checkpointing=places[0])
        run, more = runner.run_strategy(BDa, prepared, initial, CONFIG, checkpointing=places[1])
        assert len(run.state.labels.devices()) == (1 if mesh is None else 4)
        records.append(more)

    for first, then in ((MESH, None), (None, MESH)):
        folder = tmp_path / f"from_{1 if first is None else 4}"
        perform(folder, first)
        shutil.rmtree(max(folder.iterdir(), key=lambda path: int(path.name)))
        perform(folder, then)
    assert len(records[0].dice) > 2 * runner.QUERIES
    for other in records[1:]:
        _assert_same(other, records[0], 1e-6)
