"""Eqs. 5-9, the methods of the paper and others, on the example of `example`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example import DICE, ENTROPY, HINDSIGHT, PRIORITY, B, make_state

from al_jax.core import scores, state, strategies
from al_jax.core.evidence import make_evidence
from al_jax.core.losses import cross_entropy, partial_cross_entropy
from al_jax.core.strategies import STRATEGIES, BDa, Strategy

PAPER = ("BDa", "Da", "BDa_CE", "HBDa", "HDa", "HB", "H", "H_dropout", "Rand", "Uniform")
BEYOND = ("BDr", "SDr", "SEr", "KBDa", "KBDr", "KSDr", "KSEr")
BEYOND += ("Oracle", "Lengths", "RandC", "RandR", "Neighbour")
ALL = PAPER + BEYOND
# One of each kind; what is slow for all of them is tested for the others by `-m slow`.
KINDS = ("BDa", "HB", "Rand", "SDr", "Oracle")
ALL_BUT_SLOW = [n if n in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in ALL]


def ask(s, name, dice=None, *, uncertainty=None, priority=None, alpha=0.5, min_effort=1.0, **given):
    """A suggestion on what the example knows."""
    dice = jnp.asarray(DICE if dice is None else dice, jnp.float32)
    evidence = make_evidence(
        s,
        dice,
        alpha=alpha,
        uncertainty=uncertainty,
        priority=priority,
        min_effort=min_effort,
        hindsight=HINDSIGHT,
    )
    return strategies.suggest(s, evidence, STRATEGIES[name], **given)


suggest = jax.jit(ask, static_argnums=1)


def all_but(section: int) -> np.ndarray:
    """Pairs to exclude so that only one of the two sections is asked."""
    return np.tile(np.arange(2)[:, None] != section, 3)


def test_the_table_has_the_papers_ten_methods_and_more():
    assert tuple(STRATEGIES) == ALL
    labelled = {name for name, s in STRATEGIES.items() if s.loss is not partial_cross_entropy}
    assert labelled == {"BDa_CE"} and STRATEGIES["BDa_CE"].loss is cross_entropy
    assert {name for name, s in STRATEGIES.items() if s.dropout} == {"H_dropout"}
    drawn = {name for name, s in STRATEGIES.items() if s.draw is not None}
    assert drawn == {"Rand", "Uniform", "RandC", "RandR"}
    bounds = {name for name, s in STRATEGIES.items() if "hindsight" in s.reads}
    assert bounds == {"Oracle", "Lengths"}


BY_HAND = {
    # (1-D)/R: 1/16, 1/8 | 1/32, 1/24, 3/128
    "BDa": ((0, 2), 0.125),
    "BDa_CE": ((0, 2), 0.125),
    # (1-D)/B_cc: 1/32, 3/128 | 1/32, 1/24, 3/128
    "Da": ((1, 1), 1 / 24),
    # (1-D)H/R: .0075, .0025 | .00625, .00792, .00352
    "HBDa": ((1, 1), 0.5 * 0.19 / 12),
    # (1-D)H: .03, .015 | .05, .095, .1125
    "HDa": ((1, 2), 0.1125),
    # H/R: .03, .0033 | .025, .0158, .0047
    "HB": ((0, 0), 0.03),
    "H": ((1, 0), 0.2),
    "H_dropout": ((1, 0), 0.2),
    # The largest priority of a candidate.
    "Rand": ((1, 1), None),
    "Uniform": ((1, 1), None),
    # (1-D)/2/R, and what the other section gains, 1/2 of it if it is open and farther from an
    # answer: 1/32 1.5, 1/16 1.5 | 1/64 1.5, 1/48, 3/256 1.5
    "BDr": ((0, 2), 0.0625 * 1.5),
    # All ranges reach both ends of the stack, so that no section is at the end of a structure.
    "SDr": ((0, 2), 0.0625 * 1.5),
    # The root of what is uncertain in place of 1-D: .346, .141 | .447, .436, .387
    "SEr": ((0, 0), (0.12**0.5 + 0.5 * 0.2**0.5) / 8),
    "KSEr": ((0, 0), (0.12**0.5 + 0.5 * 0.2**0.5) / 8),
    # Nothing was corrected yet, so that all of R is expected to be drawn.
    "KBDa": ((0, 2), 0.125),
    "KBDr": ((0, 2), 0.0625 * 1.5),
    "KSDr": ((0, 2), 0.0625 * 1.5),
    # (1 - true Dice)/2 over true lengths: 1/80, 1/100 | 1/32, 1/200, 1/200
    "Oracle": ((1, 0), 1 / 32),
    # (1-D) over true lengths: 1/16, 3/40 | 1/32, 1/20, 1/40
    "Lengths": ((0, 2), 0.075),
    # Structure 1 has an answer; of the others the largest priority.
    "RandC": ((1, 2), 0.5),
    # Priority over R: .3/4, .1/6 | .2/8, .6/12, .5/32
    "RandR": ((0, 0), 0.075),
    # Structure 1 on the section beside the one where it was traced.
    "Neighbour": ((1, 1), 1.0),
}


def test_random_by_cost_has_odds_of_one_over_it():
    s = make_state()
    draw = STRATEGIES["RandR"].draw

    @jax.jit
    @jax.vmap
    def pick(key):
        found = ask(s, "RandR", priority=draw(key, 2, 3))
        return found.section * 3 + found.structure

    picked = np.asarray(pick(jax.random.split(jax.random.key(0), 2000)))
    odds = np.array([1 / 4, 0, 1 / 6, 1 / 8, 1 / 12, 1 / 32])
    np.testing.assert_allclose(
        np.bincount(picked, minlength=6) / 2000, odds / odds.sum(), atol=0.03
    )


def test_random_by_class_asks_for_all_structures_as_often():
    queries = _orders("RandC", jax.random.key(0), 8)
    for count in range(3, 13, 3):
        asked = np.bincount([c for _, c in queries[:count]], minlength=3)
        assert asked.max() - asked.min() <= 1


def test_bounds_need_hindsight():
    evidence = make_evidence(make_state(), jnp.asarray(DICE))
    with pytest.raises(ValueError, match="reads 'hindsight', which the evidence does not have"):
        strategies.suggest(make_state(), evidence, STRATEGIES["Oracle"])


@pytest.mark.parametrize("name", ALL)
def test_each_method_picks_by_hand(name):
    found = suggest(make_state(), name, uncertainty=ENTROPY, priority=PRIORITY)
    (section, structure), score = BY_HAND[name]
    assert (int(found.section), int(found.structure)) == (section, structure)
    assert bool(found.found)
    assert found.dice == [0.75, 0.5, 0.25][structure]
    if score is not None:
        np.testing.assert_allclose(found.score, score, rtol=1e-5)


@pytest.mark.parametrize("name", ["SEr", "KSEr"])
def test_a_proposal_of_a_long_outline_turns_the_choice(name):
    """The pair that `BY_HAND` has first costs twice as much, and another comes first."""
    proposed = np.full((2, 3), np.nan, np.float32)
    proposed[0, 0] = 1000
    known = {"uncertainty": ENTROPY, "proposed": jnp.asarray(proposed)}
    evidence = make_evidence(make_state(), jnp.asarray(DICE), **known)
    found = strategies.suggest(make_state(), evidence, STRATEGIES[name])
    assert (int(found.section), int(found.structure)) == (1, 0)
    np.testing.assert_allclose(found.score, (0.2**0.5 + 0.5 * 0.12**0.5) / 16, rtol=1e-5)


def test_proposals_are_for_strategies_with_an_uncertainty_and_a_scale():
    evidence = make_evidence(make_state(), jnp.asarray(DICE), uncertainty=ENTROPY)
    evidence = evidence.replace(proposed=jnp.ones((2, 3)))
    shown = {"gain": lambda e: e.proposed * 1.0, "cost": scores.unit}
    doubts = {"reads": ("uncertainty",), "uncertainty": lambda p, inside: p.sum((0, 1))}
    own = Strategy(**shown, **doubts, scale=scores.ellipsoid)
    assert strategies.proposes(own) and strategies.suggest(make_state(), evidence, own).found
    for given in ({**doubts}, {"scale": scores.ellipsoid}):
        with pytest.raises(ValueError, match="'proposed' is for one with an uncertainty"):
            strategies.suggest(make_state(), evidence, Strategy(**shown, **given))
    assert {n for n, s in STRATEGIES.items() if strategies.proposes(s)} == {"SEr", "KSEr"}


@pytest.mark.parametrize("name", ["BDa", "HBDa", "HB"])
def test_the_predicted_length_is_eq_5(name):
    found = suggest(make_state(), name, uncertainty=ENTROPY)
    assert found.left == {"BDa": 6, "HBDa": 12, "HB": 4}[name]


def test_alpha_weighs_the_last_dice():
    # With alpha = 1, D = 1/2 everywhere: the least effort wins, 4 px for structure 0.
    found = suggest(make_state(), "BDa", alpha=1.0)
    assert (found.section, found.structure, found.dice, found.left) == (0, 0, 0.5, 4)


def test_min_effort_keeps_shared_outlines_from_winning_for_free():
    shared = B.copy()
    shared[0, 1] = shared[1, 0] = 8.0  # nothing of structure 0 is left on the first section
    found = suggest(make_state(shared), "BDa")
    assert (found.section, found.structure, found.left) == (0, 0, 1.0)
    np.testing.assert_allclose(found.score, 0.25)
    found = suggest(make_state(shared), "BDa", min_effort=5.0)
    assert (found.section, found.structure, found.left) == (0, 2, 6.0)


def test_da_is_clipped_at_min_effort():
    short = B.copy()
    short[0, 0] = 0.25
    found = suggest(make_state(short), "Da")
    assert found.structure == 0
    np.testing.assert_allclose(found.score, 0.25)


@pytest.mark.parametrize("name", ALL)
def test_only_candidates_are_picked(name):
    # The first section has one class left (implied); the second shows structures 0 and 2 alone.
    s = make_state(annotated=((0, 1, 1), (0, 0, 0)), in_range=((1, 1, 1), (1, 0, 1)))
    uncertainty = np.array([[9, 9, 9], [0, 9, 0]], np.float32)
    priority = np.array([[0.9, 0.9, 0.9], [0.1, 0.9, 0.2]], np.float32)
    found = suggest(s, name, uncertainty=uncertainty, priority=priority)
    assert found.section == 1 and found.structure in (0, 2) and found.found
    assert np.isfinite(found.score)


@pytest.mark.parametrize("name", ALL)
def test_nothing_left_is_said(name):
    s = make_state(annotated=((0, 1, 1), (1, 1, 0)))
    assert not suggest(s, name, uncertainty=ENTROPY, priority=PRIORITY).found


def test_a_dice_that_is_not_known_counts_as_nothing():
    # Room 1 for structure 2: 1/6 on the first section.
    found = suggest(make_state(), "BDa", [[0.5, 0.5, np.nan], [1.0, 0.5, 0.0]])
    assert (found.section, found.structure, found.dice) == (0, 2, 0)
    np.testing.assert_allclose(found.score, 1 / 6, rtol=1e-6)


# Ties: structures of a score that is exactly the same, (1/2)/8 and (1/4)/4.
def test_ties_go_to_the_larger_room_for_improvement():
    dice = [[0.75, 0.5, 0.875]] * 2
    s = make_state(np.diag([4.0, 8.0, 2.0]), np.zeros((2, 3)))
    found = suggest(s, "BDa", dice)
    assert (found.section, found.structure) == (0, 1)
    assert found.score == 1 / 16
    # ... also where it lies on a later section.
    s = make_state(np.diag([4.0, 8.0, 2.0]), np.zeros((2, 3)), ((1, 0, 1), (1, 1, 1)))
    found = suggest(s, "BDa", dice)
    assert (found.section, found.structure) == (1, 1)


def test_ties_then_go_to_the_lower_section():
    dice = [[0.75, 0.5, 0.5]] * 2
    s = make_state(np.diag([4.0, 8.0, 8.0]), np.zeros((2, 3)), ((1, 0, 1), (1, 1, 1)))
    found = suggest(s, "BDa", dice)
    assert (found.section, found.structure) == (0, 2)


def test_ties_then_go_to_the_lower_class():
    s = make_state(np.diag([4.0, 8.0, 8.0]), np.zeros((2, 3)))
    found = suggest(s, "BDa", [[0.75, 0.5, 0.5]] * 2)
    assert (found.section, found.structure) == (0, 1)


@pytest.mark.parametrize("name", ["H", "H_dropout", "HB"])
def test_ties_of_entropy(name):
    dice = [[0.75, 0.5, 0.25]] * 2
    s = make_state(np.diag([8.0, 8.0, 8.0]), np.zeros((2, 3)), ((1, 1, 0), (1, 1, 1)))
    found = suggest(s, name, dice, uncertainty=np.full((2, 3), 0.5, np.float32))
    assert (found.section, found.structure) == (1, 2)


@functools.cache
def _draw(name, sections, structures):
    """The draw of a method's priority, compiled once a shape."""
    draw = STRATEGIES[name].draw
    return jax.jit(lambda key: draw(key, sections, structures))


