"""Who answers in a simulation: corrects what is cheaper to correct, and may be imperfect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core import state
from al_jax.core.boundary import shared_lengths, total_length
from al_jax.core.stack import make_stack
from al_jax.core.strategies import STRATEGIES
from al_jax.learner.config import Annotator, Config, Query, changed, make_keys
from al_jax.simulation import annotator, loop, scores
from al_jax.simulation.prepare import prepare
from al_jax.simulation.task import make_task

STACK = tiny.stack()
TASK = make_task(STACK, Config())
CONFIG = tiny.config(
    initial_steps=60, query_steps=2, crop=32, batch=4, correct=True, review_cost=2.0
)


def _blank():
    return state.init_state(jax.random.key(0), STACK.inside, state.ranges(TASK.present))


def _answer(proposal, person, before=None):
    before = _blank() if before is None else before
    return annotator.corrected_answer(before, 2, 3, jnp.asarray(proposal), TASK, person)


MASK = np.asarray((STACK.truth[2] == 3) & STACK.inside[2])
OUTLINE = float(total_length(jnp.asarray(MASK), jnp.asarray(STACK.inside[2])))


def test_a_right_proposal_costs_a_review():
    after, left, drawn = _answer(MASK, Annotator(review_cost=5.0))
    assert (float(left), float(drawn)) == (OUTLINE, 5)
    assert float(after.drawn_unique.sum()) == 5
    # Of the whole outline the same share was drawn.
    np.testing.assert_allclose(after.drawn_whole.sum(), 5, rtol=1e-6)
    np.testing.assert_allclose(after.offered[:, 3], [OUTLINE, 5])
    np.testing.assert_allclose(state.redrawn_share(after), 5 / OUTLINE, rtol=1e-6)
    np.testing.assert_array_equal(after.labels[2] == 3, MASK)


@pytest.mark.parametrize("proposal", [np.zeros_like(MASK), ~MASK, np.roll(MASK, 9, 1)])
def test_a_useless_proposal_costs_nothing_more_than_tracing(proposal):
    after, left, drawn = _answer(proposal, Annotator(review_cost=5.0))
    plain, traced = annotator.true_answer(_blank(), 2, 3, TASK)
    assert float(left) == float(drawn) == float(traced)
    np.testing.assert_array_equal(after.labels, plain.labels)
    assert float(after.drawn_unique.sum()) == float(plain.drawn_unique.sum())


def test_what_is_near_stays_as_it_is_and_the_rest_is_drawn():
    near = np.roll(MASK, 1, 1)
    exact, _, much = _answer(near, Annotator(tolerance=0, review_cost=1.0))
    loose, _, little = _answer(near, Annotator(tolerance=1, review_cost=1.0))
    np.testing.assert_array_equal(exact.labels[2] == 3, MASK)
    assert float(little) < float(much) < OUTLINE
    kept = np.asarray(loose.labels[2] == 3)
    assert (kept != MASK).any() and (kept[near == MASK] == MASK[near == MASK]).all()


def test_a_section_that_is_not_there_changes_nothing():
    before = _blank()
    after, _, _ = annotator.corrected_answer(
        before, jnp.int32(-1), jnp.int32(3), jnp.asarray(MASK), TASK, Annotator()
    )
    jax.tree.map(np.testing.assert_array_equal, after.replace(key=None), before.replace(key=None))


def test_outline_noise_is_as_large_as_it_says_and_leaves_no_gap():
    count, size = 200, 2.0
    y = jnp.broadcast_to(jnp.arange(64, dtype=jnp.int32)[:, None], (64, 64))
    whole = jnp.ones((64, 64), bool)
    keys = jax.random.split(jax.random.key(1), count)
    moved = jax.vmap(lambda key: annotator.perturbed(key, y, whole, size))(keys)
    shift = np.asarray(moved - y)[:, 16:48, 16:48]
    # In rows: at the control points the standard deviation is the size, less between them.
    assert 0.6 * size < shift.std() < 1.1 * size
    task = annotator.perturb(jax.random.key(2), TASK, Annotator(outline_noise=1.5))
    assert (np.asarray(task.outlined)[np.asarray(STACK.inside)] >= 0).all()
    assert (np.asarray(task.outlined) != np.asarray(STACK.truth)).any()
    assert annotator.perturb(jax.random.key(2), TASK, Annotator()).outlined is None


def test_ranges_are_off_by_a_section_and_never_of_nothing():
    right = np.asarray(state.ranges(TASK.present))
    said = np.stack(
        [annotator.perturbed_ranges(jax.random.key(k), TASK.present, 0, 1.0) for k in range(40)]
    )
    np.testing.assert_array_equal(said[:, :, 0], np.broadcast_to(right[:, 0], said.shape[:2]))
    assert said.any(1).all()
    wide = np.asarray(state.ranges(TASK.present, 1))
    assert (said <= wide).all() and (said != right).any()
    ends = said.sum(1) - right.sum(0)
    assert ends.min() >= -2 and ends.max() <= 2
    np.testing.assert_array_equal(
        annotator.perturbed_ranges(jax.random.key(0), TASK.present, 0, 0), right
    )


@pytest.mark.slow
def test_questions_that_are_put_off_come_last_and_drawn_lengths_add_up():
    config = changed(CONFIG, {"skips": 0.5})
    prepared = prepare(jax.random.key(0), STACK, config)
    run = jax.jit(loop.simulate, static_argnames=("strategy", "queries"))
    last, records = run(prepared, config, strategy=STRATEGIES["KBDa"], queries=12)
    asked = ~np.asarray(records.done)
    keys = make_keys(jax.random.key(0))
    late = np.asarray(annotator.perturb(keys.person, TASK, config.annotator).late)
    pairs = [(int(n), int(c)) for n, c in zip(records.section, records.structure, strict=True)]
    put_off = [late[pair] for pair, was in zip(pairs[1:], asked[1:], strict=True) if was]
    assert put_off == sorted(put_off)
    np.testing.assert_allclose(records.drawn[asked].sum(), last.state.drawn_unique.sum(), rtol=1e-5)
    assert (records.drawn <= records.length).all() and (records.drawn < records.length).any()


@pytest.mark.parametrize(
    "wrong", [{"tolerance": -1}, {"review_cost": -0.5}, {"skips": 1.5}, {"range_errors": 2}]
)
def test_what_no_person_does_is_refused(wrong):
    with pytest.raises(ValueError, match=r"it must be at (least 0|most 1)"):
        Annotator(**wrong)


def test_correcting_counts_cracks_alone():
    with pytest.raises(ValueError, match="counted in cracks"):
        Config(query=Query(length="crofton"), annotator=Annotator(correct=True))


def test_the_ceiling_is_the_dice_of_the_persons_own_outlines():
    """Against a loop over sections and classes; the truth's own is 1."""
    assert float(scores.ceiling(TASK, CONFIG)) == 1
    task = annotator.perturb(jax.random.key(3), TASK, Annotator(outline_noise=2.0))
    drawn, inside = np.asarray(task.outlined), np.asarray(STACK.inside)
    means = []
    for structure in range(1, tiny.CLASSES):
        found = []
        for own, truth, where in zip(drawn, STACK.truth, inside, strict=True):
            a, b = (own == structure) & where, (truth == structure) & where
            if b.any():
                found.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        means.append(np.mean(found))
    expected = np.mean(means)
    assert 0.5 < expected < 0.99
    np.testing.assert_allclose(float(scores.ceiling(task, CONFIG)), expected, rtol=1e-5)


