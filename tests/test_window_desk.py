"""The state machine of the window, without a window."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import desks
import tiny
from desks import at_desk, proposing, trace, true_mask
from napari.utils.key_bindings import KeymapHandler
from napari.utils.shortcuts import default_shortcuts

from al_jax import session as core
from al_jax.core.stack import UNLABELLED, InputError
from al_jax.learner import config as settings
from al_jax.learner.transfer import experience_of
from al_jax.window import layers, text
from al_jax.window.controller import ACTIONS, DEMONSTRATION, IDLE
from al_jax.window.tracing import held


@pytest.fixture(autouse=True)
def _pixelwise(monkeypatch):
    monkeypatch.setattr(settings, "make_network", tiny.make)


@pytest.fixture
def folder(tmp_path):
    return desks.make_session(tmp_path / "session")


@pytest.fixture
def untrained(monkeypatch):
    desks.no_training(monkeypatch)


@pytest.fixture
def desk(folder, untrained):
    with at_desk(folder, clock=desks.Clock()) as desk:
        yield desk


def _ledger(desk):
    return [json.loads(line) for line in (desk.session.folder / "ledger.jsonl").open()]


def _pair(desk):
    return desk.question.section, desk.question.structure


def _press(desk, key):
    handler = KeymapHandler()
    handler.keymap_providers = [desk.viewer.layers.selection.active, desk.viewer]
    assert handler.press_key(key.upper())


def test_a_window_says_what_was_carried_over(folder, tmp_path, untrained):
    with core.open_session(folder) as session:
        learner = session._trainer._new_learner()
        earlier = experience_of(
            session.annotations.state, learner, session.images.names, "pixelwise", "plain", 1
        )
    lengths = np.zeros_like(earlier.lengths)
    lengths[:, :3, :3] = 7 * np.eye(3)
    after = desks.make_session(tmp_path / "after", earlier=earlier._replace(lengths=lengths))
    with at_desk(after) as desk:
        assert desk.said == (
            "Begun from earlier stacks (outlines on 7 sections): classes background, outer, "
            "middle; new: inner"
        )
        assert text.network_in_words(desk).endswith("of inner it has none")
        assert desk.question.example and desk.question.name == "inner"


def test_a_traced_answer_is_stored_and_the_next_question_comes(desk):
    first, mask = _pair(desk), true_mask(desk)
    trace(desk, mask)
    desk.do("store")
    (event,) = _ledger(desk)
    assert (event["event"], event["how"]) == ("answer", "traced")
    labels = desk.session.annotations.labels_of(first[0], desk.session.images)
    np.testing.assert_array_equal(labels == first[1], mask)
    assert _pair(desk) != first and not held(desk.layer).any()
    assert "px of outline" in desk.said


def test_what_lies_on_other_answers_is_clipped_and_said(desk):
    n, c = _pair(desk)
    trace(desk, true_mask(desk))
    desk.do("store")
    other = next(k for k in range(1, 4) if k != c)
    desk.do("go", n, other)
    trace(desk, desk.question.inside)
    desk.do("store")
    assert f"clipped: {(tiny.stack().truth[n] == c).sum()} px of" in desk.said


@pytest.mark.parametrize(
    ("keys", "spoil", "how"),
    [("a", 0, "accepted"), ("ts", 0, "accepted"), ("ts", 5, "corrected"), ("s", 9, "traced")],
)
def test_how_an_answer_was_made_shows_in_the_layer(
    folder, untrained, monkeypatch, keys, spoil, how
):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_desk(folder) as desk:
        for key in keys:
            if key == "s" and spoil:
                rows, columns = np.nonzero(true_mask(desk))
                desk.layer.data_setitem(
                    (rows[:spoil], columns[:spoil]), 1 if how == "traced" else 0
                )
            _press(desk, key)
        (event,) = _ledger(desk)
        assert event["how"] == how and len(event["kept"]) == 3


def test_a_hand_that_traces_the_very_proposal_has_accepted_it(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_desk(folder) as desk:
        trace(desk, true_mask(desk))
        desk.do("store")
        assert _ledger(desk)[0]["how"] == "accepted"


def test_there_is_no_proposal_before_the_network_learns(desk):
    assert not desk.do("accept")
    assert "no proposal yet" in desk.said and not _ledger(desk)


def test_an_empty_proposal_is_not_an_answer(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: np.zeros(q.inside.shape, bool))
    with at_desk(folder) as desk:
        assert not desk.do("accept")
        assert "n only if it is not there" in desk.said and not _ledger(desk)


def test_nothing_traced_is_no_answer(desk):
    assert not desk.do("store")
    assert "press n" in desk.said and not _ledger(desk)


def test_absent(desk):
    first = _pair(desk)
    desk.do("absent")
    assert _ledger(desk)[0]["event"] == "absent" and _pair(desk) != first


def test_absent_over_strokes_is_asked_twice(desk):
    first = _pair(desk)
    trace(desk, true_mask(desk))
    assert not desk.do("absent")
    assert _pair(desk) == first and not _ledger(desk)
    assert desk.do("absent") and _ledger(desk)[0]["event"] == "absent"


def test_skip_asks_another_pair(desk):
    first = _pair(desk)
    desk.do("skip")
    assert _pair(desk) != first and _ledger(desk)[0]["event"] == "skip"
    assert "comes back later" in desk.said


def test_undo_puts_the_answer_back_into_the_layer(desk):
    first, mask = _pair(desk), true_mask(desk)
    trace(desk, mask)
    desk.do("store")
    desk.do("undo")
    assert _pair(desk) == first
    np.testing.assert_array_equal(held(desk.layer), mask)
    assert not desk.session.annotations.state.annotated.any()
    desk.do("store")
    assert [event["event"] for event in _ledger(desk)] == ["answer", "withdraw", "answer"]


def test_nothing_to_undo(desk):
    assert not desk.do("undo") and desk.said == "There is nothing to undo"


def test_an_earlier_answer_is_corrected(desk):
    (n, c), mask = _pair(desk), true_mask(desk)
    trace(desk, mask)
    desk.do("store")
    desk.do("go", n, c)
    assert desk.correcting and text.headline(desk).startswith("Correct")
    np.testing.assert_array_equal(held(desk.layer), mask)
    assert (desk.question.labels == UNLABELLED).all()
    row, column = np.argwhere(mask)[0]
    desk.layer.data_setitem((np.array([row]), np.array([column])), 0)
    desk.do("store")
    labels = desk.session.annotations.labels_of(n, desk.session.images)
    assert (labels == c).sum() == mask.sum() - 1
    assert _ledger(desk)[1]["corrects"] == 1


def test_any_pair_may_be_answered_and_sections_browsed(desk):
    question = _pair(desk)
    desk.do("go", 2, 1)
    desk.do("following")
    assert _pair(desk) == (3, 1) and desk.chosen
    desk.do("previous")
    trace(desk, true_mask(desk))
    desk.do("store")
    assert _ledger(desk)[0]["section"] == 2
    desk.do("back")
    assert _pair(desk)[1] != 1 or _pair(desk) == question
    desk.do("go", 0, 1)
    assert not desk.do("previous") and desk.said == "This is the first section"


def test_what_is_left_of_a_section_is_its_last_structure(desk):
    """Nobody need find the last pixels of the background; a correction stays as it is."""
    n, images = _pair(desk)[0], desk.session.images
    for c in range(1, images.num_classes):
        desk.do("go", n, c)
        desk.do("let_truth_answer")
    desk.do("go", n, 0)
    truth = true_mask(desk)
    rows, columns = np.nonzero(truth)
    desk.layer.data_setitem((rows[9:], columns[9:]), 1)
    assert desk.do("store") and "9 px that were left are it too" in desk.said
    labels = desk.session.annotations.labels_of(n, images)
    np.testing.assert_array_equal(labels == 0, truth)
    desk.do("go", n, 0)
    desk.layer.data_setitem((rows[:4], columns[:4]), 0)
    assert not desk.do("store") and "4 px of the section would be of no class" in desk.said


def test_what_was_said_of_one_pair_does_not_stay_with_another(desk):
    assert not desk.do("undo") and desk.said
    desk.do("following")
    assert desk.said == ""


def test_what_is_under_the_pointer_is_picked(desk):
    n, c = _pair(desk)
    mask = true_mask(desk)
    trace(desk, mask)
    desk.do("store")
    desk.do("go", n, next(k for k in range(1, 4) if k != c))
    desk.viewer.cursor.position = tuple(map(float, np.argwhere(mask)[0]))
    desk.do("pick")
    assert _pair(desk) == (n, c) and desk.correcting
    desk.viewer.cursor.position = (-5.0, 3.0)
    assert not desk.do("pick") and "not on the section" in desk.said


def test_ranges_are_changed_and_strokes_stay(desk):
    desk.do("go", 2, 3)
    trace(desk, true_mask(desk))
    desk.do("begins_here")
    assert desk.span(3) == (2, 4) and held(desk.layer).sum() == true_mask(desk).sum()
    desk.do("go", 3, 3)
    desk.do("ends_here")
    assert desk.span(3) == (2, 3)
    assert [event["event"] for event in _ledger(desk)] == ["range", "range"]
    assert not desk.do("set_range", 3, (4, 2)) and desk.span(3) == (2, 3)


def test_an_answer_out_of_range_widens_it_only_when_told(desk):
    desk.do("go", 5, 3)
    mask = np.zeros(desk.question.inside.shape, bool)
    mask[20:24, 20:24] = True
    trace(desk, mask)
    assert "Outside its range, 1 to 4" in text.reasons(desk)
    assert not desk.do("store") and "w stores it" in desk.said and not _ledger(desk)
    desk.do("widen")
    assert desk.span(3) == (1, 5) and desk.session.annotations.state.annotated[5, 3]


def test_the_truth_answers_in_a_demonstration(desk):
    for _ in range(3):
        (n, c), truth = _pair(desk), true_mask(desk)
        desk.do("let_truth_answer")
        labels = desk.session.annotations.labels_of(n, desk.session.images)
        assert (labels == c).sum() == truth.sum()


def test_a_session_without_truth_has_no_key_for_it(tmp_path, untrained):
    core.create(tmp_path / "own", desks.images(), desks.SPANS)
    with at_desk(tmp_path / "own") as desk:
        assert desk.actions == ACTIONS


def test_every_key_does_what_its_button_says(desk, monkeypatch):
    called = []
    monkeypatch.setattr(desk, "do", lambda name, *_: called.append(name))
    for name in layers.LAYERS:
        desk.viewer.layers.selection.active = desk.viewer.layers[name]
        for action in (*ACTIONS, DEMONSTRATION):
            _press(desk, action.key)
    assert called == [a.name for a in (*ACTIONS, DEMONSTRATION)] * len(layers.LAYERS)


def test_no_key_of_a_tool_is_taken():
    tools = [keys for name, keys in default_shortcuts.items() if "labels" in name]
    tools += [
        default_shortcuts[f"napari:{name}"] for name in ("new_label", "toggle_preserve_labels")
    ]
    taken = {str(key).lower() for keys in tools for key in keys}
    own = [action.key for action in (*ACTIONS, DEMONSTRATION)]
    assert not taken & set(own) and len(set(own)) == len(own)


def test_a_draft_outlives_the_window(folder, untrained):
    clock = desks.Clock()
    with at_desk(folder, clock=clock) as desk:
        pair, mask = _pair(desk), true_mask(desk)
        trace(desk, mask)
        clock.now = 7.0
        desk.tick()
    assert len(list((folder / "drafts").iterdir())) == 1
    with at_desk(folder, clock=desks.Clock()) as desk:
        assert _pair(desk) == pair and desk.seconds == 7.0
        np.testing.assert_array_equal(held(desk.layer), mask)
        desk.do("store")
        assert _ledger(desk)[0]["seconds"] == 7.0
        assert not list((folder / "drafts").iterdir())


def test_each_pair_keeps_its_own_draft(desk):
    pair, mask = _pair(desk), true_mask(desk)
    trace(desk, mask)
    desk.do("skip")
    assert not held(desk.layer).any()
    desk.do("go", *pair)
    np.testing.assert_array_equal(held(desk.layer), mask)


def test_strokes_that_were_taken_away_leave_no_draft(desk):
    mask = true_mask(desk)
    trace(desk, mask)
    desk._clock.now = 1.0
    desk.tick()
    desk.layer.data_setitem(np.nonzero(mask), 0)
    desk.do("skip")
    assert not list((desk.session.folder / "drafts").iterdir())


def test_a_draft_that_cannot_be_written_is_said(desk, monkeypatch):
    def full(*_):
        raise InputError("no room")

    monkeypatch.setattr("al_jax.window.controller.write_draft", full)
    trace(desk, true_mask(desk))
    for desk._clock.now in (1.0, 2.0):
        desk.tick()
        trace(desk, desk.question.inside)
    desk.do("go", 0, 0)
    assert desk.said == "no room"


def test_strokes_of_another_question_cannot_come_back(desk):
    trace(desk, true_mask(desk))
    desk.do("store")
    desk.layer.undo()
    assert not held(desk.layer).any()


def test_time_counts_while_somebody_works(folder, untrained):
    clock = desks.Clock()
    with at_desk(folder, clock=clock) as desk:
        clock.now = 10.0
        desk.viewer.cursor.position = (3.0, 4.0)
        desk.tick()
        clock.now = 10.0 + IDLE + 3600
        desk.tick()  # gone for an hour
        assert desk.seconds == 10.0
        desk.viewer.cursor.position = (5.0, 4.0)
        clock.now += 5.0
        desk.tick()
        assert desk.seconds == 15.0


def test_a_training_that_fails_is_said_and_the_questions_go_on(folder, monkeypatch):
    desks.no_training(monkeypatch)
    monkeypatch.setattr(core, "train_step", lambda _: (_ for _ in ()).throw(InputError("NaN")))
    with at_desk(folder) as desk:
        assert desk.wait(5) and desk.tick()
        assert "The network does not learn: NaN" in text.network_in_words(desk)
        trace(desk, true_mask(desk))
        assert desk.do("store") and desk.wait(5)
        desk.tick()
        assert desk.failure == "NaN"
        monkeypatch.setattr(core, "train_step", lambda _: None)
    with at_desk(folder) as desk:
        desk.do("retry")
        assert desk.wait(5) and desk.failure is None


def _learnt(desk):
    """A piece of training ends now: the network has seen all events."""
    seen = len(desk.session.events)
    desk.session.network = desk.session.network._replace(through=seen)
    desk._behind._outcomes.append(updates_outcome(seen))


def updates_outcome(through):
    from al_jax.window.background import Outcome

    return Outcome(core.Trained(False, 1.0, 0.5, 1.0, through), None)


def test_a_late_result_asks_anew_unless_something_is_traced(desk):
    for _ in range(4):
        desk.do("let_truth_answer")
    before = desk.question
    trace(desk, true_mask(desk))
    _learnt(desk)
    assert desk.tick() and desk.question is before
    desk.layer.data_setitem(np.nonzero(held(desk.layer)), 0)
    desk.do("go", 0, 1)
    chosen = desk.question
    _learnt(desk)
    assert desk.tick() and desk.question is chosen
    desk.do("back")
    desk.session.events.append({"number": 5, "event": "note", "text": ""})
    old = desk.question
    _learnt(desk)
    assert desk.tick() and desk.question is not old


def test_at_the_end_nothing_is_asked_and_answers_may_be_corrected(desk, monkeypatch):
    for _ in range(24):
        if desk.question is None:
            break
        desk.do("let_truth_answer")
    assert desk.question is None and "All is answered" in text.headline(desk)
    assert not desk.do("store") and "Nothing is left" in desk.said
    desk.do("go", 2, 1)
    assert desk.correcting and desk.layer.editable


def test_a_finished_session_opens(folder, monkeypatch):
    desks.no_training(monkeypatch)
    with at_desk(folder) as desk:
        for _ in range(24):
            if desk.question is None:
                break
            desk.do("let_truth_answer")
    with at_desk(folder) as desk:
        assert desk.question is None and "All is answered" in text.headline(desk)
        desk.tick()
        assert desk.do("go", 2, 1) and desk.correcting
        assert desk.do("undo") and desk.question is not None


def test_undoing_ask_later_brings_the_strokes_back(desk):
    mask = true_mask(desk)
    trace(desk, mask)
    desk.do("skip")
    desk.do("undo")
    np.testing.assert_array_equal(held(desk.layer), mask)


def test_who_waits_is_not_asked_before_the_network_has_learnt(folder, monkeypatch):
    with at_desk(folder) as desk:
        for _ in range(4):
            desk.do("let_truth_answer")
        assert desk.wait(300)
    with core.open_session(folder) as session:
        question = core.next_question(session)
        mask = core.true_mask(folder, question.section, question.structure)
        core.store_answer(session, question.section, question.structure, mask)
    with at_desk(folder, wait=True) as desk:
        assert desk.waiting and not desk.do("store")
        desk.do("set_range", 3, (0, 5))
        assert desk.waiting
        assert desk.wait(300) and desk.tick()
        assert not desk.waiting and core.behind(desk.session) == 0


def test_a_name_with_a_colon_is_a_name(desk):
    question = dataclasses.replace(desk.question, name="Tumor: Positive")
    why = f"{text.pair(question)}: expected Dice 0.31, 12 of 20 px of outline left"
    desk.question = dataclasses.replace(question, why=why)
    assert text.reasons(desk).startswith("Expected Dice 0.31")


def test_a_person_and_a_network_that_learns_behind(folder, monkeypatch):
    with at_desk(folder) as desk:
        for _ in range(4):
            assert desk.question.proposal is None
            desk.do("let_truth_answer")
        assert desk.wait(300)
        desk.tick()
        assert desk.failure is None and desk.question.proposal is not None
        assert text.network_in_words(desk) == "Network up to date"
        desk.do("let_truth_answer")
        assert core.behind(desk.session) <= 1
        assert desk.wait(300)
    with at_desk(folder, wait=True) as desk:
        n = desk.question.network
        desk.do("let_truth_answer")
        assert desk.waiting and not desk.do("store")
        assert desk.wait(300) and desk.tick()
        assert not desk.waiting and desk.question.network > n


def test_progress_counts_what_the_ledger_holds(desk):
    desk.do("let_truth_answer")
    found = core.progress(desk.session)
    assert (found.left, found.seconds_left) == (None, None)  # of three structures nothing is known
    assert text.progress_in_words(found).startswith("1 answer, ")
    names = ", ".join(text.without_outline(desk.session))
    assert text.network_in_words(desk).endswith(f"; of {names} it has none")
    for _ in range(5):
        desk.do("let_truth_answer")
    found = core.progress(desk.session)
    events = _ledger(desk)
    assert found.answers == 6
    assert found.traced == pytest.approx(sum(e["length"] for e in events))
    assert found.left > 0 and found.last == (events[-1]["predicted"], events[-1]["length"])
    assert "6 answers" in text.progress_in_words(found)
    assert text.duration(89) == "89 s" and text.duration(5400) == "1.5 h"
