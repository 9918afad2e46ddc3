"""The network in the loop: its Dice history, what it keeps, and that it needs no truth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core import state
from al_jax.core.boundary import shared_lengths
from al_jax.core.strategies import BDa, SEr
from al_jax.learner import learner
from al_jax.learner.config import DEFAULT, ESTIMATES, changed, model_of
from al_jax.learner.learner import Reduction
from al_jax.model.inputs import make_sections
from al_jax.model.networks import NETWORKS
from al_jax.model.training import init_train_state
from al_jax.simulation import loop
from al_jax.simulation.prepare import prepare

STACK, CLASSES = tiny.stack(), tiny.CLASSES
COUNT = tiny.SHAPE[0]
SECTIONS = make_sections(STACK)
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ESTIMATES if name != "shrunk"]
SHRUNK_FIRST = ["shrunk", *OTHERS]
ROUGH = {"xla_backend_optimization_level": 0}  # compiling is most of the time


def _config(**changes):
    chosen = {"initial_steps": 40, "query_steps": 4, "learning_rate": 0.05}
    chosen |= {"query_learning_rate": 0.2, "dice_estimate": "fit"}
    chosen |= {"crop": 32, "batch": 4, "optimiser": "sgd"}
    return tiny.config(**chosen | changes)


@functools.cache
def _jit(function):
    return jax.jit(function, compiler_options=ROUGH)


def _answer(s, section, structure, mask=None):
    mask = STACK.truth[section] == structure if mask is None else mask
    return state.annotate(s, section, structure, mask, STACK.inside[section])[0]


@functools.cache
def _trained():
    """Weights after one answer a class on section 2, as the images alone allow it; the state."""
    config = _config()
    s = state.init_state(jax.random.key(3), STACK.inside, np.ones((COUNT, CLASSES), bool))
    for structure in range(CLASSES):
        s = _answer(s, 2, structure)
    first = learner.init_learner(jax.random.key(4), s, config)
    trained, losses = _jit(learner.fit_initial)(jax.random.key(5), first.train, s, SECTIONS, config)
    assert losses.shape == (40,) and losses[-1] < losses[0]
    return trained, s


@functools.cache
def _begun(**changes):
    """A learner that begins with them, by another estimate of the Dice perhaps."""
    (trained, s), config = _trained(), _config(**changes)
    return _jit(learner.evaluate)(trained, s, SECTIONS, config)[0], s, config


def _update(config):
    return functools.partial(_jit(learner.update), sections=SECTIONS, config=config)


def test_a_learner_that_has_seen_nothing():
    s = state.init_state(jax.random.key(3), STACK.inside, np.ones((COUNT, CLASSES), bool))
    fresh = learner.init_learner(jax.random.key(4), s, _config())
    assert fresh.dice.shape == (2, CLASSES) and jnp.isnan(fresh.dice).all()
    assert fresh.fit.shape == fresh.uncertainty.shape == (COUNT, CLASSES)
    again = learner.init_learner(jax.random.key(4), s, _config())
    jax.tree.map(np.testing.assert_array_equal, fresh, again)


def test_the_first_evaluation_knows_one_dice():
    begun, _, _ = _begun()
    np.testing.assert_array_equal(begun.dice[0], begun.dice[1])
    np.testing.assert_array_equal(begun.labelled, np.arange(COUNT)[:, None] == np.full(CLASSES, 2))
    np.testing.assert_allclose(begun.dice[0], begun.fit[2], rtol=1e-6)
    assert 0 < begun.dice[0].max() < 1
    assert not begun.uncertainty.any()


def test_estimated_dice_by_hand():
    # Structure 0 was labelled on both sections, 1 on the second alone, 2 on neither.
    fit = jnp.array([[0.5, 0.9, 1.0], [0.7, 0.4, 1.0]])
    labelled = jnp.array([[True, False, False], [True, True, False]])
    np.testing.assert_allclose(learner.estimated_dice(fit, labelled), [0.6, 0.4, np.nan], rtol=1e-6)
    known = jnp.array([0.1, 0.1, 0.3])
    np.testing.assert_allclose(
        learner.estimated_dice(fit, labelled, known), [0.6, 0.4, 0.3], rtol=1e-6
    )


def test_fit_moves_on_by_one_answer():
    begun, s, config = _begun()
    steps, pairs = [begun], [(1, 1), (3, 2), (4, 1)]
    for section, structure in pairs:
        s = _answer(s, section, structure)
        after, losses, kept = _update(config)(steps[-1], s, answered=[(section, structure)])
        assert losses.shape == (4,) and kept is None
        fit, labelled = np.asarray(after.fit), np.asarray(after.labelled)
        now = [fit[labelled[:, c], c].mean() for c in range(CLASSES)]
        np.testing.assert_allclose(after.dice[0], now, rtol=1e-6)
        # What was the last D is the one before it now; and it was another.
        np.testing.assert_array_equal(after.dice[1], steps[-1].dice[0])
        assert np.abs(np.asarray(after.dice[0] - after.dice[1])).max() > 1e-3
        steps.append(after)
    assert not np.array_equal(steps[-1].dice[1], steps[0].dice[0])


@pytest.mark.parametrize("estimate", SHRUNK_FIRST)
def test_a_dice_that_was_not_known_is_what_comes_first(estimate):
    # First answers, then `update`, without an evaluation before: D(T-2) is D(T-1).
    begun, s, config = _begun(dice_estimate=estimate)
    unknown = begun.replace(dice=jnp.full((2, CLASSES), jnp.nan))
    after, _, _ = _update(config)(unknown, _answer(s, 1, 1), answered=[(1, 1)])
    known = np.arange(CLASSES) == 1 if estimate == "prospective" else np.ones(CLASSES, bool)
    np.testing.assert_array_equal(np.isfinite(after.dice), [known, known])
    np.testing.assert_array_equal(after.dice[0], after.dice[1])


def test_an_answer_begins_a_fresh_descent():
    begun, s, config = _begun()
    s, train = _answer(s, 1, 1), begun.train
    moving = train.replace(momentum=jax.tree.map(lambda leaf: leaf + 1, train.momentum))
    one, other = (
        _update(config)(begun.replace(train=t), s, answered=[(1, 1)]) for t in (train, moving)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_prospective_is_the_dice_of_what_was_shown_before_the_answer():
    begun, s, config = _begun(dice_estimate="prospective")
    before, _ = learner.segment_stack(begun, s, SECTIONS, config)
    proposed, mask = np.asarray(before[1]) == 1, STACK.truth[1] == 1
    inside = STACK.inside[1]
    both, either = (proposed & mask & inside).sum(), (proposed & inside).sum() + mask.sum()
    after, _, _ = _update(config)(begun, _answer(s, 1, 1), answered=[(1, 1)])
    assert 0 < 2 * both / either < 1
    expected = np.array(begun.dice)
    expected[:, 1] = 2 * both / either, begun.dice[0, 1]
    np.testing.assert_allclose(after.dice, expected, rtol=1e-5)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_correct_absent_answer_says_nothing_of_a_classs_dice(estimate):
    # Neither the proposal nor the answer has a pixel of it: a Dice of 1 would end its queries.
    begun, s, config = _begun(dice_estimate=estimate)
    s = _answer(s, 4, 3, np.zeros(tiny.SHAPE[1:], bool))
    assert s.annotated[4, 3] and not s.seen[4, 3]
    after, _, _ = _update(config)(begun, s, answered=[(4, 3)])
    if estimate == "prospective":
        np.testing.assert_array_equal(after.dice, begun.dice)
    else:  # no trial: what 'shrunk' says is the fit
        np.testing.assert_allclose(after.dice[0, 3], after.fit[2, 3], rtol=1e-6)


def test_trials_by_hand():
    trials, fit = jnp.zeros((3, 2)), jnp.array([0.9, 0.8])
    trials = learner.add_trial(trials, 0, jnp.float32(0.3), fit, there=True)
    np.testing.assert_allclose(trials, [[0.3, 0], [0.9, 0], [1, 0]], rtol=1e-6)
    trials = learner.add_trial(trials, 0, jnp.float32(0.5), fit, there=True)
    np.testing.assert_allclose(trials, [[0.65, 0], [1.35, 0], [1.5, 0]], rtol=1e-6)
    same = learner.add_trial(trials, 1, jnp.float32(1.0), fit, there=False)
    np.testing.assert_array_equal(same, trials)


def test_shrunk_dice_by_hand():
    fit = jnp.array([0.9, 0.8])
    # Nothing was tried: the fits. Then all fits are flattered by (1 + 0.65) / (1 + 1.35).
    np.testing.assert_allclose(learner.shrunk_dice(fit, jnp.zeros((3, 2))), fit, rtol=1e-6)
    trials = jnp.array([[0.65, 0], [1.35, 0], [1.5, 0]])
    flattery = 1.65 / 2.35
    expected = [(0.65 + 0.9 * flattery) / 2.5, 0.8 * flattery]
    np.testing.assert_allclose(learner.shrunk_dice(fit, trials), expected, rtol=1e-6)


def test_predictions_better_than_the_fits_do_not_make_a_dice_above_one():
    trials = jnp.array([[1.7, 0.0], [1.2, 0.0], [1.9, 0.0]])
    found = learner.shrunk_dice(jnp.array([0.9, 0.98]), trials)
    np.testing.assert_allclose(found, [(1.7 + 0.9) / 2.9, 0.98], rtol=1e-6)


def test_a_trial_of_what_had_no_fit_tells_nothing_of_flattery():
    fit = jnp.array([np.nan, 0.8])
    trials = learner.add_trial(jnp.zeros((3, 2)), 0, jnp.float32(0.6), fit, there=jnp.array(True))
    np.testing.assert_allclose(trials, [[0.6, 0], [0.6, 0], [1, 0]], rtol=1e-6)


def test_one_training_may_follow_several_answers():
    begun, s, config = _begun(dice_estimate="shrunk")
    pairs = [(1, 1), (3, 2)]
    for section, structure in pairs:
        s = _answer(s, section, structure)
    after, losses, _ = _update(config)(begun, s, answered=pairs)
    assert losses.shape == (4,)
    np.testing.assert_array_equal(after.trials[2], [0, 1, 1, 0])
    model = model_of(config, CLASSES)
    scores = [learner.prospective_dice(begun, s, SECTIONS, model, pair) for pair in pairs]
    np.testing.assert_allclose(after.trials[0], [0, *scores, 0], rtol=1e-5)
    expected = learner.shrunk_dice(learner.estimated_dice(after.fit, after.labelled), after.trials)
    np.testing.assert_allclose(after.dice, [expected, begun.dice[0]], rtol=1e-5)


def test_the_rate_before_the_first_query():
    rate = learner.initial_rate(_config(initial_steps=100, learning_rate=0.2).training)
    found = [float(rate(step)) for step in (0, 1, 5, 52, 100)]
    # Five steps of warm-up, then half a cosine: 1/2 + cos(pi 47/95) / 2 at its 47th of 95 steps.
    expected = [0, 0.04, 0.2, 0.1 + 0.1 * np.cos(np.pi * 47 / 95), 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    steady = learner.initial_rate(_config(schedule="constant", learning_rate=0.2).training)
    assert float(steady(0)) == float(steady(39)) == np.float32(0.2)
    with pytest.raises(ValueError, match="schedule 'step'"):
        _config(schedule="step")


def test_the_segmentation_keeps_what_is_labelled():
    begun, s, config = _begun()
    labels, confidence = learner.segment_stack(begun, s, SECTIONS, config)
    assert labels.shape == confidence.shape == tiny.SHAPE
    assert labels.dtype == jnp.int16 and confidence.dtype == jnp.float16
    inside = STACK.inside[2]
    np.testing.assert_array_equal(np.asarray(labels[2])[inside], STACK.truth[2][inside])
    assert (np.asarray(confidence[2])[inside] == 1).all()
    assert (labels[0] >= 0).all() and 0.2 < np.asarray(confidence[0], np.float32).mean() < 1


def test_what_is_made_of_the_prediction_is_of_the_new_network():
    begun, s, config = _begun()
    s = _answer(s, 1, 1)
    right = Reduction(lambda p, truth: (p.segmentation == truth).sum(), jnp.asarray(STACK.truth))
    after, _, found = _update(config)(begun, s, answered=[(1, 1)], reduction=right)
    labels, _ = learner.segment_stack(after, s, SECTIONS, config)
    np.testing.assert_array_equal(found, (np.asarray(labels) == STACK.truth).sum((1, 2)))


def test_the_same_answers_are_the_same_network():
    begun, s, config = _begun()
    s = _answer(s, 1, 1)
    first, again = (_update(config)(begun, s, answered=[(1, 1)]) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_a_person_gets_the_network_of_the_simulation():
    # The same functions under the same state: nothing of the truth is in the learner.
    changes = {"initial_steps": 8, "query_steps": 2, "crop": 32, "batch": 4, "optimiser": "sgd"}
    config = tiny.config(downsampling=1, **changes)
    keys, task, s = prepare(jax.random.key(0), STACK, config)
    untrained = init_train_state(keys.weights, model_of(config, CLASSES))
    run, _ = loop.begin(untrained, s, task, config, BDa)
    asking = functools.partial(loop.run_queries, strategies=(BDa,), which=0, count=1)
    one = _jit(functools.partial(asking, target_dice=2.0, max_effort=2.0))
    after, record = one(run, jnp.zeros(s.annotated.shape), task, config)
    section, structure = int(record.section[0]), int(record.structure[0])
    answered = _answer(s, section, structure)
    mine, losses, _ = _update(config)(run.learner, answered, answered=[(section, structure)])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), mine, after.learner
    )
    np.testing.assert_allclose(losses.mean(), record.loss[0], rtol=1e-5)


@pytest.mark.parametrize("estimate", SHRUNK_FIRST)
def test_answers_may_be_recorded_before_the_training(estimate):
    begun, s, config = _begun(dice_estimate=estimate)
    s = _answer(s, 1, 1)
    at_once, _, _ = _update(config)(begun, s, answered=[(1, 1)])
    noted = _jit(learner.record_answer)(begun, s, SECTIONS, config, (1, 1))
    jax.tree.map(np.testing.assert_array_equal, noted.train, begun.train)
    later, _, _ = _update(config)(noted, s, answered=[])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), later, at_once)


def test_fit_is_training_and_an_evaluation():
    begun, s, config = _begun()
    first = learner.init_learner(jax.random.key(4), s, config)
    learnt, losses = _jit(learner.fit)(jax.random.key(5), first, s, SECTIONS, config)
    assert losses.shape == (40,)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), learnt, begun)


def test_what_is_proposed_are_the_outlines_of_the_prediction():
    (trained, s), config = _trained(), _config()
    s = _answer(s, 1, 1)
    sees = _jit(functools.partial(learner.evaluate, strategy=SEr))
    begun, _ = sees(trained, s, SECTIONS, config)
    drawn, _ = _jit(learner.segment_stack)(begun, s, SECTIONS, config)
    for n in range(COUNT):
        whole = shared_lengths(drawn[n], STACK.inside[n], CLASSES)
        np.testing.assert_array_equal(begun.proposed[n], np.diagonal(whole))
    assert np.asarray(begun.proposed).any() and _begun()[0].proposed is None
    # Of sections that are not predicted nothing is known at first, then what was known of them.
    some = jnp.arange(COUNT) != 3
    part, _ = sees(trained, s, SECTIONS, config, where=some)
    assert np.isnan(part.proposed[3]).all() and np.isfinite(part.proposed[:3]).all()
    step = _jit(functools.partial(learner.update, strategy=SEr))
    after, _, _ = step(begun, s, SECTIONS, config, where=some)
    np.testing.assert_array_equal(after.proposed[3], begun.proposed[3])
    assert not np.array_equal(after.proposed, begun.proposed)


def test_an_unknown_estimate_is_refused():
    with pytest.raises(ValueError, match="dice_estimate 'best'"):
        _config(dice_estimate="best")
    made = model_of(changed(DEFAULT, {"query_steps": 3}), CLASSES)
    assert made.training.query_steps == 3 and made.network == NETWORKS["small"](CLASSES)
