"""The loop: its pieces are the whole, what it asks, when it stops and what it records.

The network itself is tested elsewhere: but for the first tests, a pixelwise one stands in for it.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core import state, strategies
from al_jax.core.stack import make_stack
from al_jax.learner import config as settings
from al_jax.learner.config import Config
from al_jax.model.training import Training
from al_jax.simulation import annotator, loop

KEY = jax.random.key(0)
COUNT, CLASSES = tiny.SHAPE[0], tiny.CLASSES
SMALL = Config(initial_steps=4, query_steps=2, training=Training(crop=32, batch=4, optimiser="sgd"))
PIXELWISE = Config(
    network="pixelwise",
    initial_steps=60,
    query_steps=2,
    dropout_samples=2,
    learning_rate=0.05,
    dice_estimate="fit",
    query_learning_rate=0.3,  # fast, so that D is another one after each answer
    training=Training(crop=32, batch=4, optimiser="sgd"),
)
STACK = tiny.stack()

STATIC = {
    "simulate": ("strategy", "config", "queries"),
    "make_task": ("config",),
    "start": ("config",),
    "train_initial": ("config", "loss", "steps"),
    "begin": ("config", "strategy"),
    "run_queries": ("config", "strategies", "count"),
}


@functools.cache
def _jitted(name, optimised):
    # Compilation is most of the time; what is asked, and when, needs no fast code.
    options = None if optimised else {"xla_backend_optimization_level": 0}
    function = getattr(annotator if name in ("make_task", "start") else loop, name)
    return jax.jit(function, static_argnames=STATIC[name], compiler_options=options)


def _jit(name, config=PIXELWISE):
    return _jitted(name, config == SMALL)


@pytest.fixture(autouse=True)
def _pixelwise(monkeypatch):
    """`Config.network` may be 'pixelwise'."""
    monkeypatch.setattr(settings, "make_network", tiny.make)


@functools.cache
def _weights(network="pixelwise"):
    return tiny.weights(tiny.make(network, CLASSES))


@functools.cache
def _begun(strategy, config=PIXELWISE, key=0, stack=STACK):
    """(task, priority, run, record) of a strategy before its first query."""
    keys = settings.make_keys(jax.random.key(key))
    task = _jit("make_task", config)(stack, config=config)
    annotation = _jit("start", config)(keys.start, task, config=config)
    network = loop.initial_train_state(keys.weights, task, config, _weights(config.network))
    losses, half = [], config.initial_steps // 2
    for first_step in (0, half):
        network, more = _jit("train_initial", config)(
            keys.training,
            network,
            annotation,
            task,
            config=config,
            loss=strategies.STRATEGIES[strategy].loss,
            first_step=first_step,
            steps=half,
        )
        losses.append(more)
    first = loop.alike(strategy)[0]
    run, record = _jit("begin", config)(network, annotation, task, config=config, strategy=first)
    record = record.replace(loss=jnp.concatenate(losses).mean())
    return task, loop.draw_priority(keys.priority, task.present, strategy), run, record


def _queries(strategy, counts, config=PIXELWISE, target_dice=2.0, max_effort=2.0, **start):
    """The run and all records of a strategy whose queries are asked in chunks of `counts`."""
    task, priority, run, record = _begun(strategy, config, **start)
    names = loop.alike(strategy)
    records = [jax.tree.map(lambda leaf: leaf[None], record)]
    for count in counts:
        run, more = _jit("run_queries", config)(
            run,
            priority,
            task,
            config=config,
            strategies=names,
            which=names.index(strategy),
            count=count,
            target_dice=target_dice,
            max_effort=max_effort,
        )
        records.append(more)
    return run, jax.tree.map(lambda *leaves: np.concatenate(leaves), *records)


def _assert_same(a, b):
    def same(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)

    jax.tree.map(same, a, b)


def _asked(records):
    made = ~np.asarray(records.done) & (np.asarray(records.section) >= 0)
    return list(zip(records.section[made].tolist(), records.structure[made].tolist(), strict=True))


@pytest.fixture(scope="module")
def finished():
    """Every candidate of the stack asked for, in an order drawn at random, and a few steps more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "make_network", tiny.make)
        yield _queries("Rand", [2] * 12)


