"""The parts of the dock that need a session: the question, the buttons, and how far it is."""

import functools
from collections.abc import Sequence

from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from al_jax.session import Question
from al_jax.window import text
from al_jax.window.actions import BIG, BUTTONS, PANEL
from al_jax.window.buttons import (
    Entry,
    Keys,
    discard,
    make_action_button,
    make_button,
    make_choice,
    make_dialog_button,
    make_label,
    make_menu_button,
)
from al_jax.window.controller import Controller
from al_jax.window.overview import good_enough, overview
from al_jax.window.sheet import Sheet
from al_jax.window.table import Table

LINES = 2  # of text, which question and offer have room for


class Panel(QScrollArea):
    """What a session shows beside the canvas. Its labels say what the controller says.

    Attributes:
      images: the classes and sections that it was made for.
      headline, offer, message, reasons, enough, progress, network: its labels.
      section, structure, first, last: its choices.
      table, sheet: its dialogs.
    """

    def __init__(
        self,
        parent: QWidget,
        controller: Controller,
        canvases: Sequence[QWidget],
        more: Sequence[Entry],
    ) -> None:
        """Makes it for the present classes and sections.

        Args:
          parent: of it and of its dialogs.
          controller: what it shows, and what its buttons call.
          canvases: where its keys are seen.
          more: what is in its menu besides actions.
        """
        super().__init__(parent)
        self._controller, self.images = controller, controller.session.images
        self._events, self._known = -1, (-1, -1)
        self._shown: Question | None = None
        self.headline, self.offer = make_label(size=4), make_label()
        self.headline.setObjectName("headline")
        self.offer.setObjectName("offer")
        for label in (self.headline, self.offer):  # so that no button moves with what they say
            metrics = label.fontMetrics()
            label.setFixedHeight(LINES * metrics.lineSpacing() + metrics.descent())
        self.message, self.reasons = make_label(), make_label()
        self.progress, self.network, self.enough = make_label(), make_label(), make_label()
        self.enough.setObjectName("enough")
        self._swatch, self._bar = QLabel(), QProgressBar()
        self._swatch.setFixedWidth(14)
        self._bar.setRange(0, 1000)
        self._retry = make_button("Try again")
        self._retry.clicked.connect(lambda: controller.do("retry"))
        sections, names = self.images.sections, self.images.names
        self.section, self.structure = make_choice(sections), make_choice(names)
        self.first, self.last = make_choice(sections), make_choice(sections)
        self.structure.activated.connect(self._show_range)
        self._canvases = canvases
        for choice in (self.section, self.structure, self.first, self.last):
            choice.closed = self._to_canvas  # not before: what is typed there goes nowhere else
        self.table = Table(parent, self.images, lambda n, c: controller.do("go", n, c))
        self.sheet = Sheet(parent, controller.actions)
        body = QWidget()
        self.setWidget(body)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self._lay_out(body, self._beside(body, canvases, more))

    def take_away(self) -> None:
        """Takes itself and its dialogs away."""
        for part in (self, self.table, self.sheet):
            discard(part)

    def refresh(self) -> None:
        """Shows the present messages of the controller."""
        controller, question = self._controller, self._controller.question
        self.headline.setText(text.headline(controller))
        self.offer.setText(controller.offer)
        self.reasons.setText(text.reasons(controller))
        self.message.setText(controller.message)
        self.network.setText(text.network_message(controller))
        self._retry.setVisible(controller.failure is not None)
        events = len(controller.session.events)
        known = events, controller.session.network.through
        if events != self._events and not controller.doing:
            self._events = events
            self._show_progress()
        if question is not self._shown or (known != self._known and not controller.doing):
            self._known = known
            self._show_overview()
        if question is not None and question is not self._shown:
            self._shown = question
            red, green, blue = controller.colours[question.structure]
            self._swatch.setStyleSheet(f"background-color: rgb({red}, {green}, {blue})")
            self.section.setCurrentIndex(question.section)
            self.structure.setCurrentIndex(question.structure)
            self._show_range()
            self._to_canvas()

    def _to_canvas(self) -> None:
        """Gives the keys to the canvas, which a choice or a dialog had."""
        for canvas in self._canvases:
            canvas.setFocus()

    def _turn(self, dialog: QWidget) -> None:
        dialog.setVisible(not dialog.isVisible())
        if not dialog.isVisible():
            self._to_canvas()

    def _beside(
        self, body: QWidget, canvases: Sequence[QWidget], more: Sequence[Entry]
    ) -> QHBoxLayout:
        """The menu, and what opens the dialogs, which keys do too."""
        row, turns = QHBoxLayout(), {}
        row.addWidget(make_menu_button(self._controller, more), 1)
        for action, dialog in zip(PANEL, (self.table, self.sheet), strict=True):
            turn = functools.partial(self._turn, dialog)
            turns[action.character] = turn
            row.addWidget(make_dialog_button(action, dialog, turn), 1)
        keys = Keys(body, turns)
        for canvas in canvases:
            canvas.installEventFilter(keys)
        return row

    def _lay_out(self, body: QWidget, beside: QHBoxLayout) -> None:
        head, big, buttons = QHBoxLayout(), QHBoxLayout(), QGridLayout()
        head.addWidget(self._swatch)
        head.addWidget(self.headline, 1)
        for action in BIG:
            button = make_action_button(self._controller, action, line="\n")
            button.setMinimumHeight(3 * button.fontMetrics().lineSpacing())
            big.addWidget(button, 1)
        for place, action in enumerate(BUTTONS):
            buttons.addWidget(make_action_button(self._controller, action), place // 2, place % 2)
        inner = QVBoxLayout(body)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(head)
        inner.addWidget(self.offer)
        for row in (big, buttons, beside, self._pairs()):
            inner.addLayout(row)
        parts: tuple[QWidget, ...] = (self.message, self.reasons, self._bar, self.enough)
        for part in (*parts, self.progress, self.network, self._retry):
            inner.addWidget(part)
        inner.addStretch(1)

    def _pairs(self) -> QGridLayout:
        """Any pair to go to, and the range of its structure."""
        go, change, found = make_button("Go"), make_button("Set"), QGridLayout()
        go.clicked.connect(
            lambda: self._controller.do(
                "go", self.section.currentIndex(), self.structure.currentIndex()
            )
        )
        change.clicked.connect(
            lambda: self._controller.do(
                "set_range",
                self.structure.currentIndex(),
                (self.first.currentIndex(), self.last.currentIndex()),
            )
        )
        found.setColumnStretch(2, 1)  # names of structures may be long
        for column, part in enumerate((make_label("Section"), self.section, self.structure, go)):
            found.addWidget(part, 0, column)
        for column, part in enumerate((make_label("Range"), self.first, self.last, change)):
            found.addWidget(part, 1, column)
        return found

    def _show_progress(self) -> None:
        found = self._controller.progress
        self.progress.setText(text.progress_message(found))
        if found.left is None:
            self._bar.setFormat("examples")
            self._bar.setValue(0)
        else:
            self._bar.setFormat("%p% of the outlines")
            self._bar.setValue(round(1000 * found.traced / max(found.traced + found.left, 1)))

    def _show_overview(self) -> None:
        """How good it is, and the table if it is open."""
        controller, question = self._controller, self._controller.question
        found = overview(controller.session)
        pair = None if question is None else (question.section, question.structure)
        self.enough.setText(good_enough(found, _seconds_of_one(controller)))
        self.table.show_pairs(found, pair)

    def _show_range(self) -> None:
        """The range of the structure that is chosen."""
        first, last = self._controller.span(self.structure.currentIndex())
        self.first.setCurrentIndex(first)
        self.last.setCurrentIndex(last)


def _seconds_of_one(controller: Controller) -> float | None:
    """What an answer is expected to take, or took so far; None: nobody knows."""
    now = controller.progress
    return now.seconds if now.seconds_next is None else now.seconds_next
