"""Boundary lengths (2.2): hand counts, an independent count, additivity in any order of answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import measure

from al_jax.core import boundary, state

AXIAL = np.pi / 8
DIAGONAL = np.pi / (8 * np.sqrt(2))
LENGTHS = ("crack", "crofton")

# Three classes and no hole. Cracks: 0-1 six, 0-2 six, 1-2 two; diagonal pairs: nine, seven, three.
PLAIN = np.array(
    [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 2, 0],
        [0, 0, 2, 2, 0],
        [0, 0, 0, 0, 0],
    ],
    np.int16,
)
# -1 is not annotated yet; the 2 x 2 block of sevens (any value will do) is off the slide.
HOLED = np.array(
    [
        [0, 0, 1, 1, 1],
        [0, 0, 1, -1, -1],
        [7, 7, 1, -1, 2],
        [7, 7, 2, 2, 2],
        [0, 0, 2, 2, 2],
    ],
    np.int16,
)


@functools.cache
def _jitted(num_classes, length):
    """shared_lengths compiled once a class count and kind of length."""
    return jax.jit(
        lambda labels, inside: boundary.shared_lengths(labels, inside, num_classes, length)
    )


def _reference(labels, inside, num_classes, length):
    """[C, C] lengths, one pixel pair at a time."""
    steps = [(0, 1, 1.0), (1, 0, 1.0)]
    if length == "crofton":
        steps = [(0, 1, AXIAL), (1, 0, AXIAL), (1, 1, DIAGONAL), (1, -1, DIAGONAL)]
    height, width = labels.shape
    out = np.zeros((num_classes, num_classes))
    for y in range(height):
        for x in range(width):
            for dy, dx, weight in steps:
                v, u = y + dy, x + dx
                if not (0 <= v < height and 0 <= u < width and inside[y, x] and inside[v, u]):
                    continue
                a, b = labels[y, x], labels[v, u]
                if a == b:
                    continue
                for c in (a, b):
                    if c >= 0:
                        out[c, c] += weight
                if a >= 0 and b >= 0:
                    out[a, b] += weight
                    out[b, a] += weight
    return out


def _totals(truth, inside, length):
    """[N] outlines of all sections."""
    return np.asarray(jax.vmap(lambda t, i: boundary.total_length(t, i, length))(truth, inside))


def _random_map(rng, shape=(6, 7), num_classes=4, unlabelled=True):
    labels = rng.integers(-1 if unlabelled else 0, num_classes, shape).astype(np.int16)
    return labels, rng.random(shape) < 0.85


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: jax.jit(f, static_argnums=(2, 3))])
def test_hand_counted_cracks(wrap):
    lengths = wrap(boundary.shared_lengths)
    plain = lengths(PLAIN, np.ones((5, 5), bool), 3, "crack")
    np.testing.assert_array_equal(plain, [[12, 6, 6], [6, 8, 2], [6, 2, 8]])
    assert plain.dtype == jnp.float32
    holed = lengths(HOLED, HOLED != 7, 3, "crack")
    np.testing.assert_array_equal(holed, [[3, 2, 1], [2, 7, 1], [1, 1, 5]])


def test_hand_counted_crofton():
    lengths = _jitted(3, "crofton")(PLAIN, np.ones((5, 5), bool))
    pairs = {(0, 1): (6, 9), (0, 2): (6, 7), (1, 2): (2, 3)}
    expected = np.zeros((3, 3))
    for (a, b), (axial, diagonal) in pairs.items():
        expected[a, b] = expected[b, a] = axial * AXIAL + diagonal * DIAGONAL
    np.fill_diagonal(expected, expected.sum(1))
    np.testing.assert_allclose(lengths, expected, rtol=1e-6)


def test_crack_is_the_default():
    inside = np.ones((5, 5), bool)
    np.testing.assert_array_equal(
        boundary.shared_lengths(PLAIN, inside, 3),
        boundary.shared_lengths(PLAIN, inside, 3, "crack"),
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_agrees_with_an_independent_count(length):
    rng = np.random.default_rng(0)
    for _ in range(10):
        labels, inside = _random_map(rng)
        found = np.asarray(_jitted(4, length)(labels, inside))
        np.testing.assert_allclose(found, _reference(labels, inside, 4, length), rtol=1e-5)
        np.testing.assert_allclose(found, found.T, rtol=1e-6)  # its sums go either way


@pytest.mark.parametrize("length", LENGTHS)
def test_outline_lengths_are_the_diagonal_of_shared_lengths(length):
    rng = np.random.default_rng(2)
    own = jax.jit(boundary.outline_lengths, static_argnums=(2, 3))
    for _ in range(10):
        labels, inside = _random_map(rng)
        expected = np.diagonal(_reference(labels, inside, 4, length))
        np.testing.assert_allclose(own(labels, inside, 4, length), expected, rtol=1e-5, atol=1e-5)
    labels, inside = _random_map(rng, (500, 500), 3)
    expected = np.diagonal(_jitted(3, length)(labels, inside))
    np.testing.assert_allclose(own(labels, inside, 3, length), expected, rtol=1e-6)
    plain = boundary.outline_lengths(PLAIN, np.ones((5, 5), bool), 3)
    np.testing.assert_array_equal(plain, [12, 8, 8])
    assert plain.dtype == jnp.float32


def test_whatever_lies_outside_does_not_count():
    rng = np.random.default_rng(1)
    labels, inside = _random_map(rng)
    other = np.where(inside, labels, rng.integers(-1, 4, labels.shape)).astype(np.int16)
    for length in LENGTHS:
        count = _jitted(4, length)
        np.testing.assert_array_equal(count(labels, inside), count(other, inside))


def test_crofton_of_one_object_is_scikit_images():
    y, x = np.mgrid[:24, :24]
    disc = ((y - 11.3) ** 2 + (x - 12.1) ** 2 < 8.5**2).astype(np.int16)
    found = _jitted(2, "crofton")(disc, np.ones_like(disc, bool))
    assert found[1, 1] == pytest.approx(measure.perimeter_crofton(disc, directions=4), rel=1e-5)
    assert found[1, 1] == pytest.approx(2 * np.pi * 8.5, rel=0.05)


def test_crack_of_one_object_is_its_changes_along_rows_and_columns():
    mask = np.random.default_rng(2).random((6, 7)) < 0.5
    changes = sum(np.abs(np.diff(mask.astype(int), axis=axis)).sum() for axis in (0, 1))
    labels = np.where(mask, 3, 1).astype(np.int16)
    assert _jitted(4, "crack")(labels, np.ones_like(mask))[3, 3] == changes


def test_classes_sum_to_twice_the_cracks():
    rng = np.random.default_rng(3)
    for _ in range(5):
        labels, inside = _random_map(rng, unlabelled=False)
        cracks = 0
        for axis in (0, 1):
            differ = np.diff(labels, axis=axis) != 0
            rows = np.take(inside, range(inside.shape[axis] - 1), axis)
            cracks += (differ & rows & np.take(inside, range(1, inside.shape[axis]), axis)).sum()
        lengths = np.asarray(_jitted(4, "crack")(labels, inside))
        assert np.trace(lengths) == 2 * cracks
        np.testing.assert_array_equal(np.diag(lengths), lengths.sum(1) - np.diag(lengths))
        assert boundary.total_length(labels, inside) == cracks


@pytest.mark.parametrize("length", LENGTHS)
def test_permuting_the_classes_permutes_the_lengths(length):
    rng = np.random.default_rng(4)
    labels, inside = _random_map(rng)
    order = np.array([2, 0, 3, 1])
    renamed = np.where(labels >= 0, order[labels], -1).astype(np.int16)
    before = np.asarray(_jitted(4, length)(labels, inside))
    after = np.asarray(_jitted(4, length)(renamed, inside))
    np.testing.assert_allclose(after[np.ix_(order, order)], before, rtol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_vmapped_is_looped(length):
    rng = np.random.default_rng(5)
    maps, insides = map(np.stack, zip(*(_random_map(rng) for _ in range(3)), strict=True))
    f = _jitted(4, length)
    looped = [f(m, i) for m, i in zip(maps, insides, strict=True)]
    np.testing.assert_array_equal(jax.vmap(f)(maps, insides), np.stack(looped))


@pytest.mark.parametrize("length", LENGTHS)
def test_total_is_every_pair_once_in_each_section(length):
    rng = np.random.default_rng(6)
    maps, insides = map(
        np.stack, zip(*(_random_map(rng, unlabelled=False) for _ in range(3)), strict=True)
    )
    maps = np.where(insides, maps, -1).astype(np.int16)
    total = _totals(maps, insides, length)
    expected = [
        np.trace(_reference(m, i, 4, length)) / 2 for m, i in zip(maps, insides, strict=True)
    ]
    np.testing.assert_allclose(total, expected, rtol=1e-5)


SECTIONS, HEIGHT, WIDTH, CLASSES = 2, 6, 7, 4
_annotate = {
    length: jax.jit(functools.partial(state.annotate, length=length)) for length in LENGTHS
}


def _trace(truth, inside, order, length):
    """The efforts of answering the pairs (section, class) of `order`, and the last state."""
    s = state.init_state(jax.random.key(0), inside, jnp.ones((SECTIONS, CLASSES), bool))
    efforts = []
    for n, c in order:
        s, effort = _annotate[length](s, n, c, (truth[n] == c) & inside[n], inside[n])
        efforts.append(float(effort))
    return efforts, s


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**16),
    order=st.permutations([(n, c) for n in range(SECTIONS) for c in range(CLASSES)]),
    length=st.sampled_from(LENGTHS),
)
def test_efforts_add_up_to_the_total_in_any_order(seed, order, length):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, (SECTIONS, HEIGHT, WIDTH)).astype(np.int16)
    truth[1] = np.where(truth[1] == seed % CLASSES, (seed + 1) % CLASSES, truth[1])  # absent there
    inside = rng.random(truth.shape) < 0.9
    truth = np.where(inside, truth, -1).astype(np.int16)
    total = _totals(truth, inside, length)
    efforts, last = _trace(truth, inside, order, length)
    assert min(efforts) >= -1e-4
    # What a section's last class has left is already traced: it is implied, at no effort.
    for n in range(SECTIONS):
        assert [e for e, (m, _) in zip(efforts, order, strict=True) if m == n][-1] == pytest.approx(
            0, abs=1e-4
        )
    if length == "crack":
        assert sum(efforts) == total.sum()
        np.testing.assert_array_equal(last.drawn_unique, total)
    else:
        np.testing.assert_allclose(sum(efforts), total.sum(), rtol=1e-5)
        np.testing.assert_allclose(last.drawn_unique, total, rtol=1e-5)


# B of three structures: Eq. 5 by hand.
B = np.array([[8.0, 4.0, 2.0], [4.0, 12.0, 26.0], [2.0, 26.0, 32.0]], np.float32)


@pytest.mark.parametrize(
    "annotated, structure, expected",
    [
        ((0, 0, 0), 0, 8.0),
        ((0, 0, 0), 2, 32.0),
        ((0, 1, 0), 0, 4.0),  # 8 - 4
        ((0, 1, 0), 2, 6.0),  # 32 - 26
        ((1, 1, 0), 2, 4.0),  # 32 - 2 - 26
        ((0, 0, 1), 1, 1.0),  # 12 - 26 is clipped at one pixel
    ],
)
def test_remaining_effort_by_hand(annotated, structure, expected):
    found = boundary.remaining_effort(jnp.asarray(B), jnp.asarray(annotated, bool))
    assert found.shape == (3,)
    assert found[structure] == expected


def test_remaining_effort_is_clipped_at_min_effort():
    none = jnp.zeros(3, bool)
    np.testing.assert_array_equal(boundary.remaining_effort(jnp.asarray(B), none, 9.0), [9, 12, 32])
    zero = boundary.remaining_effort(jnp.zeros((3, 3)), none, min_effort=0.5)
    np.testing.assert_array_equal(zero, [0.5, 0.5, 0.5])


def test_remaining_effort_is_no_product_of_rounded_lengths():
    traced = jax.make_jaxpr(boundary.remaining_effort)(jnp.ones((3, 3)), jnp.ones(3, bool))
    (product,) = [e for e in traced.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


def _cracks(mask, free):
    """(y, x, side) of the cracks of a mask between free pixels, one pixel pair at a time.

    Sides, of which there are four, are far from each other.
    """
    found = []
    for (y, x), own in np.ndenumerate(mask):
        for dy, dx in ((0, 1), (1, 0)):
            v, u = y + dy, x + dx
            if v < mask.shape[0] and u < mask.shape[1] and free[y, x] and free[v, u]:
                side = 100 * (2 * dy + own)
                found += [(y + dy / 2, x + dx / 2, side)] if own != mask[v, u] else []
    return np.array(found).reshape(-1, 3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), tolerance=st.sampled_from([0, 1, 2]))
def test_kept_length_counts_cracks_near_those_of_the_proposal(seed, tolerance):
    mask, proposal = np.random.default_rng(seed).random((2, 6, 9)) < 0.2
    free = np.random.default_rng(seed + 1).random((6, 9)) < 0.9
    own, other = _cracks(mask, free), _cracks(proposal, free)
    distance = np.linalg.norm(own[:, None] - other[None], axis=-1)
    expected = (distance <= tolerance).any(1).sum() if len(other) else 0
    kept = jax.jit(boundary.kept_length, static_argnames="tolerance")
    assert float(kept(mask, proposal, free, tolerance=tolerance)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_a_correction_without_tolerance_is_the_answer(seed):
    odds = np.array([0.3, 0.3, 0.9])[:, None, None]
    mask, proposal, free = np.random.default_rng(seed).random((3, 6, 9)) < odds
    np.testing.assert_array_equal(boundary.corrected(mask, proposal, free, 0), mask)


def test_a_correction_leaves_what_is_near_enough():
    """A bar of rows 2 to 5; the proposal is a row too high on the left, and three on the right."""
    mask, proposal = np.zeros((2, 9, 12), bool)
    mask[2:6, 1:11] = True
    proposal[1:6, 1:6] = proposal[5:6, 6:11] = True
    free = np.ones(mask.shape, bool)
    found = np.asarray(boundary.corrected(mask, proposal, free, 1))
    expected = mask.copy()
    expected[1, 1:6] = True  # a row too high, and left so
    np.testing.assert_array_equal(found[:, :5], expected[:, :5])
    np.testing.assert_array_equal(found[:, 8:10], mask[:, 8:10])  # three rows off: drawn
    # What was traced before stays out of it.
    np.testing.assert_array_equal(boundary.corrected(mask, proposal, ~free, 1), mask)


EDGE = 9 * ["######...."]
TONGUE = [*4 * [".........."], "########..", *4 * [".........."]]
AT_2 = ["######....", "######....", "######....", "####......", "########.."]
AT_3 = ["####......", "###.......", "###.......", "###.......", "########.."]


@pytest.mark.parametrize(
    "tolerance, kept, expected",
    [(1, 0, EDGE), (2, 1, [*AT_2, *AT_2[3::-1]]), (3, 5, [*AT_3, *AT_3[3::-1]])],
)
def test_a_correction_takes_the_proposal_within_the_tolerance_alone(tolerance, kept, expected):
    """Cracks on column 5 | 6, and one of a proposal on 7 | 8 of row 4, 2 px from the nearest.

    Within 2 px of that one lie columns 4 to 7 of rows 3 to 5. Within 3 px of the proposal's are the
    cracks of rows 2 to 6; within 3 px of these columns 3 to 8, on rows 0 and 8 columns 4 to 7.
    """
    mask, proposal, right = (
        np.array([[letter == "#" for letter in row] for row in rows])
        for rows in (EDGE, TONGUE, expected)
    )
    free = np.ones(mask.shape, bool)
    assert float(boundary.kept_length(mask, proposal, free, tolerance)) == kept
    np.testing.assert_array_equal(boundary.corrected(mask, proposal, free, tolerance), right)
    # The same of an outline that runs across.
    found = boundary.corrected(mask.T, proposal.T, free.T, tolerance)
    np.testing.assert_array_equal(found, right.T)


def test_what_lies_on_the_other_side_of_an_outline_keeps_nothing_of_it():
    """A square, and the ring around it as the proposal: all cracks lie together, none is alike."""
    mask = np.zeros((11, 11), bool)
    mask[3:8, 3:8] = True
    ring = ~mask
    free = np.ones(mask.shape, bool)
    assert float(boundary.kept_length(mask, ring, free, 0)) == 0
    np.testing.assert_array_equal(boundary.corrected(mask, ring, free, 0), mask)


def test_an_answer_keeps_all_of_itself_and_no_more_than_its_effort():
    mask = PLAIN == 1
    free = PLAIN != 2
    assert float(boundary.kept_length(mask, mask, free)) == 6
    assert float(boundary.total_length(mask.astype(int), free)) == 6
    assert float(boundary.kept_length(mask, np.zeros_like(mask), free, 2)) == 0