@functools.cache
def _whole(config, key=0):
    """`simulate` in one piece, two queries, from given weights."""
    weights = _weights(config.network)
    return _jit("simulate", config)(
        jax.random.key(key), STACK, "BDa", config, queries=2, params=weights
    )


@pytest.mark.parametrize(
    "config",
    [PIXELWISE, pytest.param(SMALL, marks=pytest.mark.slow)],
    ids=["pixelwise", "small"],
)
def test_the_pieces_are_the_whole(config):
    # The initial training in two pieces, the queries one by one; and the pieces' compilation serves
    # four strategies at once, that of `simulate` the one.
    whole = _whole(config)
    assert whole[1].dice.shape == (3,)
    pieces = _queries("BDa", [1, 1], config)
    np.testing.assert_allclose(pieces[1].loss[0], whole[1].loss[0], rtol=1e-6)
    pieces[1].loss[0] = whole[1].loss[0]  # a mean of means, and one mean
    _assert_same(pieces, whole)


def test_chunks_of_any_length_are_the_same():
    _assert_same(_queries("BDa", [2, 2]), _queries("BDa", [1, 1, 1, 1]))


def test_simulate_draws_its_weights_from_the_key():
    args = {"strategy": "BDa", "config": PIXELWISE, "queries": 2}
    last, records = _jit("simulate")(KEY, STACK, **args)
    _assert_same(_jit("simulate")(KEY, STACK, **args), (last, records))
    other, _ = _jit("simulate")(jax.random.key(1), STACK, **args)
    assert not np.array_equal(
        last.learner.train.params["score"]["kernel"], other.learner.train.params["score"]["kernel"]
    )
    # The very weights that `initial_train_state` draws.
    keys, task = settings.make_keys(KEY), _jit("make_task")(STACK, config=PIXELWISE)
    drawn = loop.initial_train_state(keys.weights, task, PIXELWISE).params
    _assert_same(_jit("simulate")(KEY, STACK, **args, params=drawn), (last, records))


def test_start_without_jit():
    # A `Stack` is made of NumPy arrays; nothing says that jit has to make others of them.
    task = annotator.make_task(STACK, PIXELWISE)
    _assert_same(
        annotator.start(KEY, task, PIXELWISE),
        _jit("start")(KEY, _jit("make_task")(STACK, config=PIXELWISE), config=PIXELWISE),
    )


@pytest.mark.parametrize("strategy", list(strategies.STRATEGIES))
def test_every_strategy_runs(strategy):
    run, records = _queries(strategy, [2])
    assert run.state.step == 2
    asked = _asked(records)
    assert len(set(asked)) == 2
    for field in ("effort", "dice", "dice_unclamped", "class_dice", "class_dice_unclamped", "loss"):
        assert np.isfinite(getattr(records, field)).all(), field
    assert np.isfinite(records.predicted_dice[1:]).all()
    assert (records.predicted_length[1:] >= PIXELWISE.min_effort).all()
    begun = _begun(strategy)[2]
    task = _begun(strategy)[0]
    for section, structure in asked:
        assert not begun.state.annotated[section, structure]
        assert run.state.annotated[section, structure]
        mask = np.asarray(task.truth[section] == structure)
        np.testing.assert_array_equal(np.asarray(run.state.labels[section])[mask], structure)
    assert bool(np.asarray(run.learner.entropy).any()) == strategies.STRATEGIES[strategy].entropy
    _assert_same(_queries(strategy, [2]), (run, records))


def test_strategies_share_start_and_network():
    groups = [loop.alike(s) for s in strategies.STRATEGIES]
    beyond = {"BDr", "SDr", "KBDa", "KBDr", "KSDr"}
    assert {frozenset(g) for g in groups} == {
        frozenset({"BDa", "Da", "Rand", "Uniform", "RandC", "RandR", "Neighbour"} | beyond),
        frozenset({"Oracle", "Lengths"}),
        frozenset({"BDa_CE"}),
        frozenset({"HBDa", "HDa", "HB", "H"}),
        frozenset({"H_dropout"}),
    }
    reference = _begun("BDa")[2]
    for strategy in ("Da", "Rand", "Uniform", "HBDa", "H_dropout"):
        run = _begun(strategy)[2]
        _assert_same(run.learner.train, reference.learner.train)
        _assert_same(run.state, reference.state)
    _assert_same(_begun("Da")[2:], _begun("BDa")[2:])
    ablation = _begun("BDa_CE")[2]
    _assert_same(ablation.state.labels, reference.state.labels)
    assert not np.array_equal(
        ablation.learner.train.params["score"]["kernel"],
        reference.learner.train.params["score"]["kernel"],
    )


