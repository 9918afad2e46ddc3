"""The dock beside the canvas: where a session begins, and what is shown of it once it is open."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable

import napari
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QVBoxLayout, QWidget

from al_jax.core.stack import InputError
from al_jax.session import Question, open_session
from al_jax.window import layers
from al_jax.window.background import beside, start_computing
from al_jax.window.buttons import Entry, discard
from al_jax.window.changes_dialog import ChangesDialog
from al_jax.window.compiling import Compiler
from al_jax.window.controller import Controller
from al_jax.window.export_dialog import ExportDialog
from al_jax.window.new_session import NewSession
from al_jax.window.none import keep_none
from al_jax.window.panel import Panel
from al_jax.window.polling import Polling
from al_jax.window.samples import SAMPLES, make_sample
from al_jax.window.start import Start

TICK = 100  # milliseconds between two calls of `Controller.tick`
WIDTH = 380  # pixels
SIZE = (1300, 820)  # of the window, where the screen has room
PATIENCE = 0.2  # seconds that the window stands still for an answer
UNSEEN = 0.7  # seconds after which a question counts as seen, whatever the screen does


def canvases(window: QWidget) -> list[QWidget]:
    """What a window draws sections on."""
    children = window.findChildren(QWidget)
    return [child for child in children if "CanvasBackend" in type(child).__name__]


class Seen(QObject):
    """Whether the canvas was drawn since a question was put on it."""

    def __init__(self, parent: QWidget) -> None:
        """Watches nothing yet."""
        super().__init__(parent)
        self._drawn, self._since = True, 0.0
        self._question: Question | None = None

    def watch(self, window: QWidget) -> None:
        """Watches the canvas of a window."""
        for canvas in canvases(window):
            canvas.installEventFilter(self)

    def changed(self, question: Question | None) -> None:
        """What is shown; another question has been seen by nobody."""
        if question is not None and question is not self._question:
            self._question = question
            self._drawn, self._since = False, time.monotonic()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Sees the canvas being drawn."""
        if event.type() == QEvent.Type.Paint:
            self._drawn = True
        return False

    def __call__(self) -> bool:
        """Whether it was."""
        return self._drawn or time.monotonic() - self._since > UNSEEN


