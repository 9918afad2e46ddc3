"""Labels, buttons, menus, choices and keys of the panel."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QComboBox, QLabel, QMenu, QPushButton, QSizePolicy, QWidget

from al_jax.window.actions import BIG, BUTTONS, Action
from al_jax.window.controller import Controller


class Keys(QObject):
    """Calls what belongs to a character that is typed, whatever keys that takes on a keyboard."""

    def __init__(self, parent: QWidget, calls: Mapping[str, Callable[[], None]]) -> None:
        """`calls` by the character; install it where keys are to be seen."""
        super().__init__(parent)
        self._calls = calls

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Takes its keys, and leaves all others."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            text, shift = event.text(), event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            if text.isalpha():  # whatever Caps Lock makes of it
                text = text.upper() if shift else text.lower()
            call = self._calls.get(text)
            if call is not None:
                call()
                return True
        return False


def discard(part: QWidget) -> None:
    """Takes a widget away, now: others may come before it is deleted."""
    part.setParent(None)
    part.deleteLater()


def make_label(text: str = "", size: int = 0) -> QLabel:
    """Text as it is, whatever a class is called; `size` points larger than the rest."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    font = label.font()
    font.setPointSize(font.pointSize() + size)
    font.setBold(size > 0)
    label.setFont(font)
    return label


def make_button(text: str) -> QPushButton:
    """A button that leaves the keys to the canvas."""
    button = QPushButton(text)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def make_action_button(controller: Controller, action: Action, line: str = "  ") -> QPushButton:
    """Does what a key does; `line` is between its words and the key."""
    button = _narrow(make_button(f"{action.label}{line}[{action.cap}]"))
    button.setObjectName(action.name)
    button.clicked.connect(lambda: controller.do(action.name))
    return button


class Entry(NamedTuple):
    """An entry of a menu: its name, what it says, and what it calls."""

    name: str
    label: str
    call: Callable[[], object]


def fill_menu(menu: QMenu, entries: Sequence[Entry]) -> QMenu:
    """A menu with those entries, too."""
    for entry in entries:
        action = menu.addAction(entry.label)
        action.setObjectName(entry.name)
        action.triggered.connect(lambda _=False, call=entry.call: call())
    return menu


def make_menu_button(controller: Controller, more: Sequence[Entry]) -> QPushButton:
    """What has no button of its own, and below it what is of no question."""
    button = _narrow(make_button("More"))
    button.setObjectName("more")
    own = [action for action in controller.actions if action not in (*BIG, *BUTTONS)]
    menu = fill_menu(
        QMenu(button),
        [
            Entry(a.name, f"{a.label}  [{a.cap}]", functools.partial(controller.do, a.name))
            for a in own
        ],
    )
    menu.addSeparator()
    button.setMenu(fill_menu(menu, more))
    return button


def make_dialog_button(action: Action, dialog: QWidget, turn: Callable[[], None]) -> QPushButton:
    """Opens and closes a dialog by `turn`, which its key does too."""
    button = _narrow(make_button(f"{action.label}  [{action.cap}]"))
    button.setObjectName(action.name)
    button.clicked.connect(turn)
    dialog.installEventFilter(Keys(dialog, {action.character: turn}))
    return button


class Choice(QComboBox):
    """A choice that says when its list is closed, by `closed`."""

    closed: Callable[[], None] = staticmethod(lambda: None)

    def hidePopup(self) -> None:
        """Closes the list."""
        super().hidePopup()
        self.closed()


def make_choice(names: tuple[str, ...]) -> Choice:
    """One of some names."""
    choice = Choice()
    choice.addItems(names)
    choice.setMaxVisibleItems(20)
    choice.setMinimumContentsLength(min(max(map(len, names), default=1) + 1, 6))
    choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    choice.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return choice


def _narrow(button: QPushButton) -> QPushButton:
    """As wide as its share of the row."""
    button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return button
