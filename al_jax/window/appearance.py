"""How the section is seen: contrast, brightness, opacity. It stays from question to question."""

from typing import Any

from al_jax.core.stack import InputError
from al_jax.window import layers
from al_jax.window.shown import Shown


class Appearance(Shown):
    """The part of a `Controller` that changes how the section is seen."""

    def less_contrast(self) -> None:
        """Tells more shades apart, each less."""
        layers.change_contrast(self._layer(layers.IMAGE), 1.25)

    def more_contrast(self) -> None:
        """Tells fewer shades apart, each more."""
        layers.change_contrast(self._layer(layers.IMAGE), 0.8)

    def darker(self) -> None:
        """Dark shades darker: a larger gamma."""
        self._change(layers.IMAGE, "gamma", 1.25, 0.2, 2.0)

    def brighter(self) -> None:
        """Dark shades brighter: a smaller gamma."""
        self._change(layers.IMAGE, "gamma", 0.8, 0.2, 2.0)

    def fainter(self) -> None:
        """What lies over the section lets more of it through."""
        for name in layers.OVER:
            self._change(name, "opacity", 0.8, 0.05, 1.0)

    def stronger(self) -> None:
        """What lies over the section lets less of it through."""
        for name in layers.OVER:
            self._change(name, "opacity", 1.25, 0.05, 1.0)

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

    def _change(self, name: str, what: str, by: float, least: float, most: float) -> None:
        layer = self._layer(name)
        setattr(layer, what, min(max(getattr(layer, what) * by, least), most))

    def _layer(self, name: str) -> Any:
        if name not in self.viewer.layers:
            raise InputError("No section is shown")
        return self.viewer.layers[name]
