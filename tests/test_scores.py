"""Gains and costs by hand."""

import jax.numpy as jnp
import numpy as np
from example import B, make_state

from al_jax.core import scores
from al_jax.core.evidence import make_evidence
from al_jax.core.strategies import STRATEGIES, BDa, SDr, explain


def test_costs_of_correcting_by_hand():
    s = make_state(np.diag([8.0, 20.0, 4.0]), np.zeros((1, 3), bool))
    # Of 40 px of structure 0 were 10 drawn, of 10 px of structure 2 all; 20 of 50 together.
    s = s.replace(offered=jnp.asarray([[40.0, 0, 10], [10, 0, 10]]))
    evidence = make_evidence(s, jnp.zeros((2, 3)), min_effort=3.0)
    np.testing.assert_allclose(evidence.redrawn, [0.25, 0.4, 1], rtol=1e-6)
    np.testing.assert_allclose(scores.drawing(evidence), [[3, 8, 4]], rtol=1e-6)


def test_profile_by_hand():
    """Of ranges within the stack, reaching its first or last section, both, and of one section."""
    spans = [(1, 3), (0, 3), (2, 5), (0, 5), (4, 4)]
    index = np.arange(6)[:, None]
    possible = np.stack([(index[:, 0] >= a) & (index[:, 0] <= b) for a, b in spans], 1)
    found = np.asarray(scores.profile(jnp.asarray(possible)))
    expected = np.ones((6, 5))
    expected[[1, 3], 0] = np.sqrt(1 - (1 / 1.5) ** 2)
    expected[:4, 1] = np.sqrt(1 - (np.arange(4) / 3.5) ** 2)
    expected[2:, 2] = expected[:4, 1][::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    turned = scores.profile(jnp.asarray(possible[::-1]))
    np.testing.assert_allclose(turned, found[::-1], rtol=1e-6)


def test_shaped_costs_by_hand():
    """B was measured on section 1, at the end of the range: in its middle more is expected."""
    in_range = np.zeros((5, 2), bool)
    in_range[:, 0] = in_range[1:4, 1] = True
    annotated = np.zeros((5, 2), bool)
    annotated[1, 1] = True
    s = make_state(np.array([[50.0, 30], [30, 30]]), annotated, in_range)
    s = s.replace(length_sum=s.length_sum / 2, length_count=s.length_count / 2)  # of one section
    s = s.replace(offered=jnp.asarray([[0.0, 100], [0, 50]]))
    end = np.sqrt(5) / 3
    evidence = make_evidence(s, jnp.zeros((2, 2)))
    found = np.asarray(scores.shaped(evidence))
    np.testing.assert_allclose(found[1:4, 1], [30, 30 / end, 30], rtol=1e-6)
    np.testing.assert_allclose(found[:, 0], [50, 20, 50, 50, 50], rtol=1e-6)  # everywhere as long
    # B of earlier stacks alone is a mean over the whole range.
    unseen = scores.shaped(evidence.replace(seen=jnp.zeros((5, 2), bool)))[1:4, 1]
    np.testing.assert_allclose(unseen.mean(), 30, rtol=1e-6)
    np.testing.assert_allclose(unseen[1] / unseen[0], 1 / end, rtol=1e-6)
    np.testing.assert_allclose(scores.drawing_shaped(evidence)[2, 1], 15 / end, rtol=1e-6)
    told = [explain(s, evidence, 2, 1, rule) for rule in (BDa, SDr, STRATEGIES["KSDr"])]
    np.testing.assert_allclose([q.left for q in told], [30, 30 / end, 30 / end], rtol=1e-6)
    np.testing.assert_allclose([q.whole for q in told], [30, 30 / end, 30 / end], rtol=1e-6)
    s = s.replace(seen=s.seen.at[2, 0].set(True))  # now structure 0 is traced beside it
    told = [explain(s, make_evidence(s, jnp.zeros((2, 2))), 2, 1, rule) for rule in (BDa, SDr)]
    np.testing.assert_allclose([q.shared[0] for q in told], [30, 30 / end], rtol=1e-6)


def test_foreseen_costs_by_hand():
    """B is 20 px of each of five structures; on section 1 the network proposes other lengths."""
    s = make_state(np.diag(np.full(5, 20.0)), np.zeros((2, 5), bool))
    s = s.replace(offered=jnp.asarray(np.tile([[40.0], [10.0]], 5)))
    proposed = np.full((2, 5), np.nan)
    proposed[1] = [20, 5, 0, 45, 1000]  # as B, a quarter, none, more, and far more
    evidence = make_evidence(s, jnp.zeros((2, 5)), proposed=jnp.asarray(proposed))
    factors = [1, 0.5, 0.5, 1.5, 2]
    expected = 20 * np.array([np.ones(5), factors])
    np.testing.assert_allclose(scores.foreseen_remaining(evidence), expected, rtol=1e-6)
    np.testing.assert_allclose(scores.drawing_foreseen(evidence), expected / 4, rtol=1e-6)
    query = explain(s, evidence, 1, 3, STRATEGIES["SEr"])
    assert (float(query.left), float(query.whole)) == (30, 30)
    # Of what is shared with annotated structures it is the same factor: R is 20 - 8 px of B.
    outlines = np.diag(np.full(5, 20.0))
    outlines[3, 0] = outlines[0, 3] = 8
    annotated = np.zeros((2, 5), bool)
    annotated[1, 0] = True
    beside = make_state(outlines, annotated)
    beside = make_evidence(beside, jnp.zeros((2, 5)), proposed=jnp.asarray(proposed))
    np.testing.assert_allclose(scores.foreseen_remaining(beside)[1, 3], 12 * 1.5, rtol=1e-6)
    # Where nothing is known of a proposal it is the shape alone.
    blind = make_evidence(s, jnp.zeros((2, 5)))
    np.testing.assert_array_equal(scores.foreseen_remaining(blind), scores.shaped(blind))


def test_outlines_of_prior_stacks_count_beside_those_that_are_seen():
    """Three outlines of prior stacks, which were anywhere in the range, and one at its end."""
    possible = np.zeros((15, 1), bool)
    possible[1:14] = True
    seen = np.zeros((15, 1), bool)
    heights = np.sqrt(1 - (np.arange(-6, 7) / 6.5) ** 2)
    before = scores.relative_length(jnp.asarray(seen), jnp.asarray(possible), jnp.array([3.0]))
    np.testing.assert_allclose(before[1:14, 0], heights / heights.mean(), rtol=1e-5)
    seen[1] = True
    mean = (3 * heights.mean() + heights[0]) / 4
    after = scores.relative_length(jnp.asarray(seen), jnp.asarray(possible), jnp.array([4.0]))
    np.testing.assert_allclose(after[1:14, 0], heights / mean, rtol=1e-5)
    np.testing.assert_allclose([before[7, 0], after[7, 0]], [1.265, 1.451], atol=1e-3)
    # Without any it is the one section of this stack that B was measured on.
    alone = scores.relative_length(jnp.asarray(seen), jnp.asarray(possible), jnp.array([1.0]))
    np.testing.assert_allclose(alone[7, 0], 1 / heights[0], rtol=1e-5)
    np.testing.assert_allclose(alone[7, 0], 2.6, atol=1e-3)


def test_rise_by_hand():
    # Structure 0 was traced on section 1 of five, and may be on all but the last. D = 1/2, so what
    # a section counts is 1/8. Known: 1/2, 1, 1/2, 1/4 on the first four.
    in_range = np.ones((5, 2), bool)
    in_range[4, 0] = False
    s = make_state(np.eye(2), [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]], in_range)
    evidence = make_evidence(s, jnp.full((2, 2), 0.5))
    np.testing.assert_allclose(scores.distance_to_seen(s.seen)[:, 0], [1, 0, 1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(scores.share(evidence)[:, 0], 0.25, rtol=1e-6)
    # An answer on section 3 takes section 2 from 1/2 to 1/2, one on 2 takes 3 from 1/4 to 1/2.
    expected = np.array([1.0, 1.0, 1.25, 1.0]) / 8
    found = np.asarray(scores.rise(evidence))
    np.testing.assert_allclose(found[[0, 2, 3], 0], expected[[0, 2, 3]], rtol=1e-6)
    # Structure 1 was traced nowhere: section 2 gives 1/2 to both neighbours and 1/4 to the next.
    np.testing.assert_allclose(found[[2, 0], 1], np.array([2.5, 1.9375]) / 10, rtol=1e-6)


def test_expected_rise_by_hand():
    """Two structures on three sections; the first was traced on section 0."""
    annotated = np.zeros((3, 2), bool)
    annotated[0, 0] = True
    doubt = np.array([[1, 0.04], [0.25, 0.09], [0.64, 0.16]])
    evidence = make_evidence(make_state(np.eye(2), annotated), uncertainty=jnp.asarray(doubt))
    root = np.sqrt(doubt)
    first = [
        root[1, 0] * 0.5 + root[2, 0] * 0.25 - root[1, 0] * 0.5 - root[2, 0] * 0.25 + 1,
        root[1, 0] + root[2, 0] * (0.5 - 0.25),  # 2 has a quarter of it from 0
        root[2, 0],  # 1 has as much from 0
    ]
    second = root[:, 1] + [
        root[1, 1] / 2 + root[2, 1] / 4,
        root[0, 1] / 2 + root[2, 1] / 2,
        root[1, 1] / 2 + root[0, 1] / 4,
    ]
    expected = np.stack([first, second], 1) / 3
    np.testing.assert_allclose(scores.expected_rise(evidence), expected, rtol=1e-5)


def test_rise_does_not_depend_on_the_end_that_sections_count_from():
    rng = np.random.default_rng(0)
    annotated = rng.random((9, 3)) < 0.3
    dice = jnp.asarray(rng.random((2, 3)), jnp.float32)
    there, back = (
        scores.rise(make_evidence(make_state(B, a), dice)) for a in (annotated, annotated[::-1])
    )
    np.testing.assert_allclose(there, back[::-1], rtol=1e-5)


def test_neighbours_by_the_nearest_answer():
    seen = np.array([[0, 0], [0, 1], [0, 0], [0, 0], [0, 1]], bool)
    distance = scores.distance_to_seen(jnp.asarray(seen))
    np.testing.assert_array_equal(distance[:, 1], [1, 0, 1, 1, 0])
    assert np.isinf(distance[:, 0]).all()
