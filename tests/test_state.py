"""What the method remembers and how an answer changes it, by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example import implied

from al_jax.core import state

# Three sections of three classes; class 2 is absent from the second, background from the third.
TRUTH = np.array(
    [
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2]],
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        [[1, 1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2]],
    ],
    np.int16,
)
INSIDE = np.ones(TRUTH.shape, bool)
EVERYWHERE = np.ones((3, 3), bool)
annotate = jax.jit(state.annotate, static_argnames="length")


def _start(in_range=EVERYWHERE, inside=INSIDE):
    return state.init_state(jax.random.key(0), inside, in_range)


def _answer(s, section, structure, truth=TRUTH, inside=INSIDE):
    """The true answer to one query."""
    return annotate(s, section, structure, truth[section] == structure, inside[section])


def _answers(s, pairs, **kwargs):
    for section, structure in pairs:
        s, _ = _answer(s, section, structure, **kwargs)
    return s


def test_nothing_is_annotated_at_first():
    inside = INSIDE.copy()
    inside[1, 0] = False
    s = _start(inside=inside)
    assert s.labels.dtype == jnp.int16 and (np.asarray(s.labels) == -1).all()
    assert s.annotated.dtype == bool and not s.annotated.any()
    np.testing.assert_array_equal(s.in_range, EVERYWHERE)
    np.testing.assert_array_equal(s.unlabelled, [12, 8, 12])
    np.testing.assert_array_equal(s.drawn_unique, [0, 0, 0])
    np.testing.assert_array_equal(state.boundary_matrix(s), np.zeros((3, 3)))
    assert not s.seen.any() and s.step == 0


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_an_answer_by_hand(wrap):
    s, effort = wrap(state.annotate)(_start(), 0, 1, TRUTH[0] == 1, INSIDE[0])
    assert effort == 4
    expected = np.full(TRUTH.shape, -1)
    expected[0, :2, 2:] = 1
    np.testing.assert_array_equal(s.labels, expected)
    np.testing.assert_array_equal(s.annotated, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(s.unlabelled, [8, 12, 12])
    np.testing.assert_array_equal(s.drawn_unique, [4, 0, 0])
    s, effort = wrap(state.annotate)(s, 0, 2, TRUTH[0] == 2, INSIDE[0])
    assert effort == 1  # three cracks around it, two of them traced with structure 1
    np.testing.assert_array_equal(s.unlabelled, [6, 12, 12])
    np.testing.assert_array_equal(s.drawn_unique, [5, 0, 0])
    np.testing.assert_array_equal(s.drawn_whole, [4 + 3, 0, 0])  # whole, whatever lay there
    s, effort = wrap(state.annotate)(s, 0, 0, TRUTH[0] == 0, INSIDE[0])
    assert effort == 0
    np.testing.assert_array_equal(s.labels[0], TRUTH[0])
    np.testing.assert_array_equal(s.unlabelled, [0, 12, 12])


@pytest.mark.parametrize(
    ("drawn", "unique", "whole"), [(None, 4, 4), (4.0, 4, 4), (1.0, 1, 1), (0.0, 0, 0), (8.0, 8, 4)]
)
def test_of_a_proposal_what_had_to_be_drawn_counts(drawn, unique, whole):
    """Of the whole outline the same share, of which there is no more than all."""
    s, effort = annotate(_start(), 0, 1, TRUTH[0] == 1, INSIDE[0], drawn=drawn)
    assert effort == 4
    np.testing.assert_allclose(s.drawn_unique, [unique, 0, 0])
    np.testing.assert_allclose(s.drawn_whole, [whole, 0, 0])


def test_where_nothing_was_left_to_draw_the_whole_outline_counts():
    s = _answers(_start(), [(0, 1), (0, 2)])
    after, effort = annotate(s, 0, 0, TRUTH[0] == 0, INSIDE[0], drawn=0.0)
    assert effort == 0  # its three cracks are shared
    np.testing.assert_allclose(after.drawn_unique - s.drawn_unique, [0, 0, 0])
    np.testing.assert_allclose(after.drawn_whole - s.drawn_whole, [3, 0, 0])


def test_boundary_matrix_by_hand():
    s = _answers(_start(), [(0, 1)])
    np.testing.assert_array_equal(state.boundary_matrix(s), np.diag([0, 4, 0]))
    s = _answers(s, [(0, 2), (1, 1)])
    np.testing.assert_array_equal(state.boundary_matrix(s), [[0, 0, 0], [0, 5, 2], [0, 2, 3]])
    # "Absent" (structure 2 on the second section, background on the third) pulls nothing down.
    s, effort = _answer(s, 1, 2)
    assert effort == 0 and s.annotated[1, 2]
    s, effort = _answer(s, 2, 0)
    assert effort == 0
    np.testing.assert_array_equal(state.boundary_matrix(s), [[0, 0, 0], [0, 5, 2], [0, 2, 3]])
    # Off the diagonal only the third section joins the first: the second shows structure 1 alone.
    s, effort = _answer(s, 2, 2)
    assert effort == 4
    s, effort = _answer(s, 2, 1)
    assert effort == 0
    np.testing.assert_allclose(
        state.boundary_matrix(s), [[0, 0, 0], [0, 14 / 3, 3], [0, 3, 3.5]], rtol=1e-6
    )
    # Background on the second section: six cracks, all shared with structure 1.
    s, effort = _answer(s, 1, 0)
    assert effort == 0
    np.testing.assert_allclose(
        state.boundary_matrix(s), [[6, 6, 0], [6, 14 / 3, 3], [0, 3, 3.5]], rtol=1e-6
    )


def test_an_absent_answer_changes_the_mask_alone():
    before = _answers(_start(), [(0, 1), (0, 2)])
    after, effort = _answer(before, 1, 2)
    assert effort == 0
    for name in ("labels", "unlabelled", "length_sum", "length_count", "drawn_unique", "in_range"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(after.annotated, [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(after.seen, [[0, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_neighbours_that_do_not_touch_count_as_zero():
    # Structures 1 and 2 share two cracks on the first section, none on the other: one on average.
    truth = TRUTH[:2].copy()
    truth[1] = [[1, 0, 0, 2], [1, 0, 0, 2], [1, 0, 0, 2]]
    s = state.init_state(jax.random.key(0), INSIDE[:2], EVERYWHERE[:2])
    s = _answers(s, [(0, 1), (0, 2), (1, 2), (1, 1)], truth=truth, inside=INSIDE[:2])
    b = state.boundary_matrix(s)
    assert b[1, 2] == b[2, 1] == 1
    np.testing.assert_array_equal(np.diag(b), [0, 3.5, 3])


def test_order_of_answers_does_not_change_the_averages():
    pairs = [(n, c) for n in range(3) for c in range(3)]
    expected = state.boundary_matrix(_answers(_start(), pairs))
    rng = np.random.default_rng(0)
    for _ in range(3):
        s = _answers(_start(), [pairs[i] for i in rng.permutation(9)])
        np.testing.assert_allclose(state.boundary_matrix(s), expected, rtol=1e-6)
        np.testing.assert_array_equal(s.labels, TRUTH)


def test_traced_pixels_keep_their_label():
    s = _answers(_start(), [(0, 1)])
    sloppy = np.zeros((3, 4), bool)
    sloppy[1:, 2:] = True  # runs over the lower half of structure 1
    s, effort = annotate(s, 0, 2, sloppy, INSIDE[0])
    np.testing.assert_array_equal(s.labels[0], [[-1, -1, 1, 1], [-1, -1, 1, 1], [-1, -1, 2, 2]])
    assert effort == 1
    np.testing.assert_array_equal(s.unlabelled, [6, 12, 12])


def test_a_mask_counts_inside_alone():
    inside = INSIDE.copy()
    inside[0, 2] = False
    s, effort = annotate(_start(inside=inside), 0, 2, TRUTH[0] >= 1, inside[0])
    np.testing.assert_array_equal(s.labels[0], [[-1, -1, 2, 2], [-1, -1, 2, 2], [-1] * 4])
    assert effort == 2
    np.testing.assert_array_equal(s.unlabelled, [4, 12, 12])


def test_crofton_effort():
    s, effort = annotate(_start(), 0, 1, TRUTH[0] == 1, INSIDE[0], length="crofton")
    # Four axial pairs; diagonal ones at the left (1 down-right, 2 down-left...) and below.
    labels, weight = TRUTH[0] == 1, {(0, 1): 8, (1, 0): 8, (1, 1): 8 * 2**0.5, (1, -1): 8 * 2**0.5}
    expected = 0.0
    for (dy, dx), w in weight.items():
        for y in range(3 - dy):
            for x in range(max(0, -dx), 4 - max(0, dx)):
                expected += (labels[y, x] != labels[y + dy, x + dx]) * np.pi / w
    np.testing.assert_allclose(effort, expected, rtol=1e-6)
    np.testing.assert_allclose(s.drawn_unique, [expected, 0, 0], rtol=1e-6)


def test_states_are_immutable():
    before = _start()
    kept = [np.array(x) for x in jax.tree.leaves(dataclasses.replace(before, key=jnp.zeros(())))]
    after, _ = _answer(before, 0, 1)
    now = jax.tree.leaves(dataclasses.replace(before, key=jnp.zeros(())))
    for old, new in zip(kept, now, strict=True):
        np.testing.assert_array_equal(old, new)
    assert after is not before
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.step = 3


def test_states_survive_a_scan():
    sections, structures = jnp.array([0, 0, 1]), jnp.array([1, 2, 1])

    def body(s, query):
        n, c = query
        return annotate(s, n, c, jnp.asarray(TRUTH)[n] == c, jnp.asarray(INSIDE)[n])

    scanned, efforts = jax.lax.scan(body, _start(), (sections, structures))
    np.testing.assert_array_equal(efforts, [4, 1, 6])
    looped = _answers(_start(), [(0, 1), (0, 2), (1, 1)])
    np.testing.assert_array_equal(scanned.labels, looped.labels)
    np.testing.assert_array_equal(state.boundary_matrix(scanned), state.boundary_matrix(looped))


def test_compatible_is_in_range_and_not_annotated():
    in_range = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1]], bool)
    s = _answers(_start(in_range), [(0, 1), (1, 1)])
    np.testing.assert_array_equal(state.compatible(s), [[1, 0, 1], [1, 0, 0], [0, 1, 1]])


def test_candidates_leave_out_the_implied_and_the_done():
    # First: one class is left, and implied. Second: both classes present are traced but background,
    # in range of nothing else. Third: untouched, so both classes in range may be asked for.
    in_range = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1]], bool)
    s = _answers(_start(in_range), [(0, 1), (0, 2)])
    np.testing.assert_array_equal(state.compatible(s)[0], [1, 0, 0])
    np.testing.assert_array_equal(state.candidates(s), [[0, 0, 0], [1, 1, 1], [0, 1, 1]])
    s = _answers(s, [(1, 0)])
    np.testing.assert_array_equal(state.candidates(s), [[0, 0, 0], [0, 1, 1], [0, 1, 1]])
    s = _answers(s, [(1, 1)])  # every pixel of the section is traced, whatever is still in range
    assert s.unlabelled[1] == 0
    np.testing.assert_array_equal(state.candidates(s), [[0, 0, 0], [0, 0, 0], [0, 1, 1]])


def test_a_section_of_one_class_in_range_is_implied_from_the_start():
    in_range = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 1]], bool)
    assert not state.candidates(_start(in_range))[0].any()


def test_a_fully_traced_section_has_no_candidate():
    # The only class left could still be two, but no pixel is left for either.
    s, _ = annotate(_start(), 1, 0, np.ones((3, 4), bool), INSIDE[1])
    np.testing.assert_array_equal(state.compatible(s)[1], [0, 1, 1])
    np.testing.assert_array_equal(state.candidates(s)[1], [0, 0, 0])
    assert not state.contradictions(s).any()


def test_one_pixel_left_is_enough_to_ask_and_to_contradict():
    truth = np.zeros_like(TRUTH)
    truth[1, 2, 3] = 1
    s = _answers(_start(), [(1, 0)], truth=truth)
    assert s.unlabelled[1] == 1
    np.testing.assert_array_equal(state.candidates(s)[1], [0, 1, 1])
    assert not state.contradictions(s).any()
    in_range = EVERYWHERE.copy()
    in_range[1] = [True, False, False]
    s = _answers(_start(in_range), [(1, 0)], truth=truth)
    np.testing.assert_array_equal(state.contradictions(s), [0, 1, 0])


def test_contradictions_are_pixels_that_nothing_fits():
    in_range = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 0]], bool)  # background left out by mistake
    s = _start(in_range)
    np.testing.assert_array_equal(state.contradictions(s), [0, 0, 1])
    s = _answers(s, [(0, 1)])
    np.testing.assert_array_equal(state.contradictions(s), [0, 0, 1])
    s = _answers(s, [(0, 2)])
    np.testing.assert_array_equal(state.contradictions(s), [1, 0, 1])


def test_nothing_is_left_after_the_whole_truth():
    s = _answers(_start(), [(n, c) for n in range(3) for c in range(3)])
    assert not state.candidates(s).any() and not state.contradictions(s).any()
    np.testing.assert_array_equal(s.unlabelled, 0)
    np.testing.assert_array_equal(s.drawn_unique, [5, 6, 4])


PRESENT = np.zeros((9, 4), bool)
PRESENT[3:6, 0] = True  # a run
PRESENT[[2, 7], 1] = True  # with a gap
PRESENT[0, 2] = True  # at the edge; class 3 is nowhere


@pytest.mark.parametrize(
    "margin, expected",
    [
        (0, [range(3, 6), range(2, 8), range(0, 1), range(0)]),
        (1, [range(2, 7), range(1, 9), range(0, 2), range(0)]),
        (3, [range(0, 9), range(0, 9), range(0, 4), range(0)]),
    ],
)
def test_ranges(margin, expected):
    found = np.asarray(state.ranges(PRESENT, margin))
    assert found.dtype == bool and found.shape == PRESENT.shape
    for c, sections in enumerate(expected):
        np.testing.assert_array_equal(np.flatnonzero(found[:, c]), list(sections))


def test_ranges_have_no_margin_by_default():
    np.testing.assert_array_equal(state.ranges(PRESENT), state.ranges(PRESENT, 0))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
@pytest.mark.parametrize("pair", [(-1, 1), (3, 1), (7, 1), (0, -1), (0, 3), (-1, -1)])
def test_what_does_not_exist_changes_nothing(pair, wrap):
    before = _answers(_start(), [(0, 1), (2, 2)])
    after, effort = wrap(state.annotate)(before, *pair, np.ones((3, 4), bool), INSIDE[0])
    assert effort == 0
    for name in ("labels", "annotated", "seen", "unlabelled", "length_sum", "length_count"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)
    np.testing.assert_array_equal(before.drawn_unique, after.drawn_unique)
    assert after.step == before.step == 2


def test_the_one_class_that_is_left_is_implied():
    in_range = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1]], bool)
    s = _start(in_range)
    np.testing.assert_array_equal(implied(s), [-1, 0, -1])
    s = _answers(s, [(0, 1), (0, 2), (2, 2)])
    np.testing.assert_array_equal(implied(s), [0, 0, 1])
    s = _answers(s, [(0, 0)])  # no pixel is left to be anything
    np.testing.assert_array_equal(implied(s), [-1, 0, 1])


def test_partial_labels_are_what_the_network_learns_from():
    in_range = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1]], bool)
    s = _answers(_start(in_range), [(0, 1)])
    found = state.partial_labels(s)
    np.testing.assert_array_equal(found.labels, s.labels)
    np.testing.assert_array_equal(found.compatible, [[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(found.in_range, in_range)
