"""A whole stack in a viewer, with napari's slider."""

from typing import Any

import napari
import numpy as np
from napari.layers import Layer

from al_jax.core.stack import Images
from al_jax.window.layers import clear

NAME = "sections"


def pixels_of(images: Images) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels [N, H, W] or [N, H, W, 3], and what napari is to know of them."""
    grey = images.images.shape[-1] == 1
    return np.asarray(images.images[..., 0] if grey else images.images), {"rgb": not grey}


def show_whole(viewer: "napari.viewer.Viewer", images: Images) -> Layer:
    """The stack as a layer, at its middle."""
    pixels, about = pixels_of(images)
    layer: Layer = viewer.add_image(pixels, name=NAME, **about)
    clear(viewer)
    viewer.reset_view()
    viewer.dims.set_current_step(0, images.num_sections // 2)
    return layer
