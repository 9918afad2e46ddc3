"""Fields between neighbouring sections, and outlines carried along them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_session as ts
from scipy import ndimage

from al_jax import session as sessions
from al_jax.core.stack import UNLABELLED, make_images
from al_jax.core.state import PartialLabels
from al_jax.core.strategies import STRATEGIES, BDa, SDr, shares_program
from al_jax.learner import neighbours
from al_jax.learner.config import changed, model_of
from al_jax.learner.learner import segment_stack
from al_jax.learner.registration import Registered, correlation, explained, register
from al_jax.model.inputs import Fields
from al_jax.model.training import init_train_state
from al_jax.session import annotations as state_of
from al_jax.simulation import loop, runner
from al_jax.simulation.prepare import prepare, wanted_fields, with_fields

SIZE = (6, 8)
ALL = jnp.arange(3)


def fields(shifts, quality=None, size=SIZE):
    """Each section shows at x what the next one shows at x + its shift (row, column)."""
    pairs = []
    for shift in shifts:
        forward = np.broadcast_to(np.float32(shift), (*size, 2))
        pairs.append(Registered(forward, -forward, 1.0))
    found = neighbours.fields_of(pairs, 1)
    if quality is not None:
        link = np.float32(quality)
        both = np.stack([np.append(0, link), np.append(link, 0)], 1)
        found = found.replace(quality=jnp.asarray(both))
    return found


def labelled(count, known, classes=3):
    """Sections with labels: {(section, structure): mask, or None where it is absent}."""
    labels = np.full((count, *SIZE), UNLABELLED, np.int16)
    seen, annotated = np.zeros((2, count, classes), bool)
    for (section, structure), mask in known.items():
        annotated[section, structure] = True
        if mask is not None:
            labels[section][mask] = structure
            seen[section, structure] = True
    everywhere = np.ones((count, classes), bool)
    return PartialLabels(
        labels=jnp.asarray(labels),
        seen=jnp.asarray(seen),
        compatible=jnp.asarray(everywhere & ~annotated),
        in_range=jnp.asarray(everywhere),
    )


def box(rows, columns):
    mask = np.zeros(SIZE, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_an_outline_is_carried_by_hand():
    """Section 1 lies one row below section 0, section 2 two columns to the right of section 1."""
    mask = box((1, 3), (2, 4))
    partial = labelled(4, {(0, 1): mask})
    along = fields([(1, 0), (0, 2), (0, 0)])
    there, reliability = neighbours.carried(partial, along, jnp.int32(2), ALL)
    np.testing.assert_array_equal(there[..., 1], box((2, 4), (4, 6)))
    assert not np.asarray(there)[..., [0, 2]].any()
    expected = neighbours.NEXT * neighbours.EACH
    np.testing.assert_allclose(reliability, [0, expected, 0], rtol=1e-6)
    # Farther, and over a link of half the quality.
    worse = fields([(1, 0), (0, 2), (0, 0)], [1, 0.5, 1])
    _, reliability = neighbours.carried(partial, worse, jnp.int32(3), ALL)
    np.testing.assert_allclose(reliability[1], expected * neighbours.EACH / 2, rtol=1e-6)


def test_both_sides_count_by_their_reliability_and_the_nearest_hides_what_is_behind():
    left, right, far = box((0, 3), (0, 4)), box((0, 3), (2, 6)), box((3, 6), (0, 8))
    partial = labelled(6, {(0, 1): far, (1, 1): left, (4, 1): right})
    still = fields([(0, 0)] * 5)
    there, reliability = neighbours.carried(partial, still, jnp.int32(2), ALL)
    near, next_but_one = neighbours.NEXT, neighbours.NEXT * neighbours.EACH
    total = near + next_but_one
    expected = (near * left + next_but_one * right) / total
    np.testing.assert_allclose(there[..., 1], expected, rtol=1e-5)
    np.testing.assert_allclose(reliability[1], 1 - (1 - near) * (1 - next_but_one), rtol=1e-5)
    # The section's own labels play no part in it.
    there, _ = neighbours.carried(partial, still, jnp.int32(1), ALL)
    assert np.asarray(there)[4, 4, 1] > 0.4


def test_absent_answers_and_ranges_are_known():
    mask = box((1, 3), (2, 4))
    partial = labelled(4, {(0, 1): mask, (2, 1): None})
    in_range = np.ones((4, 3), bool)
    in_range[2:, 2] = False
    partial = partial.replace(compatible=partial.compatible & in_range, in_range=in_range)
    there, reliability = neighbours.carried(partial, fields([(0, 0)] * 3), jnp.int32(1), ALL)
    np.testing.assert_allclose(there[..., 1], mask / 2, rtol=1e-6)
    assert not np.asarray(there)[..., 2].any()
    np.testing.assert_allclose(reliability[2], neighbours.NEXT, rtol=1e-6)


def test_what_is_beyond_reach_is_not_carried():
    partial = labelled(neighbours.REACH + 2, {(0, 1): box((1, 3), (2, 4))})
    still = fields([(0, 0)] * (neighbours.REACH + 1))
    for section, within in ((neighbours.REACH, True), (neighbours.REACH + 1, False)):
        there, reliability = neighbours.carried(partial, still, jnp.int32(section), ALL)
        assert bool(np.asarray(there).any()) == within == bool(reliability[1] > 0)
    begun = neighbours.begin(jnp.zeros(3))
    log = neighbours.log_prior(partial, still, jnp.int32(neighbours.REACH + 1), begun, ALL)
    assert not np.asarray(log.values).any()


def test_mirrored_stacks_carry_mirrored_outlines():
    rng = np.random.default_rng(0)
    known = {(n, c): rng.random(SIZE) < 0.3 for n, c in ((0, 1), (2, 2), (4, 1), (5, 0))}
    partial = labelled(6, known)
    shifts = [(1, 0), (0, 1), (-1, 1), (0, -2), (1, 1)]
    turned = jax.tree.map(lambda leaf: leaf[::-1], partial)
    back = fields([(-a, -b) for a, b in shifts[::-1]])
    for section in range(6):
        here = neighbours.carried(partial, fields(shifts), jnp.int32(section), ALL)
        there = neighbours.carried(turned, back, jnp.int32(5 - section), ALL)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), here, there)


def test_batched_looped_and_compiled_agree():
    rng = np.random.default_rng(1)
    partial = labelled(5, {(n, n % 3): rng.random(SIZE) < 0.3 for n in (0, 2, 3)})
    along = fields([(1, 0), (0, 1), (-1, 1), (0, -1)])
    carrying = neighbours.begin(jnp.full(3, 100.0), jnp.array([jnp.nan, 0.7, 0.2]))
    one = functools.partial(neighbours.log_prior, partial, along, carrying=carrying, classes=ALL)
    looped = np.stack([one(jnp.int32(n)).values for n in range(5)])
    for batched in (jax.vmap(one), jax.jit(functools.partial(jax.lax.map, one))):
        found = batched(jnp.arange(5)).values
        np.testing.assert_allclose(found, looped, rtol=1e-4, atol=1e-5)


def test_the_log_prior_is_that_of_what_is_carried():
    rng = np.random.default_rng(4)
    known = {(n, c): rng.random(SIZE) < 0.5 for n, c in ((0, 1), (1, 2), (3, 2), (4, 1))}
    partial, along = labelled(5, known), fields([(0, 1)] * 4, quality=[0.9, 0.8, 0.7, 0.9])
    carrying = neighbours.begin(jnp.full(3, 100.0), jnp.array([jnp.nan, 0.7, 0.2]))
    log = neighbours.log_prior(partial, along, jnp.int32(2), carrying, ALL)
    there, reliability = map(np.asarray, neighbours.carried(partial, along, jnp.int32(2), ALL))
    assert len(np.unique(there[..., 1])) == 4  # claimed by neither side, one, the other, both
    network, ratio = map(np.asarray, neighbours.estimates(carrying))
    weight = neighbours.WEIGHT * (1 - network) / (1 - np.minimum(ratio * reliability, 0.95))
    reliability = np.minimum(reliability * ratio / neighbours.CARRIED, 0.99)
    probability = reliability * there + (1 - reliability) * neighbours.UNKNOWN
    expected = weight * np.log(probability / neighbours.UNKNOWN)
    np.testing.assert_allclose(log.values, expected, rtol=1e-5, atol=1e-6)


def test_of_some_classes_it_is_what_it_is_of_all():
    rng = np.random.default_rng(3)
    partial = labelled(4, {(n, n % 3): rng.random(SIZE) < 0.3 for n in (0, 1, 3)})
    carrying = neighbours.begin(jnp.full(3, 100.0), jnp.array([jnp.nan, 0.7, 0.2]))
    of = functools.partial(
        neighbours.log_prior, partial, fields([(0, 1)] * 3), jnp.int32(2), carrying
    )
    # A number that is no class fills up what a program of fixed size has room for.
    some, whole = of(jnp.array([2, 0, 3])).values, of(ALL).values
    np.testing.assert_allclose(some[..., :2], whole[..., np.array([2, 0])], rtol=1e-6)
    assert np.isfinite(some).all()


def test_trials_by_hand():
    mask = box((1, 3), (2, 4))
    partial = labelled(3, {(0, 1): mask, (1, 1): box((1, 3), (3, 5))})
    still = fields([(0, 0)] * 2)
    begun = neighbours.begin(jnp.array([16 * neighbours.SUPPORT, neighbours.SUPPORT, 0.0]))
    network, share = neighbours.estimates(begun)
    together = (3 * (0.75 + 0.5 + 0.1) + 4 * neighbours.NETWORK) / (3 * 3 + 4)
    expected = (3 * np.array([0.75, 0.5, 0.1]) + together) / 4
    np.testing.assert_allclose(network, expected, rtol=1e-5)
    np.testing.assert_allclose(share, neighbours.CARRIED, rtol=1e-6)
    begun = jnp.zeros((4, 3))
    # Half of the outline that was carried from section 0 is right.
    after = neighbours.add_trial(begun, jnp.float32(0.9), partial, still, (1, 1))
    expected = np.zeros((4, 3))
    expected[:, 1] = [0.9, 1, 0.5, neighbours.NEXT]
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    again = neighbours.add_trial(after, jnp.float32(0.5), partial, still, (1, 1))
    np.testing.assert_allclose(again[:2, 1], [0.95, 1.5], rtol=1e-6)
    absent = neighbours.add_trial(after, jnp.float32(0.9), partial, still, (1, 2))
    np.testing.assert_array_equal(absent, after)
    together = (0.9 + 4 * neighbours.NETWORK) / 5
    network = neighbours.estimates(after)[0]
    np.testing.assert_allclose(network, [together, (0.9 + together) / 2, together], rtol=1e-6)


def test_the_weight_fades_as_the_network_learns():
    partial = labelled(2, {(0, 1): box((1, 3), (2, 4))})
    sizes = []
    for dice in (0.0, 0.5, 0.9, 1.0):
        carrying = jnp.zeros((4, 3)).at[:2].set(jnp.array([[50 * dice], [50.0]]))
        log = neighbours.log_prior(partial, fields([(0, 0)]), jnp.int32(1), carrying, ALL)
        sizes.append(float(np.abs(log.values).max()))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.02 * sizes[0]


# Registration.


@functools.cache
def _pair(shift=(3, -2)):
    """Two images [64, 56] of a blob with a hole, the second one shifted."""
    y, x = np.mgrid[:64, :56].astype(np.float32)

    def image(dy, dx):
        blob = np.exp(-(((y - 30 - dy) / 14) ** 2) - ((x - 27 - dx) / 10) ** 2)
        return (blob - 0.6 * np.exp(-(((y - 26 - dy) / 4) ** 2) - ((x - 30 - dx) / 4) ** 2)).clip(0)

    return image(0, 0).astype(np.float32), image(*shift).astype(np.float32)


def test_a_known_shift_is_found_in_both_directions():
    first, second = _pair()
    found = register(first, second)
    middle = (slice(16, 48), slice(16, 40))
    for field, expected in ((found.forward, (3, -2)), (found.backward, (-3, 2))):
        off = np.abs(field[middle] - expected)
        assert off.mean() < 0.3 and off.max() < 1.5
    assert found.explained > 0.98
    again = register(first, second)
    np.testing.assert_array_equal(again.forward, found.forward)
    # The other way round it is the other way round.
    turned = register(second, first)
    assert np.abs(turned.forward[middle] - found.backward[middle]).mean() < 0.3


def test_sections_of_one_shape_explain_less_of_each_others_detail():
    # Two sections of one blob on a dark slide, each with a texture of its own.
    y, x = np.mgrid[:96, :96].astype(np.float32)
    inside = np.hypot(y - 48, x - 48) < 35
    rng = np.random.default_rng(0)
    textures = [ndimage.gaussian_filter(rng.normal(size=(96, 96)), 2) for _ in range(2)]
    first, second = (np.float32(inside * (0.6 + t)) for t in textures)
    assert correlation(first, second) > 0.9
    assert register(first, second).explained < 0.75  # whatever it makes of the textures
    interior = (slice(32, 64), slice(32, 64))
    assert explained(first[interior], second[interior]) < 0.2
    assert explained(first, second) < 0.6 < explained(first, first + 0.1 * second)
    assert explained(first, first) == pytest.approx(1)
    assert explained(first, 3 - 2 * first) == 0  # turned to its negative
    assert explained(first, np.ones_like(first)) == 0


def test_equal_and_empty_sections_stay():
    first, _ = _pair()
    for pair in ((first, first), (first, np.zeros_like(first)), (first[:6, :6], first[:6, 1:7])):
        found = register(*pair)
        np.testing.assert_allclose(found.forward, 0, atol=0.05)
        np.testing.assert_allclose(found.backward, 0, atol=0.05)


def test_a_torn_section_counts_less():
    still = np.zeros((*SIZE, 2), np.float32)
    explained = [0.75, 0.9, 0.3, 0.8]
    found = neighbours.fields_of([Registered(still, still, share) for share in explained], 2)
    np.testing.assert_allclose(found.quality[:, 1], [1, 1, 0.4, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(found.quality[:, 0], [0, 1, 1, 0.4, 1], rtol=1e-5)
    # Where all registrations are bad, none counts for the others' sake.
    bad = neighbours.fields_of([Registered(still, still, 0.3)] * 4, 2)
    np.testing.assert_allclose(bad.quality[1:, 0], 0.4, rtol=1e-5)
    assert found.displacement.dtype == jnp.float16 and found.downsampling == 2


def test_fields_are_kept_by_pairs(tmp_path, monkeypatch):
    calls = []

    def count(first, second):
        calls.append(1)
        field = np.full((*first.shape, 2), first.mean() - second.mean(), np.float32)
        return Registered(field, -field, float(first.mean()))

    monkeypatch.setattr(neighbours, "register", count)
    images = np.random.default_rng(0).integers(0, 255, (5, 12, 10, 1), np.uint8)
    stack = make_images(images, ("background", "a"))
    file = tmp_path / neighbours.FILE
    first = neighbours.make_fields(stack, file)
    again = neighbours.make_fields(stack, file)
    assert len(calls) == 4
    jax.tree.map(np.testing.assert_array_equal, first, again)
    jax.tree.map(np.testing.assert_array_equal, first, neighbours.make_fields(stack))
    # A section that is turned costs the two pairs that it is in.
    calls.clear()
    images = images.copy()
    images[2] = images[2, ::-1]
    neighbours.make_fields(dataclasses.replace(stack, images=images), file)
    assert len(calls) == 2
    whole = file.read_bytes()
    for damaged in (b"damaged", whole[: len(whole) // 2]):  # and so is made anew
        file.write_bytes(damaged)
        jax.tree.map(np.testing.assert_array_equal, first, neighbours.make_fields(stack, file))


# In the loop.

CONFIG = tiny.config(
    initial_steps=1, query_steps=2, crop=32, batch=4, downsampling=1, neighbours=True
)


@functools.cache
def _run(turned=False, strategy=SDr, queries=6):
    """The queries of a run; `turned`: the truth that nobody asks for meanwhile is another one."""
    stack = tiny.stack()
    prepared = prepare(jax.random.key(0), stack, CONFIG)
    still = np.zeros((*stack.images.shape[1:3], 2), np.float32)
    along = neighbours.fields_of([Registered(still, still, 1.0)] * 5, 1)
    keys, task, state = with_fields(prepared, along)
    if turned:
        asked = _run()[1]
        pairs = {(int(n), int(c)) for n, c in zip(asked.section, asked.structure, strict=True)}
        pairs |= {tuple(pair) for pair in np.argwhere(state.annotated).tolist()}
        truth = np.array(task.truth)
        rng = np.random.default_rng(0)
        for n in range(len(truth)):
            hidden = ~np.isin(truth[n], [c for m, c in pairs if m == n]) & stack.inside[n]
            truth[n][hidden] = rng.permutation(truth[n][hidden])
        assert (truth != task.truth).any()
        task = task.replace(truth=jnp.asarray(truth))
    model = model_of(CONFIG, tiny.CLASSES)
    network = init_train_state(keys.weights, model, tiny.weights(tiny.Pixelwise(tiny.CLASSES)))
    quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    run, _ = quick(loop.begin, static_argnames="strategy")(
        network, state, task, CONFIG, strategy=strategy
    )
    priority = loop.draw_priority(keys.priority, task.present, strategy)
    return quick(loop.run_queries, static_argnames=("strategies", "count"))(
        run,
        priority,
        task,
        CONFIG,
        strategies=(strategy,),
        which=0,
        count=queries,
        target_dice=2.0,
        max_effort=2.0,
    )


def test_nothing_leaks():
    """What nobody has traced is turned: the questions and the network's record stay the same."""
    run, asked = _run()
    other, again = _run(turned=True)
    for name in ("section", "structure", "predicted_dice", "predicted_length"):
        np.testing.assert_array_equal(getattr(asked, name), getattr(again, name))
    np.testing.assert_array_equal(run.learner.carrying, other.learner.carrying)
    assert (np.asarray(asked.dice) != np.asarray(again.dice)).any()
    assert np.asarray(run.learner.carrying)[1].sum() > 0


