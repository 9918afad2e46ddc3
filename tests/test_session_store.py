"""What an answer adds, and what the loss of a mask takes: of one answer, and until it is back."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import small_session as ss

from al_jax import session as sessions
from al_jax.core.stack import InputError
from al_jax.exchange.questions import digest_of_events
from al_jax.session import ledger, progress
from al_jax.session.events import drawn

ROWS = np.arange(8)[:, None] + np.zeros(8, int)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """'a' on section 0 and 1, 'b' on section 1."""
    folder = ss.create(tmp_path_factory.mktemp("answered") / "s")
    session = ss.opened(folder)
    session.store_answer(0, 1, ss.square(0))
    session.store_answer(1, 1, ss.square(1))
    session.store_answer(1, 2, ss.square(5))
    return folder


@pytest.fixture
def folder(answered, tmp_path):
    return shutil.copytree(answered, tmp_path / "s")


def lose(folder, number: int, how: str = "missing"):
    """Takes the mask of an event away; puts it back when called."""
    event = ledger.read_ledger(folder)[0][number - 1]
    path = folder / ledger.MASKS / f"{event['mask']}.png"
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2]}[how])
    return lambda: path.write_bytes(whole)


def says(session) -> list[list]:
    """The labels of all sections."""
    return session.labels().tolist()


@pytest.mark.parametrize("how", ["missing", "empty", "half"])
def test_a_lost_mask_costs_its_own_answer_until_it_is_back(folder, how):
    whole = ss.opened(folder)
    back = lose(folder, 2, how)
    for session in (ss.opened(folder), sessions.read_session(folder)):
        (said,) = session.notices
        assert said.startswith("'a' on section 1 does not count (") and f"{ledger.MASKS}/" in said
        assert "\n" not in said and "put back what is missing, or answer it again" in said
        done = session.annotations.state.annotated
        assert done.tolist() == [[False, True, False], [False, False, True], [False] * 3]
        assert [len(session.answered()), session.progress().answers] == [2, 2]
        assert (session.labels()[1] == 2).sum() == 9 and not (session.labels()[1] == 1).any()
        assert session.next_question(section=1, structure=1).left > 0
    back()
    session = ss.opened(folder)
    assert session.notices == [] and says(session) == says(whole)


def test_a_session_with_a_lost_mask_is_the_same_one_for_its_questions(folder):
    before = digest_of_events(ss.opened(folder).events)
    lose(folder, 2)
    assert digest_of_events(ss.opened(folder).events) == before


def test_a_lost_answer_is_given_again_and_the_old_mask_comes_too_late(folder):
    back = lose(folder, 2)
    session = ss.opened(folder)
    session.store_answer(1, 1, ss.square(2))
    kinds = [(e["event"], e.get("withdrawn"), e.get("corrects")) for e in session.events[3:]]
    assert kinds == [("withdraw", 2, None), ("answer", None, None)]
    for _ in range(2):
        again = ss.opened(folder)
        assert again.notices == [] and says(again) == says(session)
        np.testing.assert_array_equal(again.labels()[1] == 1, ss.square(2))
        back()
    session.store_absent(2, 1)  # the withdrawal is made once
    session.store_answer(1, 2, ss.square(5))
    assert [event["event"] for event in session.events].count("withdraw") == 1


def test_others_on_the_section_wait_for_it(folder):
    """Its file may be on its way: what lies in its place would be taken from it."""
    whole = ss.opened(folder)
    back = lose(folder, 3)
    session, before = ss.opened(folder), (folder / "ledger.jsonl").read_bytes()
    for answer in (
        lambda: session.store_answer(1, 0, ss.square(5) | ss.square(4)),
        lambda: session.store_absent(1, 0),
    ):
        with pytest.raises(InputError, match=r"'b' on section 1 does not count .*put back what is"):
            answer()
    session.store_absent(2, 1)  # elsewhere nobody waits
    assert (folder / "ledger.jsonl").read_bytes().startswith(before)
    session.undo()
    back()
    again = ss.opened(folder)
    assert again.notices == [] and says(again) == says(whole)
    again.store_answer(1, 0, ss.square(5) | ss.square(4))
    assert (again.labels()[1] == 2).sum() == 9


def test_of_two_lost_ones_each_is_given_again(folder):
    backs = [lose(folder, number) for number in (2, 3)]
    session = ss.opened(folder)
    session.store_answer(1, 1, ss.square(2))
    for _ in range(2):
        again = ss.opened(folder)
        assert (again.labels()[1] == 1).any()
        backs[1]()  # that one counts again, and comes first
    assert not again.notices and (again.labels()[1] == 2).sum() == 9


def test_what_a_lost_correction_had_corrected_does_not_come_back(folder):
    session = ss.opened(folder)
    session.store_answer(1, 1, ss.square(0, 4))
    back = lose(folder, 4)
    session = ss.opened(folder)
    assert not (session.labels()[1] == 1).any()
    back()
    assert (ss.opened(folder).labels()[1] == 1).sum() == 16
    back = lose(folder, 4)
    session = ss.opened(folder)
    session.store_answer(1, 1, ss.square(2))
    back()
    assert [event.get("withdrawn") for event in session.events[4:]] == [4, 2, None]
    np.testing.assert_array_equal(ss.opened(folder).labels()[1] == 1, ss.square(2))


def test_a_lost_answer_is_not_undone_but_can_be_withdrawn(folder):
    lose(folder, 3)
    session = ss.opened(folder)
    assert session.undo()["number"] == 2
    session.withdraw(3)
    assert ss.opened(folder).notices == []
    with pytest.raises(InputError, match="there is no event 3 to take back"):
        session.withdraw(3)


def test_a_range_that_leaves_a_lost_answer_out_keeps_it_out(folder):
    back = lose(folder, 2)
    session = ss.opened(folder)
    session.set_range(1, (0, 0))
    back()
    again = ss.opened(folder)
    assert again.notices == [] and not (again.labels()[1] == 1).any()
    assert session.undo()["event"] == "range"
    assert not ss.opened(folder).annotations.state.annotated[1, 1]
    session.set_range(1, (None, 1))  # what is not lost stays
    assert (ss.opened(folder).labels()[0] == 1).sum() == 9


def test_labels_from_before_are_taken_where_an_answer_is_lost(folder):
    lose(folder, 2)
    session, labels = ss.opened(folder), np.zeros((3, 8, 8), int)
    labels[1][ss.square(2)] = 1
    assert session.take_over(labels) == 1
    np.testing.assert_array_equal(ss.opened(folder).labels()[1] == 1, ss.square(2))


def test_what_is_drawn_of_an_outline_depends_on_how_it_was_made():
    """A person who traces anew beside a proposal draws all of it, however much is the same."""
    event = {"event": "answer", "length": 10.0, "kept": [4.0, 6.0, 7.0]}
    assert [drawn({**event, "how": how}) for how in ("traced", "given")] == [10, 10]
    assert [drawn({**event, "how": how}) for how in ("accepted", "corrected")] == [6, 6]
    assert drawn({"event": "answer", "length": 10.0, "how": "traced"}) is None


def test_a_traced_answer_beside_a_proposal_counts_whole(folder):
    session = ss.opened(folder)
    asked = session.next_question(section=2, structure=1)
    asked = dataclasses.replace(asked, proposal=ss.square(2))
    session.store_answer(2, 1, ss.square(2), question=asked, how="traced")
    event = session.events[-1]
    assert event["kept"][0] == event["length"] == 12 and event["how"] == "traced"
    assert float(session.annotations.state.drawn_whole[2]) == 12
    assert progress.answered(session.events[-1:], session.images.names)[0].effort == 12


def test_a_correction_is_not_compared_with_a_proposal(folder):
    """What it is made from is the answer before, which no network proposed."""
    session = ss.opened(folder)
    asked = session.next_question(section=1, structure=1)
    asked = dataclasses.replace(asked, proposal=ss.square(1))
    event = session.store_answer(1, 1, ss.square(0), question=asked, how="corrected").event
    assert event["corrects"] == 2 and event["how"] == "traced"
    assert not {"kept", "proposal_dice", "network"} & set(event)
    assert session.progress().kept is None and session.progress().dice is None


def test_a_correction_is_not_extended_by_the_rest(tmp_path):
    """It was drawn as it is; pixels that an earlier structure gives back are of no class then."""
    session = ss.opened(ss.create(tmp_path / "s"))
    for structure, mask in enumerate((ROWS < 2, (ROWS > 1) & (ROWS < 5), ROWS > 4)):
        session.store_answer(0, structure, mask)
    session.store_answer(0, 2, ROWS > 4)  # the last one, now as a correction
    with pytest.raises(InputError, match="8 px of the section would be of no class"):
        session.store_answer(0, 1, (ROWS > 1) & (ROWS < 4))
    session.undo()  # it is the rest again
    session.store_answer(0, 1, (ROWS > 1) & (ROWS < 4))
    np.testing.assert_array_equal(session.labels()[0] == 2, ROWS > 3)
    np.testing.assert_array_equal(ss.opened(session.folder).labels(), session.labels())


def test_the_form_stands_in_each_line(folder):
    lines = (folder / ledger.LEDGER).read_text().splitlines()
    assert [json.loads(line)["form"] for line in lines] == [ledger.FORM] * 3
    assert not any("form" in event for event in ss.opened(folder).events)


def test_what_lies_beside_the_ledger_is_said_by_whoever_opens(folder):
    """A synchroniser kept both of two machines' ledgers; a writer was stopped in a line."""
    path = folder / ledger.LEDGER
    other = folder / "ledger.sync-conflict-20260105-101112-ABCDEFG.jsonl"
    whole = path.read_bytes()
    other.write_bytes(whole)
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + b'{"form": 1, "num')
    for session in (ss.opened(folder), sessions.read_session(folder)):
        half, conflict = session.notices
        assert "not finished" in half and "the last event is 2" in half
        assert other.name in conflict and "with 1 events that ledger.jsonl lacks" in conflict
        assert len(session.events) == 2


def test_what_a_killed_writer_left_among_the_masks_goes_with_the_next_owner(folder):
    half = folder / ledger.MASKS / ".0123456789abcdef.tmp"
    half.write_bytes(b"half of one")
    assert sessions.read_session(folder).notices == [] and half.exists()
    with sessions.open_session(folder):
        assert not half.exists() and len(list(half.parent.iterdir())) == 3


def test_three_answers_stay_three_whatever_trims_the_ledger(folder):
    """An editor, or a synchroniser, that takes the last line break away."""
    path = folder / ledger.LEDGER
    path.write_bytes(path.read_bytes().rstrip())
    session = ss.opened(folder)
    assert session.notices == [] and len(session.events) == 3
    session.store_answer(2, 2, ss.square(3))
    assert [event["number"] for event in ss.opened(folder).events] == [1, 2, 3, 4]
    assert path.read_bytes().count(b"\n") == 4
