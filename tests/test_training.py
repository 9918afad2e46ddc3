"""Training in pieces, its batches and its optimiser."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from scipy.special import logsumexp, softmax

from al_jax.core.state import PartialLabels
from al_jax.model import networks, training
from al_jax.model.config import OPTIMISERS, ModelConfig, Training, steps_per_epoch
from al_jax.model.crops import Batch
from al_jax.model.inputs import Sections

CLASSES = tiny.CLASSES
SETTING = Training(crop=32, batch=2, balanced=0.0, optimiser="sgd")
COUNT = 5  # sections: batches of 2 do not fit evenly
PIXELWISE = tiny.Pixelwise(CLASSES)
SMALL = networks.small(CLASSES)

# Compilation is most of the time; where only values matter, no fast code is needed.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def _stack():
    """What the network sees of five sections, and the labels of the two outer classes on three."""
    return tiny.partly_labelled(COUNT)[:2]


@functools.cache
def _train(network, steps):
    """A jitted training of the stack: (key, state, first_step, rate) -> (state, losses)."""
    sections, partial = _stack()
    model = ModelConfig(network, SETTING)

    @jax.jit
    def run(key, state, first_step=0, rate=0.02):
        return training.train(
            key,
            state,
            sections,
            partial,
            model,
            steps=steps,
            learning_rate=rate,
            first_step=first_step,
        )

    return run


def _state(network, seed=0, setting=SETTING, heads=False):
    params = tiny.weights(network, seed, heads)
    return training.init_train_state(None, ModelConfig(network, setting), params)


def _assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def whole():
    """Six steps of the small network."""
    return _train(SMALL, 6)(jax.random.key(0), _state(SMALL))


@pytest.mark.slow
def test_training_in_two_pieces_is_training_in_one(whole):
    key = jax.random.key(0)
    state, first = _train(SMALL, 3)(key, _state(SMALL))
    state, second = _train(SMALL, 3)(key, state, 3)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole[1])
    _assert_same(state, whole[0])


def test_the_same_key_gives_the_same_bytes(whole):
    again = _train(SMALL, 6)(jax.random.key(0), _state(SMALL))
    _assert_same(whole, again)
    other = _train(SMALL, 6)(jax.random.key(1), _state(SMALL))
    assert not np.array_equal(other[1], whole[1])
    assert whole[1].shape == (6,) and whole[1].dtype == jnp.float32


@pytest.mark.slow
def test_the_loss_goes_down():
    run, state, key, means = _train(SMALL, 6), _state(SMALL), jax.random.key(2), []
    for first_step in range(0, 84, 6):
        state, losses = run(key, state, first_step)
        means.append(float(losses.mean()))
    assert np.isfinite(means).all()
    assert np.mean(means[-3:]) < 0.7 * means[0]


@pytest.mark.parametrize(("count", "batch"), [(5, 2), (4, 2), (3, 8), (1, 8), (7, 7), (9, 8)])
def test_every_epoch_visits_every_section(monkeypatch, count, batch):
    def spy(key, sections, partial, chosen, *_):
        return chosen

    monkeypatch.setattr(training, "random_batch", spy)
    monkeypatch.setattr(training, "train_step", lambda key, state, chosen, *_: (state, chosen))
    steps = steps_per_epoch(count, batch)
    assert steps == int(np.ceil(count / batch))
    partial = PartialLabels(np.zeros((count, 2, 2), np.int16), None, None, None)
    visited = training.train(
        jax.random.key(4),
        jnp.int32(0),
        Sections(None, None, None, None),
        partial,
        ModelConfig(PIXELWISE, Training(batch=batch)),
        steps=6 * steps,
        learning_rate=0.0,
    )[1]
    epochs = np.asarray(visited).reshape(6, steps * batch)
    for epoch in epochs:
        times = np.bincount(epoch, minlength=count)
        assert len(times) == count and times.min() >= 1
        assert times.max() - times.min() <= 1  # what fills the last batch is spread evenly
    if count > 1:
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_larger_than_the_stack():
    sections, partial = jax.tree.map(lambda leaf: leaf[:2], _stack())
    model = ModelConfig(PIXELWISE, Training(crop=32, optimiser="sgd"))
    state, losses = quick(
        lambda key, state: training.train(
            key, state, sections, partial, model, steps=4, learning_rate=0.02
        )
    )(jax.random.key(5), _state(PIXELWISE))
    assert losses.shape == (4,) and np.isfinite(losses).all()
    jax.tree.map(lambda leaf: np.testing.assert_(np.isfinite(leaf).all()), state)


def test_momentum_rests_before_fine_tuning_and_moments_do_not():
    resting = _state(PIXELWISE, heads=True)
    warm = resting.replace(momentum=jax.tree.map(lambda leaf: leaf + 1, resting.momentum))
    _assert_same(training.reset_momentum(warm, SETTING), resting)
    adam = Training(optimiser="adamw")
    moving = _state(PIXELWISE, setting=adam)
    moving = moving.replace(momentum=jax.tree.map(lambda leaf: leaf + 1, moving.momentum))
    _assert_same(training.reset_momentum(moving, adam), moving)


def test_steps_of_adamw_by_hand():
    # Kingma and Ba 2015, Algorithm 1, with the decay beside the step (Loshchilov and Hutter 2019).
    adamw = training.optimiser(Training(weight_decay=0.1, clip=1e9))
    weights = {"kernel": jnp.array([[3.0, -4.0]])}
    memory, first, second = adamw.init(weights), 0.0, 0.0
    for step, gradient in enumerate(([[1.0, 0.5]], [[-2.0, 0.5]]), 1):
        gradient = np.array(gradient)
        update, memory = adamw.update({"kernel": jnp.array(gradient)}, memory, weights)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        scaled = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = scaled + 0.1 * np.array([[3.0, -4.0]])
        np.testing.assert_allclose(update["kernel"], expected, rtol=1e-4)


def test_the_rate_may_follow_the_steps():
    run, state, key = _train(PIXELWISE, 4), _state(PIXELWISE, heads=True), jax.random.key(1)
    whole, _ = run(key, state)
    sections, partial = _stack()
    model = ModelConfig(PIXELWISE, SETTING)
    stopped, losses = quick(
        lambda key, state: training.train(
            key,
            state,
            sections,
            partial,
            model,
            steps=8,
            learning_rate=lambda step: jnp.where(step < 4, 0.02, 0.0),
        )
    )(key, state)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), stopped.params, whole.params
    )
    assert losses.shape == (8,)


def test_an_update_is_bounded_by_the_clip():
    params = tiny.weights(PIXELWISE, heads=True)
    sgd = training.optimiser(Training(clip=0.5, optimiser="sgd"))
    gradient = jax.tree.map(lambda leaf: 1e4 * jnp.ones_like(leaf), params)
    momentum = sgd.init(params)
    for step in range(1, 5):
        update, momentum = sgd.update(gradient, momentum, params)
        np.testing.assert_allclose(
            optax.tree.norm(update), 0.5 * (1 - 0.9**step) / (1 - 0.9), rtol=1e-4
        )
    # A small gradient is left alone.
    small = jax.tree.map(lambda leaf: 1e-4 * jnp.ones_like(leaf), params)
    sgd = training.optimiser(Training(clip=0.5, weight_decay=0.0, optimiser="sgd"))
    jax.tree.map(
        np.testing.assert_array_equal, sgd.update(small, sgd.init(params), params)[0], small
    )


def test_the_penalty_is_part_of_what_is_clipped():
    # 10 w = (30, 40), and a gradient that takes half of it away: (15, 20), cut from 25 to 1.
    params = {"kernel": jnp.array([[3.0, 4.0]])}
    sgd = training.optimiser(Training(weight_decay=10.0, clip=1.0, momentum=0.5, optimiser="sgd"))
    momentum = sgd.init(params)
    for gradient in ([[-15.0, -20.0]], [[0.0, 0.0]]):
        update, after = sgd.update({"kernel": jnp.array(gradient)}, momentum, params)
        np.testing.assert_allclose(update["kernel"], [[0.6, 0.8]], rtol=1e-6)
    # The momentum is of what was clipped.
    update, _ = sgd.update({"kernel": jnp.array([[-30.2, -40.4]])}, after, params)
    np.testing.assert_allclose(update["kernel"], [[0.3 - 0.2, 0.4 - 0.4]], atol=1e-5)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weight_decay_acts_on_kernels_only(optimiser):
    params = tiny.weights(SMALL, heads=True)
    setting = Training(weight_decay=0.1, clip=1e9, optimiser=optimiser)
    sgd = training.optimiser(setting)
    params = jax.tree.map(np.asarray, params)
    still = jax.tree.map(np.zeros_like, params)
    update = quick(lambda still, params: sgd.update(still, sgd.init(params), params)[0])(
        still, params
    )
    for layer, parts in update.items():
        np.testing.assert_allclose(parts["kernel"], 0.1 * params[layer]["kernel"], rtol=1e-6)
        assert np.asarray(params[layer]["bias"]).any() and not np.asarray(parts["bias"]).any()


def test_a_step_by_hand():
    # One pixel, one class labelled: softmax minus one-hot, through the last layer.
    setting = Training(weight_decay=0.0, clip=1e9, momentum=0.5, optimiser="sgd")
    model = ModelConfig(PIXELWISE, setting)
    state = _state(PIXELWISE, setting=setting, heads=True)
    inputs = np.full((1, 1, 1, 3), 0.3, np.float32)
    labels, inside = np.full((1, 1, 1), 2, np.int16), np.ones((1, 1, 1), bool)
    batch = Batch(inputs, labels, inside, np.ones((1, CLASSES), bool))
    step = quick(training.train_step)

    def slope(params):  # without dropout's key there is none; with it, repeat its draw
        hidden = np.maximum(
            inputs[0, 0, 0] @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0
        )
        kept = np.asarray(jax.random.bernoulli(jax.random.key(7), 0.5, (1, 1, 1, 8)))[0, 0, 0]
        z = (2 * kept * hidden) @ params["score"]["kernel"] + params["score"]["bias"]
        return softmax(z) - np.eye(CLASSES)[2], logsumexp(z) - z[2]

    bias = np.asarray(state.params["score"]["bias"])
    velocity = 0
    for _ in range(2):
        gradient, value = slope(jax.tree.map(np.asarray, state.params))
        velocity = 0.5 * velocity + gradient
        bias = bias - 0.1 * velocity
        state, loss = step(jax.random.key(7), state, batch, model=model, learning_rate=0.1)
        np.testing.assert_allclose(loss, value, rtol=1e-5)
        np.testing.assert_allclose(state.params["score"]["bias"], bias, rtol=1e-4, atol=1e-6)
