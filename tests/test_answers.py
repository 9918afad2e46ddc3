"""A person's answers: what is refused, and what is said of the rest."""

import jax
import numpy as np
import pytest
from example import implied

from al_jax.core import answers, state, strategies
from al_jax.core.evidence import make_evidence
from al_jax.core.stack import InputError, make_images

# Section 7 shows structures a and b beside each other, section 12 a alone.
NAMES = ("background", "a", "b")
TRUTH = np.array(
    [
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2]],
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
    ]
)
INSIDE = np.ones(TRUTH.shape, bool)
INSIDE[1, 2] = False
IMAGES = make_images(np.zeros(TRUTH.shape, np.uint8), NAMES, INSIDE, sections=("s7", "s12"))
EVERYWHERE = np.ones((2, 3), bool)
KEY = jax.random.key(0)


def _fresh(in_range=EVERYWHERE):
    return state.init_state(KEY, INSIDE, np.asarray(in_range, bool))


def _true(section, structure):
    return TRUTH[section] == structure


def _refused(line, *args, s=None):
    with pytest.raises(InputError, match=line):
        answers.answer(_fresh() if s is None else s, IMAGES, *args)


def test_an_answer_is_that_of_the_simulator():
    expected, effort = state.annotate(_fresh(), 0, 1, _true(0, 1), INSIDE[0])
    found, report = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    jax.tree.map(np.testing.assert_array_equal, found.replace(key=0), expected.replace(key=0))
    assert report == answers.Report(effort=4.0, pixels=4, clipped={}, outside=0)
    assert float(effort) == report.effort


@pytest.mark.parametrize(
    ("section", "structure", "line"),
    [
        (2, 1, "there is no section 2; the 2 sections count from 0"),
        (-1, 1, "there is no section -1"),
        (0, 3, "there is no structure 3; the 3 classes count from 0"),
        (0, -1, "there is no structure -1"),
    ],
)
def test_what_does_not_exist_is_refused(section, structure, line):
    _refused(line, section, structure, _true(0, 1))


def test_a_pair_is_answered_once():
    s, _ = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    _refused("'a' on section s7 has been answered; withdraw", 0, 1, _true(0, 1), s=s)
    # "Absent" is an answer too.
    s, report = answers.answer(_fresh(), IMAGES, 1, 2, np.zeros((3, 4), bool))
    assert report == answers.Report(0.0, 0, {}, 0) and not s.seen.any()
    _refused("'b' on section s12 has been answered", 1, 2, _true(1, 2), s=s)


def test_outside_its_range_it_is_refused_until_the_range_is_widened():
    s = _fresh([[1, 1, 0], [1, 1, 1]])
    _refused("'b' on section s7 is outside the range of 'b'; widen", 0, 2, _true(0, 2), s=s)
    s = answers.set_range(s, IMAGES, 2, (0, None))
    s, report = answers.answer(s, IMAGES, 0, 2, _true(0, 2))
    assert report.pixels == 2 and s.labels[0, 2, 2] == 2


@pytest.mark.parametrize("mask", [np.ones((4, 3), bool), np.ones((3, 4), np.uint8)])
def test_a_mask_has_the_sections_shape_and_is_boolean(mask):
    _refused(
        r"'a' on section s7: the mask is \w+ of \[\d, \d\]; give booleans of \[3, 4\]", 0, 1, mask
    )


def test_what_is_clipped_is_counted_by_name():
    s, _ = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    sloppy = np.zeros((3, 4), bool)
    sloppy[1:, 1:] = True  # 2 px of background, 2 of a, and b
    s, report = answers.answer(s, IMAGES, 0, 2, sloppy)
    # Two cracks to its left and one above it; three more are shared with a, and traced.
    assert report == answers.Report(3.0, 4, {"a": 2}, 0)
    np.testing.assert_array_equal(s.labels[0], [[-1, -1, 1, 1], [-1, 2, 1, 1], [-1, 2, 2, 2]])