class Annotate(QWidget):
    """The widget of the plugin; without a session it offers to make or to open one.

    Args:
      napari_viewer: napari's, which fills an argument of this name; a session brings its own
        layers.

    Attributes:
      controller, panel: of the open session, or None.
      start: what is shown without one.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        """Nothing is open yet."""
        super().__init__()
        keep_none()
        start_computing()
        # Not napari's proxy of it, through which each layer would be another object at each look.
        self._viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.controller: Controller | None = None
        self.panel: Panel | None = None
        self._changes: ChangesDialog | None = None
        self._open, self._seen = contextlib.ExitStack(), Seen(self)
        self._timer, self._making = QTimer(self), Polling(self)
        self._timer.setInterval(TICK)
        self._timer.timeout.connect(self._tick)
        self.setMinimumWidth(WIDTH)
        self._layout = QVBoxLayout(self)
        self.start = Start(self._entries()[:2], [self._sample(name) for name in SAMPLES])
        self._layout.addWidget(self.start, 1)
        application = QApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.close_session)

    def open(self, folder: str | os.PathLike, *, wait: bool = False) -> None:
        """Opens a session in the window, in place of the one before.

        Args:
          folder: of the session.
          wait: ask only when the network has learnt from all answers.

        Raises:
          InputError: there is none, it is damaged, or it is in use.
        """
        self.close_session()
        session = self._open.enter_context(open_session(folder))
        compiler = Compiler(folder)
        self._seen.watch(self.window())
        self.controller = Controller(
            session,
            self._viewer,
            wait=wait,
            patience=PATIENCE,
            compile_first=compiler,
            changed=self.refresh,
            seen=self._seen,
        )
        self._open.callback(self._clear)
        self._open.callback(self.controller.close)
        self._open.callback(compiler.end)
        self.start.hide()
        self.start.say("")
        self._build(self.controller)
        self.refresh()
        self._timer.start()

    def close_session(self) -> None:
        """Keeps the stroke under way, and closes the folder; no training is waited for."""
        if isalive(self):  # a window that was closed has taken its widgets with it
            self._timer.stop()
        self._open.close()
        self.controller = None

    def refresh(self) -> None:
        """Shows the present messages of the controller."""
        controller = self.controller
        if controller is None:
            return
        if self.panel is None or (
            controller.session.images is not self.panel.images and not controller.doing
        ):
            self._take_away()  # other classes or sections
            self._build(controller)
        assert self.panel is not None
        self.panel.refresh()
        if self._changes is not None:
            self._changes.refresh()
        self._seen.changed(controller.question)

    # What the menus offer.

    def new_session(self) -> NewSession:
        """Asks what a new session is of, and opens it."""
        dialog = NewSession(self, self._viewer, self.open, before=self._lend)
        dialog.show()
        return dialog

    def choose_session(self) -> None:
        """Asks for the folder of a session, and opens it."""
        folder = QFileDialog.getExistingDirectory(self, "The folder of a session")
        if folder:
            self._try(lambda: self.open(folder))

    def export_session(self) -> ExportDialog | None:
        """Asks what to write, and exports."""
        if self.controller is None:
            self.start.say("There is no session to export; open one first")
            return None
        dialog = ExportDialog(self, self.controller)
        dialog.show()
        return dialog

    def change_session(self) -> ChangesDialog:
        """Shows the classes and sections of the session, and what changes them."""
        assert self.controller is not None  # it is in the menu of a session
        if self._changes is None:
            self._changes = ChangesDialog(self, self.controller)
        self._changes.show()
        return self._changes

    def make_sample(self, name: str) -> None:
        """Makes the session of a sample beside the window, and opens it."""
        self.close_session()
        self.start.say(f"One moment: making the sample '{SAMPLES[name].title}' ...")

        def made(folder: pathlib.Path) -> None:
            self._try(lambda: self.open(folder))
            if self.controller is not None:
                self.controller.message = (
                    f"A sample, in {folder} until the program ends. d lets its truth answer"
                )
                self.refresh()

        self._making.wait(beside(lambda: make_sample(name)), made, self.start.say)

    def _entries(self) -> list[Entry]:
        return [
            Entry("new_session", "New session ...", self.new_session),
            Entry("open_session", "Open session ...", self.choose_session),
            Entry("export_session", "Export ...", self.export_session),
            Entry("change_session", "Classes and sections ...", self.change_session),
        ]

    def _sample(self, name: str) -> Entry:
        return Entry(name, SAMPLES[name].title, lambda: self.make_sample(name))

    def _lend(self) -> Callable[[], None]:
        """Gives the canvas to somebody else; a call takes it back, with the session."""
        if self.controller is None:
            return lambda: None
        folder = self.controller.session.folder
        self.close_session()
        return lambda: self._try(lambda: self.open(folder))

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except InputError as error:
            self.start.say(str(error))

    # The parts of a session.

    def _build(self, controller: Controller) -> None:
        self.panel = Panel(self, controller, canvases(self.window()), self._entries())
        self._layout.insertWidget(0, self.panel, 1)

    def _clear(self) -> None:
        """Takes what belongs to a session out of the window, if there still is one."""
        if isalive(self):
            self._take_away()
            if self._changes is not None:
                discard(self._changes)
            layers.retire(self._viewer)
            self.start.show()
        self._changes = None

    def _take_away(self) -> None:
        if self.panel is not None:
            self._layout.removeWidget(self.panel)
            self.panel.take_away()
            self.panel = None

    def _tick(self) -> None:
        if self.controller is not None and self.controller.tick():
            self.refresh()


def in_window(viewer: "napari.viewer.Viewer") -> Annotate:
    """The widget next to the canvas of a viewer, in a window that has room for both."""
    widget = Annotate(viewer)
    viewer.window.add_dock_widget(widget, name="al_jax")
    viewer.window.show()
    room = QApplication.primaryScreen().availableSize()
    # Napari's own size leaves nothing of the canvas between its docks and this one.
    viewer.window.resize(min(SIZE[0], room.width()), min(SIZE[1], room.height()))
    return widget
