"""Training in pieces, its batches and its optimiser."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from scipy import stats
from scipy.special import logsumexp, softmax

from al_jax.core.stack import make_images
from al_jax.core.state import PartialLabels
from al_jax.model import networks, training
from al_jax.model.training import Batch, Recipe, Training

CLASSES = tiny.CLASSES
SETTING = Training(crop=32, batch=2, balanced=0.0, optimiser="sgd")
COUNT = 5  # sections: batches of 2 do not fit evenly
PIXELWISE = tiny.Pixelwise(CLASSES)
SMALL = networks.make_network("small", CLASSES)
# Compilation is most of the time; where only values matter, no fast code is needed.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def _stack():
    """What the network sees of five sections, and the labels of the two outer classes on three."""
    return tiny.partly_labelled(COUNT)[:2]


@functools.cache
def _train(network, steps, setting=SETTING, loss="partial", function="train"):
    """A jitted training of the stack: (key, state, first_step, rate) -> (state, losses)."""
    sections, partial = _stack()
    recipe = Recipe(network, setting, loss)

    @jax.jit
    def run(key, state, first_step=0, rate=0.02):
        return getattr(training, function)(
            key,
            state,
            sections,
            partial,
            recipe,
            steps=steps,
            learning_rate=rate,
            first_step=first_step,
        )

    return run


def _state(network, seed=0, setting=SETTING, heads=False):
    params = tiny.weights(network, seed, heads)
    return training.init_train_state(None, Recipe(network, setting), params)


def _assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def whole():
    """Six steps of the small network."""
    return _train(SMALL, 6)(jax.random.key(0), _state(SMALL))


def test_each_section_has_the_range_of_its_own_inside():
    # Darkest and brightest lie outside, by turns in the other section.
    images = np.array([[[[0], [20], [40]]], [[[200], [250], [90]]]], np.uint8)
    inside = np.array([[[False, True, True]], [[True, False, True]]])
    sections = training.make_sections(make_images(images, ("background", "a"), inside))
    np.testing.assert_array_equal(sections.low, [20, 90])
    np.testing.assert_array_equal(sections.high, [40, 200])
    np.testing.assert_array_equal(sections.images, images)
    np.testing.assert_array_equal(sections.inside, inside)


def test_reduced_sections_by_hand():
    images = np.array([[[0, 2, 9], [4, 4, 8]], [[1, 1, 1], [1, 1, 5]]], np.uint8)
    sections = training.make_sections(make_images(images, ("background", "a")))
    found = training.reduce_sections(sections, 2)
    np.testing.assert_array_equal(found.images[..., 0], [[[2, 8]], [[1, 3]]])
    np.testing.assert_array_equal(found.low, [2, 1])
    np.testing.assert_array_equal(found.high, [8, 3])
    assert found.reduction == 2 and found.inside is sections.inside
    assert training.reduce_sections(sections, 1) is sections


def test_the_median_structure_is_as_wide_as_the_network_likes_it():
    side = np.array([900.0, 30, 42, 60])  # of squares; the first is background
    assert training.suited_reduction(side**2, 4 * side) == 3
    small = np.array([900.0, 3, 4, 60])  # no image is made larger
    assert training.suited_reduction(small**2, 4 * small) == 1
    untraced = np.where([True, False, False, True], side, 0)
    assert training.suited_reduction(untraced**2, 4 * untraced) == round(60 / 14)
    assert training.suited_reduction(0 * side, 0 * side) == 1


def test_a_network_learns_from_labels_that_lie_where_its_image_does():
    """Ramps: a block's mean is the ramp at its middle, and its label that of a pixel beside it."""

    def two(section):
        return np.stack([section, section])

    ramp = np.broadcast_to(np.arange(20.0)[:, None], (20, 13)).astype(np.float32)
    whole = training.make_sections(make_images(two(ramp), ("background", "a"), two(ramp > 5)))
    labels = two(np.where(ramp > 17, 1, ramp > 8).astype(np.int16))
    labels[0, 0, 0] = 2  # too small to be seen
    seen = np.array([[True, True, True], [True, True, False]])
    partial = PartialLabels(labels, seen, np.zeros((2, 3), bool), seen)
    assert training.as_seen(whole, partial) == (whole, partial)
    sections, left = training.as_seen(training.reduce_sections(whole, 3), partial)
    assert sections.images.shape == (2, 7, 5, 1) and sections.reduction == 1
    assert left.labels.shape == sections.inside.shape == (2, 7, 5)
    middles = np.array([1, 4, 7, 10, 13, 16, 19])  # the last block has two rows
    np.testing.assert_allclose(sections.images[0, :6, 0, 0], middles[:6])
    np.testing.assert_array_equal(left.labels[0, :, 1], labels[0, middles, 4])
    np.testing.assert_array_equal(sections.inside[0, :, 1], middles > 5)
    np.testing.assert_array_equal(left.seen, [[True, True, False]] * 2)


