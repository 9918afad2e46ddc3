"""The real window, with a real mouse and real keys, on a display of Xvfb."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tomllib

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import controllers
import hands
import tiny

from al_jax import window
from al_jax.core.stack import InputError
from al_jax.window.drafts import latest_draft, read_draft
from al_jax.window.layers import TRACE, held

TESTS = pathlib.Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def display():
    yield from hands.display()


@pytest.fixture(autouse=True)
def _untrained(monkeypatch):
    controllers.no_training(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    return controllers.make_session(tmp_path / "session")


@pytest.fixture
def opened(folder):
    """A window on a session: its widget, and a hand."""
    import napari

    from al_jax.window.widget import in_window

    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
    widget.open(folder)
    hand = hands.Hand(viewer)
    hand.wait(0.3)
    assert hand.room() > 300
    yield widget, hand
    widget.close_session()
    viewer.close()


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
    assert _ledger(folder)[0]["event"] == "answer"


def test_keys_reach_the_controller_after_a_button_was_pressed(opened, folder):
    from qtpy.QtWidgets import QPushButton

    widget, hand = opened
    first = widget.controller.question
    widget.findChild(QPushButton, "skip").click()
    hand.key("n")
    assert [event["event"] for event in _ledger(folder)] == ["skip", "absent"]
    hand.key("u")
    hand.key("u")
    assert widget.controller.question.structure == first.structure
    assert "Taken back" in widget._message.text()


def test_a_window_that_is_closed_goes_on_where_it_was(opened, folder):
    widget, hand = opened
    hand.stroke([(12, 12), (20, 30)])
    drawn = held(widget.controller.layer)
    assert drawn.any()
    question = widget.controller.question
    widget.close_session()
    assert not widget._viewer.layers
    widget.open(folder)
    assert (widget.controller.question.section, widget.controller.question.structure) == (
        question.section,
        question.structure,
    )
    np.testing.assert_array_equal(held(widget.controller.layer), drawn)


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
        controller.do("store")
    assert [event["event"] for event in _ledger(folder)] == ["answer"]


def test_the_plugin_is_found_without_importing_anything():
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    # Beside al_jax/__init__.py: a file further down would make napari import its package.
    assert project["entry-points"]["napari.manifest"] == {"al_jax": "al_jax:napari.yaml"}
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(TESTS.parent / "al_jax" / "napari.yaml")
    (command,) = manifest.contributions.commands
    module, _, name = command.python_name.partition(":")
    assert hasattr(__import__(module, fromlist=[name]), name)


def test_the_plugin_offers_to_open_a_session(folder):
    import napari

    from al_jax.window.widget import Annotate

    viewer = napari.Viewer(show=False)
    widget = Annotate(viewer)
    assert widget.controller is None
    with pytest.raises(InputError, match="is not a session"):
        widget.open(folder.parent)
    widget.open(folder)
    assert widget.controller.question is not None
    widget.close_session()
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
def test_run_opens_a_window_and_ends_when_it_is_closed(folder):
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
