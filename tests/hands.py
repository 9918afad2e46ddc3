"""A display, and a hand that moves the mouse and presses keys in a real window."""

import importlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

SCREEN = "1400x900x24"


def display() -> Iterator[str]:
    """The display there is, or one of Xvfb for a while; skips where there is neither."""
    try:
        importlib.import_module("PySide6.QtWidgets")
    except ImportError as error:
        pytest.skip(f"Qt does not start here: {error}")
    if os.environ.get("DISPLAY"):
        yield os.environ["DISPLAY"]
        return
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("there is no display, and Xvfb is not installed")
    read, write = os.pipe()
    server = subprocess.Popen(
        [program, "-displayfd", str(write), "-screen", "0", SCREEN, "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    if not number:
        server.wait()
        pytest.skip("Xvfb does not start here")
    os.environ["DISPLAY"] = f":{number}"
    try:
        yield os.environ["DISPLAY"]
    finally:
        del os.environ["DISPLAY"]
        server.terminate()
        server.wait()


class Hand:
    """Mouse and keys on the canvas of a napari window, in pixels of the section.

    After a key it waits for what the widget does beside the window, if it is given.
    """

    def __init__(self, viewer, widget=None) -> None:
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication, QWidget

        self._widget = widget
        self._viewer, self._test, self.application = viewer, QTest, QApplication.instance()
        windows = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
        canvases = [
            child
            for window in windows
            for child in window.findChildren(QWidget)
            if "CanvasBackend" in type(child).__name__
        ]
        (self._canvas,) = canvases
        self._canvas.setFocus()

    def room(self) -> int:
        """Width of the canvas."""
        return self._canvas.width()

    def wait(self, seconds: float) -> None:
        """Lets the window work."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.application.processEvents()
            time.sleep(0.002)

    def _at(self, place: Sequence[float]):
        from qtpy.QtCore import QPoint

        camera = self._viewer.camera
        across = (np.asarray(place) - camera.center[-2:]) * camera.zoom
        middle = np.array([self._canvas.height(), self._canvas.width()]) / 2
        row, column = np.rint(middle + across).astype(int)
        return QPoint(int(column), int(row))

    def _button(self, right: bool = False):
        from qtpy.QtCore import Qt

        return Qt.MouseButton.RightButton if right else Qt.MouseButton.LeftButton

    def press(self, place: Sequence[float]) -> None:
        self._test.mousePress(self._canvas, self._button(), pos=self._at(place))

    def move(self, place: Sequence[float]) -> None:
        self._test.mouseMove(self._canvas, self._at(place))
        self.application.processEvents()

    def release(self, place: Sequence[float]) -> None:
        self._test.mouseRelease(self._canvas, self._button(), pos=self._at(place))
        self.application.processEvents()

    def stroke(self, places: Sequence[Sequence[float]]) -> None:
        """Draws with the tool in hand from place to place."""
        self.press(places[0])
        for place in places:
            self.move(place)
        self.release(places[-1])

    def click(self, place: Sequence[float]) -> None:
        self._test.mouseClick(self._canvas, self._button(), pos=self._at(place))
        self.application.processEvents()

    def double_click(self, place: Sequence[float]) -> None:
        self._test.mouseDClick(self._canvas, self._button(), pos=self._at(place))
        self.application.processEvents()

    def key(self, key: str) -> None:
        self._test.keyClick(self._canvas, key)
        self.settle()

    def settle(self) -> None:
        """Waits until the widget has done what it was told, and drawn it."""
        self.application.processEvents()
        if self._widget is not None:
            self.until(lambda: not self._widget.controller.doing, 120)
        self.wait(0.05)

    def keys(self, keys: str) -> None:
        """Presses keys faster than the window draws."""
        for key in keys:
            self._test.keyClick(self._canvas, key)
        self.application.processEvents()

    def special(self, name: str, control: bool = False) -> None:
        """Presses a key by its name in Qt: 'Backspace', 'Z'."""
        from qtpy.QtCore import Qt

        held = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
        self._test.keyClick(self._canvas, getattr(Qt.Key, f"Key_{name}"), held)
        self.application.processEvents()

    def press_shift(self, name: str) -> None:
        """Presses a key by its name in Qt, with Shift."""
        from qtpy.QtCore import Qt

        key, shift = getattr(Qt.Key, f"Key_{name}"), Qt.KeyboardModifier.ShiftModifier
        self._test.keyClick(self._canvas, key, shift)
        self.settle()

    def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        """Lets the window work until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not come about"
            self.wait(0.02)

    def colour_in(self, mask: np.ndarray) -> None:
        """Draws each row of a mask [H, W] bool with a brush of one pixel."""
        for row in np.flatnonzero(mask.any(1)):
            edges = np.flatnonzero(np.diff(np.pad(mask[row], 1).astype(int)))
            for first, after in edges.reshape(-1, 2):
                self.stroke([(row, first), (row, after - 1)])