def test_the_extent_of_what_is_traced_by_hand():
    labels = np.array([[1, 1, -1, 2], [1, 1, -1, 2], [-1, -1, -1, 2]], np.int16)
    areas, outlines = training.traced_extent(labels[None], 4)
    np.testing.assert_array_equal(areas, [0, 4, 3, 0])
    np.testing.assert_array_equal(outlines, [0, 8, 8, 0])  # where the section ends too


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
    steps = training.steps_per_epoch(count, batch)
    assert steps == int(np.ceil(count / batch))
    partial = PartialLabels(np.zeros((count, 2, 2), np.int16), None, None, None)
    visited = training.train(
        jax.random.key(4),
        jnp.int32(0),
        training.Sections(None, None, None, None),
        partial,
        Recipe(PIXELWISE, Training(batch=batch)),
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
    recipe = Recipe(PIXELWISE, Training(crop=32, optimiser="sgd"))
    state, losses = quick(
        lambda key, state: training.train(
            key, state, sections, partial, recipe, steps=4, learning_rate=0.02
        )
    )(jax.random.key(5), _state(PIXELWISE))
    assert losses.shape == (4,) and np.isfinite(losses).all()
    jax.tree.map(lambda leaf: np.testing.assert_(np.isfinite(leaf).all()), state)


def test_momentum_rests_before_fine_tuning_and_moments_do_not():
    resting = _state(PIXELWISE, heads=True)
    warm = resting.replace(momentum=jax.tree.map(lambda leaf: leaf + 1, resting.momentum))
    _assert_same(training.at_rest(warm, SETTING), resting)
    adam = Training(optimiser="adamw")
    moving = _state(PIXELWISE, setting=adam)
    moving = moving.replace(momentum=jax.tree.map(lambda leaf: leaf + 1, moving.momentum))
    _assert_same(training.at_rest(moving, adam), moving)


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
    recipe = Recipe(PIXELWISE, SETTING)
    stopped, losses = quick(
        lambda key, state: training.train(
            key,
            state,
            sections,
            partial,
            recipe,
            steps=8,
            learning_rate=lambda step: jnp.where(step < 4, 0.02, 0.0),
        )
    )(key, state)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), stopped.params, whole.params
    )
    assert losses.shape == (8,)


def test_balanced_crops_show_every_traced_class_as_often():
    # Class 1 has 1 pixel, class 0 has 40 on one section and 1 on another; class 2 is not traced.
    labels = np.full((4, 9, 9), -1, np.int16)
    labels[0, :4], labels[0, 4, :4], labels[2, 8, 8], labels[3, 0, 5] = 0, 0, 0, 1
    seen = np.zeros((4, 3), bool)
    seen[[0, 2, 3], [0, 0, 1]] = True
    partial = PartialLabels(jnp.asarray(labels), jnp.asarray(seen), None, None)
    draw = jax.jit(jax.vmap(lambda key: training.random_traced(key, partial, 1)))
    section, middle = (np.asarray(x) for x in draw(jax.random.split(jax.random.key(0), 4000)))
    place = middle.astype(int)
    shown = labels[section, place[:, 0], place[:, 1]]
    np.testing.assert_allclose(np.bincount(shown) / 4000, [0.5, 0.5], atol=0.03)
    np.testing.assert_allclose(
        np.bincount(section, minlength=4) / 4000, [0.25, 0, 0.25, 0.5], atol=0.03
    )
    pixels = place[section == 0] @ [9, 1]
    counts = np.bincount(pixels, minlength=81)[:40]
    assert stats.chisquare(counts).pvalue > 1e-3 and counts.sum() == len(pixels)


def test_a_balanced_crop_does_not_leave_the_section():
    labels = np.full((2, 20, 30), -1, np.int16)
    labels[1, 0, 29] = labels[1, 10, 15] = 1
    seen = np.array([[False, False], [False, True]])
    partial = PartialLabels(jnp.asarray(labels), jnp.asarray(seen), None, None)
    keys = jax.random.split(jax.random.key(0), 50)

    def middles(crop):
        draw = jax.jit(jax.vmap(lambda key: training.random_traced(key, partial, crop)))
        section, middle = draw(keys)
        assert (np.asarray(section) == 1).all()
        return {tuple(m) for m in np.asarray(middle).tolist()}

    assert middles(9) == {(4.0, 25.0), (10.0, 15.0)}
    assert middles(40) == {(9.5, 14.5)}  # a section smaller than the crop lies in its middle


