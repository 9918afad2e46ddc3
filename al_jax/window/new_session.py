"""A form for a new session: what it is of, where it goes, and what is known of it."""

from collections.abc import Callable
from typing import Any

import napari
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from al_jax.core.stack import Images, InputError
from al_jax.files.slicing import AXES, Cut
from al_jax.window.background import beside
from al_jax.window.buttons import discard, make_button, make_label
from al_jax.window.polling import Polling
from al_jax.window.rows import PathRow, a_file, a_folder, a_new_folder
from al_jax.window.spans import Spans
from al_jax.window.starting import (
    Beginning,
    Stack,
    begin_session,
    cuts,
    read_stack,
    spans_by_table,
)

WIDTH = 560  # pixels
NAMES = 5  # lines of names that are seen


class NewSession(QDialog):
    """The form. What is refused is said in it, and nothing is made then.

    Attributes:
      sections, table, ranges, earlier, folder: its paths.
      classes: the names, one a line.
      said: what went wrong, or what is done.
      spans: the ranges that are clicked, or None.
    """

    def __init__(
        self,
        parent: QWidget,
        viewer: "napari.viewer.Viewer",
        done: Callable[[str], None],
        before: Callable[[], Callable[[], None]],
    ) -> None:
        """An empty form.

        Args:
          parent: of the dialog.
          viewer: where the stack is shown, to click ranges.
          done: opens the session that was made.
          before: frees the canvas; what it returns takes it back, if nothing is made.
        """
        super().__init__(parent)
        self.setWindowTitle("New session")
        self.setMinimumWidth(WIDTH)
        self._parent, self._viewer, self._done, self._before = parent, viewer, done, before
        self._polling = Polling(self)
        self._give_back: Callable[[], None] | None = None
        self._read: tuple[Stack, Images, list[str]] | None = None
        self.spans: Spans | None = None
        self.sections = PathRow(
            "sections",
            "Folder of images, or a volume, TIFF or npz",
            ("Folder ...", a_folder),
            ("File ...", a_file),
        )
        self.classes = QPlainTextEdit()
        self.classes.setObjectName("classes")
        self.classes.setPlaceholderText("Names of the structures, one a line")
        self.classes.setStyleSheet("QPlainTextEdit { border: 1px solid gray }")
        self.classes.setFixedHeight((NAMES + 1) * self.classes.fontMetrics().lineSpacing())
        self.table = PathRow("table", "Or a table of them: id, name", ("Table ...", a_file))
        self.ranges = PathRow(
            "ranges", "If you like, a table: name, first, last", ("Table ...", a_file)
        )
        self.earlier = PathRow(
            "earlier", "If you like, a session of another stack", ("Folder ...", a_folder)
        )
        self.folder = PathRow(
            "folder", "A new folder for the session", ("Choose ...", a_new_folder)
        )
        self._cut, self._axis, self._count = QWidget(), QComboBox(), QSpinBox()
        self.said = make_label()
        self.said.setObjectName("said")
        self._click, self._begin, self._cancel = map(
            make_button, ("Click them on the stack", "Begin", "Cancel")
        )
        self._lay_out()
        self.sections.changed.connect(self._sections_changed)
        for button, name, call in (
            (self._click, "click_ranges", self.click_ranges),
            (self._begin, "begin", self.begin),
            (self._cancel, "cancel", self.reject),
        ):
            button.setObjectName(name)
            button.clicked.connect(lambda _=False, call=call: call())

    def click_ranges(self) -> None:
        """Reads the stack and shows it, with a table for first and last sections."""

        def show(images: Images) -> None:
            known = spans_by_table(self.ranges.path, images) if self.ranges.path else {}
            if self._give_back is None:
                self._give_back = self._before()
            self._forget_spans()
            self.spans = Spans(self._viewer, images)
            self.spans.fill(known)
            self._room.addWidget(self.spans)
            self.move(self._parent.window().frameGeometry().topLeft())  # off the canvas

        self._with_images(show)

    def begin(self) -> None:
        """Makes the session and opens it."""

        def made(notes: list[str]) -> None:
            folder = self.folder.path
            self._give_back = None
            self.accept()
            try:
                self._done(folder)
            except InputError as error:
                self.said.setText(str(error))

        def make(images: Images) -> None:
            beginning = self._beginning()
            self._wait("making the session", lambda: begin_session(beginning, images), made)

        self._with_images(make)

    def done(self, result: int) -> None:
        """Closes it, however that is, and gives the canvas back."""
        self._polling.forget()
        self._forget_spans()
        super().done(result)
        if self._give_back is not None:
            self._give_back()
        self.deleteLater()

    def _stack(self) -> Stack:
        cut = Cut(self._axis.currentText(), self._count.value())
        return Stack(self.sections.path, cut, self.classes.toPlainText(), self.table.path)

    def _beginning(self) -> Beginning:
        spans = None if self.spans is None else self.spans.spans
        return Beginning(self.folder.path, self.ranges.path, spans, self.earlier.path)

    def _with_images(self, then: Callable[[Images], None]) -> None:
        """Calls `then` with the stack, once it is read; what was read is read once."""
        stack = self._stack()
        if self._read is not None and self._read[0] == stack:
            images = self._read[1]
            return self._attempt(lambda: then(images))

        def found(read: tuple[Images, list[str]]) -> None:
            self._read = stack, *read
            self._forget_spans()
            self._attempt(lambda: then(read[0]))

        self._wait("reading the sections", lambda: read_stack(stack), found)

    def _wait(self, words: str, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Does `call` beside the window."""
        self._say(f"One moment: {words} ...", busy=True)

        def done(found: Any) -> None:
            notes = [] if self._read is None else self._read[2]
            self._say("; ".join(notes))
            then(found)

        self._polling.wait(beside(call), done, self._say)

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except InputError as error:
            self._say(str(error))

    def _say(self, line: str, busy: bool = False) -> None:
        self.said.setText(line)
        for button in (self._click, self._begin):
            button.setEnabled(not busy)

    def _forget_spans(self) -> None:
        if self.spans is not None:
            self.spans.end()
            discard(self.spans)
            self.spans = None

    def _sections_changed(self) -> None:
        self._cut.setVisible(cuts(self.sections.path))

    def _lay_out(self) -> None:
        form, foot, layout = QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        cut = QHBoxLayout(self._cut)
        cut.setContentsMargins(0, 0, 0, 0)
        self._axis.addItems(list(AXES))
        self._axis.setCurrentText(Cut().axis)
        self._count.setRange(2, 10_000)
        self._count.setValue(Cut().sections)
        for part in (QLabel("A volume, cut into"), self._count, self._axis, QLabel("sections")):
            cut.addWidget(part)
        cut.addStretch(1)
        self._cut.setVisible(False)
        self._room = QVBoxLayout()
        form.addRow("Sections", self.sections)
        form.addRow("", self._cut)
        form.addRow("Classes", self.classes)
        form.addRow("", self.table)
        form.addRow("Ranges", self.ranges)
        form.addRow("", self._click)
        form.addRow(self._room)
        form.addRow("Start from", self.earlier)
        form.addRow("Goes to", self.folder)
        foot.addStretch(1)
        foot.addWidget(self._cancel)
        foot.addWidget(self._begin)
        layout.addLayout(form)
        layout.addWidget(self.said)
        layout.addLayout(foot)