# The start.


def test_start_without_jit():
    # A `Stack` is made of NumPy arrays; nothing says that jit has to make others of them.
    key, jitted = jax.random.key(0), jax.jit(make_task)(STACK, CONFIG)
    found = annotator.start(key, make_task(STACK, CONFIG), CONFIG)
    expected = jax.jit(annotator.start)(key, jitted, CONFIG)
    assert bool(jnp.array_equal(found.key, expected.key))
    jax.tree.map(np.testing.assert_array_equal, found.replace(key=None), expected.replace(key=None))


def _draws(present, count=400):
    draw = jax.jit(jax.vmap(annotator.initial_queries, in_axes=(0, None)))
    return np.asarray(draw(jax.random.split(jax.random.key(0), count), present))


def test_initial_queries_are_near_the_middle():
    present = np.zeros((24, 5), bool)
    present[4:19, 0] = True  # the middle of 4..18 is 11
    present[20:23, 1] = True  # 20, 21, 22
    present[[0, 1, 2, 20, 21], 2] = True  # the middle section that shows it is 2
    present[[3, 23], 3] = True  # no section near the middle of the extent
    found = _draws(present)
    assert found.dtype == np.int32 and found.shape == (400, 5)
    assert set(found[:, 0]) == set(range(8, 15))
    assert set(found[:, 1]) == {20, 21, 22}
    assert set(found[:, 2]) == {0, 1, 2}
    assert set(found[:, 3]) <= {3, 23}
    assert set(found[:, 4]) == {-1}