def test_carried_outlines_change_what_is_drawn_of_those_that_may_use_them():
    """The paper's strategies see each section by itself."""
    alone = dataclasses.replace(SDr, neighbours=False)
    assert not any(STRATEGIES[name].neighbours for name in list(STRATEGIES)[:10])
    assert BDa.neighbours is False
    with_them, without = _run(), _run(strategy=alone)
    assert without[0].learner.carrying is None
    # The structures of this stack lie one above the other.
    assert with_them[1].dice[0] > without[1].dice[0]


def test_those_that_use_carried_outlines_have_a_program_of_their_own():
    """The paper's strategies keep theirs, to the last digit."""
    for strategy in STRATEGIES.values():
        alone, beside = shares_program(strategy), shares_program(strategy, neighbours=True)
        assert strategy in beside and beside[0].neighbours == strategy.neighbours
        assert beside == alone or all(one.neighbours for one in beside)
    assert shares_program(BDa, neighbours=True) == shares_program(BDa) == shares_program(SDr)


def test_settings_without_fields_are_refused():
    prepared = prepare(jax.random.key(0), tiny.stack(), CONFIG)
    model = model_of(CONFIG, tiny.CLASSES)
    network = init_train_state(prepared.keys.weights, model)
    with pytest.raises(ValueError, match="with_fields"):
        loop.begin(network, prepared.state, prepared.task, CONFIG, SDr)