def test_balanced_crops_of_nothing_traced_are_crops():
    sections, partial = _stack()
    nothing = partial.replace(
        labels=jnp.full_like(partial.labels, -1), seen=jnp.zeros_like(partial.seen)
    )
    setting = Training(crop=32, batch=4, balanced=1.0)
    batch = quick(
        lambda key: training.random_batch(key, sections, nothing, jnp.arange(4), setting)
    )(jax.random.key(0))
    assert np.isfinite(batch.inputs).all() and (np.asarray(batch.labels) == -1).all()
    # They lie anywhere, on the sections that were asked for.
    nowhere_balanced = dataclasses.replace(setting, balanced=0.0)
    usual = quick(
        lambda key: training.random_batch(key, sections, nothing, jnp.arange(4), nowhere_balanced)
    )(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, batch, usual)


@pytest.mark.parametrize("balanced", [0.0, 0.5, 1.0])
def test_the_share_of_balanced_crops(balanced):
    # Asked for section 4, where nothing is traced; a balanced crop is of another one.
    sections, partial = _stack()
    setting = Training(crop=32, batch=4, balanced=balanced)
    chosen = jnp.full(400, 4)
    crop = quick(lambda key: training.random_batch(key, sections, partial, chosen, setting))
    batch = crop(jax.random.key(0))
    shown = (np.asarray(batch.labels) >= 0).any((1, 2))
    assert abs(shown.mean() - balanced) < 0.08
    # The classes that an unlabelled pixel may be are those of the section that is shown.
    assert (np.asarray(batch.compatible)[shown] == [0, 0, 1, 1]).all()


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="optimiser 'lion' is not of adamw, sgd"):
        Training(optimiser="lion")


def test_a_recipe_knows_its_losses():
    with pytest.raises(ValueError, match="loss 'dice' is not one of partial, labelled"):
        Recipe(PIXELWISE, loss="dice")


def _batch(seed=0):
    """Logits, labels, compatible, inside of three sections, one of them nearly all outside."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (3, 6, 7, CLASSES)).astype(np.float32)
    labels = rng.integers(-1, 2, (3, 6, 7)).astype(np.int16)
    compatible = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]], bool)
    inside = rng.random((3, 6, 7)) < np.array([0.9, 0.1, 0.5])[:, None, None]
    return logits, labels, compatible, inside


@pytest.mark.parametrize("loss", ["partial", "labelled"])
def test_batch_loss_is_the_mean_over_all_counted_pixels(loss):
    logits, labels, compatible, inside = _batch()
    terms = []
    for n, y, x in np.argwhere(inside):
        z = logits[n, y, x].astype(np.float64)
        if labels[n, y, x] >= 0:
            terms.append(logsumexp(z) - z[labels[n, y, x]])
        elif loss == "partial":
            terms.append(logsumexp(z) - logsumexp(z[compatible[n]]))
    found = training.batch_loss(logits, labels, compatible, inside, loss)
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)
    # A section counts by its pixels: not the mean of the sections' means.
    single = [float(training.batch_loss(*(x[n : n + 1] for x in _batch()), loss)) for n in range(3)]
    assert abs(np.mean(single) - found) > 1e-2


@pytest.mark.parametrize("loss", ["partial", "labelled"])
def test_batches_without_anything_to_learn_are_finite(loss):
    logits, labels, compatible, inside = _batch()
    gradient = quick(jax.value_and_grad(training.batch_loss), static_argnums=4)
    nothing = np.zeros_like(compatible)
    for args in (
        (logits, np.full_like(labels, -1), nothing, inside),
        (logits, labels, compatible, np.zeros_like(inside)),
    ):
        value, slope = gradient(*args, loss)
        assert value == 0 and not np.asarray(slope).any()
    value, slope = gradient(logits, labels, nothing, inside, loss)
    assert np.isfinite(value) and np.isfinite(slope).all()


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


@pytest.mark.parametrize("optimiser", training.OPTIMISERS)
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
    # One pixel, one class traced: softmax minus one-hot, through the last layer.
    setting = Training(weight_decay=0.0, clip=1e9, momentum=0.5, optimiser="sgd")
    recipe = Recipe(PIXELWISE, setting)
    state = _state(PIXELWISE, setting=setting, heads=True)
    inputs = np.full((1, 1, 1, 3), 0.3, np.float32)
    labels, inside = np.full((1, 1, 1), 2, np.int16), np.ones((1, 1, 1), bool)
    batch = Batch(inputs, labels, inside, np.ones((1, CLASSES), bool))
    step = quick(training.train_step, static_argnames="recipe")

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
        state, loss = step(jax.random.key(7), state, batch, recipe=recipe, learning_rate=0.1)
        np.testing.assert_allclose(loss, value, rtol=1e-5)
        np.testing.assert_allclose(state.params["score"]["bias"], bias, rtol=1e-4, atol=1e-6)