def _orders(name, key, sections, structures=3, annotated=None):
    """The queries of a run in which every answer is one more pixel of a section."""
    shape = (sections, 1, structures)
    inside = jnp.ones(shape, bool)
    s = state.init_state(key, inside, jnp.ones((sections, structures), bool))
    answer = jax.jit(state.annotate)
    for n, c in annotated or ():
        s, _ = answer(s, n, c, (jnp.arange(structures) == c)[None], inside[n])
    priority = _draw(name, sections, structures)(key)
    assert priority.shape == (sections, structures) and priority.dtype == jnp.float32
    queries = []
    while (found := suggest(s, name, priority=priority)).found:
        n, c = int(found.section), int(found.structure)
        queries.append((n, c))
        s, _ = answer(s, n, c, (jnp.arange(structures) == c)[None], inside[n])
    return queries


def _longest_run(labelled):
    """The most consecutive sections without a label."""
    return max(map(len, "".join("x" if x else " " for x in labelled).split("x")))


def _by_section(queries):
    """The queried sections in order, each once; a section that comes back is an error."""
    sections = [n for i, (n, _) in enumerate(queries) if i == 0 or queries[i - 1][0] != n]
    assert len(sections) == len(set(sections)), "a section was left before it was done"
    return sections


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sections", [2, 7, 10])
def test_uniform_keeps_the_longest_unlabelled_run_shortest(seed, sections):
    queries = _orders("Uniform", jax.random.key(seed), sections)
    order = _by_section(queries)
    assert sorted(order) == list(range(sections))
    labelled = np.zeros(sections, bool)
    for n in order:
        runs = {}
        for m in np.flatnonzero(~labelled):
            labelled[m] = True
            runs[m] = _longest_run(labelled)
            labelled[m] = False
        assert runs[n] == min(runs.values()), (order, n)
        labelled[n] = True
    # Every structure of a section but the last, which is implied.
    assert len(queries) == len(set(queries)) == 2 * sections


