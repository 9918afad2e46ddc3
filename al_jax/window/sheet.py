"""A sheet of all keys of the window."""

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QLabel, QWidget

from al_jax.window.actions import LOOK, PANEL, UNDER_WAY, VIEW, Action

NAPARI = (
    Action("1", "", "Eraser"),
    Action("2", "", "Brush"),
    Action("3", "", "Polygon"),
    Action("4", "", "Bucket"),
    Action("6", "", "Move the view, or hold Space"),
    Action("[  ]", "", "Size of the brush"),
    Action("Ctrl+Z", "", "Take back a stroke"),
    Action("Ctrl+R", "", "See all of the section"),
)
"""napari's own keys that matter here."""


class Sheet(QDialog):
    """What each key does, in a window of its own."""

    def __init__(self, parent: QWidget, actions: Sequence[Action]) -> None:
        """The keys of `actions`, and those that are the same always."""
        super().__init__(parent)
        self.setWindowTitle("All keys")
        half = -(-len(actions) // 2)
        columns = (
            (("Answers and questions", actions[:half]), ("Outlines under way", UNDER_WAY)),
            (("and more", actions[half:]), ("In the panel", PANEL)),
            (("How it is seen", (*VIEW, *LOOK.values())), ("napari's", NAPARI)),
        )
        grid = QGridLayout(self)
        grid.setHorizontalSpacing(14)
        for column, groups in enumerate(columns):
            row = 0
            for title, group in groups:
                grid.addWidget(_label(f"<b>{title}</b>"), row, 2 * column, 1, 2)
                row += 1
                for action in group:
                    grid.addWidget(_label(f"<code><b>{action.cap}</b></code>"), row, 2 * column)
                    grid.addWidget(_label(action.label), row, 2 * column + 1)
                    row += 1


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    return label