def test_fields_are_a_pytree_of_the_stack():
    along = fields([(0, 0)] * 2)
    assert isinstance(along, Fields) and along.displacement.shape == (3, 2, *SIZE, 2)


@pytest.mark.slow
def test_a_session_asks_and_proposes_as_a_simulation_does(tmp_path, monkeypatch):
    found = []

    def still(first, second):
        found.append(1)
        field = np.zeros((*first.shape, 2), np.float32)
        return Registered(field, field, 1.0)

    monkeypatch.setattr(neighbours, "register", still)
    config = changed(ts.CONFIG, {"neighbours": True, "downsampling": 1})
    place = ts.create(tmp_path / "s", settings=sessions.Settings(0, config))
    fields = wanted_fields(ts.STACK, config, [SDr])
    prepared = with_fields(prepare(jax.random.key(0), ts.STACK, config), fields)
    network = runner.train_network(prepared, config)
    _, records = runner.run_strategy(SDr, prepared, network, config, max_effort=0.5)
    assert len(records.section) > 3
    with sessions.open_session(place) as session:
        for section, structure in np.argwhere(np.asarray(prepared.state.annotated)).tolist():
            ts.answer(session, section, structure)
        while session.train_step():
            pass
        assert (place / neighbours.FILE).exists() and len(found) == 10
        for section, structure in zip(records.section[1:4], records.structure[1:4], strict=True):
            question = session.next_question()
            assert (question.section, question.structure) == (section, structure)
            ts.answer_question(session)
            while session.train_step():
                pass
        before = session.next_question()
        carrying = session.network.learner.carrying
        assert np.asarray(carrying)[1].sum() > 0 and "with the outline of section" in before.why
    with sessions.open_session(place) as session:  # and goes on where it was
        np.testing.assert_array_equal(session.network.learner.carrying, carrying)
        again = session.next_question()
        assert again.why == before.why
        np.testing.assert_array_equal(again.proposal, before.proposal)
        now = session.annotations
        state = jax.tree.map(jnp.asarray, state_of.full_state(now, ts.IMAGES))
        segmentation, _ = segment_stack(
            session.network.learner, state, prepared.task.sections, config
        )
        for section in range(ts.IMAGES.num_sections):
            own, _ = session.segment_section(section)
            inside = ts.IMAGES.inside[section]
            assert (own != segmentation[section])[inside].mean() < 0.002  # but for rounding
    assert len(found) == 10
