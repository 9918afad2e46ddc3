"""Of many classes, those that a section can show: nothing else changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_session as ts

from al_jax import session as sessions
from al_jax.core.losses import LOG_ZERO, partial_cross_entropy
from al_jax.core.posterior import class_entropy
from al_jax.core.stack import make_images
from al_jax.core.state import PartialLabels
from al_jax.model import networks, prediction, subsets, training
from al_jax.model.config import ModelConfig, Training
from al_jax.model.crops import random_batch
from al_jax.model.protocol import decode, encode

CLASSES, WIDTH = 40, 8
SHOWN = (0, 7, 12, 38)  # what the sections of `_many` have, of 40 classes


@functools.cache
def _many():
    """The sections of `tiny.partly_labelled`, whose four classes are some of forty."""
    sections, partial, _ = tiny.partly_labelled(4)
    columns = np.array(SHOWN)

    def spread(flags):
        return jnp.zeros((4, CLASSES), bool).at[:, columns].set(flags)

    labels = jnp.where(partial.labels < 0, -1, jnp.asarray(columns)[partial.labels])
    more = {name: spread(getattr(partial, name)) for name in ("seen", "compatible", "in_range")}
    return sections, PartialLabels(labels=labels.astype(jnp.int16), **more)


def test_a_width_is_what_the_fullest_section_shows():
    in_range, seen = np.zeros((2, 3, 40), bool)
    in_range[1, :7] = seen[1, 5:10] = True
    assert subsets.subset_width(in_range, seen) == 16  # 10, rounded up
    in_range[2, :17] = True
    assert subsets.subset_width(in_range, seen) == 0  # 24 are more than half of all


def test_classes_and_labels_by_hand():
    in_range, seen = np.zeros((2, 9), bool)
    in_range[[1, 4]] = seen[6] = True
    classes = subsets.subset_classes(jnp.asarray(in_range), jnp.asarray(seen), 4)
    assert classes.tolist() == [1, 4, 6, 9]
    labels = jnp.array([[-1, 4], [6, 1]], jnp.int16)
    assert subsets.subset_labels(labels, classes, 9).tolist() == [[-1, 1], [2, 0]]
    columns = subsets.subset_columns(jnp.asarray(in_range), classes)
    assert columns.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "network",
    [pytest.param(networks.small(CLASSES), marks=pytest.mark.slow), tiny.Pixelwise(CLASSES)],
)
def test_logits_of_some_classes_are_columns_of_all(network):
    params = tiny.weights(network, 1, heads=True)
    x = jax.random.normal(jax.random.key(0), (2, 32, 64, 3))
    classes = jnp.array([[3, 39, 40], [0, 1, 2]])  # 40 is none
    features = encode(network, params, x)
    whole = decode(network, params, features, (32, 64), jax.random.key(1))
    some = decode(network, params, features, (32, 64), jax.random.key(1), classes=classes)
    np.testing.assert_allclose(some[0, ..., :2], whole[0][..., [3, 39]], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(some[1], whole[1][..., :3], rtol=1e-4, atol=1e-4)
    assert (some[0, ..., 2] == LOG_ZERO).all()


def test_the_posterior_is_that_of_all_classes():
    """Eqs. 3, 4 and 8: classes that a section cannot show are impossible there anyway."""
    network = tiny.Pixelwise(CLASSES)
    params, model = tiny.weights(network, 2, heads=True), ModelConfig(network)
    sections, partial = _many()

    def whole(width):
        return prediction.predict(
            jax.random.key(0),
            params,
            sections.replace(classes=width),
            partial,
            model,
            reduce_fn=lambda found, _: found,
            uncertainty=class_entropy,
        )

    some, every = whole(WIDTH), whole(0)
    assert set(np.unique(some.segmentation)) <= set(SHOWN)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), some, every)


@pytest.mark.slow
def test_the_loss_is_that_of_a_network_for_which_other_classes_are_impossible():
    network = tiny.Pixelwise(CLASSES)
    settings = Training(crop=32, batch=3)
    params, model = tiny.weights(network, 3, heads=True), ModelConfig(network, settings)
    sections, partial = _many()
    chosen, key = jnp.array([0, 3, 1]), jax.random.key(4)
    some = random_batch(key, sections.replace(classes=WIDTH), partial, chosen, settings)
    every = random_batch(key, sections, partial, chosen, settings)
    np.testing.assert_array_equal(some.inputs, every.inputs)
    assert some.compatible.shape == (3, WIDTH)

    def by_hand(params):
        logits = network.apply({"params": params}, every.inputs, None)
        possible = jnp.zeros(CLASSES, bool).at[jnp.array(SHOWN)].set(True)
        logits = jnp.where(possible, logits, LOG_ZERO)
        terms = jax.vmap(partial_cross_entropy)(
            logits, every.labels, every.compatible, every.inside
        )
        return terms[0].sum() / terms[1].sum()

    def step(params):
        state = training.init_train_state(key, model, params)
        return training.train_step(None, state, some, model, 1.0)

    (_, loss), (value, gradient) = step(params), jax.value_and_grad(by_hand)(params)
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    unseen = np.setdiff1d(np.arange(CLASSES), SHOWN)
    assert not np.asarray(gradient["score"]["bias"])[unseen].any()


@pytest.mark.slow
def test_a_range_that_is_widened_takes_part(tmp_path):
    """A session's network learns and draws a class that came into range after its training."""
    few = ts.IMAGES
    names = (*few.names, *(f"more {n}" for n in range(36)))
    images = make_images(few.images, names, few.inside)
    in_range = np.zeros((few.num_sections, len(names)), bool)
    in_range[:, :4] = ts.IN_RANGE
    sessions.create(tmp_path / "s", images, in_range, sessions.Settings(0, ts.CONFIG))
    with sessions.open_session(tmp_path / "s") as session:
        for structure in range(4):
            ts.answer(session, 2, structure)
        while session.train_step():
            pass
        assert session.network.trained
        for structure in range(4, 10):
            session.set_range(structure, (0, 5))
        corner = np.zeros(few.inside.shape[1:], bool)
        corner[5:12, 8:40] = True
        session.store_answer(3, 9, corner & few.inside[3])
        while session.train_step():
            pass
        assert session.behind() == 0
        drawn, _ = session.segment_section(3)
        assert (drawn[corner & few.inside[3]] == 9).all()
        assert set(np.unique(drawn[few.inside[3]])) <= set(range(10))
