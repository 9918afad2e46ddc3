"""What a question looks like: layers of a napari viewer, with or without a window around it.

From below: the section, the network's proposal, what has been traced, the outline already traced,
the outline still to trace, and the layer to trace in, which begins afresh with each question, as
napari's history of strokes is not tied to a section. Only that one may be changed by hand.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Vectors
from napari.utils.colormaps import DirectLabelColormap

from al_jax.core.stack import UNLABELLED, Colour
from al_jax.window.outlines import outline_left, traced_outline
from al_jax.window.tracing import Tracing, make_tracing

IMAGE, PROPOSAL, TRACED = "section", "proposal", "traced"
OUTLINE, LEFT, TRACE = "outline already traced", "outline still to trace", "trace here"
LAYERS = (IMAGE, PROPOSAL, TRACED, OUTLINE, LEFT, TRACE)
WHITE, LINE = "white", 0.35  # the width of a crack, in pixels of the section


class View(NamedTuple):
    """One question as arrays.

    Attributes:
      image: [H, W, 1 or 3] pixels of the section.
      inside: [H, W] bool, its image domain.
      labels: [H, W] int16, what has been traced on it, else `UNLABELLED`; without the answer that
        is being corrected.
      proposal: [H, W] bool, what the network says of the structure; empty if it says nothing.
      begun: [H, W] bool, what the layer to trace in begins with.
      structure: the class that is asked for.
    """

    image: np.ndarray
    inside: np.ndarray
    labels: np.ndarray
    proposal: np.ndarray
    begun: np.ndarray
    structure: int


def show(viewer: ViewerModel, view: View, colours: Sequence[Colour]) -> Tracing:
    """Shows a question; the layer to trace in, which is active then.

    The layers are made once, so that what a person chose of them (tool, opacity, visibility) stays.

    Args:
      viewer: of a window, or a model alone. Call this on the thread of the window.
      view: what to show.
      colours: C colours of the classes, 0-255.
    """
    first = IMAGE not in viewer.layers
    if first:
        for layer in _empty(view.image, colours):
            viewer.add_layer(layer)
    layers = viewer.layers
    colour = bright(np.array(colours[view.structure]) / 255)
    _show_image(layers[IMAGE], view)
    kind = layers[TRACED].data.dtype
    _update(layers[PROPOSAL], (view.proposal * (view.structure + 1)).astype(kind))
    _update(layers[TRACED], (view.labels - UNLABELLED).astype(kind))
    _update(layers[OUTLINE], traced_outline(view.labels, view.inside))
    _update(layers[LEFT], outline_left(view.proposal, view.labels, view.inside))
    layers[LEFT].edge_color = colour
    tracing = layers[TRACE]
    tracing.restart(view.begun, colour)
    layers.selection.active = tracing
    for name in LAYERS:
        layers[name].locked = True  # not to be deleted by hand
        layers[name].editable = name in (IMAGE, TRACE)
    if first:
        viewer.reset_view()
    return tracing


def bright(colour: np.ndarray) -> np.ndarray:
    """A colour [3], 0-1, that is seen on a dark section: half way to white where it is dark."""
    weight = np.array([0.3, 0.6, 0.1]) @ colour
    return colour if weight > 0.4 else 0.5 + 0.5 * colour


def clear(viewer: ViewerModel) -> None:
    """Takes the layers of a session away."""
    for name in LAYERS:
        if name in viewer.layers:
            viewer.layers.remove(viewer.layers[name])


def _empty(image: np.ndarray, colours: Sequence[Colour]) -> tuple[Layer, ...]:
    """The layers with nothing in them; class c is drawn as c + 1."""
    grey = image.shape[-1] == 1
    # A wider type makes napari map 65,536 values to colours.
    nothing = np.zeros(image.shape[:2], np.uint8 if len(colours) < 255 else np.int16)
    lines = np.zeros((0, 2, 2), np.float32)
    drawn = {"vector_style": "line", "edge_width": LINE, "ndim": 2}
    of_classes: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    of_classes |= {c + 1: np.array(rgb) / 255 for c, rgb in enumerate(colours)}
    look = DirectLabelColormap(color_dict=of_classes)
    return (
        Image(image[..., 0] if grey else image, name=IMAGE, rgb=not grey),
        Labels(nothing, name=PROPOSAL, opacity=0.25, colormap=look),
        Labels(nothing.copy(), name=TRACED, opacity=0.45, colormap=look),
        Vectors(lines, name=OUTLINE, edge_color=WHITE, **drawn),
        Vectors(lines, name=LEFT, **drawn),
        make_tracing(image.shape[:2], TRACE),
    )


def _update(layer: Layer, data: np.ndarray) -> None:
    """Gives a layer other data, if they are; napari draws anew whatever it is given."""
    if not np.array_equal(layer.data, data):
        layer.data = data


def _show_image(layer: Image, view: View) -> None:
    pixels = np.asarray(view.image[..., 0] if view.image.shape[-1] == 1 else view.image)
    _update(layer, pixels)
    if not layer.rgb:  # as for the network: each section by its own darkest and brightest pixel
        seen = pixels[view.inside]
        low = float(seen.min())
        limits = [low, max(float(seen.max()), low + 1e-6)]
        if layer.contrast_limits != limits:
            layer.contrast_limits_range = limits
            layer.contrast_limits = limits
