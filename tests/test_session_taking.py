"""An answer that takes pixels from others: all or nothing, undone as one, the same by replay."""

import numpy as np
import pytest
import tiny_session as ts

from al_jax import session as sessions
from al_jax.core.stack import UNLABELLED, InputError
from al_jax.session import ledger
from al_jax.session.events import effective_answers

N = 2


@pytest.fixture
def session(tmp_path):
    with sessions.open_session(ts.create(tmp_path / "s")) as found:
        yield found


def labels(session) -> np.ndarray:
    return session.annotations.labels_of(N, session.images).copy()


def box(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(ts.STACK.inside.shape[1:], bool)
    mask[rows, columns] = True
    return mask


def check(session) -> None:
    """Memory, the events and the disk say the same."""
    assert ts.same(session.replay(session.events), session.annotations)
    assert ts.same(sessions.read_session(session.folder).annotations, session.annotations)


def test_the_others_keep_what_they_have_elsewhere(session):
    ts.answer(session, N, 1)
    ts.answer(session, N, 2)
    before, kept = labels(session), session.annotations
    mask = box(slice(10, 24), slice(10, 24))
    assert {1, 2} <= set(before[mask].tolist())
    stored = session.store_answer(N, 3, mask, take=True)
    assert stored.message.endswith("; taken from 'outer', 'middle'")
    np.testing.assert_array_equal(labels(session), np.where(mask, 3, before))
    first, second, own = session.events[2:]
    assert (first["corrects"], second["corrects"]) == (1, 2)
    assert first["given_to"] == second["given_to"] == own["number"] == 5
    assert own["length"] > 0 and first["length"] > 0
    check(session)
    session.undo()
    assert ts.same(session.annotations, kept)
    check(session)


def test_on_a_section_of_which_all_is_answered(session):
    """A structure that was answered before takes from what surrounds it, and back."""
    for structure in (3, 2, 1, 0):
        ts.answer(session, N, structure)
    whole = labels(session)
    assert not (whole[ts.STACK.inside[N]] == UNLABELLED).any()
    for structure in (3, 1, 0, 2):
        before, kept = labels(session), session.annotations
        own = before == structure
        shifted = np.roll(own, 3, axis=1) & ts.STACK.inside[N]
        session.store_answer(N, structure, own | shifted, take=True)
        np.testing.assert_array_equal(labels(session), np.where(own | shifted, structure, before))
        check(session)
        session.undo()
        assert ts.same(session.annotations, kept)
    np.testing.assert_array_equal(labels(session), whole)
    check(session)


def test_what_would_be_of_no_class_is_refused_and_nothing_has_changed(session):
    for structure in (3, 2, 1, 0):
        ts.answer(session, N, structure)
    shifted = np.roll(ts.truth(N, 0), 3, axis=1) & ts.STACK.inside[N]
    now = session.annotations
    for _ in range(2):
        with pytest.raises(InputError, match="would be of no class"):
            session.store_answer(N, 0, shifted, take=True)
        assert session.annotations is now and len(session.events) == 4
        assert len(ledger.read_ledger(session.folder)[0]) == 4
    check(session)


def test_of_what_has_nothing_left_no_answer_remains(session):
    """However often it was corrected; it is asked for again, and comes back with undo."""
    session.store_answer(N, 2, box(slice(10, 14), slice(10, 14)))
    session.store_answer(N, 2, box(slice(10, 16), slice(10, 16)))
    kept = session.annotations
    session.store_answer(N, 1, box(slice(8, 20), slice(8, 20)), take=True)
    assert not session.annotations.state.annotated[N, 2]
    assert [e["structure"] for e in effective_answers(session.events)] == ["outer"]
    note = session.events[2]
    assert note["event"] == "note" and "nothing is left of 'middle'" in note["text"]
    check(session)
    session.undo()
    assert ts.same(session.annotations, kept) and session.annotations.state.annotated[N, 2]


def test_an_outline_that_others_cover_does_not_come_up(session):
    """1 was drawn over 2's pixels; what 2 gives up is the taker's, not 1's."""
    session.store_answer(N, 2, box(slice(10, 14), slice(10, 20)))
    session.store_answer(N, 1, box(slice(8, 16), slice(8, 22)))
    before, mask = labels(session), box(slice(11, 13), slice(12, 18))
    assert set(before[mask].tolist()) == {2}
    stored = session.store_answer(N, 3, mask, take=True)
    assert stored.message.endswith("; taken from 'middle'")
    np.testing.assert_array_equal(labels(session), np.where(mask, 3, before))
    check(session)


def test_how_the_others_were_made_stays(session):
    session.store_answer(N, 2, box(slice(10, 14), slice(10, 20)), how="given", seconds=3)
    session.store_answer(N, 3, box(slice(10, 14), slice(10, 12)), take=True, seconds=4)
    assert [event["how"] for event in session.events] == ["given", "given", "traced"]
    assert [event["seconds"] for event in session.events] == [3, 3, 4]


def test_a_part_of_it_is_not_taken_back_alone(session):
    ts.answer(session, N, 2)
    session.store_answer(N, 3, box(slice(10, 24), slice(10, 24)), take=True)
    with pytest.raises(InputError, match="event 2 made room for answer 3; take that back instead"):
        session.withdraw(2)
    assert len(session.events) == 3
    check(session)


def test_half_of_it_on_the_disk_is_nothing(tmp_path):
    """Cut within its last line; what comes next has its number, and the outline is whole."""
    folder = ts.create(tmp_path / "s")
    with sessions.open_session(folder) as session:
        ts.answer(session, N, 2)
        before = labels(session)
        session.store_answer(N, 3, box(slice(10, 24), slice(10, 24)), take=True)
    path = folder / ledger.LEDGER
    data = path.read_bytes()
    for cut in (20, len(data.splitlines(keepends=True)[-1])):
        path.write_bytes(data[:-cut])
        with sessions.open_session(folder) as session:
            np.testing.assert_array_equal(labels(session), before)
            session.note("hello")
            ts.answer(session, 3, 2)
            assert [event["number"] for event in session.events] == [1, 2, 3]
        with sessions.open_session(folder) as session:
            np.testing.assert_array_equal(labels(session), before)
            check(session)


def test_a_taker_that_was_lost_is_given_again(tmp_path):
    """What had made room for it stays, and the disk says what memory says."""
    folder = ts.create(tmp_path / "s")
    mask = box(slice(10, 24), slice(10, 24))
    with sessions.open_session(folder) as session:
        ts.answer(session, N, 2)
        event = session.store_answer(N, 3, mask, take=True).event
        whole = labels(session)
    (folder / "masks" / f"{event['mask']}.png").unlink()
    with sessions.open_session(folder) as session:
        assert not session.annotations.state.annotated[N, 3]
        session.store_answer(N, 3, mask)
        np.testing.assert_array_equal(labels(session), whole)
        check(session)
    with sessions.open_session(folder) as session:
        np.testing.assert_array_equal(labels(session), whole)
        check(session)


def test_a_class_that_is_added_later_takes_from_a_section_of_which_all_is_answered(tmp_path):
    """Also what the last one had got since, as nothing else could be there, stays with it."""
    folder, mask = ts.create(tmp_path / "s"), box(slice(10, 24), slice(10, 24))
    with sessions.open_session(folder) as session:
        for structure in (3, 2, 1, 0):
            ts.answer(session, N, structure)
        smaller = ts.truth(N, 3) & ~box(slice(0, 16), slice(0, 40))
        session.store_answer(N, 3, smaller)
        before = labels(session)
        assert (before == 0).sum() > ts.truth(N, 0).sum()
        session.add_class("new")
        np.testing.assert_array_equal(labels(session), before)
        kept = session.annotations
        for place in (mask, box(slice(10, 12), slice(10, 24)), before == 3):
            session.store_answer(N, 4, place, take=True)
            np.testing.assert_array_equal(labels(session), np.where(place, 4, before))
            check(session)
            session.undo()
            assert ts.same(session.annotations, kept)
        session.store_answer(N, 4, mask, take=True)
        session.rename_class(4, "newer")
        np.testing.assert_array_equal(labels(session), np.where(mask, 4, before))
    with sessions.open_session(folder) as session:
        np.testing.assert_array_equal(labels(session), np.where(mask, 4, before))
        session.undo()  # the name
        session.undo()
        np.testing.assert_array_equal(labels(session), before)


def all_answered(session) -> None:
    for structure in (3, 2, 1, 0):
        ts.answer(session, N, structure)


@pytest.mark.parametrize(
    "mask", [box(slice(10, 24), slice(10, 24)), ts.truth(N, 3) & box(slice(16, 40), slice(0, 40))]
)
def test_who_made_room_for_a_later_class_is_corrected_as_before(session, mask):
    all_answered(session)
    session.add_class("new")
    session.store_answer(N, 4, mask, take=True)
    before = labels(session)
    assert set(np.unique(before)) >= {0, 1, 2, 3, 4}
    for structure in (3, 2, 1, 0):
        for take in (False, True):
            session.store_answer(N, structure, before == structure, take=take)
            np.testing.assert_array_equal(labels(session), before)
            check(session)


@pytest.mark.parametrize("span", [(3, 4), (None, None)])
def test_a_later_class_takes_where_its_range_is_widened_to(session, span):
    all_answered(session)
    session.add_class("new", span)
    before, mask = labels(session), box(slice(10, 24), slice(10, 24))
    if span[0]:
        now = session.annotations
        with pytest.raises(InputError, match="outside the range of 'new'"):
            session.store_answer(N, 4, mask, take=True)
        assert session.annotations is now
        session.set_range(4, (N, 4))
    session.store_answer(N, 4, mask, take=True)
    np.testing.assert_array_equal(labels(session), np.where(mask, 4, before))
    check(session)
    with pytest.raises(InputError, match="was traced on section 2, outside its"):
        session.set_range(4, (3, 4))
    session.undo()
    np.testing.assert_array_equal(labels(session), before)


def test_a_later_class_takes_and_its_range_is_widened_by_the_same_answer(session):
    all_answered(session)
    session.add_class("new", (3, 4))
    before, mask = labels(session), box(slice(10, 24), slice(10, 24))
    session.store_answer(N, 4, mask, take=True, widen=True)
    np.testing.assert_array_equal(labels(session), np.where(mask, 4, before))
    assert session.annotations.state.in_range[:, 4].tolist() == [n in (2, 3, 4) for n in range(6)]
    check(session)


def test_classes_that_took_are_split_and_merged(session):
    all_answered(session)
    session.add_class("new")
    session.add_class("newer")
    masks = box(slice(10, 20), slice(10, 24)), box(slice(18, 26), slice(10, 24))
    for structure, mask in zip((4, 5), masks, strict=True):
        session.store_answer(N, structure, mask, take=True)
    before = labels(session)
    session.merge_classes([4, 5], "both")
    np.testing.assert_array_equal(labels(session), np.minimum(before, 4))
    check(session)
    session.undo()
    np.testing.assert_array_equal(labels(session), before)
    session.split_class(4, ["left", "right"])
    left = labels(session)
    assert (left[before == 4] == UNLABELLED).all()
    assert (left[before < 4] == before[before < 4]).all()
    check(session)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_answers_takings_and_undo(session, seed):
    rng = np.random.default_rng(seed)
    inside = ts.STACK.inside[N]
    for turn in range(14):
        if turn == 7 and seed % 2:
            before = labels(session)
            session.add_class("new")
            np.testing.assert_array_equal(labels(session), before)
        structure, before = int(rng.integers(session.images.num_classes)), labels(session)
        top, left = rng.integers(2, 30, 2)
        mask = box(slice(top, top + rng.integers(3, 14)), slice(left, left + rng.integers(3, 20)))
        mask &= inside
        kept, count = session.annotations, len(session.events)
        take = bool(rng.random() < 0.6)
        try:
            session.store_answer(N, structure, mask, take=take)
        except InputError:
            assert session.annotations is kept and len(session.events) == count
            continue
        after = labels(session)
        if take:
            others = (before != structure) & (before != UNLABELLED) & ~mask
            np.testing.assert_array_equal(after[others], before[others])
            assert (after[mask] == structure).all()
        check(session)
        if rng.random() < 0.4:
            session.undo()
            assert ts.same(session.annotations, kept)
            check(session)