@pytest.mark.parametrize("strategy", ["Rand", "HB"])
def test_one_compilation_for_all_is_each_alone(strategy):
    task, priority, run, _ = _begun(strategy)
    alone = _jit("run_queries")(
        run,
        priority,
        task,
        config=PIXELWISE,
        strategies=(strategy,),
        which=0,
        count=2,
        target_dice=2.0,
        max_effort=2.0,
    )
    together, records = _queries(strategy, [2])
    _assert_same(alone, (together, jax.tree.map(lambda leaf: leaf[1:], records)))


def test_another_key_asks_otherwise():
    asked = [_asked(_queries("Rand", [2, 2, 2], key=key)[1]) for key in (0, 1)]
    assert asked[0] != asked[1]


def test_the_start():
    _, _, run, record = _begun("BDa")
    annotated = np.asarray(run.state.annotated)
    present = np.asarray(_begun("BDa")[0].present)
    np.testing.assert_array_equal(annotated.sum(0), 1)
    assert present[annotated].all()
    labels = np.asarray(run.state.labels)
    for section, structure in np.argwhere(annotated):
        np.testing.assert_array_equal(
            labels[section] == structure, STACK.truth[section] == structure
        )
    assert run.state.step == 0 and record.section == record.structure == -1
    assert not record.done
    np.testing.assert_array_equal(run.learner.dice[0], run.learner.dice[1])
    np.testing.assert_allclose(record.length, run.state.traced.sum())


def test_effort_is_what_was_traced_over_all_there_is(finished):
    run, records = finished
    task = _begun("Rand")[0]
    truth, inside = np.asarray(task.truth), np.asarray(task.sections.inside)
    total = 0
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[..., :-1], np.s_[..., 1:])):
        total += ((truth[first] != truth[second]) & inside[first] & inside[second]).sum()
    assert task.total == total
    length, effort = records.length[~records.done], records.effort[~records.done]
    np.testing.assert_allclose(effort, np.cumsum(length) / total, rtol=1e-6)
    assert (np.diff(effort) >= 0).all() and (length >= 0).all()
    np.testing.assert_allclose(run.state.traced.sum() / total, effort[-1])
    # Of the other kind: whole outlines of what was answered, over those of all.
    outlines = np.zeros((COUNT, CLASSES))
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[..., :-1], np.s_[..., 1:])):
        crack = (truth[first] != truth[second]) & inside[first] & inside[second]
        for c in range(CLASSES):
            of_c = crack & ((truth[first] == c) | (truth[second] == c))
            outlines[:, c] += of_c.sum((1, 2))
    assert outlines.sum() == 2 * total
    begun = np.asarray(_begun("Rand")[2].state.annotated)
    own = [outlines[begun].sum()]
    own += [outlines[pair] for pair in _asked(records)]
    np.testing.assert_allclose(
        records.effort_own[~records.done], np.cumsum(own) / outlines.sum(), rtol=1e-6
    )


def test_everything_asked_is_the_truth(finished):
    run, records = finished
    made = np.flatnonzero(~records.done)
    last = made[-1]
    assert len(made) < len(records.done)  # there is a `done` record to look at
    assert records.done[last + 1 :].all() and not records.done[: last + 1].any()
    assert records.effort[last] == 1
    assert records.dice[last] == 1 and (records.class_dice[last] == 1).all()
    assert not np.asarray(state.candidates(run.state)).any()
    assert not np.asarray(state.contradictions(run.state)).any()
    assert run.state.step == last
    rest = jax.tree.map(lambda leaf: leaf[last + 1 :], records).replace(done=np.zeros(0))
    assert not any(leaf.any() for leaf in jax.tree.leaves(rest))


