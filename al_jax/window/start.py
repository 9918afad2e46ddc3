"""What the dock shows without a session: to make one, to open one, or to try a sample."""

from collections.abc import Sequence

from qtpy.QtWidgets import QVBoxLayout, QWidget

from al_jax.window.buttons import Entry, make_button, make_label

WELCOME = (
    "A session is a folder: a stack, what you trace of it, and a network that learns from it. "
    "What you answer is on the disk at once; close the window whenever you like."
)


class Start(QWidget):
    """Buttons, and a line about what went wrong."""

    def __init__(self, sessions: Sequence[Entry], samples: Sequence[Entry]) -> None:
        """A large button for each of `sessions`, and one for each of `samples`."""
        super().__init__()
        layout, self._said = QVBoxLayout(self), make_label()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(make_label("Annotate a stack", size=4))
        layout.addWidget(make_label(WELCOME))
        for entry in sessions:
            self._add(entry, lines=2)
        layout.addSpacing(12)
        layout.addWidget(make_label("Or try it on"))
        for entry in samples:
            self._add(entry, lines=1)
        self._said.setObjectName("refused")
        layout.addWidget(self._said)
        layout.addStretch(1)

    @property
    def said(self) -> str:
        """The line."""
        return self._said.text()

    def say(self, line: str) -> None:
        """Shows a line."""
        self._said.setText(line)

    def _add(self, entry: Entry, lines: int) -> None:
        button, layout = make_button(entry.label), self.layout()
        button.setObjectName(entry.name)
        button.setMinimumHeight((lines + 1) * button.fontMetrics().lineSpacing())
        button.clicked.connect(lambda: entry.call())
        assert layout is not None
        layout.addWidget(button)
