"""The loop: its pieces are the whole, what it asks, when it stops and what it records.

The network itself is tested elsewhere: but for the first tests, a pixelwise one stands in for it.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax.core import state
from al_jax.core.stack import make_stack
from al_jax.core.strategies import STRATEGIES, BDa, shares_program
from al_jax.learner.config import Config, changed, model_of
from al_jax.learner.learner import fit_initial
from al_jax.model.training import init_train_state
from al_jax.simulation import loop
from al_jax.simulation.prepare import prepare

COUNT, CLASSES = tiny.SHAPE[0], tiny.CLASSES
TRAINING = {"query_steps": 2, "crop": 32, "batch": 4, "optimiser": "sgd"}
SMALL = changed(Config(), TRAINING | {"initial_steps": 4, "downsampling": 1})
PIXELWISE = tiny.config(
    initial_steps=60,
    dropout_samples=2,
    learning_rate=0.05,
    dice_estimate="fit",
    query_learning_rate=0.3,  # fast, so that D is another one after each answer
    downsampling=1,
    **TRAINING,
)
STACK = tiny.stack()

STATIC = {
    fit_initial: ("loss", "steps"),
    loop.simulate: ("strategy", "queries"),
    loop.begin: ("strategy",),
    loop.run_queries: ("strategies", "count"),
}


@functools.cache
def _jitted(function, optimised):
    # Compilation is most of the time; what is asked, and when, needs no fast code.
    options = None if optimised else {"xla_backend_optimization_level": 0}
    return jax.jit(function, static_argnames=STATIC[function], compiler_options=options)


def _jit(function, config=PIXELWISE):
    return _jitted(function, config == SMALL)


@functools.cache
def _weights(network=tiny.Pixelwise):
    return tiny.weights(network(CLASSES))


@functools.cache
def _prepared(config=PIXELWISE, key=0, stack=STACK):
    return prepare(jax.random.key(key), stack, config)


@functools.cache
def _begun(strategy, config=PIXELWISE, key=0, stack=STACK):
    """(task, priority, run, record) of a strategy before its first query."""
    keys, task, annotation = _prepared(config, key, stack)
    method, model = STRATEGIES[strategy], model_of(config, CLASSES)
    network = init_train_state(keys.weights, model, _weights(config.network))
    losses, half = [], config.training.initial_steps // 2
    for first_step in (0, half):
        network, more = _jit(fit_initial, config)(
            keys.training,
            network,
            annotation,
            task.sections,
            config,
            loss=method.loss,
            first_step=first_step,
            steps=half,
        )
        losses.append(more)
    first = shares_program(method)[0]
    run, record = _jit(loop.begin, config)(network, annotation, task, config, strategy=first)
    record = record.replace(loss=jnp.concatenate(losses).mean())
    return task, loop.draw_priority(keys.priority, task.present, method), run, record


def _ask(
    strategy, run, config=PIXELWISE, *, count, peers=None, target_dice=2.0, max_effort=2.0, **start
):
    """`count` queries of a strategy after `run`, which may be None: from its start."""
    task, priority, begun, _ = _begun(strategy, config, **start)
    peers = shares_program(STRATEGIES[strategy]) if peers is None else peers
    return _jit(loop.run_queries, config)(
        begun if run is None else run,
        priority,
        task,
        config,
        strategies=peers,
        which=peers.index(STRATEGIES[strategy]),
        count=count,
        target_dice=target_dice,
        max_effort=max_effort,
    )


def _queries(
    strategy, counts, config=PIXELWISE, target_dice=2.0, max_effort=2.0, peers=None, **start
):
    """The run and all records of a strategy whose queries are asked in chunks of `counts`."""
    _, _, run, record = _begun(strategy, config, **start)
    records = [jax.tree.map(lambda leaf: leaf[None], record)]
    stop = {"target_dice": target_dice, "max_effort": max_effort}
    for count in counts:
        run, more = _ask(strategy, run, config, count=count, peers=peers, **stop, **start)
        records.append(more)
    return run, jax.tree.map(lambda *leaves: np.concatenate(leaves), *records)


def _assert_same(a, b):
    _assert_close(a, b, rtol=0, atol=0)


def _assert_close(a, b, rtol=1e-4, atol=1e-5):
    """Of two programs, which round as they like: all but floats is the same."""

    def same(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(x, y)

    jax.tree.map(same, a, b)


def _asked(records):
    made = ~np.asarray(records.done) & (np.asarray(records.section) >= 0)
    return list(zip(records.section[made].tolist(), records.structure[made].tolist(), strict=True))


@pytest.fixture(scope="module")
def finished():
    """Every candidate of the stack asked for, in an order drawn at random, and a few steps more."""
    return _queries("Rand", [2] * 12)


@functools.cache
def _whole(config, key=0):
    """`simulate` in one piece, two queries, from given weights."""
    start, weights = _prepared(config, key), _weights(config.network)
    return _jit(loop.simulate, config)(start, config, strategy=BDa, queries=2, params=weights)


@pytest.mark.parametrize(
    "config",
    [PIXELWISE, SMALL],
    ids=["pixelwise", "small"],
)
@pytest.mark.slow
def test_the_pieces_are_the_whole(config):
    # The initial training in two pieces, the queries one by one; and the pieces' compilation serves
    # four strategies at once, that of `simulate` the one.
    whole = _whole(config)
    assert whole[1].dice.shape == (3,)
    pieces = _queries("BDa", [1, 1], config)
    np.testing.assert_allclose(pieces[1].loss[0], whole[1].loss[0], rtol=1e-6)
    pieces[1].loss[0] = whole[1].loss[0]  # a mean of means, and one mean
    _assert_close(pieces, whole)


def test_chunks_of_any_length_are_the_same():
    _assert_close(_queries("BDa", [2, 2]), _queries("BDa", [1, 1, 1, 1], peers=(BDa,)))


@pytest.mark.slow
def test_simulate_draws_its_weights_from_the_key():
    simulate = functools.partial(_jit(loop.simulate), config=PIXELWISE, strategy=BDa, queries=2)
    last, records = simulate(_prepared())
    _assert_same(simulate(_prepared()), (last, records))
    other, _ = simulate(_prepared(key=1))
    assert not np.array_equal(
        last.learner.train.params["score"]["kernel"], other.learner.train.params["score"]["kernel"]
    )
    # The very weights that `init_train_state` draws.
    drawn = init_train_state(_prepared().keys.weights, model_of(PIXELWISE, CLASSES)).params
    _assert_close(simulate(_prepared(), params=drawn), (last, records))


ALWAYS = ("BDa", "KSDr", "Uniform")


@pytest.mark.parametrize(
    "strategy",
    [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in STRATEGIES],
)
def test_every_strategy_runs(strategy):
    run, records = _queries(strategy, [2])
    assert run.state.step == 2
    asked = _asked(records)
    assert len(set(asked)) == 2
    for field in (
        "effort_unique",
        "dice",
        "dice_unclamped",
        "class_dice",
        "class_dice_unclamped",
        "loss",
    ):
        assert np.isfinite(getattr(records, field)).all(), field
    assert np.isfinite(records.predicted_dice[1:]).all()
    assert (records.predicted_length[1:] >= PIXELWISE.query.min_effort).all()
    begun = _begun(strategy)[2]
    task = _begun(strategy)[0]
    for section, structure in asked:
        assert not begun.state.annotated[section, structure]
        assert run.state.annotated[section, structure]
        mask = np.asarray(task.truth[section] == structure)
        np.testing.assert_array_equal(np.asarray(run.state.labels[section])[mask], structure)
    uncertain = STRATEGIES[strategy].uncertainty is not None
    assert bool(np.asarray(run.learner.uncertainty).any()) == uncertain
    _assert_same(_queries(strategy, [2]), (run, records))


def test_strategies_share_start_and_network():
    names = {method: name for name, method in STRATEGIES.items()}
    groups = [[names[one] for one in shares_program(method)] for method in STRATEGIES.values()]
    beyond = {"BDr", "SDr", "KBDa", "KBDr", "KSDr"}
    assert {frozenset(g) for g in groups} == {
        frozenset({"BDa", "Da", "Rand", "Uniform", "RandC", "RandR", "Neighbour"} | beyond),
        frozenset({"SEr", "KSEr"}),
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


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["Rand", "HB"])
def test_one_compilation_for_all_is_each_alone(strategy):
    alone = _ask(strategy, None, count=2, peers=(STRATEGIES[strategy],))
    together, records = _queries(strategy, [2])
    _assert_close(alone, (together, jax.tree.map(lambda leaf: leaf[1:], records)))


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
    np.testing.assert_allclose(record.length, run.state.drawn_unique.sum())


def test_effort_is_what_was_traced_over_all_there_is(finished):
    run, records = finished
    task = _begun("Rand")[0]
    truth, inside = np.asarray(task.truth), np.asarray(task.sections.inside)
    total = 0
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[..., :-1], np.s_[..., 1:])):
        total += ((truth[first] != truth[second]) & inside[first] & inside[second]).sum()
    assert task.total == total
    length, effort = records.length[~records.done], records.effort_unique[~records.done]
    np.testing.assert_allclose(effort, np.cumsum(length) / total, rtol=1e-6)
    assert (np.diff(effort) >= 0).all() and (length >= 0).all()
    np.testing.assert_allclose(run.state.drawn_unique.sum() / total, effort[-1])
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
        records.effort_whole[~records.done], np.cumsum(own) / outlines.sum(), rtol=1e-6
    )


def test_everything_asked_is_the_truth(finished):
    run, records = finished
    made = np.flatnonzero(~records.done)
    last = made[-1]
    assert len(made) < len(records.done)  # there is a `done` record to look at
    assert records.done[last + 1 :].all() and not records.done[: last + 1].any()
    assert records.effort_unique[last] == 1
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


@pytest.mark.slow
def test_targets_stop_a_run(finished):
    records = finished[1]
    made = ~records.done
    for target in ("dice", "effort_unique"):
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
    run = _begun("BDa")[2]
    runs = [(run, None)]
    for _ in range(queries):
        run, records = _ask("BDa", run, config, count=1, peers=(BDa,))
        runs.append((run, jax.tree.map(lambda leaf: leaf[0], records)))
    return runs


def test_dice_history_of_fit():
    # D: the network's own Dice of what was traced, averaged over the sections where it was.
    before = None
    for run, _ in _step_by_step(PIXELWISE):
        assert before is None or (np.abs(before - run.learner.dice[0]) > 1e-3).sum() >= 2
        fit, labelled = np.asarray(run.learner.fit), np.asarray(run.learner.labelled)
        now = [fit[labelled[:, c], c].mean() if labelled[:, c].any() else 0 for c in range(CLASSES)]
        np.testing.assert_allclose(run.learner.dice[0], now, rtol=1e-6)
        np.testing.assert_allclose(
            run.learner.dice[1], now if before is None else before, rtol=1e-6
        )
        before = np.asarray(run.learner.dice[0])


@pytest.mark.slow
def test_dice_history_of_prospective():
    # D: of the asked structure, the reported Dice of the prediction just before the answer.
    config = changed(PIXELWISE, {"dice_estimate": "prospective"})
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
    alpha = PIXELWISE.query.alpha
    steps = _step_by_step(PIXELWISE)
    for (run, _), (after, record) in itertools.pairwise(steps):
        dice = alpha * run.learner.dice[0] + (1 - alpha) * run.learner.dice[1]
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
    assert records.effort_unique[made][-1] == 1 and records.dice[made][-1] == 1
    asked = _asked(records)
    assert len(set(asked)) == len(asked)
    assert not any(structure == 0 or structure == 3 for _, structure in asked)
    assert not np.asarray(run.state.annotated)[:, 0].any()
    np.testing.assert_array_equal(np.asarray(run.state.annotated)[:, 3], np.arange(COUNT) == 2)


def test_background_counts_where_asked():
    task, _, run, record = _begun("BDa")
    np.testing.assert_allclose(record.dice, record.class_dice[1:].mean(), rtol=1e-6)
    config = changed(PIXELWISE, {"count_background": True})
    begin = _jit(loop.begin)
    record = begin(run.learner.train, run.state, task, config, strategy=BDa)[1]
    np.testing.assert_allclose(record.dice, record.class_dice.mean(), rtol=1e-6)
    assert record.loss == 0  # whoever trained knows it


def test_a_chunk_moves_nothing_between_host_and_device():
    task, priority, run, _ = _begun("HBDa")
    chunk = functools.partial(
        _jit(loop.run_queries), strategies=shares_program(STRATEGIES["HBDa"]), count=2
    )
    values = {"config": PIXELWISE, "which": 0, "target_dice": 2.0, "max_effort": 2.0}
    numbers = jax.tree.map(jnp.asarray, values)
    chunk(run, priority, task, **numbers)  # constants of the program are moved when it is compiled
    with jax.transfer_guard("disallow"):
        run, records = chunk(run, priority, task, **numbers)
        run, records = chunk(run, priority, task, **numbers)
    assert not records.done.any()
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="transfer"):
        chunk(run, priority, task, **numbers | {"target_dice": 2.0})


@pytest.mark.slow
def test_simulations_under_vmap():
    def one(prepared):
        given = {"strategy": BDa, "queries": 2, "params": _weights()}
        return loop.simulate(prepared, PIXELWISE, **given)[1]

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), _prepared(key=0), _prepared(key=1))
    options = {"xla_backend_optimization_level": 0}
    together = jax.jit(jax.vmap(one), compiler_options=options)(both)
    for index in range(2):
        alone = _whole(PIXELWISE, key=index)[1]
        np.testing.assert_array_equal(together.section[index], alone.section)
        np.testing.assert_array_equal(together.structure[index], alone.structure)
        for field in ("effort_unique", "dice", "dice_unclamped", "class_dice", "loss"):
            found, expected = getattr(together, field)[index], getattr(alone, field)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