def test_uniform_finishes_sections_that_were_begun_with():
    queries = _orders("Uniform", jax.random.key(0), 7, annotated=[(3, 0), (5, 1), (3, 2)])
    assert len(_by_section(queries)) == 6  # of section 3 one class is left, and implied


def test_uniform_takes_structures_and_ties_at_random():
    runs = [_orders("Uniform", jax.random.key(seed), 4) for seed in range(12)]
    assert len({tuple(_by_section(run)) for run in runs}) > 1
    assert {run[0][1] for run in runs} == {0, 1, 2}


@pytest.mark.parametrize("name", ["Rand", "Uniform"])
def test_the_same_key_gives_the_same_order(name):
    first, again, other = (_orders(name, jax.random.key(seed), 6) for seed in (1, 1, 2))
    assert first == again and first != other


def test_rand_is_uniform_over_the_candidates():
    s = make_state()
    draw = STRATEGIES["Rand"].draw

    @jax.jit
    @jax.vmap
    def pick(key):
        found = ask(s, "Rand", priority=draw(key, 2, 3))
        return found.section * 3 + found.structure

    picked = np.asarray(pick(jax.random.split(jax.random.key(0), 1000)))
    counts = np.bincount(picked, minlength=6)
    assert counts[1] == 0  # traced already
    counts = np.delete(counts, 1)
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # chi-square, 4 degrees of freedom, p = 0.001


