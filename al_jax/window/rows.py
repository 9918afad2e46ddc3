"""Rows of a form: a path that is typed or chosen, and the words before it."""

from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QWidget

from al_jax.window.buttons import make_button

Choose = Callable[[QWidget, str], str]
"""Asks a person for a path, with a title; '' if none is chosen."""


def a_folder(parent: QWidget, title: str) -> str:
    """A folder that exists."""
    return QFileDialog.getExistingDirectory(parent, title)


def a_file(parent: QWidget, title: str) -> str:
    """A file that exists."""
    return QFileDialog.getOpenFileName(parent, title)[0]


def a_new_folder(parent: QWidget, title: str) -> str:
    """A folder that may not exist yet."""
    options = QFileDialog.Option.DontConfirmOverwrite | QFileDialog.Option.ShowDirsOnly
    return QFileDialog.getSaveFileName(parent, title, options=options)[0]


class PathRow(QWidget):
    """A path, and a button for each way to choose it."""

    changed = Signal()

    def __init__(self, name: str, hint: str, *ways: tuple[str, Choose]) -> None:
        """`ways`: what a button says, and what it calls; `hint` stands where nothing is typed."""
        super().__init__()
        layout, self._line = QHBoxLayout(self), QLineEdit()
        layout.setContentsMargins(0, 0, 0, 0)
        self._line.setPlaceholderText(hint)
        self._line.setToolTip(hint)
        self._line.setObjectName(name)
        self._line.textChanged.connect(lambda _: self.changed.emit())
        layout.addWidget(self._line, 1)
        for label, choose in ways:
            button = make_button(label)
            button.clicked.connect(lambda _=False, choose=choose: self._choose(choose, hint))
            layout.addWidget(button)

    @property
    def path(self) -> str:
        """What is typed or chosen."""
        return self._line.text().strip()

    def put(self, path: str) -> None:
        """Fills it in."""
        self._line.setText(path)

    def _choose(self, choose: Choose, title: str) -> None:
        if path := choose(self, title):
            self.put(path)
