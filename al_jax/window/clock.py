"""Time that a person spends on a question: it counts while pointer or strokes move."""

from collections.abc import Callable

import numpy as np

IDLE = 60.0  # seconds after the last movement during which time counts as work


class WorkClock:
    """Counts the seconds of one question after the other.

    Attributes:
      seconds: of the present question.
    """

    def __init__(self, now: Callable[[], float], pointer: tuple[float, ...]) -> None:
        """Nothing is traced yet; `now` tells seconds, `pointer` is where it is."""
        self.seconds = 0.0
        self._now, self._pointer = now, pointer
        self._strokes = np.zeros((0, 0), bool)
        self._counted = self._moved = now()

    def begin(self, seconds: float, strokes: np.ndarray) -> None:
        """Another question, of which so much was spent and traced [H, W] before."""
        self.seconds, self._strokes = seconds, strokes
        self._counted = self._moved = self._now()

    def count(self, pointer: tuple[float, ...], strokes: np.ndarray | None) -> None:
        """Adds the time since the last call, unless nobody moved for long.

        Args:
          pointer: where it is now.
          strokes: [H, W] bool, what is traced now; None: nothing is asked.
        """
        now, strokes = self._now(), self._strokes if strokes is None else strokes
        if pointer != self._pointer or not np.array_equal(strokes, self._strokes):
            self._moved, self._pointer, self._strokes = now, pointer, strokes
        if now - self._moved < IDLE:
            self.seconds += now - self._counted
        self._counted = now
