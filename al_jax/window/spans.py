"""First and last sections of structures, clicked on a stack that is shown."""

from collections.abc import Mapping

import napari
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from al_jax.core.answers import Span
from al_jax.core.stack import Images
from al_jax.window.buttons import make_button, make_label
from al_jax.window.whole import show_whole

COLUMNS = ("Structure", "First", "Last")
HIGH = 190  # of the table, pixels


class Spans(QWidget):
    """A table of the structures; the stack, with napari's slider, is in the viewer meanwhile.

    Attributes:
      spans: first and last section of the classes that are not everywhere, by name.
    """

    def __init__(self, viewer: "napari.viewer.Viewer", images: Images) -> None:
        """Shows the stack; no structure is limited yet."""
        super().__init__()
        self._viewer, self._images, self.spans = viewer, images, dict[str, Span]()
        self._shown: Layer = show_whole(viewer, images)
        viewer.dims.events.current_step.connect(self._moved)
        self._where, self._table = make_label(), QTableWidget(images.num_classes, len(COLUMNS))
        self._table.setHorizontalHeaderLabels(COLUMNS)
        self._table.verticalHeader().hide()
        self._table.setMinimumHeight(HIGH)
        self._table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._table.selectRow(min(1, images.num_classes - 1))
        layout, buttons = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        for name, label, call in (
            ("first_here", "First is here", self.first_here),
            ("last_here", "Last is here", self.last_here),
            ("anywhere", "Anywhere", self.anywhere),
        ):
            button = make_button(label)
            button.setObjectName(name)
            button.clicked.connect(lambda _=False, call=call: call())
            buttons.addWidget(button)
        layout.addWidget(self._where)
        layout.addWidget(self._table)
        layout.addLayout(buttons)
        self.fill({})
        self._moved()

    @property
    def section(self) -> int:
        """The one that is shown."""
        return int(self._viewer.dims.current_step[0])

    def choose(self, structure: int) -> None:
        """Selects the row of a structure."""
        self._table.selectRow(structure)

    def fill(self, spans: Mapping[str, Span]) -> None:
        """Takes other spans."""
        self.spans = dict(spans)
        for row in range(self._images.num_classes):
            self._write(row)

    def first_here(self) -> None:
        """The section that is shown is the first one of the structure that is selected."""
        _, last = self._span()
        self._set((self.section, None if last is None else max(last, self.section)))

    def last_here(self) -> None:
        """The section that is shown is its last one; the next structure is selected."""
        first, _ = self._span()
        self._set((None if first is None else min(first, self.section), self.section))
        if self._row + 1 < self._images.num_classes:
            self.choose(self._row + 1)

    def anywhere(self) -> None:
        """The structure may be on any section."""
        self._set((None, None))

    def end(self) -> None:
        """Takes the stack out of the viewer."""
        self._viewer.dims.events.current_step.disconnect(self._moved)
        if self._shown in self._viewer.layers:
            self._viewer.layers.remove(self._shown)

    @property
    def _row(self) -> int:
        return max(self._table.currentRow(), 0)

    def _span(self) -> Span:
        return self.spans.get(self._images.names[self._row], (None, None))

    def _set(self, span: Span) -> None:
        name = self._images.names[self._row]
        self.spans[name] = span
        if span == (None, None):
            del self.spans[name]
        self._write(self._row)

    def _write(self, row: int) -> None:
        name = self._images.names[row]
        ends = self.spans.get(name, (None, None))
        cells = [name, *("" if end is None else self._images.sections[end] for end in ends)]
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self._table.setItem(row, column, item)

    def _moved(self, _event: object = None) -> None:
        number, count = self.section, self._images.num_sections
        if number < count:
            name = self._images.sections[number]
            self._where.setText(
                f"Section {name}, {number + 1} of {count}: move with the slider below the canvas"
            )