def test_an_unknown_strategy_is_an_error():
    with pytest.raises(ValueError, match="strategy 'best' is not one of BDa, Da"):
        strategies.strategy_of("best")


def _pair(found):
    return int(found.section), int(found.structure)


def test_skipped_pairs_are_not_asked_for():
    # (1-D)/R: 1/16, -, 1/8 | 1/32, 1/24, 3/128
    exclude = np.zeros((2, 3), bool)
    order = [(0, 2), (0, 0), (1, 1), (1, 0), (1, 2)]
    for expected in order:
        found = suggest(make_state(), "BDa", exclude=exclude)
        assert _pair(found) == expected and found.found
        exclude[expected] = True
    assert not suggest(make_state(), "BDa", exclude=exclude).found


@pytest.mark.parametrize("name", ALL_BUT_SLOW)
def test_the_best_in_order_are_what_is_best_without_those_before(name):
    evidence = make_evidence(
        make_state(), jnp.asarray(DICE), uncertainty=ENTROPY, priority=PRIORITY, hindsight=HINDSIGHT
    )
    found = strategies.suggestions(make_state(), evidence, STRATEGIES[name], count=6)
    exclude = np.zeros((2, 3), bool)
    for place in range(5):
        one = ask(make_state(), name, uncertainty=ENTROPY, priority=PRIORITY, exclude=exclude)
        for field in ("section", "structure", "score", "dice", "left", "whole", "shared", "found"):
            np.testing.assert_array_equal(getattr(found, field)[place], getattr(one, field))
        exclude[_pair(one)] = True
    np.testing.assert_array_equal(found.found, [True] * 5 + [False])
    assert (np.diff(found.score[:5]) <= 0).all()


