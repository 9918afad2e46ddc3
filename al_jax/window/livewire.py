"""An outline under way that follows edges from click to click: `scissors` in a hand."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from al_jax.window import scissors
from al_jax.window.scissors import Corner, Guide


class Livewire:
    """The clicks of an outline, and the path through them.

    What leads the path is computed when somebody first uses it on a section, elsewhere perhaps; the
    path goes straight until that is there, or where it cannot be had.

    Attributes:
      clicks: corners of pixels, in their order.
      said: called with what should be said, one line.
    """

    said: Callable[[str], None] = staticmethod(lambda message: None)

    def __init__(self) -> None:
        """Nothing is led yet."""
        self.clicks: list[Corner] = []
        self._make: Callable[[], Future[Guide]] | None = None
        self._coming: Future[Guide] | None = None
        self._known: dict[tuple[Corner, ...], np.ndarray] = {}

    def lead(self, make: Callable[[], Future[Guide]]) -> None:
        """Another section, on which `make` says what leads the path; nothing is under way."""
        self.clicks, self._known = [], {}
        self._make, self._coming = make, None

    def prepare(self) -> None:
        """Has what leads the path computed, unless it is."""
        if self._coming is None and self._make is not None:
            self._coming = self._make()

    def hold(self, point: Sequence[float]) -> Corner:
        """The corner that holds a click at a point, row and column."""
        guide = self._guide()
        if guide is None:
            row, column = np.rint(np.asarray(point, float) + 0.5).astype(int).tolist()
            return row, column
        return scissors.hold(guide, point)

    def add(self, point: Sequence[float]) -> None:
        """A click at a point; the same place twice is one click."""
        corner = self.hold(point)
        if not self.clicks or corner != self.clicks[-1]:
            self.clicks.append(corner)

    def path(self, pointer: Sequence[float] | None = None, *, closed: bool = False) -> np.ndarray:
        """[K, 2], rows and columns, through the clicks, and on to where the pointer is."""
        if not self.clicks:
            return np.zeros((0, 2))
        clicks = self.clicks if pointer is None else [*self.clicks, self.hold(pointer)]
        guide = self._guide()
        if guide is None:
            return np.array(clicks, float).reshape(-1, 2) - 0.5
        return scissors.outline(guide, clicks, closed=closed, known=self._known)

    def _guide(self) -> Guide | None:
        self.prepare()
        if self._coming is None or not self._coming.done():
            return None
        if (error := self._coming.exception()) is not None:
            self.said(f"The scissors go straight on this section ({error})")
            self._coming, self._make = None, None
            return None
        return self._coming.result()
