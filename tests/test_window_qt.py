"""The binding of Qt: none that ends the program after some thousand calls."""

import subprocess
import sys

import pytest

pytest.importorskip("napari", reason="napari is not installed")

CALLS = 300


def test_calls_of_qt_give_no_reference_of_none_away():
    """As PySide6 6.12.0 does: Python 3.11 is aborted once there is none left."""
    program = (
        "import os, sys\n"
        "from qtpy.QtWidgets import QApplication, QLabel\n"
        "app, label = QApplication([]), None\n"
        "label = QLabel()\n"
        "before = sys.getrefcount(None)\n"
        f"for _ in range({CALLS}): label.setText('a')\n"
        "print(before - sys.getrefcount(None), flush=True)\n"
        "os._exit(0)\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", program],
        env={"QT_QPA_PLATFORM": "offscreen", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert abs(int(asked.stdout)) < CALLS / 10, asked.stderr
