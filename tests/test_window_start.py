"""The window before there is a session: buttons, forms, sample data; and what is exported."""

import pathlib

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import controllers
import hands
import tiny
from PIL import Image

from al_jax.session import read_session
from al_jax.session.demonstration import answer_examples
from al_jax.window.changes_dialog import ChangesDialog
from al_jax.window.layers import LAYERS

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("display")


@pytest.fixture(scope="module")
def plugin():
    """The plugin as npe2 knows it, whether this al_jax is installed or only on the path."""
    npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager.instance()
    if "al_jax" not in manager:
        manager.register(npe2.PluginManifest.from_file(ROOT / "al_jax" / "napari.yaml"))
    return manager


@pytest.fixture(scope="module")
def shared(display, plugin):
    """A window of which nobody has opened a session yet."""
    import napari

    from al_jax.window.plugin import panel_of

    viewer = napari.Viewer(show=False)
    widget = panel_of(viewer)
    viewer.window.show()
    yield viewer, widget
    widget.close_session()
    viewer.close()


@pytest.fixture
def started(shared, tmp_path, monkeypatch):
    """The window, a hand, and a folder of images in the working directory."""
    controllers.no_training(monkeypatch)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("slides").mkdir()
    for number, image in enumerate(tiny.stack().images[..., 0]):
        Image.fromarray(np.asarray(image)).save(f"slides/s{number}.png")
    viewer, widget = shared
    yield viewer, widget, hands.Hand(viewer)
    widget.close_session()
    hands.Hand(viewer).wait(0.5)  # until the canvas is drawn empty
    assert widget.start.isVisible()
    assert not any(layer.visible for layer in viewer.layers)


def _press(parent, name):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QPushButton

    button = parent.findChild(QPushButton, name)
    assert button.isVisible() and button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def _form(widget, hand):
    from al_jax.window.new_session import NewSession

    _press(widget, "new_session")
    hand.wait(0.1)
    (form,) = [form for form in widget.findChildren(NewSession) if form.isVisible()]
    return form


def _open(widget, hand):
    hand.until(lambda: widget.controller is not None and not widget.controller.doing)
    hand.wait(0.3)  # until it is drawn


def test_a_new_session_is_made_in_a_form(started):
    viewer, widget, hand = started
    form = _form(widget, hand)
    _press(form, "begin")
    hand.until(lambda: "The sections are missing" in form.said.text())
    form.sections.put("slides")
    form.classes.setPlainText("outer\nmiddle\ninner")
    _press(form, "begin")
    hand.until(lambda: "Say where the session goes" in form.said.text())
    form.folder.put("slides")
    _press(form, "begin")
    hand.until(lambda: "slides: is not empty" in form.said.text())
    assert len(list(pathlib.Path("slides").iterdir())) == 6 and widget.controller is None
    form.folder.put("mine")
    _press(form, "click_ranges")
    hand.until(lambda: form.spans is not None)
    assert [layer.name for layer in viewer.layers] == ["sections"]
    form.spans.choose(3)
    for section, name in ((1, "first_here"), (4, "last_here")):
        viewer.dims.set_current_step(0, section)
        hand.wait(0.05)
        assert f"Section s{section}.png" in form.spans._where.text()
        _press(form, name)
    _press(form, "begin")
    _open(widget, hand)
    assert [layer.name for layer in viewer.layers] == list(LAYERS)
    session = widget.controller.session
    assert session.images.names == ("background", "outer", "middle", "inner")
    assert widget.controller.span(3) == (1, 4) and widget.controller.span(2) == (0, 5)


@pytest.mark.slow
def test_a_form_that_is_left_gives_back_what_was_open(started, tmp_path):
    viewer, widget, hand = started
    widget.open(controllers.make_session(tmp_path / "session"))
    _open(widget, hand)
    form = widget.new_session()
    form.sections.put("slides")
    form.classes.setPlainText("outer")
    _press(form, "click_ranges")
    hand.until(lambda: form.spans is not None)
    assert widget.controller is None
    _press(form, "cancel")
    _open(widget, hand)
    assert widget.controller.session.folder == tmp_path / "session"
    assert [layer.name for layer in viewer.layers] == list(LAYERS)