def test_initial_queries_of_a_class_on_one_section_or_far_apart():
    present = np.zeros((24, 2), bool)
    present[23, 0] = True
    present[[3, 9, 16, 23], 1] = True  # of two in the middle the first counts
    np.testing.assert_array_equal(_draws(present, 20), [[23, 9]] * 20)


def test_initial_queries_are_uniform():
    present = np.zeros((24, 1), bool)
    present[4:19] = True
    counts = np.bincount(_draws(present, 1400)[:, 0], minlength=24)[8:15]
    assert ((counts - 200) ** 2 / 200).sum() < 22.5  # chi-square, 6 degrees of freedom, p = 0.001


def test_the_same_key_draws_the_same_initial_queries():
    present = np.ones((24, 6), bool)
    found = _draws(present, 20)
    np.testing.assert_array_equal(found, _draws(present, 20))
    assert len(set(map(tuple, found))) > 1
    assert len(set(found[0])) > 1  # classes are drawn apart


def test_a_start_on_one_section():
    """All that may be on one section is traced there; the background is what is left of it."""
    config = changed(tiny.config(), {"start": "together"})
    found = annotator.start(jax.random.key(3), TASK, config)
    in_range, present = np.asarray(found.in_range), np.asarray(TASK.present)
    section = int(state.fullest_section(found.in_range))
    assert in_range[section].sum() == in_range.sum(1).max()
    np.testing.assert_array_equal(found.labels[section] == -1, ~np.asarray(STACK.inside[section]))
    np.testing.assert_array_equal(
        np.where(STACK.inside[section], found.labels[section], 0),
        np.where(STACK.inside[section], STACK.truth[section], 0),
    )
    # An outline of every class is known, of one section each.
    np.testing.assert_array_equal(np.diagonal(found.length_count), np.ones(present.shape[1]))
    others = [n for n in range(present.shape[0]) if n != section]
    assert np.asarray(found.seen)[others].sum() == (~present[section]).sum()
    # What the background shares with the others was drawn with them; it adds nothing.
    lengths = shared_lengths(TASK.truth[section], STACK.inside[section], present.shape[1])
    whole = np.diagonal(lengths)
    np.testing.assert_allclose(found.drawn_whole[section], whole[1:].sum())
    apart = np.triu(lengths, 1).sum() + 0.0
    np.testing.assert_allclose(found.drawn_unique[section], apart)
    np.testing.assert_allclose(found.length_sum[0, 0], whole[0])
    assert int(found.step) == 0


def test_a_section_is_completed_by_its_last_class_alone():
    before = _blank()
    inside = STACK.inside[2]
    same = state.complete(before, 2, inside)
    jax.tree.map(np.testing.assert_array_equal, same.replace(key=None), before.replace(key=None))


def test_of_few_sections_the_start_is_the_central_one():
    few = make_stack(STACK.images[:4], STACK.truth[:4], STACK.names, STACK.inside[:4])
    task = make_task(few, Config())
    found, central = (
        annotator.start(jax.random.key(3), task, changed(tiny.config(), {"start": name}))
        for name in ("together", "central")
    )
    jax.tree.map(np.testing.assert_array_equal, found.replace(key=None), central.replace(key=None))
