"""Other sections in place of the one that is asked about, for as long as a key is down."""

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels

from al_jax.core.stack import UNLABELLED, InputError
from al_jax.window import layers
from al_jax.window.shown import Shown

CONTOUR = 2.0  # pixels of the screen, the width of outlines


class Looking(Shown):
    """The part of a `Controller` that shows other sections. It may raise InputError.

    Attributes:
      looked: the other section that is shown, or None.
    """

    looked: int | None = None

    @property
    def _looking(self) -> bool:
        return self.looked is not None

    def look(self, step: int) -> None:
        """Shows the section so many further on in place of what is shown; nothing else changes."""
        here = self._asked().section
        other = (here if self.looked is None else self.looked) + step
        if not 0 <= other < self.session.images.num_sections:
            raise InputError(f"There is no section {'before' if step < 0 else 'after'} this one")
        pixels, labels = self.session.seen_beside(here, other)
        image, outlines = self._beside_layers()
        layers.show_image(image, pixels, self._asked().inside)
        outlines.data = (labels - UNLABELLED).astype(outlines.data.dtype)
        outlines.contour = max(1, round(CONTOUR / self.viewer.camera.zoom))
        image.visible = outlines.visible = True
        self.looked, self.viewer.camera.mouse_zoom = other, False
        self.viewer.layers.selection.active = image  # so that nothing is drawn meanwhile
        name = self._section(other)
        self.message = f"This is section {name}; let go to be back. The wheel goes further"

    def look_back(self) -> None:
        """Shows what is asked again."""
        if self.looked is None:
            return
        self.looked, self.viewer.camera.mouse_zoom, self.message = None, True, ""
        for name in layers.BESIDE:
            self.viewer.layers[name].visible = False
        self.viewer.layers.selection.active = self.layer

    def _section(self, number: int) -> str:
        return self.session.images.sections[number]

    def _wheel(self, _viewer: ViewerModel, event: Any) -> None:
        """The wheel goes from section to section while somebody looks."""
        if self.looked is not None and event.delta[1]:
            event.handled = True
            self.do("look", -1 if event.delta[1] > 0 else 1)

    def _beside_layers(self) -> tuple[Image, Labels]:
        """The layers of other sections, which are made when they are first needed."""
        image, outlines = layers.BESIDE
        if image not in self.viewer.layers:
            for layer in layers.make_beside(self._asked().image, self.colours):
                self.viewer.add_layer(layer)
                layer.locked = True
        return self.viewer.layers[image], self.viewer.layers[outlines]