def test_no_query_twice(finished):
    asked = _asked(finished[1])
    assert len(set(asked)) == len(asked)
    begun = np.asarray(_begun("Rand")[2].state.annotated)
    in_range = np.asarray(_begun("Rand")[2].state.in_range)
    for query in asked:
        assert not begun[query] and in_range[query]


def test_rand_follows_its_priority(finished):
    priority = np.asarray(_begun("Rand")[1])
    drawn = [priority[query] for query in _asked(finished[1])]
    assert (np.diff(drawn) < 0).all()


def test_targets_stop_a_run(finished):
    records = finished[1]
    made = ~records.done
    for target in ("dice", "effort"):
        values = getattr(records, target)[made]
        level = values[5]
        # The first record at or above the level is the last query made.
        expected = int(np.argmax(values >= level))
        stop = {"target_dice": level} if target == "dice" else {"max_effort": level}
        run, stopped = _queries("Rand", [2] * 7, **stop)
        assert 0 < expected < 14 and (~stopped.done).sum() == expected + 1
        assert run.state.step == expected
        _assert_same(
            jax.tree.map(lambda leaf, n=expected + 1: leaf[:n], stopped),
            jax.tree.map(lambda leaf, n=expected + 1: leaf[:n], records),
        )


def test_a_target_met_at_the_start_asks_nothing():
    run, records = _queries("Rand", [2], target_dice=0.0)
    np.testing.assert_array_equal(records.done, [False, True, True])
    _assert_same(run, _begun("Rand")[2])


def _dice(overlaps):
    """[N, 2, C] -> [N, C]."""
    both, either = np.moveaxis(np.asarray(overlaps), 1, 0)
    return np.where(either > 0, 2 * both / np.maximum(either, 1), 1)


@functools.cache
def _step_by_step(config, queries=4):
    """Runs before and after each query of BDa, with their records; the first has none."""
    task, priority, run, _ = _begun("BDa")
    runs, names = [(run, None)], loop.alike("BDa")
    for _ in range(queries):
        run, records = _jit("run_queries", config)(
            run,
            priority,
            task,
            config=config,
            strategies=names,
            which=names.index("BDa"),
            count=1,
            target_dice=2.0,
            max_effort=2.0,
        )
        runs.append((run, jax.tree.map(lambda leaf: leaf[0], records)))
    return runs


def test_dice_history_of_fit():
    # D: the network's own Dice of what was traced, averaged over the sections where it was.
    before = None
    for run, _ in _step_by_step(PIXELWISE):
        assert before is None or (np.abs(before - run.learner.dice[0]) > 1e-3).sum() >= 2
        fit, traced = np.asarray(run.learner.fit), np.asarray(run.learner.traced)
        now = [fit[traced[:, c], c].mean() if traced[:, c].any() else 0 for c in range(CLASSES)]
        np.testing.assert_allclose(run.learner.dice[0], now, rtol=1e-6)
        np.testing.assert_allclose(
            run.learner.dice[1], now if before is None else before, rtol=1e-6
        )
        before = np.asarray(run.learner.dice[0])


def test_dice_history_of_prospective():
    # D: of the asked structure, the reported Dice of the prediction just before the answer.
    config = dataclasses.replace(PIXELWISE, dice_estimate="prospective")
    steps = _step_by_step(config)
    expected = np.array(steps[0][0].learner.dice)
    np.testing.assert_array_equal(expected[0], expected[1])
    moved = 0
    for (run, _), (after, record) in itertools.pairwise(steps):
        c = int(record.structure)
        expected[1, c] = expected[0, c]
        expected[0, c] = _dice(run.scores.clamped)[record.section, c]
        np.testing.assert_allclose(after.learner.dice, expected, rtol=1e-6)
        moved += expected[0, c] != expected[1, c]
    assert moved