def test_a_suggestion_says_what_is_left_of_what_and_shared_with_whom():
    found = suggest(make_state(), "BDa")
    assert _pair(found) == (0, 2)
    assert (found.left, found.whole) == (6, 32)
    np.testing.assert_array_equal(found.shared, [0, 26, 0])
    found = suggest(make_state(), "BDa", exclude=all_but(1))
    assert _pair(found) == (1, 1)
    assert (found.left, found.whole) == (12, 12)
    np.testing.assert_array_equal(found.shared, [0, 0, 0])


def test_the_best_of_a_section():
    for section, expected in ((0, (0, 2)), (1, (1, 1))):
        assert _pair(suggest(make_state(), "BDa", exclude=all_but(section))) == expected
    exclude = np.array([[0, 0, 1], [1, 1, 1]], bool)
    assert _pair(suggest(make_state(), "BDa", exclude=exclude)) == (0, 0)
    answered = make_state(annotated=((0, 1, 1), (0, 0, 0)))
    assert not suggest(answered, "BDa", exclude=all_but(0)).found


def test_what_is_absent_spares_no_outline():
    # Structure 1 was answered on the first section, but is not there: of its outline nothing lies.
    s = make_state().replace(seen=jnp.zeros((2, 3), bool))
    found = suggest(s, "BDa", exclude=all_but(0))
    assert _pair(found) == (0, 0)  # (1/4)/8 before (3/4)/32
    assert (found.left, found.whole) == (8, 8)
    np.testing.assert_array_equal(found.shared, [0, 0, 0])


def _unknown(annotated=((0,) * 4,) * 7, in_range=None, known=()):
    """Seven sections, four classes; outlines are known of some classes alone."""
    count = np.zeros((4, 4), np.float32)
    count[list(known), list(known)] = 1
    s = make_state(np.diag([9.0, 4.0, 4.0, 4.0]), annotated, in_range)
    return s.replace(length_count=jnp.asarray(count))


