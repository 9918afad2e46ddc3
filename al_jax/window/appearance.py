"""How the section is seen: contrast, brightness, opacity. It stays from question to question."""

from collections.abc import Sequence
from typing import Any

from al_jax.core.stack import InputError
from al_jax.window import layers
from al_jax.window.shown import Shown

FURTHEST = "That goes no further"


class Appearance(Shown):
    """The part of a `Controller` that changes how the section is seen."""

    def less_contrast(self) -> None:
        """Tells more shades apart, each less."""
        self._contrast(1.25)

    def more_contrast(self) -> None:
        """Tells fewer shades apart, each more."""
        self._contrast(0.8)

    def darker(self) -> None:
        """Dark shades darker: a larger gamma."""
        self._shade(1.25)

    def brighter(self) -> None:
        """Dark shades brighter: a smaller gamma."""
        self._shade(0.8)

    def fainter(self) -> None:
        """What lies over the section lets more of it through."""
        self._change(layers.OVER, "opacity", 0.8, 0.05, 1.0)

    def stronger(self) -> None:
        """What lies over the section lets less of it through."""
        self._change(layers.OVER, "opacity", 1.25, 0.05, 1.0)

    def toggle_proposal(self) -> None:
        """Shows the network's proposal and its contour, or hides both."""
        if self._asked().proposal is None:
            raise InputError("There is no proposal to show")
        shown = not self._layer(layers.PROPOSAL).visible
        self._set_proposal(shown)
        self.message = "" if shown else "The proposal is hidden; i shows it"

    def zoom(self) -> None:
        """The proposal, or what is traced, as large as there is room for; again: all of it."""
        question, traced = self._asked(), layers.held(self.layer)
        seen = traced if question.proposal is None else question.proposal | traced
        if not seen.any():
            raise InputError("There is neither a proposal nor anything traced to zoom to")
        layers.zoom_to(self.viewer, seen)

    def _contrast(self, by: float) -> None:
        if not layers.change_contrast(self._grey(), by):
            raise InputError(FURTHEST)

    def _shade(self, by: float) -> None:
        self._grey()
        self._change((layers.IMAGE,), "gamma", by, 0.2, 2.0)

    def _grey(self) -> Any:
        layer = self._layer(layers.IMAGE)
        if layer.rgb:
            raise InputError("Only grey sections are shown with another contrast or brightness")
        return layer

    def _change(
        self, names: Sequence[str], what: str, by: float, least: float, most: float
    ) -> None:
        moved = False
        for layer in map(self._layer, names):
            before, after = getattr(layer, what), min(max(getattr(layer, what) * by, least), most)
            setattr(layer, what, after)
            moved |= abs(after - before) > 1e-6
        if not moved:
            raise InputError(FURTHEST)

    def _layer(self, name: str) -> Any:
        if name not in self.viewer.layers:
            raise InputError("No section is shown")
        return self.viewer.layers[name]