def test_what_lies_beyond_the_image_is_counted():
    mask = np.zeros((3, 4), bool)
    mask[1:, 1:3] = True
    _, report = answers.answer(_fresh(), IMAGES, 1, 1, mask)
    assert report == answers.Report(4.0, 2, {}, 2)  # beside and above: what is below is no crack


def test_a_mask_of_nothing_free_is_not_absent():
    s, _ = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    _refused("nothing is left of the mask, which lies on 4 px of 'a'; corr", 0, 2, _true(0, 1), s=s)
    beyond = ~INSIDE[1]
    _refused("which lies on 4 px beyond the image", 1, 2, beyond)


def test_pixels_of_no_class_are_refused_and_a_wider_range_takes_them():
    # a and background are all that may be on s12; with a traced, the rest must be background.
    s = _fresh([[1, 1, 1], [1, 1, 0]])
    s, _ = answers.answer(s, IMAGES, 1, 1, _true(1, 1))
    np.testing.assert_array_equal(implied(s), [-1, 0])
    corner = np.zeros((3, 4), bool)
    corner[:2, 0] = True
    _refused("2 px of the section would be of no class", 1, 0, corner, s=s)
    # Somebody sees b there: its range is widened, and the section is open again.
    s = answers.set_range(s, IMAGES, 2, (0, 1))
    np.testing.assert_array_equal(implied(s), [-1, -1])
    s, _ = answers.answer(s, IMAGES, 1, 0, corner)
    np.testing.assert_array_equal(implied(s), [-1, 2])
    answers.check_state(s, IMAGES)


def test_absent_leaves_no_pixels_of_no_class():
    """Where all others are answered, what is left must be of the last."""
    s = _fresh([[1, 1, 1], [1, 1, 0]])
    nothing = np.zeros((3, 4), bool)
    s, _ = answers.answer(s, IMAGES, 1, 1, _true(1, 1))
    _refused("4 px of the section would be of no class", 1, 0, nothing, s=s)
    s = answers.set_range(s, IMAGES, 2, (0, 1))
    s, report = answers.answer(s, IMAGES, 1, 0, nothing)  # they may be of b now
    assert report.pixels == 0
    _refused("4 px of the section would be of no class", 1, 2, nothing, s=s)


def test_a_range_keeps_what_was_traced_and_every_section_a_class():
    s, _ = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    with pytest.raises(InputError, match="'a' was traced on section s7, outside its new range"):
        answers.set_range(s, IMAGES, 1, (1, None))
    s = _fresh([[1, 0, 0], [1, 1, 1]])
    with pytest.raises(InputError, match="section s7 has 12 unlabelled pixels that can be of no"):
        answers.set_range(s, IMAGES, 0, (1, 1))
    found = answers.set_range(_fresh(), IMAGES, 1, (None, 0))
    np.testing.assert_array_equal(found.in_range, [[1, 1, 1], [1, 0, 1]])


LONG = make_images(np.zeros((6, 2, 2), np.uint8), NAMES)


