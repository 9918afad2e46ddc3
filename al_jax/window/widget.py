"""The dock beside the canvas: the question, the buttons, and how far it is."""

import contextlib
import functools
import os
import time

import napari
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from al_jax.core.stack import Images, InputError
from al_jax.session import Question, open_session
from al_jax.window import layers, text
from al_jax.window.actions import BIG, BUTTONS, PANEL
from al_jax.window.background import start_computing
from al_jax.window.buttons import (
    Keys,
    make_action_button,
    make_button,
    make_choice,
    make_dialog_button,
    make_label,
    make_menu_button,
)
from al_jax.window.compiling import Compiler
from al_jax.window.controller import Controller
from al_jax.window.none import keep_none
from al_jax.window.overview import good_enough, overview
from al_jax.window.sheet import Sheet
from al_jax.window.table import Table

TICK = 100  # milliseconds between two calls of `Controller.tick`
WIDTH = 380  # pixels
SIZE = (1300, 820)  # of the window, where the screen has room
PATIENCE = 0.2  # seconds that the window stands still for an answer
LINES = 2  # of text, which question and offer have room for
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

    def watch(self, window: QWidget) -> None:
        """Watches the canvas of a window."""
        for canvas in canvases(window):
            canvas.installEventFilter(self)

    def changed(self) -> None:
        """A question is shown that nobody has seen."""
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
    """The widget of the plugin; without a session it offers to open one.

    Args:
      napari_viewer: napari's, which fills an argument of this name; a session brings its own
        layers.
    """

    # Of an open session.
    _body: QScrollArea
    _swatch: QLabel
    _headline: QLabel
    _offer: QLabel
    _reasons: QLabel
    _progress: QLabel
    _enough: QLabel
    _table: Table
    _sheet: Sheet
    _network: QLabel
    _message: QLabel
    _bar: QProgressBar
    _retry: QPushButton
    _section: QComboBox
    _structure: QComboBox
    _first: QComboBox
    _last: QComboBox
    _images: Images
    _events: int
    _known: tuple[int, int]
    _shown: Question | None

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        """Nothing is open yet."""
        super().__init__()
        keep_none()
        start_computing()
        # Not napari's proxy of it, through which each layer would be another object at each look.
        self._viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.controller: Controller | None = None
        self._open, self._seen = contextlib.ExitStack(), Seen(self)
        self._timer = QTimer(self)
        self._timer.setInterval(TICK)
        self._timer.timeout.connect(self._tick)
        self.setMinimumWidth(WIDTH)
        self._layout = QVBoxLayout(self)
        self._start, self._refused = make_button("Open a session ..."), make_label()
        self._start.clicked.connect(self._choose)
        self._layout.addWidget(self._start, 0, Qt.AlignmentFlag.AlignTop)
        self._layout.addWidget(self._refused, 0, Qt.AlignmentFlag.AlignTop)
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
        self._start.hide()
        self._refused.setText("")
        self._build(self.controller)
        self.refresh()
        self._timer.start()

    def close_session(self) -> None:
        """Keeps the stroke under way, and closes the folder; no training is waited for."""
        if isalive(self):  # a window that was closed has taken its widgets with it
            self._timer.stop()
        self._open.close()
        self.controller = None

    def _clear(self) -> None:
        """Takes what belongs to a session out of the window, if there still is one."""
        if isalive(self):
            self._take_away()
            layers.clear(self._viewer)
            self._start.show()

    def _take_away(self) -> None:
        """Takes the parts of a session away, now: others may come before they are deleted."""
        self._layout.removeWidget(self._body)
        for part in (self._body, self._table, self._sheet):
            part.setParent(None)
            part.deleteLater()

    def refresh(self) -> None:
        """Shows the present messages of the controller."""
        controller = self.controller
        if controller is None:
            return
        if controller.session.images is not self._images and not controller.doing:
            self._take_away()  # other classes or sections
            self._build(controller)
        self._headline.setText(text.headline(controller))
        self._offer.setText(controller.offer)
        self._reasons.setText(text.reasons(controller))
        self._message.setText(controller.message)
        self._network.setText(text.network_message(controller))
        self._retry.setVisible(controller.failure is not None)
        events = len(controller.session.events)
        if events != self._events and not controller.doing:
            found = controller.progress
            self._progress.setText(text.progress_message(found))
            if found.left is None:
                self._bar.setFormat("examples")
                self._bar.setValue(0)
            else:
                self._bar.setFormat("%p% of the outlines")
                share = found.traced / max(found.traced + found.left, 1)
                self._bar.setValue(round(1000 * share))
            self._events = events
        known = events, controller.session.network.through
        if (
            known != self._known and not controller.doing
        ) or self._shown is not controller.question:
            self._known = known
            self._show_overview(controller)
        if controller.question is not None and controller.question is not self._shown:
            self._shown = controller.question
            self._seen.changed()
            red, green, blue = controller.colours[controller.question.structure]
            self._swatch.setStyleSheet(f"background-color: rgb({red}, {green}, {blue})")
            self._section.setCurrentIndex(controller.question.section)
            self._structure.setCurrentIndex(controller.question.structure)
            self._show_range()

    def _build(self, controller: Controller) -> None:
        """The parts that need a session."""
        images = self._images = controller.session.images
        self._events, self._shown, self._known = -1, None, (-1, -1)
        self._swatch, self._headline, self._reasons = QLabel(), make_label(size=4), make_label()
        self._offer = make_label()
        self._headline.setObjectName("headline")
        self._offer.setObjectName("offer")
        for label in (self._headline, self._offer):  # so that no button moves with what they say
            label.setFixedHeight(LINES * label.fontMetrics().lineSpacing())
        self._swatch.setFixedWidth(14)
        self._progress, self._network, self._message = make_label(), make_label(), make_label()
        self._enough = make_label()
        self._enough.setObjectName("enough")
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setFormat("%p% of the outlines")
        self._retry = make_button("Try again")
        self._retry.clicked.connect(lambda: controller.do("retry"))
        self._section, self._structure = make_choice(images.sections), make_choice(images.names)
        self._first, self._last = make_choice(images.sections), make_choice(images.sections)
        self._structure.activated.connect(self._show_range)
        go, change = make_button("Go"), make_button("Set")
        go.clicked.connect(
            lambda: controller.do(
                "go", self._section.currentIndex(), self._structure.currentIndex()
            )
        )
        change.clicked.connect(
            lambda: controller.do(
                "set_range",
                self._structure.currentIndex(),
                (self._first.currentIndex(), self._last.currentIndex()),
            )
        )
        head = QHBoxLayout()
        head.addWidget(self._swatch)
        head.addWidget(self._headline, 1)
        body, scroll = QWidget(), QScrollArea()
        self._table = Table(self, images, lambda n, c: controller.do("go", n, c))
        self._sheet = Sheet(self, controller.actions)
        big, buttons = QHBoxLayout(), QGridLayout()
        for action in BIG:
            button = make_action_button(controller, action, line="\n")
            button.setMinimumHeight(3 * button.fontMetrics().lineSpacing())
            big.addWidget(button, 1)
        for place, action in enumerate(BUTTONS):
            buttons.addWidget(make_action_button(controller, action), place // 2, place % 2)
        beside = QHBoxLayout()
        beside.addWidget(make_menu_button(controller), 1)
        turns = {}
        for action, dialog in zip(PANEL, (self._table, self._sheet), strict=True):
            turn = functools.partial(_turn, dialog)
            turns[action.character] = turn
            beside.addWidget(make_dialog_button(action, dialog, turn), 1)
        keys = Keys(body, turns)
        for canvas in canvases(self.window()):
            canvas.installEventFilter(keys)
        pairs = QGridLayout()
        pairs.setColumnStretch(2, 1)  # names of structures may be long
        for column, part in enumerate((make_label("Section"), self._section, self._structure, go)):
            pairs.addWidget(part, 0, column)
        for column, part in enumerate((make_label("Range"), self._first, self._last, change)):
            pairs.addWidget(part, 1, column)
        scroll.setWidget(body)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QVBoxLayout(body)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(head)
        inner.addWidget(self._offer)
        inner.addLayout(big)
        inner.addLayout(buttons)
        inner.addLayout(beside)
        inner.addLayout(pairs)
        inner.addWidget(self._message)
        inner.addWidget(self._reasons)
        inner.addWidget(self._bar)
        inner.addWidget(self._enough)
        inner.addWidget(self._progress)
        inner.addWidget(self._network)
        inner.addWidget(self._retry)
        inner.addStretch(1)
        self._layout.insertWidget(0, scroll, 1)
        self._body = scroll

    def _show_overview(self, controller: Controller) -> None:
        """How good it is, and the table if it is open."""
        found, question = overview(controller.session), controller.question
        pair = None if question is None else (question.section, question.structure)
        self._enough.setText(good_enough(found, controller.progress.seconds))
        self._table.show_pairs(found, pair)

    def _show_range(self) -> None:
        """The range of the structure that is chosen."""
        if self.controller is not None:
            first, last = self.controller.span(self._structure.currentIndex())
            self._first.setCurrentIndex(first)
            self._last.setCurrentIndex(last)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "The folder of a session")
        if folder:
            try:
                self.open(folder)
            except InputError as error:
                self._refused.setText(str(error))

    def _tick(self) -> None:
        if self.controller is not None and self.controller.tick():
            self.refresh()


def _turn(dialog: QWidget) -> None:
    dialog.setVisible(not dialog.isVisible())


def in_window(viewer: "napari.viewer.Viewer") -> Annotate:
    """The widget next to the canvas of a viewer, in a window that has room for both."""
    widget = Annotate(viewer)
    viewer.window.add_dock_widget(widget, name="al_jax")
    viewer.window.show()
    room = QApplication.primaryScreen().availableSize()
    # Napari's own size leaves nothing of the canvas between its docks and this one.
    viewer.window.resize(min(SIZE[0], room.width()), min(SIZE[1], room.height()))
    return widget
