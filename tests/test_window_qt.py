"""The binding of Qt: none that ends the program after some thousand calls."""

import subprocess
import sys

import pytest

pytest.importorskip("napari", reason="napari is not installed")
import qtpy

from al_jax import window
from al_jax.core.stack import InputError

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


@pytest.mark.parametrize(
    "python, name, version, refused",
    [
        ((3, 11), "PySide6", "6.12.0", True),
        ((3, 11), "PySide6", "6.11.3", False),
        ((3, 12), "PySide6", "6.12.0", False),
        ((3, 11), "PyQt6", "6.12.0", False),
    ],
)
def test_a_binding_that_does_is_refused(monkeypatch, python, name, version, refused):
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setattr(qtpy, "API_NAME", name)
    monkeypatch.setattr(qtpy, "PYSIDE_VERSION", version)
    if not refused:
        return window.check_qt()
    with pytest.raises(InputError, match="ends programs of Python"):
        window.check_qt()
    return None
