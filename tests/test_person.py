"""Who answers in a simulation: corrects what is cheaper to correct, and may be imperfect."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core import state
from al_jax.learner import config as settings
from al_jax.learner.config import Config, Person
from al_jax.model.training import Training
from al_jax.simulation import annotator, loop

STACK = tiny.stack()
TASK = annotator.make_task(STACK, Config())
CONFIG = Config(
    network="pixelwise",
    initial_steps=60,
    query_steps=2,
    training=Training(crop=32, batch=4),
    person=Person(correct=True, glance=2.0),
)


@pytest.fixture(autouse=True)
def _pixelwise(monkeypatch):
    monkeypatch.setattr(settings, "make_network", tiny.make)


def _blank():
    return state.init_state(jax.random.key(0), STACK.inside, state.ranges(TASK.present))


def _answer(proposal, person, before=None):
    before = _blank() if before is None else before
    return annotator.corrected_answer(before, 2, 3, jnp.asarray(proposal), TASK, person)


MASK = np.asarray((STACK.truth[2] == 3) & STACK.inside[2])
OUTLINE = float(annotator.total_length(jnp.asarray(MASK), jnp.asarray(STACK.inside[2])))


def test_a_right_proposal_costs_a_glance():
    after, left, drawn = _answer(MASK, Person(glance=5.0))
    assert (float(left), float(drawn)) == (OUTLINE, 5)
    assert float(after.traced.sum()) == 5
    # Of the whole outline the same share was drawn.
    np.testing.assert_allclose(after.outlined.sum(), 5, rtol=1e-6)
    np.testing.assert_allclose(after.offered[:, 3], [OUTLINE, 5])
    np.testing.assert_allclose(state.redrawn_share(after), 5 / OUTLINE, rtol=1e-6)
    np.testing.assert_array_equal(after.labels[2] == 3, MASK)


@pytest.mark.parametrize("proposal", [np.zeros_like(MASK), ~MASK, np.roll(MASK, 9, 1)])
def test_a_useless_proposal_costs_nothing_more_than_tracing(proposal):
    after, left, drawn = _answer(proposal, Person(glance=5.0))
    plain, traced = annotator.true_answer(_blank(), 2, 3, TASK)
    assert float(left) == float(drawn) == float(traced)
    np.testing.assert_array_equal(after.labels, plain.labels)
    assert float(after.traced.sum()) == float(plain.traced.sum())


def test_what_is_near_stays_as_it_is_and_the_rest_is_drawn():
    near = np.roll(MASK, 1, 1)
    exact, _, much = _answer(near, Person(tolerance=0, glance=1.0))
    loose, _, little = _answer(near, Person(tolerance=1, glance=1.0))
    np.testing.assert_array_equal(exact.labels[2] == 3, MASK)
    assert float(little) < float(much) < OUTLINE
    kept = np.asarray(loose.labels[2] == 3)
    assert (kept != MASK).any() and (kept[near == MASK] == MASK[near == MASK]).all()


def test_a_section_that_is_not_there_changes_nothing():
    before = _blank()
    after, _, _ = annotator.corrected_answer(
        before, jnp.int32(-1), jnp.int32(3), jnp.asarray(MASK), TASK, Person()
    )
    jax.tree.map(np.testing.assert_array_equal, after.replace(key=None), before.replace(key=None))


def test_a_tremor_is_as_large_as_it_says_and_leaves_no_gap():
    count, size = 200, 2.0
    y = jnp.broadcast_to(jnp.arange(64, dtype=jnp.int32)[:, None], (64, 64))
    whole = jnp.ones((64, 64), bool)
    keys = jax.random.split(jax.random.key(1), count)
    moved = jax.vmap(lambda key: annotator.trembling(key, y, whole, size))(keys)
    shift = np.asarray(moved - y)[:, 16:48, 16:48]
    # In rows: at the control points the standard deviation is the size, less between them.
    assert 0.6 * size < shift.std() < 1.1 * size
    task = annotator.meet(jax.random.key(2), TASK, Person(tremor=1.5))
    assert (np.asarray(task.traced)[np.asarray(STACK.inside)] >= 0).all()
    assert (np.asarray(task.traced) != np.asarray(STACK.truth)).any()
    assert annotator.meet(jax.random.key(2), TASK, Person()).traced is None


def test_ranges_are_off_by_a_section_and_never_of_nothing():
    right = np.asarray(state.ranges(TASK.present))
    said = np.stack(
        [annotator.said_ranges(jax.random.key(k), TASK.present, 0, 1.0) for k in range(40)]
    )
    np.testing.assert_array_equal(said[:, :, 0], np.broadcast_to(right[:, 0], said.shape[:2]))
    assert said.any(1).all()
    wide = np.asarray(state.ranges(TASK.present, 1))
    assert (said <= wide).all() and (said != right).any()
    ends = said.sum(1) - right.sum(0)
    assert ends.min() >= -2 and ends.max() <= 2
    np.testing.assert_array_equal(
        annotator.said_ranges(jax.random.key(0), TASK.present, 0, 0), right
    )


def test_questions_that_are_put_off_come_last_and_drawn_lengths_add_up():
    config = dataclasses.replace(CONFIG, person=dataclasses.replace(CONFIG.person, skips=0.5))
    static = ("strategy", "config", "queries")
    run = jax.jit(loop.simulate, static_argnames=static)
    last, records = run(jax.random.key(0), STACK, strategy="KBDa", config=config, queries=12)
    asked = ~np.asarray(records.done)
    keys = settings.make_keys(jax.random.key(0))
    late = np.asarray(annotator.meet(keys.person, TASK, config.person).late)
    pairs = [(int(n), int(c)) for n, c in zip(records.section, records.structure, strict=True)]
    put_off = [late[pair] for pair, was in zip(pairs[1:], asked[1:], strict=True) if was]
    assert put_off == sorted(put_off)
    np.testing.assert_allclose(records.drawn[asked].sum(), last.state.traced.sum(), rtol=1e-5)
    assert (records.drawn <= records.length).all() and (records.drawn < records.length).any()


@pytest.mark.parametrize(
    "wrong", [{"tolerance": -1}, {"glance": -0.5}, {"skips": 1.5}, {"range_errors": 2}]
)
def test_what_no_person_does_is_refused(wrong):
    with pytest.raises(ValueError, match=r"a person does|at most 1"):
        Person(**wrong)


def test_correcting_counts_cracks_alone():
    with pytest.raises(ValueError, match="counted in cracks"):
        Config(length="crofton", person=Person(correct=True))


def test_the_ceiling_is_the_dice_of_the_persons_own_outlines():
    """Against a loop over sections and classes; the truth's own is 1."""
    assert float(annotator.ceiling(TASK, CONFIG)) == 1
    task = annotator.meet(jax.random.key(3), TASK, Person(tremor=2.0))
    traced, inside = np.asarray(task.traced), np.asarray(STACK.inside)
    means = []
    for structure in range(1, tiny.CLASSES):
        found = []
        for own, truth, where in zip(traced, STACK.truth, inside, strict=True):
            a, b = (own == structure) & where, (truth == structure) & where
            if b.any():
                found.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        means.append(np.mean(found))
    expected = np.mean(means)
    assert 0.5 < expected < 0.99
    np.testing.assert_allclose(float(annotator.ceiling(task, CONFIG)), expected, rtol=1e-5)
