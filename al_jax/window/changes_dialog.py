"""Classes and sections of an open session, and what changes them."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from al_jax.core.stack import Images, InputError
from al_jax.files.rescans import read_scan
from al_jax.session.turns import TURNS
from al_jax.window.buttons import make_button, make_label
from al_jax.window.controller import Controller

SIZE = (620, 460)  # pixels
NUMBER = Qt.ItemDataRole.UserRole  # of a class or section; a section that is left out has none


class ChangesDialog(QDialog):
    """Two lists and what may be done with what is chosen in them; `u` takes each change back.

    Attributes:
      classes, sections: the lists.
      name: a new name, or names with commas between them.
      said: what was done, or why not.
    """

    def __init__(self, parent: QWidget, controller: Controller) -> None:
        """Lists what there is."""
        super().__init__(parent)
        self.setWindowTitle("Classes and sections")
        self.resize(*SIZE)
        self._controller = controller
        self._images: Images | None = None
        self.classes, self.sections, self.name = QListWidget(), QListWidget(), QLineEdit()
        self.classes.setObjectName("class_list")
        self.classes.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.sections.setObjectName("section_list")
        self.sections.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.name.setObjectName("new_name")
        self.name.setPlaceholderText("New name; to split: B, C")
        self.said = make_label()
        self.said.setObjectName("said")
        self._buttons = {
            name: self._button(name, label, call)
            for name, label, call in (
                ("add", "Add", self.add),
                ("rename", "Rename", self.rename),
                ("merge", "Merge", self.merge),
                ("split", "Split", self.split),
                ("leave_out", "Leave out", self.leave_out),
                ("take_in", "Take in again", self.take_in),
                ("mirror", "Mirror", self.mirror),
                *((f"turn_{d}", f"Turn {d}°", lambda d=d: self.turn(d)) for d in TURNS),
                ("replace", "Another image ...", self.replace_image),
                ("order", "Set the order dragged", self.set_order),
            )
        }
        self._lay_out()
        self.refresh()

    def refresh(self) -> None:
        """Shows the classes and sections there are now, and what the controller says."""
        controller = self._controller
        images = controller.session.images
        for button in self._buttons.values():
            button.setEnabled(not controller.doing)
        self.said.setText(f"One moment: {controller.doing}" if controller.doing else "")
        if images is not self._images and not controller.doing:
            self._images = images
            self.name.clear()
            _fill(self.classes, images.names)
            _fill(self.sections, images.sections)
            for name in controller.session.left_out:
                item = QListWidgetItem(f"{name} (left out)", self.sections)
                item.setData(NUMBER, name)
                item.setForeground(QColor("gray"))
        if not controller.doing:
            self.said.setText(controller.message)

    # Each does one change; what is refused is said.

    def add(self) -> None:
        """A class more, of any section until its range is set."""
        self._change("add_class", lambda: (self._name(),))

    def rename(self) -> None:
        """Another name of the class that is chosen."""
        self._change("rename_class", lambda: (self._class(), self._name()))

    def merge(self) -> None:
        """The classes that are chosen become one."""
        self._change("merge_classes", lambda: (self._chosen(self.classes), self._name()))

    def split(self) -> None:
        """The class that is chosen becomes several."""
        self._change("split_class", lambda: (self._class(), self._names()))

    def leave_out(self) -> None:
        """Without the section that is chosen."""
        self._change("leave_out", lambda: (self._section(),))

    def take_in(self) -> None:
        """The section that is chosen comes back."""

        def name() -> tuple[str]:
            item = self.sections.currentItem()
            if item is None or not isinstance(item.data(NUMBER), str):
                raise InputError("Choose a section that is left out, at the end of the list")
            return (item.data(NUMBER),)

        self._change("take_in", name)

    def mirror(self) -> None:
        """The section that is chosen, left to right."""
        self._change("mirror", lambda: (self._section(),))

    def turn(self, degrees: int) -> None:
        """The section that is chosen, clockwise."""
        self._change("turn", lambda: (self._section(), degrees))

    def replace_image(self) -> None:
        """Another image of the section that is chosen."""

        def scan() -> tuple | None:
            section = self._section()
            path = QFileDialog.getOpenFileName(self, "Another image of this section")[0]
            images = self._controller.session.images
            return (section, read_scan(path, images, section)) if path else None

        self._change("replace_image", scan)

    def set_order(self) -> None:
        """The sections as they were dragged."""

        def order() -> tuple[list[int]]:
            items = map(self.sections.item, range(self.sections.count()))
            numbers = [item.data(NUMBER) for item in items if item is not None]
            order = [n for n in numbers if isinstance(n, int)]
            if order == sorted(order):
                raise InputError("The order is the same; drag sections to their places first")
            return (order,)

        self._change("set_order", order)

    def _change(self, method: str, arguments: Callable[[], tuple[Any, ...] | None]) -> None:
        try:
            given = arguments()
        except InputError as error:
            self.said.setText(str(error))
            return
        if given is not None:
            self._controller.do("change", method, *given)

    def _chosen(self, items: QListWidget) -> list[int]:
        return sorted(index.row() for index in items.selectedIndexes())

    def _class(self) -> int:
        chosen = self._chosen(self.classes)
        if len(chosen) != 1:
            raise InputError("Choose one class in the list")
        return chosen[0]

    def _section(self) -> int:
        item = self.sections.currentItem()
        if item is None or not isinstance(item.data(NUMBER), int):
            raise InputError("Choose a section in the list that is not left out")
        return item.data(NUMBER)

    def _names(self) -> list[str]:
        names = [name.strip() for name in self.name.text().split(",")]
        if not all(names):
            raise InputError("Type the new name first")
        return names

    def _name(self) -> str:
        names = self._names()
        if len(names) > 1:
            raise InputError("Type one name, without commas; several are to split a class")
        return names[0]

    def _button(self, name: str, label: str, call: Callable[[], None]) -> QWidget:
        button = make_button(label)
        button.setObjectName(name)
        button.clicked.connect(lambda: call())
        return button

    def _lay_out(self) -> None:
        lists, layout, rows = QGridLayout(), QVBoxLayout(self), QGridLayout()
        for column, (title, items) in enumerate(
            (("Classes", self.classes), ("Sections: drag them to correct the order", self.sections))
        ):
            lists.addWidget(make_label(title), 0, column)
            lists.addWidget(items, 1, column)
        lists.addWidget(self.name, 2, 0)
        of_classes = ("add", "rename", "merge", "split")
        for n, name in enumerate(of_classes):
            rows.addWidget(self._buttons[name], n // 2, n % 2)
        others = [name for name in self._buttons if name not in of_classes]
        own = QGridLayout()
        for n, name in enumerate(others):
            own.addWidget(self._buttons[name], n // 3, n % 3)
        lists.addLayout(rows, 3, 0)
        lists.addLayout(own, 2, 1, 2, 1)
        layout.addLayout(lists, 1)
        layout.addWidget(self.said)


def _fill(items: QListWidget, names: tuple[str, ...]) -> None:
    items.clear()
    for number, name in enumerate(names):
        QListWidgetItem(name, items).setData(NUMBER, number)