def test_first_examples_are_asked_for_in_the_middle_of_the_ranges():
    in_range = np.zeros((7, 4), bool)
    in_range[:, 0] = True  # the middle is 3
    in_range[0:3, 1] = True  # 1
    in_range[3:7, 2] = True  # between 4 and 5: the lower
    in_range[2:5, 3] = True  # 3
    dice = np.zeros((2, 4))
    s, asked = _unknown(in_range=in_range), []
    exclude = np.zeros((7, 4), bool)
    for _ in range(4):
        found = suggest(s, "BDa", dice, exclude=exclude)
        assert found.example
        asked.append(_pair(found))
        exclude[_pair(found)[0], _pair(found)[1]] = True
        exclude[:, _pair(found)[1]] = True  # as if it had been answered, and were known
    # From section to section, and the background last on each.
    assert asked == [(1, 1), (3, 3), (3, 0), (4, 2)]
    # One that is skipped is asked for beside it.
    skip = np.zeros((7, 4), bool)
    skip[1, 1] = True
    assert _pair(suggest(s, "BDa", dice, exclude=skip)) == (0, 1)


def test_first_examples_that_share_a_section():
    in_range = np.zeros((7, 4), bool)
    in_range[:, 0] = in_range[1:6, 1] = in_range[4:7, 2] = in_range[0:2, 3] = True
    s, exclude, asked = _unknown(in_range=in_range), np.zeros((7, 4), bool), []
    nothing = np.zeros((2, 4))
    for _ in range(4):
        found = suggest(s, "SDr", nothing, exclude=exclude)
        assert found.example and found.found
        asked.append(_pair(found))
        exclude[:, _pair(found)[1]] = True  # as if it were known
    # Three classes may be on 1, 4 and 5, of which 4 is nearest the mean, 3; one is elsewhere.
    assert asked == [(0, 3), (4, 1), (4, 2), (4, 0)]
    # What one section has left is asked for there, although nothing else may be asked there.
    annotated = np.zeros((7, 4), bool)
    annotated[4, 1:3] = True
    s = _unknown(annotated, in_range, known=(1, 2, 3))
    found = suggest(s, "SDr", nothing)
    assert _pair(found) == (4, 0) and found.example and found.found
    assert not np.asarray(state.candidates(s))[4].any()
    skip = np.zeros((7, 4), bool)
    skip[4, 0] = True  # skipped there, it is asked for in the middle of its range
    assert _pair(suggest(s, "SDr", nothing, exclude=skip)) == (3, 0)


def test_of_few_sections_none_has_all_first_examples():
    ranges = np.ones((5, 4), bool)
    ranges[:4, 1] = False  # only on the last one
    s = _unknown(np.zeros((5, 4)), ranges)
    nowhere = jnp.zeros((5, 4), bool)
    found = np.asarray(state.shared_examples(s, nowhere))
    np.testing.assert_array_equal(found, state.central_examples(s, nowhere))
    assert found[2].tolist() == [True, False, True, True] and found[4, 1]


