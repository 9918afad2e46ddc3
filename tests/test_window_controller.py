"""The state machine of the window, without a window."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import controllers
import tiny
from controllers import at_controller, proposing, trace, true_mask
from napari.utils.key_bindings import KeymapHandler
from napari.utils.shortcuts import default_shortcuts

from al_jax import session as core
from al_jax.core.stack import UNLABELLED, InputError
from al_jax.learner.learner import init_learner
from al_jax.learner.transfer import experience_of
from al_jax.window import layers, text
from al_jax.window.actions import ACTIONS, DEMONSTRATION
from al_jax.window.clock import IDLE
from al_jax.window.layers import held


@pytest.fixture
def folder(tmp_path):
    return controllers.make_session(tmp_path / "session")


@pytest.fixture
def untrained(monkeypatch):
    controllers.no_training(monkeypatch)


@pytest.fixture
def controller(folder, untrained):
    with at_controller(folder, clock=controllers.Clock()) as controller:
        yield controller


def _ledger(controller):
    return [json.loads(line) for line in (controller.session.folder / "ledger.jsonl").open()]


def _pair(controller):
    return controller.question.section, controller.question.structure


def _press(controller, key):
    handler = KeymapHandler()
    handler.keymap_providers = [controller.viewer.layers.selection.active, controller.viewer]
    assert handler.press_key(key.upper())


def test_a_window_says_what_was_carried_over(folder, tmp_path, untrained):
    with core.open_session(folder) as session:
        state = session.annotations.state
        learner = init_learner(jax.random.key(0), state, controllers.QUICK)
        earlier = experience_of(state, learner, session.images.names, controllers.QUICK, 1)
    lengths = np.zeros_like(earlier.lengths)
    lengths[:, :3, :3] = 7 * np.eye(3)
    after = controllers.make_session(tmp_path / "after", earlier=earlier._replace(lengths=lengths))
    with at_controller(after) as controller:
        assert controller.message == (
            "Begun from earlier stacks (outlines on 7 sections): classes background, outer, "
            "middle; new: inner"
        )
        assert text.network_message(controller).endswith("of inner it has none")
        assert controller.question.example and controller.question.name == "inner"


def test_a_traced_answer_is_stored_and_the_next_question_comes(controller):
    first, mask = _pair(controller), true_mask(controller)
    trace(controller, mask)
    controller.do("store")
    (event,) = _ledger(controller)
    assert (event["event"], event["how"]) == ("answer", "traced")
    labels = controller.session.annotations.labels_of(first[0], controller.session.images)
    np.testing.assert_array_equal(labels == first[1], mask)
    assert _pair(controller) != first and not held(controller.layer).any()
    assert "px of outline" in controller.message


def _beside_a_traced_one(controller) -> tuple[int, int, int]:
    """Traces what is asked, and goes to another structure there: section, the first, the other."""
    n, c = _pair(controller)
    trace(controller, true_mask(controller))
    controller.do("store")
    other = next(k for k in range(1, 4) if k != c)
    controller.do("go", n, other)
    return n, c, other


def test_what_lies_on_other_answers_is_clipped_and_said(controller):
    n, c, _ = _beside_a_traced_one(controller)
    trace(controller, controller.question.inside)
    assert not controller.do("store")  # as odd as it is
    assert controller.do("store")
    assert f"left out: {(tiny.stack().truth[n] == c).sum()} px that are" in controller.message


@pytest.mark.parametrize(
    ("keys", "spoil", "how"),
    [("a", 0, "accepted"), ("ts", 0, "accepted"), ("ts", 5, "corrected"), ("s", 60, "traced")],
)
def test_how_an_answer_was_made_shows_in_the_layer(
    folder, untrained, monkeypatch, keys, spoil, how
):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_controller(folder) as controller:
        for key in keys:
            if key == "s" and spoil:
                rows, columns = np.nonzero(true_mask(controller))
                controller.layer.data_setitem(
                    (rows[:spoil], columns[:spoil]), 1 if how == "traced" else 0
                )
            _press(controller, key)
        (event,) = _ledger(controller)
        assert event["how"] == how and len(event["kept"]) == 3


def test_a_hand_that_traces_the_very_proposal_has_accepted_it(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_controller(folder) as controller:
        trace(controller, true_mask(controller))
        controller.do("store")
        assert _ledger(controller)[0]["how"] == "accepted"


def test_there_is_no_proposal_before_the_network_learns(controller):
    assert not controller.do("accept")
    assert "no proposal yet" in controller.message and not _ledger(controller)


def test_a_proposal_that_is_there_by_now_is_shown_before_it_is_an_answer(
    folder, untrained, monkeypatch
):
    with at_controller(folder) as controller:
        controller.do("go", 2, 3)
        trace(controller, true_mask(controller))
        controller._clock.begin(30, held(controller.layer))
        proposing(monkeypatch, lambda q: q.inside)
        network = type(controller.session.network)
        monkeypatch.setattr(network, "proposes", property(lambda _: True))
        for key in "a":
            _press(controller, key)
        assert not _ledger(controller) and _pair(controller) == (2, 3)
        assert controller.message == "The network has learnt since; this is what it proposes"
        assert controller.question.proposal.any() and held(controller.layer).any()
        _press(controller, "a")
        assert "a again takes the proposal" in controller.message
        _press(controller, "a")
        (event,) = _ledger(controller)
        assert event["how"] == "accepted" and event["seconds"] >= 30


def test_a_proposal_in_the_layer_is_hidden_beneath_it(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_controller(folder) as controller:
        proposal, left = (controller.viewer.layers[n] for n in (layers.PROPOSAL, layers.LEFT))
        _press(controller, "t")
        assert not proposal.visible and not left.visible
        _press(controller, "i")
        assert proposal.visible and left.visible
        _press(controller, "i")
        _press(controller, "t")  # the person has hidden it, and it stays so
        _press(controller, "s")
        assert len(_ledger(controller)) == 1 and not proposal.visible
        _press(controller, "i")
        _press(controller, "t")
        _press(controller, "s")
        assert len(_ledger(controller)) == 2 and proposal.visible and left.visible


def test_what_is_not_shown_is_not_answered(controller, monkeypatch):
    """The next section is half on the screen: no key stores what is drawn there."""
    n, c = _pair(controller)

    def fail(*_):
        raise IndexError("of napari")

    monkeypatch.setattr(layers, "outline_left", fail)
    with pytest.raises(IndexError):
        controller.do("go", n + 1, c)
    monkeypatch.undo()
    controllers.no_training(monkeypatch)
    trace(controller, tiny.stack().truth[n] == c)
    assert not controller.do("store") and not _ledger(controller)
    assert controller.do("back") and _pair(controller) == (n, c)


def test_undo_brings_back_what_others_hold_too(controller):
    n, c, other = _beside_a_traced_one(controller)
    drawn = np.zeros_like(controller.question.inside)
    drawn[8:30, 8:34] = True
    trace(controller, drawn)
    assert controller.do("store") or controller.do("store")
    assert "left out" in controller.message
    controller.do("undo")
    np.testing.assert_array_equal(held(controller.layer), drawn)
    assert controller.do("take_pixels") or controller.do("take_pixels")
    labels = controller.session.annotations.labels_of(n, controller.session.images)
    np.testing.assert_array_equal(labels == other, drawn & controller.session.images.inside[n])
    controller.do("undo")
    labels = controller.session.annotations.labels_of(n, controller.session.images)
    assert (labels == c).sum() == (tiny.stack().truth[n] == c).sum() and not (labels == other).any()


def test_an_empty_proposal_is_not_an_answer(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: np.zeros(q.inside.shape, bool))
    with at_controller(folder) as controller:
        assert not controller.do("accept")
        assert "n only if it is not there" in controller.message and not _ledger(controller)
        assert "The network sees nothing of it here" in text.reasons(controller)


def test_nothing_traced_is_no_answer(controller):
    assert not controller.do("store")
    assert "press n" in controller.message and not _ledger(controller)


def test_the_polygon_says_how_it_closes_and_hides_no_other_message(controller):
    controller.layer.mode = "polygon"
    assert controller.message.startswith("Click corner by corner")
    trace(controller, true_mask(controller))
    assert controller.do("store") and controller.layer.mode == "polygon"
    assert "px of outline" in controller.message


def test_undo_without_the_file_of_a_mask_is_done_and_said_so(controller):
    mask = true_mask(controller)
    trace(controller, mask)
    controller.do("store")
    for path in (controller.session.folder / "masks").iterdir():
        path.unlink()
    assert controller.do("undo") and controller.message.startswith("Taken back")
    np.testing.assert_array_equal(held(controller.layer), mask)


def test_absent(controller):
    first = _pair(controller)
    controller.do("absent")
    assert _ledger(controller)[0]["event"] == "absent" and _pair(controller) != first


def test_a_proposal_over_strokes_is_asked_twice(folder, untrained, monkeypatch):
    proposing(monkeypatch, lambda q: tiny.stack().truth[q.section] == q.structure)
    with at_controller(folder) as controller:
        drawn = ~true_mask(controller) & controller.question.inside
        trace(controller, drawn)
        assert not controller.do("accept") and "a again" in controller.message
        np.testing.assert_array_equal(held(controller.layer), drawn)
        assert controller.do("accept") and _ledger(controller)[0]["how"] == "accepted"


def test_a_correction_takes_pixels_where_all_of_a_section_is_answered(controller):
    n, images = _pair(controller)[0], controller.session.images
    for c in (1, 2, 3, 0):
        controller.do("go", n, c)
        controller.do("let_truth_answer")
    controller.do("go", n, 1)
    labels = controller.session.annotations.labels_of(n, images).copy()
    row, column = np.argwhere(labels == 2)[0]
    controller.layer.data_setitem((np.array([row]), np.array([column])), 1)
    assert controller.do("take_pixels"), controller.message
    labels[row, column] = 1
    found = controller.session.annotations.labels_of(n, images)
    np.testing.assert_array_equal(found, labels)


def test_absent_over_strokes_is_asked_twice(controller):
    first = _pair(controller)
    trace(controller, true_mask(controller))
    assert not controller.do("absent")
    assert _pair(controller) == first and not _ledger(controller)
    assert controller.do("absent") and _ledger(controller)[0]["event"] == "absent"


def test_what_looks_odd_is_stored_by_the_same_key_again(controller):
    first = _pair(controller)
    trace(controller, ~true_mask(controller))
    _press(controller, "s")
    assert "it fills" in controller.message and "The same key again" in controller.message
    assert _pair(controller) == first and not _ledger(controller)
    controller.layer.data_setitem(tuple(np.mgrid[10:20, 10:20].reshape(2, -1)), 0)
    _press(controller, "s")  # another answer, another question
    assert "it fills" in controller.message and not _ledger(controller)
    _press(controller, "s")
    assert [event["event"] for event in _ledger(controller)] == ["answer"]
    assert _pair(controller) != first


def test_what_looks_odd_once_is_asked_again_after_another_pair(controller):
    n, c = _pair(controller)
    for _ in range(2):
        controller.do("go", n, c)
        trace(controller, controller.question.inside)
        assert not controller.do("store") and not _ledger(controller)
        controller.do("go", n, 1 + c % 3)


def test_skip_asks_another_pair(controller):
    first = _pair(controller)
    controller.do("skip")
    assert _pair(controller) != first and _ledger(controller)[0]["event"] == "skip"
    assert "comes back later" in controller.message


def test_undo_puts_the_answer_back_into_the_layer(controller):
    first, mask = _pair(controller), true_mask(controller)
    trace(controller, mask)
    controller.do("store")
    controller.do("undo")
    assert _pair(controller) == first
    np.testing.assert_array_equal(held(controller.layer), mask)
    assert not controller.session.annotations.state.annotated.any()
    controller.do("store")
    assert [event["event"] for event in _ledger(controller)] == ["answer", "withdraw", "answer"]


def test_nothing_to_undo(controller):
    assert not controller.do("undo") and controller.message == "There is nothing to undo"


def test_an_earlier_answer_is_corrected(controller):
    (n, c), mask = _pair(controller), true_mask(controller)
    trace(controller, mask)
    controller.do("store")
    controller.do("go", n, c)
    assert controller.correcting and text.headline(controller).startswith("Correct")
    np.testing.assert_array_equal(held(controller.layer), mask)
    assert (controller.question.labels == UNLABELLED).all()
    row, column = np.argwhere(mask)[0]
    controller.layer.data_setitem((np.array([row]), np.array([column])), 0)
    controller.do("store")
    labels = controller.session.annotations.labels_of(n, controller.session.images)
    assert (labels == c).sum() == mask.sum() - 1
    assert _ledger(controller)[1]["corrects"] == 1


def test_any_pair_may_be_answered_and_sections_browsed(controller):
    question = _pair(controller)
    controller.do("go", 2, 1)
    controller.do("following")
    assert _pair(controller) == (3, 1) and controller.chosen
    controller.do("previous")
    trace(controller, true_mask(controller))
    controller.do("store")
    assert _ledger(controller)[0]["section"] == 2
    controller.do("back")
    assert _pair(controller)[1] != 1 or _pair(controller) == question
    controller.do("go", 0, 1)
    assert not controller.do("previous") and controller.message == "This is the first section"


def test_what_is_left_of_a_section_is_its_last_structure(controller):
    """Nobody need find the last pixels of the background; a correction stays as it is."""
    n, images = _pair(controller)[0], controller.session.images
    for c in range(1, images.num_classes):
        controller.do("go", n, c)
        controller.do("let_truth_answer")
    controller.do("go", n, 0)
    truth = true_mask(controller)
    rows, columns = np.nonzero(truth)
    controller.layer.data_setitem((rows[9:], columns[9:]), 1)
    assert controller.do("store") and "9 px that were left are it too" in controller.message
    labels = controller.session.annotations.labels_of(n, images)
    np.testing.assert_array_equal(labels == 0, truth)
    controller.do("go", n, 0)
    controller.layer.data_setitem((rows[:4], columns[:4]), 0)
    assert (
        not controller.do("store")
        and "4 px of the section would be of no class" in controller.message
    )


def test_what_was_said_of_one_pair_does_not_stay_with_another(controller):
    assert not controller.do("undo") and controller.message
    controller.do("following")
    assert controller.message == ""


def test_what_is_under_the_pointer_is_picked(controller):
    n, c = _pair(controller)
    mask = true_mask(controller)
    trace(controller, mask)
    controller.do("store")
    controller.do("go", n, next(k for k in range(1, 4) if k != c))
    controller.viewer.cursor.position = tuple(map(float, np.argwhere(mask)[0]))
    controller.do("pick")
    assert _pair(controller) == (n, c) and controller.correcting
    controller.viewer.cursor.position = (-5.0, 3.0)
    assert not controller.do("pick") and "not on the section" in controller.message


def test_ranges_are_changed_and_strokes_stay(controller):
    controller.do("go", 2, 3)
    trace(controller, true_mask(controller))
    controller.do("begins_here")
    assert (
        controller.span(3) == (2, 4) and held(controller.layer).sum() == true_mask(controller).sum()
    )
    controller.do("go", 3, 3)
    controller.do("ends_here")
    assert controller.span(3) == (2, 3)
    assert [event["event"] for event in _ledger(controller)] == ["range", "range"]
    assert not controller.do("set_range", 3, (4, 2)) and controller.span(3) == (2, 3)


def test_an_answer_out_of_range_widens_it_only_when_told(controller):
    controller.do("go", 5, 3)
    mask = np.zeros(controller.question.inside.shape, bool)
    mask[20:24, 20:24] = True
    trace(controller, mask)
    assert "Outside its range, 1 to 4" in text.reasons(controller)
    assert (
        not controller.do("store")
        and "w stores it" in controller.message
        and not _ledger(controller)
    )
    controller.do("widen")
    assert controller.span(3) == (1, 5) and controller.session.annotations.state.annotated[5, 3]


def test_the_truth_answers_in_a_demonstration(controller):
    for _ in range(3):
        (n, c), truth = _pair(controller), true_mask(controller)
        controller.do("let_truth_answer")
        labels = controller.session.annotations.labels_of(n, controller.session.images)
        assert (labels == c).sum() == truth.sum()


def test_a_session_without_truth_has_no_key_for_it(tmp_path, untrained):
    core.create(tmp_path / "own", controllers.images(), controllers.SPANS)
    with at_controller(tmp_path / "own") as controller:
        assert controller.actions == ACTIONS


def test_every_key_does_what_its_button_says(controller, monkeypatch):
    called = []
    monkeypatch.setattr(controller, "do", lambda name, *_: called.append(name))
    for name in layers.LAYERS:
        controller.viewer.layers.selection.active = controller.viewer.layers[name]
        for action in (*ACTIONS, DEMONSTRATION):
            _press(controller, action.key)
    assert called == [a.name for a in (*ACTIONS, DEMONSTRATION)] * len(layers.LAYERS)


def test_no_key_of_a_tool_is_taken():
    tools = [keys for name, keys in default_shortcuts.items() if "labels" in name]
    tools += [
        default_shortcuts[f"napari:{name}"] for name in ("new_label", "toggle_preserve_labels")
    ]
    taken = {str(key).lower() for keys in tools for key in keys}
    taken -= {"5", "7"}  # of tools that pick a label, of which there is one, and move a layer
    own = [action.key for action in (*ACTIONS, DEMONSTRATION)]
    assert not taken & set(own) and len(set(own)) == len(own)


def test_a_draft_outlives_the_window(folder, untrained):
    clock = controllers.Clock()
    with at_controller(folder, clock=clock) as controller:
        pair, mask = _pair(controller), true_mask(controller)
        trace(controller, mask)
        clock.now = 7.0
        controller.tick()
    assert len(list((folder / "drafts").iterdir())) == 1
    with at_controller(folder, clock=controllers.Clock()) as controller:
        assert _pair(controller) == pair and controller.seconds == 7.0
        np.testing.assert_array_equal(held(controller.layer), mask)
        controller.do("store")
        assert _ledger(controller)[0]["seconds"] == 7.0
        assert not list((folder / "drafts").iterdir())


def _damage(controller, pair) -> pathlib.Path:
    path = controller.session.folder / "drafts" / "{}_{}.npz".format(*pair)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"torn")
    return path


def test_a_damaged_draft_is_moved_aside_before_anything_is_shown(controller):
    trace(controller, true_mask(controller))  # of the first pair
    section, structure = _pair(controller)
    damaged = _damage(controller, (section + 1, structure))
    assert controller.do("following") and _pair(controller) == (section + 1, structure)
    assert not held(controller.layer).any()
    assert f"{damaged.stem}.damaged" in controller.message and not damaged.exists()
    assert not controller.do("store")  # nothing is traced of this pair
    assert not _ledger(controller)
    assert controller.do("previous") and held(controller.layer).any()
    trace(controller, true_mask(controller))
    assert controller.do("store")
    following = _pair(controller)
    controller.do("undo")
    _damage(controller, following)
    assert controller.do("store") and _pair(controller) == following
    assert "px of outline" in controller.message and ".damaged" in controller.message


def test_a_window_opens_on_a_damaged_draft(folder, untrained):
    with at_controller(folder) as controller:
        pair = _pair(controller)
        _damage(controller, pair)
    with at_controller(folder) as controller:
        assert _pair(controller) == pair and not held(controller.layer).any()
        assert ".damaged" in controller.message


def test_each_pair_keeps_its_own_draft(controller):
    pair, mask = _pair(controller), true_mask(controller)
    trace(controller, mask)
    controller.do("skip")
    assert not held(controller.layer).any()
    controller.do("go", *pair)
    np.testing.assert_array_equal(held(controller.layer), mask)


def test_strokes_that_were_taken_away_leave_no_draft(controller):
    mask = true_mask(controller)
    trace(controller, mask)
    controller._clock._now.now = 1.0
    controller.tick()
    controller.layer.data_setitem(np.nonzero(mask), 0)
    controller.do("skip")
    assert not list((controller.session.folder / "drafts").iterdir())


def test_a_draft_that_cannot_be_written_is_said(controller, monkeypatch):
    def full(*_):
        raise InputError("no room")

    monkeypatch.setattr("al_jax.window.drafts.write_draft", full)
    trace(controller, true_mask(controller))
    for controller._clock._now.now in (1.0, 2.0):
        controller.tick()
        trace(controller, controller.question.inside)
    controller.do("go", 0, 0)
    assert controller.message == "no room"


def test_strokes_of_another_question_cannot_come_back(controller):
    trace(controller, true_mask(controller))
    controller.do("store")
    controller.layer.undo()
    assert not held(controller.layer).any()


def test_time_counts_while_somebody_works(folder, untrained):
    clock = controllers.Clock()
    with at_controller(folder, clock=clock) as controller:
        clock.now = 10.0
        controller.viewer.cursor.position = (3.0, 4.0)
        controller.tick()
        clock.now = 10.0 + IDLE + 3600
        controller.tick()  # gone for an hour
        assert controller.seconds == 10.0
        controller.viewer.cursor.position = (5.0, 4.0)
        clock.now += 5.0
        controller.tick()
        assert controller.seconds == 15.0


def test_a_training_that_fails_is_said_and_the_questions_go_on(folder, monkeypatch):
    controllers.no_training(monkeypatch)
    monkeypatch.setattr(
        core.Session, "train_step", lambda _: (_ for _ in ()).throw(InputError("NaN"))
    )
    with at_controller(folder) as controller:
        assert controller.wait(5) and controller.tick()
        assert "The network does not learn: NaN" in text.network_message(controller)
        trace(controller, true_mask(controller))
        assert controller.do("store") and controller.wait(5)
        controller.tick()
        assert controller.failure == "NaN"
        monkeypatch.setattr(core.Session, "train_step", lambda _: None)
    with at_controller(folder) as controller:
        controller.do("retry")
        assert controller.wait(5) and controller.failure is None


def _learnt(controller):
    """A piece of training ends now: the network has seen all events."""
    seen = len(controller.session.events)
    controller.session.network = controller.session.network._replace(through=seen)
    controller._behind._outcomes.append(updates_outcome(seen))


def updates_outcome(through):
    from al_jax.window.background import Outcome

    return Outcome(core.Trained(False, 1.0, 0.5, 1.0, through), None)


def test_a_question_that_is_shown_stays_and_a_better_one_is_offered(controller, monkeypatch):
    for _ in range(4):
        controller.do("let_truth_answer")
    before, ask = controller.question, core.Session.next_question
    other = next(c for c in range(1, 4) if c != before.structure)

    def better(session, *, section=None, structure=None, propose=True):
        question = ask(session, section=section, structure=structure, propose=propose)
        if section is None:
            question = ask(session, section=before.section, structure=other)
        return question

    monkeypatch.setattr(core.Session, "next_question", better)
    _learnt(controller)
    assert controller.tick() and controller.question is before  # though nobody has touched it
    assert controller.offer.endswith("; q goes there")
    name = controller.session.images.names[other]
    assert f"'{name}' on section {before.section_name}" in controller.offer
    trace(controller, true_mask(controller))
    controller.do("store")
    assert _ledger(controller)[-1]["structure"] == before.name and controller.offer == ""
    controller.do("undo")
    _learnt(controller)
    controller.tick()
    assert controller.offer == ""  # a pair that somebody chose
    controller.do("back")
    assert _pair(controller) == (before.section, other)


def test_what_the_network_has_learnt_of_the_same_pair_is_offered(folder, untrained, monkeypatch):
    monkeypatch.setattr("al_jax.session.network.Network.proposes", True)
    monkeypatch.setattr(core.Session, "_predicted", lambda *_: None)
    shape = controllers.images().inside.shape[1:]
    monkeypatch.setattr(
        "al_jax.session.question.with_proposal",
        lambda asked, *_: dataclasses.replace(asked, proposal=np.zeros(shape, bool)),
    )
    with at_controller(folder) as controller:
        for _ in range(4):
            controller.do("let_truth_answer")
        before = controller.question
        _learnt(controller)
        assert controller.tick() and controller.question is before
        assert controller.offer.endswith("q shows what it sees now")
        controller.do("back")
        assert _pair(controller) == (before.section, before.structure) and not controller.offer
        assert controller.question is not before


def test_at_the_end_nothing_is_asked_and_answers_may_be_corrected(controller, monkeypatch):
    for _ in range(24):
        if controller.question is None:
            break
        controller.do("let_truth_answer")
    assert controller.question is None and "All is answered" in text.headline(controller)
    assert not controller.do("store") and "Nothing is left" in controller.message
    controller.do("go", 2, 1)
    assert controller.correcting and controller.layer.editable


def test_a_finished_session_opens(folder, monkeypatch):
    controllers.no_training(monkeypatch)
    with at_controller(folder) as controller:
        for _ in range(24):
            if controller.question is None:
                break
            controller.do("let_truth_answer")
    with at_controller(folder) as controller:
        assert controller.question is None and "All is answered" in text.headline(controller)
        controller.tick()
        assert controller.do("go", 2, 1) and controller.correcting
        assert controller.do("undo") and controller.question is not None


def test_undoing_ask_later_brings_the_strokes_back(controller):
    mask = true_mask(controller)
    trace(controller, mask)
    controller.do("skip")
    controller.do("undo")
    np.testing.assert_array_equal(held(controller.layer), mask)


@pytest.mark.slow
def test_who_waits_is_not_asked_before_the_network_has_learnt(folder, monkeypatch):
    with at_controller(folder) as controller:
        for _ in range(4):
            controller.do("let_truth_answer")
        assert controller.wait(300)
    with core.open_session(folder) as session:
        question = session.next_question()
        mask = core.true_mask(folder, question.section, question.structure)
        session.store_answer(question.section, question.structure, mask)
    with at_controller(folder, wait=True) as controller:
        assert controller.waiting and not controller.do("store")
        controller.do("set_range", 3, (0, 5))
        assert controller.waiting
        assert controller.wait(300) and controller.tick()
        assert not controller.waiting and controller.session.behind() == 0


def test_a_first_training_that_was_begun_before_is_not_prepared_again(controller):
    begun = controller.session.network._replace(steps=3)
    controller.session.network = begun
    assert text.network_message(controller) == "First training of the network: 75%"


def test_a_name_with_a_colon_is_a_name(controller):
    question = dataclasses.replace(controller.question, name="Tumor: Positive")
    why = f"{text.pair_name(question)}: expected Dice 0.31, 12 of 20 px of outline left"
    controller.question = dataclasses.replace(question, why=why)
    assert text.reasons(controller).startswith("Expected Dice 0.31")


def test_a_person_and_a_network_that_learns_behind(folder, monkeypatch):
    with at_controller(folder) as controller:
        for count in range(4):  # the last takes what is left of its section
            assert (controller.question.proposal is None) == (count < 3)
            controller.do("let_truth_answer")
        assert controller.wait(300)
        controller.tick()
        assert controller.failure is None and controller.question.proposal is None  # as it was
        controller.do("back")
        assert controller.question.proposal is not None
        assert text.network_message(controller) == "Network up to date"
        controller.do("let_truth_answer")
        assert controller.session.behind() <= 1
        assert controller.wait(300)
    with at_controller(folder, wait=True) as controller:
        n = controller.question.network
        controller.do("let_truth_answer")
        assert controller.waiting and not controller.do("store")
        assert controller.wait(300) and controller.tick()
        assert not controller.waiting and controller.question.network > n


def test_progress_counts_what_the_ledger_holds(controller):
    controller.do("let_truth_answer")
    found = controller.session.progress()
    assert (found.left, found.seconds_left) == (None, None)  # of three structures nothing is known
    assert text.progress_message(found).startswith("1 answer, ")
    names = ", ".join(text.without_outline(controller.session))
    assert text.network_message(controller).endswith(f"; of {names} it has none")
    for _ in range(5):
        controller.do("let_truth_answer")
    found = controller.session.progress()
    events = _ledger(controller)
    assert found.answers == 6
    assert found.traced == pytest.approx(sum(e["length"] for e in events))
    assert found.left > 0 and found.last == (events[-1]["predicted"], events[-1]["length"])
    assert "6 answers" in text.progress_message(found)
    assert text.duration(89) == "89 s" and text.duration(5400) == "1.5 h"


def test_what_is_under_the_pointer_is_named(folder, untrained, monkeypatch):
    seen = np.full((40, 48), 1)
    seen[:20] = 3
    ask = core.Session.next_question

    def with_segmentation(session, **pair):
        return dataclasses.replace(ask(session, **pair), segmentation=seen)

    monkeypatch.setattr(core.Session, "next_question", with_segmentation)
    with at_controller(folder) as controller:
        controller.do("go", 2, 2)
        controller.do("let_truth_answer")
        controller.do("go", 2, 3)
        traced = tuple(np.argwhere(controller.question.labels == 2)[0])
        said = [controller.layer.get_status(p, world=True) for p in (traced, (9, 1), (30, 1))]
        assert [each["coordinates"].partition("  ")[2] for each in said] == [
            "middle, traced",
            "inner, proposed",
            "outer, proposed",
        ]
        outside = controller.layer.get_status((1, 1), world=True)["coordinates"]
        assert "proposed" not in outside and "traced" not in outside
        assert text.name_at(controller.question, ("a",), 99, 0) == ""
