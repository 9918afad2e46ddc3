"""A table of structures and sections: what was answered, and how good the rest would be."""

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QDialog, QHeaderView, QLabel, QTableView, QVBoxLayout, QWidget

from al_jax.core.stack import Images
from al_jax.window.overview import NAMES, Mark, Overview, describe

# Of Okabe and Ito, and each with a sign, so that none is told by its colour alone.
COLOURS = {
    Mark.OUT: "#262930",
    Mark.OPEN: "#6b6f7a",
    Mark.LATER: "#cc79a7",
    Mark.TRACED: "#0072b2",
    Mark.ACCEPTED: "#009e73",
    Mark.CORRECTED: "#56b4e9",
    Mark.ABSENT: "#e69f00",
}
SIGNS = {
    Mark.OUT: "",
    Mark.OPEN: "·",
    Mark.LATER: "↷",
    Mark.TRACED: "T",
    Mark.ACCEPTED: "A",
    Mark.CORRECTED: "C",
    Mark.ABSENT: "–",
}
WORST, BEST = np.array((70, 40, 20)), np.array((240, 228, 66))  # shades of what is proposed
SHOWN = "▣"  # the pair that is shown
SIZE = (900, 420)  # of the table, pixels
Index = QModelIndex | QPersistentModelIndex


class Pairs(QAbstractTableModel):
    """Structures as rows, sections as columns."""

    def __init__(self, images: Images) -> None:
        """Nothing is known yet."""
        super().__init__()
        self._images, self._found = images, None
        self._pair: tuple[int, int] | None = None

    _found: Overview | None

    def show(self, found: Overview, pair: tuple[int, int] | None) -> None:
        """Another state of the session; `pair`: section and structure that are shown."""
        self.layoutAboutToBeChanged.emit()
        self._found, self._pair = found, pair
        self.layoutChanged.emit()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Structures."""
        return self._images.num_classes

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Sections."""
        return self._images.num_sections

    def headerData(self, number: int, across: Qt.Orientation, role: int = 0) -> Any:
        """Names."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        sections = across == Qt.Orientation.Horizontal
        return (self._images.sections if sections else self._images.names)[number]

    def data(self, index: Index, role: int = 0) -> Any:
        """The sign, the colour and the words of a pair."""
        if self._found is None:
            return None
        pair = index.column(), index.row()
        mark, dice = Mark(int(self._found.marks[pair])), self._found.dice[pair[1]]
        proposed = mark == Mark.OPEN and not np.isnan(dice)
        if role == Qt.ItemDataRole.DisplayRole:
            if pair == self._pair:
                return SHOWN
            return f"{100 * dice:.0f}" if proposed else SIGNS[mark]
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe(self._found, pair, self._images.sections, self._images.names)
        colour = QColor(COLOURS[mark])
        if proposed:
            colour = QColor(*np.rint(WORST + dice * (BEST - WORST)).astype(int).tolist())
        if role == Qt.ItemDataRole.BackgroundRole:
            return colour
        if role == Qt.ItemDataRole.ForegroundRole:
            return QColor("black" if colour.lightness() > 110 else "white")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignCenter
        return None


class Table(QDialog):
    """The table in a window of its own; a click goes to a pair."""

    def __init__(self, parent: QWidget, images: Images, go: Callable[[int, int], object]) -> None:
        """A table of `images`; `go` is called with section and structure."""
        super().__init__(parent)
        self.setWindowTitle("All pairs: a click goes there")
        self._pairs, self.view = Pairs(images), QTableView()
        self.view.setModel(self._pairs)
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view.setSelectionMode(QTableView.SelectionMode.NoSelection)
        for header in (self.view.horizontalHeader(), self.view.verticalHeader()):
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setDefaultSectionSize(26)
            header.setMinimumSectionSize(26)
        metrics = self.view.fontMetrics()
        widest = max((metrics.horizontalAdvance(name) for name in images.sections), default=0)
        self.view.horizontalHeader().setDefaultSectionSize(min(max(30, widest + 12), 90))
        self.view.clicked.connect(lambda index: go(index.column(), index.row()))
        legend = QLabel(_legend())
        legend.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.view, 1)
        layout.addWidget(legend)
        wide = self.view.horizontalHeader().length() + self.view.verticalHeader().sizeHint().width()
        high = self.view.verticalHeader().length() + 120
        self.resize(min(SIZE[0], wide + 40), min(SIZE[1], high))

    def show_pairs(self, found: Overview, pair: tuple[int, int] | None) -> None:
        """Another state of the session."""
        self._pairs.show(found, pair)


def _legend() -> str:
    parts = [f"{SHOWN} shown"]
    for mark, sign in SIGNS.items():
        if sign:
            parts.append(
                f'<span style="background-color: {COLOURS[mark]}; color: '
                f'{"black" if QColor(COLOURS[mark]).lightness() > 110 else "white"}">'
                f"&nbsp;{sign}&nbsp;</span> {NAMES[mark]}"
            )
    return " &nbsp; ".join([*parts, "numbers: expected Dice of the proposal, %, lighter is better"])
