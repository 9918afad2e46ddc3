"""Eq. 6, and what evidence refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from example import DICE, ENTROPY, make_state

from al_jax.core import evidence


@pytest.mark.parametrize(
    "alpha, expected",
    [(0.5, [0.75, 0.5, 0.25]), (1.0, [0.5, 0.5, 0.5]), (0.25, [0.875, 0.5, 0.125])],
)
def test_predicted_dice_is_eq_6(alpha, expected):
    np.testing.assert_allclose(evidence.predicted_dice(jnp.asarray(DICE), alpha), expected)


@pytest.mark.parametrize("given", ["uncertainty", "proposed", "priority"])
def test_arrays_that_would_broadcast_are_refused(given):
    for array in (ENTROPY[:1], ENTROPY[:, :1], ENTROPY[0]):
        with pytest.raises(AssertionError):
            evidence.make_evidence(make_state(), jnp.asarray(DICE), **{given: array})


def test_possible_is_what_is_there_or_may_be():
    """In range and not answered yet, or seen; an answer of "absent" is neither."""
    state = make_state(annotated=((1, 1, 0), (0, 1, 0)), in_range=((1, 1, 1), (1, 1, 0)))
    state = state.replace(seen=jnp.asarray([[True, False, False], [False, False, False]]))
    found = evidence.make_evidence(state, jnp.asarray(DICE))
    np.testing.assert_array_equal(found.possible, [[1, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(found.seen, [[1, 0, 0], [0, 0, 0]])
