"""What is done beside the window comes back to its thread: looked for some times a second."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from qtpy.QtCore import QObject, QTimer

from al_jax.core.stack import InputError

PERIOD = 50  # milliseconds


class Polling(QObject):
    """Waits for one thing at a time."""

    def __init__(self, parent: QObject) -> None:
        """Waits for nothing."""
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD)
        self._timer.timeout.connect(self._look)
        self._future: Future | None = None

    @property
    def waiting(self) -> bool:
        """Whether something is waited for."""
        return self._future is not None

    def wait(
        self, future: Future, then: Callable[[Any], None], refused: Callable[[str], None]
    ) -> None:
        """Calls `then` with what comes of it, or `refused` with the line of its `InputError`.

        What was waited for before is forgotten.
        """
        self._future, self._then, self._refused = future, then, refused
        self._timer.start()

    def forget(self) -> None:
        """Waits no longer."""
        self._future = None
        self._timer.stop()

    def _look(self) -> None:
        future = self._future
        if future is None or not future.done():
            return
        self.forget()
        try:
            found = future.result()
        except InputError as error:
            self._refused(str(error))
        else:
            self._then(found)