def test_the_best_in_order_have_one_first_example_a_structure():
    s = _unknown(known=(0,))
    evidence = make_evidence(s, jnp.zeros((2, 4)))
    found = strategies.suggestions(s, evidence, count=5)
    np.testing.assert_array_equal(found.structure, [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(found.section[:3], [3, 3, 3])
    np.testing.assert_array_equal(found.example, [True] * 3 + [False] * 2)


def test_the_middle_is_that_of_the_range_whatever_was_answered():
    annotated = np.zeros((7, 4))
    annotated[4:, 2] = 1  # absent there: the middle of what is left would be 1 or 2
    s = _unknown(annotated, known=(0, 1, 3)).replace(seen=jnp.zeros((7, 4), bool))
    assert _pair(suggest(s, "BDa", np.zeros((2, 4)))) == (3, 2)


def test_known_structures_wait_for_the_first_example_of_others():
    s = _unknown(known=(0, 1, 3))
    found = suggest(s, "BDa", np.zeros((2, 4)))
    assert _pair(found) == (3, 2) and found.example
    found = suggest(_unknown(known=range(4)), "BDa", np.zeros((2, 4)))
    assert not found.example
    # Where the middle was answered "absent", the next one is asked for.
    annotated = np.zeros((7, 4))
    annotated[3, 2] = 1
    s = _unknown(annotated, known=(0, 1, 3)).replace(seen=jnp.zeros((7, 4), bool))
    assert _pair(suggest(s, "BDa", np.zeros((2, 4)))) == (2, 2)


def test_a_priority_needs_no_first_examples():
    priority = np.arange(28.0, dtype=np.float32).reshape(7, 4)
    found = suggest(_unknown(), "Rand", np.zeros((2, 4)), priority=priority)
    assert _pair(found) == (6, 3) and not found.example


@pytest.mark.parametrize("name", ["Rand", "Uniform", "H", "HB", "HBDa"])
def test_what_a_strategy_lacks_is_said(name):
    with pytest.raises(ValueError, match=r"reads '(uncertainty|priority)', which the"):
        ask(make_state(), name)


def test_a_query_is_explained_as_any_pair_is():
    s = make_state()
    evidence = make_evidence(s, jnp.array([[0.9, 0.2, 0.4]] * 2))
    query = strategies.suggest(s, evidence)
    same = strategies.explain(s, evidence, query.section, query.structure)
    for name in ("section", "structure", "dice", "left", "whole", "shared", "example"):
        np.testing.assert_array_equal(getattr(same, name), getattr(query, name), name)
    answered = strategies.explain(s, evidence, 0, 1)  # whether it may be asked for or not
    assert bool(answered.found) and float(answered.whole) == float(B[1][1])


# What a researcher passes.


def _foreign(**changes):
    return dataclasses.replace(BDa, gain=lambda evidence: scores.room(evidence), **changes)


def test_strategies_that_train_alike_share_a_program():
    def shared(name):
        return {
            n for n, s in STRATEGIES.items() if s in strategies.shares_program(STRATEGIES[name])
        }

    assert shared("HB") == shared("H") == {"HBDa", "HDa", "HB", "H"}
    assert shared("BDa_CE") == {"BDa_CE"} and shared("H_dropout") == {"H_dropout"}
    assert shared("Oracle") == {"Oracle", "Lengths"}
    assert {"BDa", "SDr", "Rand", "Neighbour"} < shared("BDa")
    foreign = _foreign()
    assert strategies.shares_program(foreign) == (foreign,)
    assert foreign not in strategies.shares_program(BDa)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("boundary", scores.remaining),
        ("redrawn", lambda e: e.redrawn > 0.5),
        ("boundary", lambda e: scores.remaining(e.replace(boundary=e.boundary + 1))),
        ("hindsight", scores.true_remaining),
        ("uncertainty", scores.uncertainty),
    ],
)
def test_what_a_strategy_reads_it_has_to_say(name, read):
    evidence = make_evidence(
        make_state(), jnp.asarray(DICE), uncertainty=ENTROPY, hindsight=HINDSIGHT
    )
    silent = Strategy(scores.room, read, reads=("dice",))
    with pytest.raises(
        ValueError, match=r"reads dice \(.*; name in its `reads` all that"
    ) as caught:
        strategies.suggest(make_state(), evidence, silent)
    assert "\n" not in str(caught.value)
    needs = {"uncertainty": {"uncertainty": lambda p, inside: p.sum((0, 1))}}
    told = dataclasses.replace(silent, reads=("dice", name), **needs.get(name, {}))
    assert strategies.suggest(make_state(), evidence, told).found


def test_a_need_without_its_source_is_refused():
    for reads, says in (
        (("entropy",), "reads 'entropy' is not one of dice, boundary, redrawn, uncertainty"),
        (("uncertainty",), "reads 'uncertainty' needs its function"),
        (("priority",), "reads 'priority' needs a draw"),
    ):
        with pytest.raises(ValueError, match=says):
            Strategy(scores.room, scores.unit, reads=reads)


def test_a_scale_says_how_long_outlines_are():
    s = make_state()
    evidence = make_evidence(s, jnp.asarray(DICE))
    longer = jnp.array([[1.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    query = strategies.suggest(s, evidence, _foreign(scale=lambda evidence: longer))
    assert _pair(query) == (0, 2) and query.score == 0.125  # which goes by gain and cost alone
    assert (query.left, query.whole) == (12, 64)
    np.testing.assert_array_equal(query.shared, [0, 52, 0])
    np.testing.assert_array_equal(scores.equal_lengths(evidence), 1)
    # All ranges of the example reach both ends of the stack.
    np.testing.assert_array_equal(scores.ellipsoid(evidence), 1)