@pytest.mark.parametrize(
    ("span", "margin", "sections"),
    [
        ((1, 3), 0, [1, 2, 3]),
        ((None, 2), 0, [0, 1, 2]),
        ((4, None), 0, [4, 5]),
        ((None, None), 0, [0, 1, 2, 3, 4, 5]),
        ((2, 2), 0, [2]),
        ((2, 2), 1, [1, 2, 3]),
        ((0, 4), 2, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_ranges_as_a_person_gives_them(span, margin, sections):
    found = answers.given_ranges({"a": span}, LONG, margin)
    assert found.dtype == bool
    np.testing.assert_array_equal(np.flatnonzero(found[:, 1]), sections)
    assert found[:, [0, 2]].all()  # nothing was said of them


@pytest.mark.parametrize(
    ("spans", "line"),
    [
        ({"c": (0, 1)}, "'c' is no class; use background, a, b"),
        ({"a": (0, 6)}, "'a': there is no section 6; they go from 0 to 5"),
        ({"a": (-1, 3)}, "'a': there is no section -1"),
        ({"a": (3, 2)}, "'a': the last section 2 comes before the first, 3"),
        ({n: (1, 5) for n in NAMES}, "section 0 is in the range of no class"),
    ],
)
def test_ranges_that_cannot_be(spans, line):
    with pytest.raises(InputError, match=line):
        answers.given_ranges(spans, LONG)


def test_check_state_names_what_does_not_fit():
    answers.check_state(_fresh(), IMAGES)
    s = _fresh([[1, 1, 0], [1, 1, 1]])
    beyond, _ = state.annotate(s, 0, 2, _true(0, 2), INSIDE[0])
    with pytest.raises(InputError, match="'b' was traced on section s7, outside its range"):
        answers.check_state(beyond, IMAGES)
    s, _ = state.annotate(s, 0, 0, _true(0, 1), INSIDE[0])
    answers.check_state(s, IMAGES)
    s, _ = state.annotate(s, 0, 1, np.zeros((3, 4), bool), INSIDE[0])
    with pytest.raises(InputError, match="section s7 has 8 unlabelled pixels"):
        answers.check_state(s, IMAGES)


def test_a_state_of_another_stack_is_refused():
    other = make_images(np.zeros(TRUTH.shape, np.uint8), (*NAMES, "c"))
    with pytest.raises(InputError, match=r"of .* \[2, 3, 4, 3\], the images of \[2, 3, 4, 4\]"):
        answers.answer(_fresh(), other, 0, 3, _true(0, 1))
    with pytest.raises(InputError, match="give the images that the state was made of"):
        answers.set_range(_fresh(), other, 3, (0, 1))


def test_an_outline_may_be_measured_by_crofton():
    _, effort = state.annotate(_fresh(), 0, 1, _true(0, 1), INSIDE[0], length="crofton")
    _, report = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1), length="crofton")
    assert report.effort == pytest.approx(float(effort)) and report.effort != 4
    with pytest.raises(InputError, match="length 'miles' is not one of crack, crofton"):
        answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1), length="miles")


def test_a_range_may_leave_out_where_the_structure_was_absent():
    s, _ = answers.answer(_fresh(), IMAGES, 1, 2, np.zeros((3, 4), bool))
    s = answers.set_range(s, IMAGES, 2, (0, 0))
    np.testing.assert_array_equal(s.in_range[:, 2], [True, False])


# Questions in words.


def test_a_question_says_why():
    s = _fresh()
    query = strategies.suggest(s, make_evidence(s, np.zeros((2, 3))))
    assert answers.describe(query, IMAGES) == [
        "'a' on section s7: a first example, as no outline of it is known"
    ]
    for pair in ((0, 1), (0, 2), (1, 0)):
        s, _ = answers.answer(s, IMAGES, *pair, _true(*pair))
    # Whole outlines: a 4, b 3, of which 2 shared; the background of s12 has 4 + 2 on its edges.
    dice = np.array([[0.5, 0.25, 0.125]] * 2)
    evidence = make_evidence(s, dice)
    assert answers.describe(strategies.suggestions(s, evidence, count=9), IMAGES) == [
        "'b' on section s12: expected Dice 0.12, 3 of 3 px of outline left",
        "'a' on section s12: expected Dice 0.25, 4 of 4 px of outline left",
    ]
    s, _ = answers.answer(_fresh(), IMAGES, 0, 1, _true(0, 1))
    s = s.replace(
        length_sum=np.array([[6, 2, 0], [2, 4, 2], [0, 2, 3.0]]), length_count=np.ones((3, 3))
    )
    elsewhere = np.array([[False] * 3, [True] * 3])
    query = strategies.suggest(s, make_evidence(s, dice), exclude=elsewhere)
    assert answers.describe(query, IMAGES) == [
        "'b' on section s7: expected Dice 0.12, 1 of 3 px of outline left (2 px along 'a')"
    ]
    # Nothing is asked where nothing is found.
    assert answers.describe(query.replace(found=np.array(False)), IMAGES) == []
