"""Events: which of them count, and what they say of a stack, with masks in memory."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from al_jax.core import state
from al_jax.core.stack import InputError, make_images
from al_jax.session import annotations as state_of
from al_jax.session.events import Event, effective, replay

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
MASKS: dict[str, np.ndarray] = {}


def answer(section, structure, mask):
    """An answer whose mask is kept in memory."""
    name = mask.tobytes().hex()
    MASKS[name] = mask
    return Event(event="answer", section=section, structure=NAMES[structure], mask=name)


def skip(section, structure):
    return Event(event="skip", section=section, structure=NAMES[structure])


def withdraw(number):
    return Event(event="withdraw", withdrawn=number)


def span(structure, first, last):
    return Event(event="range", structure=NAMES[structure], span=[first, last])


def _replay(events, in_range=EVERYWHERE):
    numbered = [Event(number=number, **event) for number, event in enumerate(events, 1)]
    return replay(state_of.begin(KEY, IMAGES, in_range), IMAGES, numbered, MASKS.__getitem__)


def _true(section, structure):
    return TRUTH[section] == structure


def test_what_counts():
    events = [
        {"number": 1, "event": "answer"},
        {"number": 2, "event": "skip"},
        {"number": 3, "event": "answer"},
        {"number": 4, "event": "withdraw", "withdrawn": 2},
        {"number": 5, "event": "answer", "corrects": 1},
    ]
    # The correction counts where the answer was.
    assert [event["number"] for event in effective(events)] == [5, 3]
    events[0]["event"] = "absent"
    assert [event["number"] for event in effective(events)] == [3, 5]


def test_what_a_withdrawn_correction_had_replaced_counts_again():
    events = [
        {"number": 1, "event": "answer"},
        {"number": 2, "event": "answer", "corrects": 1},
        {"number": 3, "event": "answer", "corrects": 2},
    ]

    def left():
        return [event["number"] for event in effective(events)]

    assert left() == [3]
    events.append({"number": 4, "event": "withdraw", "withdrawn": 3})
    assert left() == [2]
    events.append({"number": 5, "event": "withdraw", "withdrawn": 2})
    assert left() == [1]


def test_a_withdrawn_answer_gives_its_pixels_back():
    wide = np.zeros((3, 4), bool)
    wide[:, 2:] = True  # a, traced over half of b
    half = np.zeros((3, 4), bool)
    half[2, 1:] = True
    first, second = answer(0, 1, wide), answer(0, 2, half)
    found = _replay([first, second])
    np.testing.assert_array_equal(found.labels[0][2], [-1, 2, 1, 1])
    found = _replay([first, second, withdraw(1)])
    np.testing.assert_array_equal(found.labels[0][2], [-1, 2, 2, 2])
    assert not found.state.annotated[0, 1] and found.state.annotated.sum() == 1
    # Answered anew, it comes after what was answered in the meantime.
    found = _replay([first, second, withdraw(1), first])
    np.testing.assert_array_equal(found.labels[0], [[-1, -1, 1, 1], [-1, -1, 1, 1], [-1, 2, 2, 2]])
    # As a correction it keeps its place.
    found = _replay([first, second, first | {"corrects": 1}])
    np.testing.assert_array_equal(found.labels[0][2], [-1, 2, 1, 1])


def test_a_skip_lasts_until_an_answer_or_a_withdrawal():
    one, traced = skip(0, 1), answer(0, 1, _true(0, 1))
    assert _replay([one]).skipped[0, 1]
    for events in ([one, traced], [one, withdraw(1)], [traced, one]):
        assert not _replay(events).skipped.any()
    # Of a withdrawn answer, what was skipped before it is skipped again.
    found = _replay([one, traced, withdraw(2)])
    assert found.skipped[0, 1] and not found.state.annotated.any()
    found = _replay([traced, one, withdraw(1)])
    assert found.skipped[0, 1] and not found.state.annotated.any()
    with pytest.raises(InputError, match="there is no section 9"):
        _replay([skip(9, 1)])


@pytest.mark.parametrize("numbers", [[1, 1], [7], [2], [1, 2]])
def test_what_is_not_there_cannot_be_taken_back(numbers):
    """Neither a second time, nor what never was, nor what takes back."""
    with pytest.raises(InputError, match=f"there is no event {numbers[-1]} to take back"):
        _replay([skip(0, 1), *map(withdraw, numbers)])


def test_ranges_are_replayed_in_their_place():
    narrow, traced = span(2, 1, None), answer(0, 2, _true(0, 2))
    with pytest.raises(InputError, match="outside the range of 'b'"):
        _replay([narrow, traced])
    found = _replay([narrow, span(2, 0, None), traced])
    assert found.state.in_range.all() and found.state.seen[0, 2]


def test_notes_say_nothing_and_unknown_kinds_are_refused():
    assert not _replay([Event(event="note", text="lunch")]).labels
    with pytest.raises(InputError, match="event 1 is of no known kind"):
        _replay([Event(event="guess", structure="a")])


# Masks that overlap, so that the order of answers shows; each has a pixel that is its own.
WIDE = {
    (n, c): np.isin(np.arange(12).reshape(3, 4), [4 * n + c, 3 + c, 8, 11, 4 + c])
    for n in (0, 1)
    for c in (0, 1, 2)
}
PAIRS = st.sampled_from(sorted(WIDE))
MOVES = st.sampled_from(["answer", "skip", "withdraw", "range"])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(PAIRS, MOVES), max_size=14))
def test_a_replay_is_the_state_built_from_what_is_left(moves):
    events, left, skips = [], {}, {}  # pairs by the number of their event
    for pair, move in moves:
        number = len(events) + 1
        if move == "answer":
            event = answer(*pair, WIDE[pair])
        elif move == "range":
            event = span(pair[1], 0, 1)
        elif move == "skip":
            event = skip(*pair)
        else:  # the answer of the pair, or its latest skip
            own = [k for k, other in left.items() if other == pair]
            own = own or [k for k, other in skips.items() if other == pair]
            event = withdraw(own[-1] if own else 99)
        try:
            found = _replay([*events, event])
        except InputError:  # refused; nothing of it is kept
            continue
        events.append(event)
        if move == "answer":
            left[number] = pair
        elif move == "skip":
            skips[number] = pair
        elif move == "withdraw":
            left.pop(own[-1], None)
            skips.pop(own[-1], None)
        direct = state.init_state(KEY, INSIDE, EVERYWHERE)
        for n, c in left.values():
            # What is left of a section is its last structure.
            mask = WIDE[n, c]
            last = direct.annotated[n].sum() == 2
            if last and (mask & INSIDE[n] & (np.asarray(direct.labels[n]) == -1)).any():
                mask = np.ones_like(mask)
            direct, _ = state.annotate(direct, n, c, mask, INSIDE[n])
        whole = state_of.full_state(found, IMAGES).replace(key=0, step=0)
        expected = direct.replace(key=0, step=0)  # first examples do not count as steps
        jax.tree.map(np.testing.assert_array_equal, whole, expected)
        skipped = np.zeros((2, 3), bool)
        for one in skips.values():
            skipped[one] = one not in left.values()
        np.testing.assert_array_equal(found.skipped, skipped)  # of each prefix


def test_a_replay_wants_ranges_of_its_images():
    for in_range in (np.ones((2, 4), bool), np.ones((3, 3), bool), np.ones((2, 3), int)):
        with pytest.raises(InputError, match=r"give booleans of \[2, 3\]"):
            _replay([], in_range)
    with pytest.raises(InputError, match="12 unlabelled pixels that can be of no class"):
        _replay([], np.zeros((2, 3), bool))
