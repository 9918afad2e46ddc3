"""A whole stack in a viewer, with napari's slider."""

import napari
from napari.layers import Layer

from al_jax.core.stack import Images
from al_jax.window.layers import clear, pixels_of

NAME = "sections"


def show_whole(viewer: "napari.viewer.Viewer", images: Images) -> Layer:
    """The stack as a layer, at its middle."""
    pixels, about = pixels_of(images.images)
    layer: Layer = viewer.add_image(pixels, name=NAME, **about)
    clear(viewer)
    viewer.reset_view()
    viewer.dims.set_current_step(0, images.num_sections // 2)
    return layer