def test_records_say_what_the_equations_said():
    config = PIXELWISE
    steps = _step_by_step(config)
    for (run, _), (after, record) in itertools.pairwise(steps):
        dice = config.alpha * run.learner.dice[0] + (1 - config.alpha) * run.learner.dice[1]
        np.testing.assert_allclose(record.predicted_dice, dice[record.structure], rtol=1e-6)
        boundary = np.asarray(state.boundary_matrix(run.state))
        annotated = np.asarray(run.state.seen[record.section])
        c = int(record.structure)
        length = boundary[c, c] - boundary[c][annotated].sum()
        np.testing.assert_allclose(record.predicted_length, max(length, 1), rtol=1e-5)
        present = np.asarray(_begun("BDa")[0].present)
        for field, reported, per_class in (
            ("clamped", record.dice, record.class_dice),
            ("unclamped", record.dice_unclamped, record.class_dice_unclamped),
        ):
            scores = _dice(getattr(after.scores, field))
            means = [scores[present[:, c], c].mean() for c in range(CLASSES)]
            np.testing.assert_allclose(per_class, means, rtol=1e-5)
            np.testing.assert_allclose(reported, np.mean(means[1:]), rtol=1e-5)


def _odd_stack():
    """Background nowhere inside; the innermost class on one section only."""
    truth = np.where(STACK.truth == 0, 1, STACK.truth)
    truth[np.arange(COUNT) != 2] = np.minimum(truth[np.arange(COUNT) != 2], 2)
    return make_stack(STACK.images, truth, STACK.names, STACK.inside)


ODD = _odd_stack()


@pytest.mark.parametrize("strategy", ["BDa", "Rand"])
def test_a_class_on_one_section_and_no_background(strategy):
    run, records = _queries(strategy, [2] * 8, stack=ODD)
    made = ~records.done
    assert np.isnan(records.class_dice[made][:, 0]).all()  # background is nowhere
    assert np.isfinite(records.class_dice[made][:, 1:]).all()
    assert np.isfinite(records.dice[made]).all()
    assert records.effort[made][-1] == 1 and records.dice[made][-1] == 1
    asked = _asked(records)
    assert len(set(asked)) == len(asked)
    assert not any(structure == 0 or structure == 3 for _, structure in asked)
    assert not np.asarray(run.state.annotated)[:, 0].any()
    np.testing.assert_array_equal(np.asarray(run.state.annotated)[:, 3], np.arange(COUNT) == 2)


def test_background_counts_where_asked():
    task, _, run, record = _begun("BDa")
    np.testing.assert_allclose(record.dice, record.class_dice[1:].mean(), rtol=1e-6)
    config = dataclasses.replace(PIXELWISE, count_background=True)
    record = _jit("begin", config)(
        run.learner.train, run.state, task, config=config, strategy="BDa"
    )[1]
    np.testing.assert_allclose(record.dice, record.class_dice.mean(), rtol=1e-6)
    assert record.loss == 0  # whoever trained knows it


def test_a_chunk_moves_nothing_between_host_and_device():
    task, priority, run, _ = _begun("HBDa")
    names = loop.alike("HBDa")
    chunk = functools.partial(_jit("run_queries"), config=PIXELWISE, strategies=names, count=2)
    values = {"which": 0, "target_dice": 2.0, "max_effort": 2.0}
    numbers = {name: jnp.asarray(value) for name, value in values.items()}
    chunk(run, priority, task, **numbers)  # constants of the program are moved when it is compiled
    with jax.transfer_guard("disallow"):
        run, records = chunk(run, priority, task, **numbers)
        run, records = chunk(run, priority, task, **numbers)
    assert not records.done.any()
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="transfer"):
        chunk(run, priority, task, **numbers | {"target_dice": 2.0})


def test_simulations_under_vmap():
    def one(key, stack):
        return loop.simulate(key, stack, "BDa", PIXELWISE, queries=2, params=_weights())[1]

    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    options = {"xla_backend_optimization_level": 0}
    together = jax.jit(jax.vmap(one, in_axes=(0, None)), compiler_options=options)(keys, STACK)
    for index in range(2):
        alone = _whole(PIXELWISE, key=index)[1]
        np.testing.assert_array_equal(together.section[index], alone.section)
        np.testing.assert_array_equal(together.structure[index], alone.structure)
        for field in ("effort", "dice", "dice_unclamped", "class_dice", "loss"):
            found, expected = getattr(together, field)[index], getattr(alone, field)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# The start.


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