def test_a_session_is_exported_from_a_form(started, tmp_path):
    _, widget, hand = started
    assert widget.export_session() is None
    assert "There is no session to export" in widget.start.said
    widget.open(controllers.make_session(tmp_path / "session"))
    _open(widget, hand)
    hand.key("d")
    _open(widget, hand)
    form = widget.export_session()
    form.formats["png"].setChecked(False)
    _press(form, "write")
    assert "no format was named" in form.said.text() and form.isVisible()
    form.formats["tiff"].setChecked(True)
    form.folder.put(str(tmp_path / "out"))
    _press(form, "write")
    hand.until(lambda: "report.html tells how it went" in widget.panel.message.text())
    assert {"traced.tif", "report.html", "ranges.csv"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert not form.isVisible()


@pytest.mark.slow
def test_classes_and_sections_are_changed_in_a_form(started, tmp_path, monkeypatch):
    from qtpy.QtCore import QItemSelectionModel
    from qtpy.QtWidgets import QPushButton

    _, widget, hand = started
    widget.open(controllers.make_session(tmp_path / "session"))
    _open(widget, hand)
    hand.key("d")
    _open(widget, hand)
    (entry,) = [
        action
        for action in widget.panel.findChild(QPushButton, "more").menu().actions()
        if action.objectName() == "change_session"
    ]
    entry.trigger()
    (form,) = [form for form in widget.findChildren(ChangesDialog) if form.isVisible()]

    def names(items):
        return [items.item(row).text() for row in range(items.count())]

    def press(button, says):
        _press(form, button)
        hand.until(lambda: not widget.controller.doing and says in form.said.text())

    def choose(items, *rows):
        items.clearSelection()
        for row in rows:
            items.item(row).setSelected(True)
        items.setCurrentRow(rows[-1], QItemSelectionModel.SelectionFlag.NoUpdate)

    press("rename", "Choose one class")
    choose(form.classes, 2)
    press("rename", "Type the new name first")
    form.name.setText("ring, rim")
    press("rename", "Type one name")
    press("split", "Class 'middle' is split into 'ring', 'rim'")
    assert names(form.classes) == ["background", "outer", "ring", "rim", "inner"]
    assert widget.panel.images.names == tuple(names(form.classes))  # the panel has them, too
    choose(form.classes, 2, 3)
    form.name.setText("middle")
    press("merge", "Classes 'ring', 'rim' are one, 'middle'")
    form.name.setText("inner")
    press("add", "both 'inner'")
    form.name.setText("core")
    press("add", "Class 'core' was added")
    choose(form.classes, 0)
    form.name.setText("void")
    press("rename", "background")
    press("mirror", "Choose a section")
    choose(form.sections, 1)
    press("take_in", "Choose a section that is left out")
    press("leave_out", "Section 1 is left out")
    assert names(form.sections) == ["0", "2", "3", "4", "5", "1 (left out)"]
    choose(form.sections, 5)
    press("mirror", "that is not left out")
    press("take_in", "Section 1 is taken in again")
    choose(form.sections, 4)
    press("mirror", "Section 4 is mirrored")
    choose(form.sections, 4)
    press("turn_180", "Section 4 is turned by 180 degrees")
    choose(form.sections, 4)
    press("turn_90", "out of the frame")
    Image.fromarray(np.full((40, 48), 7, np.uint8)).save(tmp_path / "rescan.png")
    chosen = [str(tmp_path / "rescan.png"), str(tmp_path / "none.png"), ""]
    monkeypatch.setattr(
        "al_jax.window.changes_dialog.QFileDialog.getOpenFileName", lambda *_: (chosen.pop(0), "")
    )
    press("replace", "Section 4 has another image")
    choose(form.sections, 4)
    press("replace", "none.png")
    press("replace", "none.png")  # nothing was chosen, nothing is done
    press("order", "The order is the same")
    form.sections.insertItem(0, form.sections.takeItem(5))  # as a drag does it
    press("order", "The order is 5, 0, 1, 2, 3, 4")
    assert names(form.sections) == ["5", "0", "1", "2", "3", "4"]
    session = widget.controller.session
    assert session.images.sections == ("5", "0", "1", "2", "3", "4")
    assert (session.images.images[5] == 7).all()
    hand = hands.Hand(widget._viewer, widget)
    hand.key("u")
    assert names(form.sections) == ["0", "1", "2", "3", "4", "5"]
    assert "Taken back" in form.said.text()
    kinds = [event["event"] for event in read_session(session.folder).events]
    widget.close_session()
    assert not widget.findChildren(ChangesDialog)
    assert [kind for kind in kinds if kind not in ("answer", "withdraw")] == [
        "split", "merge", "add", "leave_out", "take_in", "mirror", "turn", "replace", "order",
    ]  # fmt: skip


def test_the_commands_of_the_plugin(started, plugin, monkeypatch, tmp_path):
    """As napari's menu `Layers > Annotate` calls them."""
    from napari._app_model import get_app_model

    from al_jax.window.export_dialog import ExportDialog
    from al_jax.window.new_session import NewSession

    _, widget, hand = started
    folder = controllers.make_session(tmp_path / "session")
    monkeypatch.setattr(
        "al_jax.window.widget.QFileDialog.getExistingDirectory", lambda *_: str(folder)
    )

    def run(name):
        get_app_model().commands.execute_command(f"al_jax.{name}").result()
        hand.wait(0.1)

    def visible(kind):
        return [form for form in widget.findChildren(kind) if form.isVisible()]

    run("new_session")
    (form,) = visible(NewSession)
    form.reject()
    run("open_session")
    _open(widget, hand)
    assert widget.controller.session.folder == folder
    run("export_session")
    (form,) = visible(ExportDialog)
    form.reject()
    widget.close_session()
    monkeypatch.setattr(
        "al_jax.window.widget.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path)
    )
    run("open_session")
    assert "is not a session" in widget.start.said


@pytest.mark.parametrize(
    "name", ["answered", *(pytest.param(s, marks=pytest.mark.slow) for s in ("shipped", "serial"))]
)
def test_sample_data_are_sessions_to_try(started, plugin, name, monkeypatch):
    from al_jax.window import samples

    first = answer_examples if name == "answered" else None
    assert samples.SAMPLES[name].first is first
    sample = samples.Sample("a tiny one", tiny.stack, first)
    monkeypatch.setitem(samples.SAMPLES, name, sample)
    viewer, widget, hand = started
    (layer,) = viewer.open_sample("al_jax", name)
    assert layer.data.shape == (6, 40, 48)
    _open(widget, hand)
    assert [layer.name for layer in viewer.layers] == list(LAYERS)
    assert "A sample, in " in widget.panel.message.text()
    session = widget.controller.session
    assert bool(session.events) == (name == "answered")
    if name == "answered":
        assert not widget.controller.missing and all("seconds" not in e for e in session.events)
    before = len(session.events)
    hand.key("d")
    _open(widget, hand)
    assert len(read_session(session.folder).events) == before + 1


def test_sample_data_are_layers_where_there_is_no_window(monkeypatch):
    from napari.components import ViewerModel

    from al_jax.window import plugin, samples

    monkeypatch.setattr("napari.current_viewer", lambda: None)
    tiny_one = samples.Sample("a tiny one", tiny.stack, answer_examples)
    monkeypatch.setitem(samples.SAMPLES, "answered", tiny_one)
    found = plugin.answered()
    viewer = ViewerModel()
    for datum in found:
        viewer._add_layer_from_data(*datum)
    sections, labels = viewer.layers
    assert sections.data.shape == labels.data.shape and labels.data.min() == 0
    assert set(np.unique(labels.data)) == {0, 1, 2, 3, 4}
    assert labels.features["name"][4] == "inner"
