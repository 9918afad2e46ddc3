"""Answers on a state without room for untouched sections, against `answers.answer` on all of it."""

import jax
import numpy as np
import pytest
import tiny_session as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from al_jax.core import answers
from al_jax.core.stack import InputError
from al_jax.core.state import init_state
from al_jax.session import annotations as state_of

KEY = jax.random.key(3)
PIXELS = ts.IMAGES.inside.sum((1, 2))
ORDERS = st.permutations([(n, c) for n in range(6) for c in range(4) if ts.IN_RANGE[n, c]])


def begun(in_range=ts.IN_RANGE):
    return state_of.begin(KEY, ts.IMAGES, in_range, PIXELS)


@settings(max_examples=5, deadline=None)
@given(order=ORDERS, count=st.integers(1, 8), grown=st.integers(0, 3))
def test_any_answers_give_what_the_full_state_says(order, count, grown):
    now, given = begun(), []
    expected = init_state(KEY, ts.IMAGES.inside, ts.IN_RANGE)
    for n, c in order[:count]:
        mask = ts.truth(n, c)
        # Too large, so that it takes pixels of structures that are not traced yet.
        mask = mask | np.roll(mask, grown, 1) if mask.any() else mask
        try:
            now, _ = state_of.answer(now, ts.IMAGES, n, c, mask)
        except InputError:
            continue  # nothing was left of it
        given.append((c, mask))
        expected, _ = answers.answer(expected, ts.IMAGES, n, c, mask)
    whole = state_of.full_state(now, ts.IMAGES)
    for name in ("labels", *state_of._BY_SECTION, "length_sum", "length_count"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(expected, name), name)
    first = len({c for c, mask in given if mask.any()})
    assert int(now.state.step) <= len(given) - first  # first examples do not count


def test_nothing_is_changed_in_place():
    before = begun()
    middle, _ = state_of.answer(before, ts.IMAGES, 2, 1, ts.truth(2, 1))
    state_of.answer(middle, ts.IMAGES, 2, 2, ts.truth(2, 2))
    state_of.skip(middle, ts.IMAGES, 3, 1)
    state_of.set_range(middle, ts.IMAGES, 3, (None, None))
    assert ts.same(before, begun())
    again, _ = state_of.answer(begun(), ts.IMAGES, 2, 1, ts.truth(2, 1))
    assert ts.same(middle, again)
    assert set(middle.labels) == {2}


def test_first_examples_do_not_count_as_steps():
    now, _ = state_of.answer(begun(), ts.IMAGES, 2, 1, ts.truth(2, 1))
    assert (int(now.state.step), now.known(1), now.known(2)) == (0, True, False)
    now, _ = state_of.answer(now, ts.IMAGES, 3, 1, ts.truth(3, 1))
    assert int(now.state.step) == 1


def test_a_range_is_checked_on_sections_without_an_answer():
    in_range = np.zeros((6, 4), bool)
    in_range[:, 1] = True
    in_range[3, 2] = True
    with pytest.raises(InputError, match=r"section 0 has .* can be of no class"):
        state_of.set_range(begun(in_range), ts.IMAGES, 1, (1, 5))
