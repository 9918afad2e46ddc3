"""The real window, with a real mouse and real keys, on a display of Xvfb."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import tomllib

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import controllers
import hands
import tiny

from al_jax import window
from al_jax.core.stack import InputError
from al_jax.session import Trained
from al_jax.window.background import Outcome
from al_jax.window.drafts import latest_draft, read_draft
from al_jax.window.layers import BESIDE, IMAGE, LEFT, PATH, PROPOSAL, TRACE, TRACED, held

TESTS = pathlib.Path(__file__).parent
pytestmark = pytest.mark.usefixtures("display")


@pytest.fixture(autouse=True)
def _untrained(monkeypatch):
    controllers.no_training(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    return controllers.make_session(tmp_path / "session")


SHARED = 7  # sessions, one after the other, in a window


@pytest.fixture(scope="module")
def windows(display):
    """The window that is open, and how many sessions it has seen."""
    shared = []
    yield shared
    _close(shared)


def _close(windows):
    """Closes the window that is open, if one is."""
    for widget in windows[:1]:
        widget._viewer.close()
    windows.clear()


@pytest.fixture
def opened(windows, folder):
    """A window on a session: its widget, and a hand."""
    import napari

    from al_jax.window.widget import in_window

    if len(windows) == SHARED:
        _close(windows)
    windows.append(windows[0] if windows else in_window(napari.Viewer(show=False)))
    widget = windows[0]
    widget.open(folder)
    hand = hands.Hand(widget._viewer, widget)
    hand.settle()
    hand.wait(0.3)
    assert hand.room() > 300
    yield widget, hand
    widget.close_session()


def _ledger(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").open()]


def _truth(question):
    return (tiny.stack().truth[question.section] == question.structure) & question.inside


def test_a_structure_is_traced_with_the_mouse_and_stored_with_a_key(opened, folder):
    from qtpy.QtWidgets import QLabel

    widget, hand = opened
    mask = _truth(widget.controller.question)
    assert widget.controller.layer.brush_size == 1
    hand.key("]")  # a larger one, and back
    assert widget.controller.layer.brush_size > 1
    hand.key("[")
    assert widget.controller.layer.brush_size == 1
    hand.colour_in(mask)
    np.testing.assert_array_equal(held(widget.controller.layer), mask)
    first = widget.controller.question
    hand.key("s")
    (event,) = _ledger(folder)
    assert (event["section"], event["how"]) == (first.section, "traced")
    assert widget.controller.question.structure != first.structure
    assert widget.findChild(QLabel, "headline").text().startswith("Trace '")


def test_the_polygon_tool_and_the_button(opened, folder):
    from qtpy.QtWidgets import QPushButton

    widget, hand = opened
    hand.key("3")
    corners = [(10, 10), (10, 30), (26, 30), (26, 10)]
    for corner in corners:
        hand.click(corner)
    hand.double_click(corners[-1])
    drawn = held(widget.controller.layer)
    assert drawn[12:25, 12:29].all() and drawn.sum() == 16 * 20
    widget.findChild(QPushButton, "store").click()
    hand.settle()
    assert _ledger(folder)[0]["event"] == "answer"


def test_keys_reach_the_controller_after_a_button_was_pressed(opened, folder):
    from qtpy.QtWidgets import QPushButton

    widget, hand = opened
    first = widget.controller.question
    widget.findChild(QPushButton, "skip").click()
    hand.settle()
    hand.key("n")
    assert [event["event"] for event in _ledger(folder)] == ["skip", "absent"]
    hand.key("u")
    hand.key("u")
    assert widget.controller.question.structure == first.structure
    assert "Taken back" in widget.panel.message.text()


def test_a_window_that_is_closed_goes_on_where_it_was(opened, folder):
    widget, hand = opened
    hand.stroke([(12, 12), (20, 30)])
    drawn = held(widget.controller.layer)
    assert drawn.any()
    hand.key("3")
    for corner in ((10, 10), (10, 30), (26, 30)):
        hand.click(corner)
    question = widget.controller.question
    widget.close_session()
    assert not any(layer.visible for layer in widget._viewer.layers)
    widget.open(folder)
    assert (widget.controller.question.section, widget.controller.question.structure) == (
        question.section,
        question.structure,
    )
    np.testing.assert_array_equal(held(widget.controller.layer), drawn)
    corners = widget.controller.layer.corners  # of the polygon that was under way
    assert np.abs(corners - [(10, 10), (10, 30), (26, 30)]).max() < 1.5
    hand.click((26, 10))
    hand.double_click((26, 10))
    assert held(widget.controller.layer).sum() > drawn.sum() + 200


def _circle(centre, radius, share=1.0):
    angle = np.linspace(0, 2 * np.pi * share, 40)
    return np.array(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def test_an_outline_is_closed_and_filled_when_the_mouse_is_let_go(opened, folder):
    widget, hand = opened
    layer = widget.controller.layer
    hand.stroke(_circle((20, 24), 9, 0.98))
    assert abs(held(layer).sum() / (np.pi * 9.5**2) - 1) < 0.1
    assert "Filled" in widget.panel.message.text()
    hand.special("Z", control=True)
    assert held(layer).sum() < 80  # the outline alone
    hand.key("o")
    hand.stroke(_circle((20, 34), 4, 0.98))  # a bump on what is there
    hand.key("s")
    (event,) = _ledger(folder)
    assert event["length"] > 0 and "not an area" not in widget.panel.message.text()


@pytest.mark.slow
def test_a_line_is_no_area_unless_somebody_insists(opened, folder):
    widget, hand = opened
    hand.stroke(_circle((20, 24), 9, 0.6))  # an open outline
    assert held(widget.controller.layer).sum() < 50
    hand.key("s")
    assert "That is a line, not an area" in widget.panel.message.text() and not _ledger(folder)
    hand.stroke([(20, 24), (22, 24)])  # what was asked is of what was drawn then
    hand.key("s")
    assert not _ledger(folder)
    hand.key("s")
    assert _ledger(folder)[0]["event"] == "answer"


def test_a_polygon_under_way_is_neither_nothing_nor_an_answer(opened, folder):
    widget, hand = opened
    hand.key("3")
    for corner in ((10, 10), (10, 30), (26, 30), (26, 10), (30, 2)):
        hand.click(corner)
    hand.special("Backspace")
    assert len(widget.controller.layer.corners) == 4
    hand.key("n")
    assert "You have traced" in widget.panel.message.text()
    hand.key("s")
    assert "The polygon is not finished" in widget.panel.message.text() and not _ledger(folder)
    hand.key("s")
    (event,) = _ledger(folder)
    assert event["event"] == "answer" and not len(widget.controller.layer.corners)


@pytest.mark.slow
def test_the_scissors_hold_to_edges_and_close_themselves(opened, folder):
    widget, hand = opened
    controller, layer = widget.controller, widget.controller.layer
    path = widget._viewer.layers[PATH]
    controller.do("go", 2, 3)  # a disc
    hand.settle()
    mask = _truth(controller.question)
    rows, columns = np.nonzero(mask)
    middle, radius = np.array([rows.mean(), columns.mean()]), np.sqrt(mask.sum() / np.pi)
    hand.key("5")
    assert "Click along the edge" in widget.panel.message.text() and layer.mode == "pick"
    hand.until(lambda: layer.wire._guide() is not None)
    clicks = _circle(middle, radius)[:-1:6]
    for place in clicks[:3]:
        hand.click(place)
    assert len(layer.clicks) == 3 and not held(layer).any()
    drawn = len(path.data)
    hand.move(clicks[3])
    assert len(path.data) > drawn  # the path follows the pointer
    hand.special("Backspace")
    assert len(layer.clicks) == 2
    hand.key("s")
    assert "The outline is not finished" in widget.panel.message.text() and not _ledger(folder)
    widget.close_session()
    widget.open(folder)  # the draft goes on
    hand.settle()
    controller, layer = widget.controller, widget.controller.layer
    path = widget._viewer.layers[PATH]
    assert len(layer.clicks) == 2 and layer.mode == "pick" and len(path.data)
    for place in (*clicks[2:], clicks[0]):
        hand.click(place)
    assert not len(layer.clicks) and not len(path.data) and "Filled" in widget.panel.message.text()
    both = 2 * (held(layer) & mask).sum() / (held(layer).sum() + mask.sum())
    assert both > 0.85
    hand.special("Z", control=True)
    assert not held(layer).any()
    for place in clicks:
        hand.click(place)
    hand.double_click(clicks[-1])
    assert held(layer).any() and not len(layer.clicks)
    hand.click(clicks[0])
    hand.special("Escape")
    assert not len(layer.clicks)


def test_the_smart_brush_grows_to_the_edge_and_each_step_is_taken_back(opened, folder):
    widget, hand = opened
    controller, layer = widget.controller, widget.controller.layer
    controller.do("go", 2, 3)  # a disc
    hand.settle()
    mask = _truth(controller.question)
    rows, columns = np.nonzero(mask)
    middle, radius = np.array([rows.mean(), columns.mean()]), np.sqrt(mask.sum() / np.pi)
    fine = layer.brush_size
    hand.key("7")
    assert "grows up to it" in widget.panel.message.text() and layer.brush_size > fine
    hand.key("[")
    wide = layer.brush_size
    inner = _circle(middle, radius - 2, 0.98)
    hand.press(inner[0])
    for place in inner:
        hand.move(place)
    line = held(layer)
    assert line.any() and line.sum() < 2 * np.pi * radius + 9  # until it is let go
    hand.release(inner[-1])
    both = 2 * (held(layer) & mask).sum() / (held(layer).sum() + mask.sum())
    assert both > 0.9 and "Ctrl+Z takes that back" in widget.panel.message.text()
    all_of_it, steps = held(layer), []
    for _ in range(3):
        hand.special("Z", control=True)
        steps.append(held(layer))
    grown, stroke, nothing = steps
    assert line.sum() < grown.sum() < all_of_it.sum() and not nothing.any()
    np.testing.assert_array_equal(stroke, line)
    hand.key("2")
    assert layer.brush_size == fine
    hand.key("7")
    assert layer.brush_size == wide and layer.mode == "transform"
    hand.stroke(inner)
    widget.close_session()
    widget.open(folder)
    hand.settle()
    assert held(widget.controller.layer).sum() > line.sum()  # the draft


def test_the_panel_has_a_sheet_of_keys_and_a_table_to_click_on(opened, folder):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QPushButton

    widget, hand = opened
    controller = widget.controller
    hand.key("d")
    hand.key("?")
    sheet, table = widget.panel.sheet, widget.panel.table
    room = widget.panel.viewport().width()
    for button in widget.panel.widget().findChildren(QPushButton):
        if button.isVisible():
            assert button.x() + button.width() <= room and button.width() >= 25, button.text()
    assert sheet.isVisible() and not table.isVisible()
    hand.key("?")
    hand.press_shift("C")
    assert table.isVisible() and not sheet.isVisible()
    view, images = table.view, controller.session.images
    n, c = 4, 2
    index = view.model().index(c, n)
    assert f"'{images.names[c]}' on section {images.sections[n]}" in index.data(
        Qt.ItemDataRole.ToolTipRole
    )
    place = view.visualRect(index).center()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    hand.settle()
    assert (controller.question.section, controller.question.structure) == (n, c)
    assert index.data() == "▣"
    hand.key("d")
    assert index.data() == "T"
    hand.press_shift("C")
    assert not table.isVisible()


def test_one_key_shows_the_proposal_and_one_zooms_to_it(opened, folder, monkeypatch):
    widget, hand = opened
    viewer, controller = widget._viewer, widget.controller
    hand.key("i")
    assert "no proposal to show" in widget.panel.message.text()
    controllers.proposing(monkeypatch, _truth)
    controller.do("go", 2, 3)
    hand.settle()
    assert "The proposal is the network's" in widget.panel.reasons.text()
    shown = [viewer.layers[name] for name in (PROPOSAL, LEFT)]
    hand.key("i")
    assert not any(layer.visible for layer in shown)
    hand.key("k")
    hand.key("i")
    assert all(layer.visible for layer in shown)
    controller.do("go", 2, 3)
    hand.settle()
    far = viewer.camera.zoom
    hand.press_shift("I")
    rows, columns = np.nonzero(controller.question.proposal)
    assert viewer.camera.zoom > 1.5 * far
    middle = [(x.min() + x.max()) / 2 for x in (rows, columns)]
    assert viewer.camera.center[-2:] == pytest.approx(middle)
    hand.press_shift("I")
    assert viewer.camera.zoom == pytest.approx(far)


def test_a_hidden_proposal_is_no_obstacle(opened, folder, monkeypatch):
    """napari would draw hidden lines by the places of the question before: more of them, fewer."""
    widget, hand = opened
    viewer, controller = widget._viewer, widget.controller
    controllers.proposing(monkeypatch, _truth)
    hidden = [viewer.layers[name] for name in (PROPOSAL, LEFT)]
    for k, pair in enumerate([(2, 3), (2, 1), (1, 3), (3, 1), (2, 3)]):
        controller.do("go", *pair)
        hand.settle()
        if not k:
            hand.key("i")
        question = controller.question
        assert (question.section, question.structure) == pair
        np.testing.assert_array_equal(viewer.layers[IMAGE].data, question.image[..., 0])
        assert not any(layer.visible for layer in hidden)
    viewer.camera.zoom *= 4  # lines are drawn thinner
    hand.settle()
    hand.key("i")
    assert all(layer.visible for layer in hidden) and len(hidden[1].data) > 8


def test_a_choice_gives_the_keys_back_to_the_canvas(opened, folder):
    from qtpy.QtTest import QTest

    widget, hand = opened
    panel, focus = widget.panel, widget.window().focusWidget  # of a window, active or not
    for choice in (panel.structure, panel.section):
        choice.setFocus()
        for letter in "inner":  # no key of the canvas, wherever the first one leads
            QTest.keyClick(choice, letter)
            assert focus() is choice
        choice.showPopup()
        hand.wait(0.05)
        choice.hidePopup()
        assert focus() is not choice and "Canvas" in type(focus()).__name__
    hand.press_shift("C")
    hand.press_shift("C")
    assert "Canvas" in type(focus()).__name__


@pytest.mark.slow
def test_the_neighbours_outline_is_a_draft_to_correct(opened, folder):
    widget, hand = opened
    controller = widget.controller
    hand.press_shift("T")
    assert "was traced on no other section" in widget.panel.message.text()
    controller.do("go", 2, 3)
    hand.settle()
    truth = _truth(controller.question)
    hand.key("d")
    controller.do("go", 3, 3)
    hand.settle()
    hand.press_shift("T")
    layer = controller.layer
    np.testing.assert_array_equal(held(layer), truth)  # no registration was asked for
    assert "The outline of section 2 is yours to correct" in widget.panel.message.text()
    hand.key("1")
    hand.stroke([(20, 20), (20, 28)])
    hand.key("s")
    hand.key("s")
    assert _ledger(folder)[-1]["how"] == "traced"


def test_a_key_that_is_held_shows_another_section(opened, folder):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    widget, hand = opened
    controller, viewer = widget.controller, widget._viewer
    controller.do("go", 2, 1)
    hand.settle()
    hand.key("d")
    controller.do("go", 3, 2)
    hand.settle()
    hand.stroke([(12, 12), (20, 30)])
    drawn, asked = held(controller.layer), controller.question
    QTest.keyPress(hand._canvas, Qt.Key.Key_Left)
    hand.wait(0.2)
    image, outlines = (viewer.layers[name] for name in BESIDE)
    assert image.visible and outlines.visible and controller.looked == 2
    np.testing.assert_array_equal(image.data, controller.session.images.images[2, ..., 0])
    assert ((outlines.data == 2) == controller.session.true_mask(2, 1)).all()
    hand.stroke([(8, 8), (30, 30)])
    hand.key("s")
    assert "let go of the key first" in widget.panel.message.text() and len(_ledger(folder)) == 1
    controller.do("look", -1)  # the wheel
    assert controller.looked == 1 and "This is section 1" in controller.message
    QTest.keyRelease(hand._canvas, Qt.Key.Key_Left)
    hand.wait(0.2)
    assert not image.visible and not outlines.visible and controller.question is asked
    assert viewer.layers.selection.active is controller.layer and viewer.camera.mouse_zoom
    np.testing.assert_array_equal(held(controller.layer), drawn)


def test_what_another_structure_holds_is_said_and_taken_with_a_key(opened, folder):
    widget, hand = opened
    controller = widget.controller
    n, c = controller.question.section, controller.question.structure
    mask = np.zeros(controller.question.inside.shape, bool)
    mask[10:24, 10:30] = True
    hand.colour_in(mask)
    hand.key("s")
    other = next(k for k in range(1, 4) if k != c)
    names = controller.session.images.names
    controller.do("go", n, other)
    hand.settle()
    part = np.zeros_like(mask)
    part[12:16, 12:20] = True
    hand.colour_in(part)
    hand.key("s")
    assert f"'{names[c]}' ({part.sum()} px); y takes it" in widget.panel.message.text()
    hand.key("y")
    assert f"taken from '{names[c]}'" in widget.panel.message.text()
    answer, corrected, taken = _ledger(folder)
    assert (answer["structure"], taken["structure"]) == (names[c], names[other])
    assert (corrected["structure"], corrected["corrects"]) == (names[c], 1)
    labels = controller.session.annotations.labels_of(n, controller.session.images)
    np.testing.assert_array_equal(labels == other, part)
    np.testing.assert_array_equal(labels == c, mask & ~part)
    # All of it: the other answer is taken back, and asked for again.
    controller.do("go", n, other)
    hand.settle()
    hand.colour_in(mask & ~part)
    hand.key("y")
    labels = controller.session.annotations.labels_of(n, controller.session.images)
    np.testing.assert_array_equal(labels == other, mask)
    assert not controller.session.annotations.state.annotated[n, c]


def test_keys_are_of_the_question_that_is_seen(opened, folder, monkeypatch):
    _, hand = opened
    hand.key("k")
    hand.keys("nn")  # the second one comes before the next question is on the screen
    hand.settle()
    assert [event["event"] for event in _ledger(folder)] == ["skip", "absent"]
    hand.key("n")
    assert len(_ledger(folder)) == 3


def test_no_training_takes_the_question_away(opened, folder):
    widget, hand = opened
    controller = widget.controller
    for _ in range(4):
        hand.key("d")
    shown, title = controller.question, widget.panel.headline.text()
    controller.session.network = controller.session.network._replace(through=4)
    ask = controller.session.next_question
    other = next(k for k in range(1, 4) if k != shown.structure)
    controller.session.next_question = lambda **_: ask(section=shown.section, structure=other)
    controller._behind._outcomes.append(Outcome(Trained(False, 1.0, 0.5, 1.0, 4), None))
    hand.until(lambda: bool(widget.panel.offer.text()))
    assert controller.question is shown and widget.panel.headline.text() == title
    assert "A better question is ready" in widget.panel.offer.text()
    hand.stroke(_circle((20, 24), 9))
    hand.key("s")
    assert _ledger(folder)[-1]["structure"] == shown.name
    assert controller.question.structure == other and not widget.panel.offer.text()


def test_no_tool_moves_a_layer_and_none_is_taken_from_under_the_hand(opened, folder):
    widget, hand = opened
    viewer, layer = widget._viewer, widget.controller.layer
    for other, key in ((viewer.layers[IMAGE], "2"), (layer, "7")):  # napari's to move a layer
        viewer.layers.selection.active = other
        hand.key(key)
        assert not layer._overlays["transform_box"].visible
        hand.stroke([(20, 20), (28, 34)])
        for each in viewer.layers:
            np.testing.assert_array_equal(each.affine.affine_matrix, np.eye(3))
            np.testing.assert_array_equal(each.translate, 0)
        assert held(layer).any() == (other is layer)  # the smart brush is in its place
    viewer.layers.selection.active = layer
    viewer.reset_view()
    hand.key("2")
    hand.press((12, 12))
    hand.move((20, 30))
    hand.key("n")
    assert "Let go of the mouse" in widget.panel.message.text() and not _ledger(folder)
    hand.release((20, 30))
    assert held(layer).any()


@pytest.mark.slow
def test_how_the_section_is_seen_is_changed_by_keys_and_stays(opened):
    widget, hand = opened
    image, traced = (widget._viewer.layers[name] for name in (IMAGE, TRACED))

    def seen():
        low, high = image.contrast_limits_range
        shares = (np.array(image.contrast_limits) - low) / (high - low)
        return (*shares.tolist(), image.gamma, traced.opacity)

    before = seen()
    for key in ".;9":
        hand.key(key)
    after = seen()
    assert all(a != b for a, b in zip(before, after, strict=True))
    hand.key("k")
    assert seen() == pytest.approx(after)
    for key in ",'0":
        hand.key(key)
    assert seen() == pytest.approx(before)
    for key, times in ((",", 1), (".", 20), ("'", 5), ("9", 20)):
        for _ in range(times):
            hand.key(key)
        assert widget.panel.message.text() == "That goes no further", key


def test_a_hidden_layer_is_shown_when_somebody_draws(opened):
    widget, hand = opened
    layer = widget.controller.layer
    hand.key("v")
    assert not layer.visible
    hand.stroke([(12, 12), (20, 30)])
    assert layer.visible and "was hidden" in widget.panel.message.text()
    hand.stroke([(12, 12), (20, 30)])
    assert held(layer).any()
    widget._viewer.layers.selection.active = widget._viewer.layers[IMAGE]
    hand.click((20, 20))
    assert f"choose the layer '{TRACE}'" in widget.panel.message.text()


@pytest.mark.slow
def test_the_eraser_is_not_in_the_hand_at_the_next_question(opened, folder):
    widget, hand = opened
    hand.stroke(_circle((20, 24), 9))
    hand.key("1")
    hand.stroke([(20, 20), (20, 28)])
    hand.key("s")
    assert len(_ledger(folder)) == 1 and widget.controller.layer.mode == "paint"


@pytest.mark.slow
def test_the_brush_can_be_seen_however_small_the_section_is_drawn(opened):
    widget, hand = opened
    layer, camera = widget.controller.layer, widget._viewer.camera
    near = camera.zoom
    camera.zoom = 0.2  # as a section of 4000 x 3000 pixels
    assert layer.brush_size * camera.zoom >= 1
    camera.zoom = near
    assert layer.brush_size == 1
    hand.key("]")
    chosen = layer.brush_size
    camera.zoom = 0.2
    assert layer.brush_size == chosen  # by the person, who keeps it


def test_buttons_stay_where_they_are_and_numbers_can_be_read(opened):
    from qtpy.QtWidgets import QPushButton

    widget, hand = opened
    button = widget.findChild(QPushButton, "accept")
    place = button.mapTo(widget, button.rect().topLeft())
    widget.panel.reasons.setText("much to say " * 40)
    widget.panel.message.setText("and more " * 40)
    widget.panel.offer.setText(
        "A better question is ready: 'a structure' on section 12; q goes there"
    )
    hand.wait(0.1)
    assert button.mapTo(widget, button.rect().topLeft()) == place
    for choice in (widget.panel.section, widget.panel.first, widget.panel.last):
        room = choice.width() - choice.height()  # without the arrow
        assert room >= choice.fontMetrics().horizontalAdvance("00")


def test_the_window_moves_on_while_the_session_computes(opened, folder, monkeypatch):
    """First without a word of it for a moment, then it is said, and no key is lost or doubled."""
    widget, hand = opened
    controller, go_on = widget.controller, threading.Event()
    first, ask = controller.question, controller.session.next_question
    controller.session.next_question = lambda **pair: go_on.wait(20) and ask(**pair)
    began = time.monotonic()
    hand.keys("k")
    assert time.monotonic() - began < 10 and controller.question is first
    assert widget.panel.headline.text() == "One moment: looking for the next question ..."
    hand.keys("n")
    hand.stroke([(12, 12), (20, 30)])
    assert [event["event"] for event in _ledger(folder)] == ["skip"]
    assert not held(controller.layer).any()  # it would be lost
    go_on.set()
    hand.until(lambda: not controller.doing)
    assert controller.question is not first and controller.layer.mode == "paint"
    hand.stroke([(12, 12), (20, 30)])
    assert held(controller.layer).any()


@pytest.mark.slow
def test_the_window_closes_at_once_whatever_runs(opened, folder, monkeypatch):
    widget, hand = opened
    go_on = threading.Event()
    controller = widget.controller
    monkeypatch.setattr(type(controller.session), "train_step", lambda _: go_on.wait(20) and None)
    store = controller.session.store_answer
    controller.session.store_answer = lambda *a, **k: go_on.wait(20) and store(*a, **k)
    controller._behind.wake()
    hand.stroke(_circle((20, 24), 9))
    drawn = held(controller.layer)
    hand.keys("s")
    assert controller.doing and not _ledger(folder)
    began = time.monotonic()
    widget.close_session()
    assert time.monotonic() - began < 10  # of the 20 that both take
    widget.open(folder)  # nobody holds it any more
    late = controller._pending.result
    go_on.set()
    with pytest.raises(InputError, match="was closed; nothing is stored"):
        late.result(20)
    assert not _ledger(folder)
    hand.until(lambda: not widget.controller.doing)
    np.testing.assert_array_equal(held(widget.controller.layer), drawn)  # it was a draft


@pytest.mark.slow
def test_a_stroke_survives_a_kill(folder):
    person = subprocess.Popen(
        [sys.executable, str(TESTS / "window_person.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert person.stdout is not None
    # The mouse is never released; half a second after pixels were drawn a draft holds them.
    for line in itertools.islice(person.stdout, 2000):
        saved = latest_draft(folder)
        if saved is not None and int(line) > 60:
            break
    draft, lost = read_draft(folder, *saved, (40, 48))
    assert draft is not None and not lost
    before = draft.mask
    person.send_signal(signal.SIGKILL)
    person.wait()
    with controllers.at_controller(folder) as controller:
        assert (controller.question.section, controller.question.structure) == saved
        kept = held(controller.layer)
        assert before.any() and kept[before].all()
        # Half of an outline is doubted, and may still be meant.
        assert controller.do("store") or "same key again" in controller.message
        assert _ledger(folder) or controller.do("store")
    assert [event["event"] for event in _ledger(folder)] == ["answer"]


@pytest.fixture
def plugin():
    """The plugin as npe2 knows it, whether this al_jax is installed or only on the path."""
    npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager.instance()
    if "al_jax" not in manager:
        manifest = npe2.PluginManifest.from_file(TESTS.parent / "al_jax" / "napari.yaml")
        manager.register(manifest)
    return manager


def test_the_plugin_is_found_without_importing_anything():
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    # Beside al_jax/__init__.py: a file further down would make napari import its package.
    assert project["entry-points"]["napari.manifest"] == {"al_jax": "al_jax:napari.yaml"}


@pytest.mark.slow
def test_napari_starts_the_plugin_by_its_flag_and_by_its_menu(windows, folder, plugin, monkeypatch):
    """As `napari -w al_jax` does, and the menu Plugins."""
    _close(windows)
    from napari import __main__ as program
    from napari._app_model import get_app_model
    from qtpy.QtWidgets import QApplication

    monkeypatch.setattr(sys, "argv", ["napari", "-w", "al_jax"])
    viewer = program._build_viewer()
    (widget,) = viewer.window.dock_widgets.values()
    assert type(widget).__name__ == "Annotate" and widget.controller is None
    with pytest.raises(InputError, match="is not a session"):
        widget.open(folder.parent)
    widget.open(folder)
    hand = hands.Hand(viewer, widget)
    hand.settle()
    hand.wait(0.3)
    assert widget.controller.question is not None
    hand.stroke(_circle((20, 24), 9))
    hand.key("s")
    assert _ledger(folder)[0]["event"] == "answer"
    widget.close_session()
    viewer.close()
    import napari

    viewer = napari.Viewer(show=False)
    get_app_model().commands.execute_command("al_jax.annotate").result()
    QApplication.processEvents()
    (widget,) = viewer.window.dock_widgets.values()
    assert type(widget).__name__ == "Annotate" and widget.window() is not widget
    viewer.close()


def test_without_a_display_it_is_said(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match="no display"):
        window.run("anywhere")


@pytest.mark.parametrize("wait", [False, True])
def test_run_opens_the_session_as_it_was_asked_to(folder, wait, monkeypatch):
    import napari

    opened = []

    class Widget:
        def open(self, workdir, **how):
            opened.append((workdir, how))

        def close_session(self):
            opened.append("closed")

    monkeypatch.setattr(napari, "Viewer", lambda **_: None)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr("al_jax.window.widget.in_window", lambda _: Widget())
    window.run(folder, wait=wait)
    assert opened == [(folder, {"wait": wait}), "closed"]


@pytest.mark.slow
def test_run_opens_a_window_and_ends_when_it_is_closed(windows, folder):
    _close(windows)
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    done = []

    def draw_and_close():
        viewer = napari.current_viewer()
        if viewer is None or TRACE not in viewer.layers:
            return
        timer.stop()
        try:
            hand = hands.Hand(viewer)
            hand.wait(0.5)  # until it is laid out
            hand.stroke([(12, 12), (20, 30)])
            done.append(viewer.title)
        finally:
            viewer.close()

    timer = QTimer(application)
    timer.timeout.connect(draw_and_close)
    timer.start(200)
    window.run(folder)
    assert str(folder) in done[0]
    draft, _ = read_draft(folder, *latest_draft(folder), (40, 48))
    assert draft is not None and draft.mask.any()
    with controllers.at_controller(folder) as controller:  # nobody holds the session any more
        assert held(controller.layer).any()
