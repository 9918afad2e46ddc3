"""What is to be written of a session, and where."""

from qtpy.QtWidgets import QCheckBox, QDialog, QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from al_jax.exchange.formats import FORMATS
from al_jax.window.buttons import make_button, make_label
from al_jax.window.controller import Controller
from al_jax.window.rows import PathRow, a_new_folder

WIDTH = 460  # pixels
WHAT = {
    "nifti": "a volume (ITK-SNAP, 3D Slicer)",
    "seg.nrrd": "a volume of segments (3D Slicer)",
    "geojson": "outlines of each section (QuPath)",
    "tiff": "a page for each section (Fiji)",
    "png": "a picture of each section",
}
"""The formats, for people."""


class ExportDialog(QDialog):
    """Formats and a folder; what comes of it, the panel says.

    Attributes:
      folder: where it goes.
      formats: a box for each format, by its name.
    """

    def __init__(self, parent: QWidget, controller: Controller) -> None:
        """PNG into the session's own folder, until something else is chosen."""
        super().__init__(parent)
        self.setWindowTitle("Export")
        self.setMinimumWidth(WIDTH)
        self._controller, self.said = controller, make_label()
        self.folder = PathRow("out", "The folder of the export", ("Choose ...", a_new_folder))
        self.folder.put(str(controller.session.folder / "export"))
        self.formats = {name: QCheckBox(name) for name in FORMATS}
        self.formats["png"].setChecked(True)
        write, cancel = make_button("Write"), make_button("Cancel")
        write.setObjectName("write")
        write.clicked.connect(lambda: self.write())
        cancel.clicked.connect(lambda: self.reject())
        layout, rows, foot = QVBoxLayout(self), QGridLayout(), QHBoxLayout()
        for row, (name, box) in enumerate(self.formats.items()):
            box.setObjectName(name)
            rows.addWidget(box, row, 0)
            rows.addWidget(make_label(WHAT.get(name, "")), row, 1)
        rows.setColumnStretch(1, 1)
        foot.addStretch(1)
        foot.addWidget(cancel)
        foot.addWidget(write)
        layout.addWidget(
            make_label("What is traced and, once the network has learnt, all the rest")
        )
        for part in (rows, foot):
            layout.addLayout(part)
        layout.insertWidget(2, self.folder)
        layout.insertWidget(3, self.said)

    def write(self) -> None:
        """Exports, and closes; what is refused is said in the dialog."""
        chosen = [name for name, box in self.formats.items() if box.isChecked()]
        if self._controller.do("export", self.folder.path, chosen):
            self.accept()
        else:
            self.said.setText(self._controller.message)
