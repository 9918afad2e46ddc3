"""What a network has to be: a flax module of a few lines trains, predicts and is made whole."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tiny

from al_jax.model import protocol
from al_jax.model.config import ModelConfig, Training
from al_jax.model.networks import FCN
from al_jax.model.prediction import predict
from al_jax.model.resolution import downsample_sections
from al_jax.model.training import init_train_state, train
from al_jax.model.upsampling import upsample

CLASSES, COUNT = tiny.CLASSES, 5
SETTING = Training(crop=16, batch=2, learning_rate=0.01)


class Plain(nn.Module):
    """No more than the contract asks for."""

    num_classes: int

    @nn.compact
    def __call__(self, x, key=None):
        x = nn.relu(nn.Dense(6)(x))
        if key is not None:
            x = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)
        return nn.Dense(self.num_classes)(x)


PLAIN = Plain(CLASSES)


@functools.cache
def _trained(downsampling):
    """The state before and after a step on tiny sections, and those."""
    sections, partial, _ = tiny.partly_labelled(COUNT)
    sections = downsample_sections(sections, downsampling)
    model = ModelConfig(PLAIN, SETTING)
    before = init_train_state(jax.random.key(0), model)

    @jax.jit
    def step(state):
        return train(
            jax.random.key(1), state, sections, partial, model, steps=1, learning_rate=0.01
        )

    after, losses = step(before)
    assert losses.shape == (1,) and np.isfinite(losses).all()
    return before, after, sections, partial


def test_a_plain_module_learns_and_predicts():
    before, after, sections, partial = _trained(1)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
    assert all(jax.tree.leaves(moved)) and len(jax.tree.leaves(moved)) == 4
    found = predict(
        jax.random.key(2),
        after.params,
        sections,
        partial,
        ModelConfig(PLAIN, SETTING),
        reduce_fn=lambda prediction, _: prediction,
        uncertainty=lambda posterior, inside: posterior.sum((0, 1)),
        dropout_samples=2,
    )
    assert found.segmentation.shape == (COUNT, *tiny.SHAPE[1:])
    assert found.uncertainty.shape == (COUNT, CLASSES)
    jax.tree.map(lambda leaf: np.testing.assert_(np.isfinite(leaf).all()), found)


def test_what_it_says_of_a_downsampled_section_is_whole():
    _, after, sections, partial = _trained(2)
    assert sections.images.shape[1:3] == (20, 24)
    found = predict(
        jax.random.key(2),
        after.params,
        sections,
        partial,
        ModelConfig(PLAIN, SETTING),
        reduce_fn=lambda prediction, _: prediction.unclamped,
    )
    assert found.shape == (COUNT, *tiny.SHAPE[1:])


def test_logits_of_a_downsampled_image_are_upsampled_and_cut():
    params = protocol.init_params(jax.random.key(0), PLAIN)
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    features = protocol.encode(PLAIN, params, x)
    small = PLAIN.apply({"params": params}, x)
    found = protocol.decode(PLAIN, params, features, (9, 11), downsampling=2)
    assert found.shape == (1, 9, 11, CLASSES)
    np.testing.assert_allclose(found, upsample(small, 2)[:, :9, :11], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        protocol.decode(PLAIN, params, features, (5, 6)), small, rtol=1e-5, atol=1e-6
    )


def test_a_key_switches_dropout_on():
    params = protocol.init_params(jax.random.key(0), PLAIN)
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    decode = functools.partial(protocol.decode, PLAIN, params, x, (5, 6))
    key = jax.random.key
    np.testing.assert_array_equal(decode(key(1)), decode(key(1)))
    assert not np.allclose(decode(key(1)), decode(key(2)))
    assert not np.allclose(decode(key(1)), decode())


def test_a_module_may_say_what_dropout_leaves_alone():
    network = tiny.Pixelwise(CLASSES)
    params = protocol.init_params(jax.random.key(0), network)
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)
    (features,) = protocol.encode(network, params, x)
    assert features.shape == (1, 4, 6, 8)
    found = protocol.decode(network, params, (features,), (8, 12), downsampling=2)
    whole = np.kron(network.apply({"params": params}, x)[0], np.ones((2, 2, 1)))
    np.testing.assert_allclose(found[0], whole, rtol=1e-5, atol=1e-6)


def test_weights_are_drawn_from_the_key():
    one, same, other = (protocol.init_params(jax.random.key(n), PLAIN) for n in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert (one["Dense_0"]["kernel"] != other["Dense_0"]["kernel"]).any()
    assert one["Dense_0"]["kernel"].shape == (3, 6)


def test_what_a_module_does_not_say_is_nothing():
    assert protocol.class_layers(PLAIN) == ()
    assert protocol.class_layers(FCN(CLASSES)) == ("score2", "score3", "score4", "score5")
    params = {"a": jnp.ones(2)}
    assert protocol.cast_params(params, PLAIN) is params


class Scored(nn.Module):
    """Tells its scores before they are upsampled, of all classes."""

    num_classes: int
    stride = 2

    def setup(self):
        """One layer."""
        self.layer = nn.Dense(self.num_classes)

    def encode(self, x):
        """[B, H, W, 3] -> every second pixel."""
        return x[:, ::2, ::2]

    def scores(self, features, key=None):
        """Logits of these."""
        return self.layer(features)

    def decode(self, features, size, key=None, *, downsampling=1):
        """Upsampled."""
        return upsample(self.scores(features), 2 * downsampling)[:, : size[0], : size[1]]

    def __call__(self, x, key=None):
        """[B, H, W, 3] -> logits."""
        return self.decode(self.encode(x), x.shape[1:3], key)


def test_scores_are_what_is_decoded():
    x = np.random.default_rng(0).normal(size=(1, 32, 64, 3)).astype(np.float32)
    chosen, size = jnp.array([3, 0, CLASSES]), (61, 127)
    for network in (Scored(CLASSES), FCN(CLASSES, width=1 / 16, fc_features=8, finest=2), PLAIN):
        params = protocol.init_params(jax.random.key(0), network)
        features = protocol.encode(network, params, x)
        for classes in (None, chosen):
            found = protocol.scores(
                network, params, features, size, downsampling=2, classes=classes
            )
            whole = protocol.scores(
                network, params, features, size, downsampling=2, classes=classes, whole=True
            )
            assert (found.factor > 1) == hasattr(network, "scores") and whole.factor == 1
            np.testing.assert_allclose(found.whole(size), whole.values, rtol=1e-5, atol=1e-6)
