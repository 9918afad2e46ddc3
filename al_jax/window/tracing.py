"""The layer that a person traces in: whatever tool of napari fills it is welcome."""

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from scipy import ndimage
from skimage.draw import polygon

# Corners lie beside pixel centres, so that a centre on an edge belongs to one of its sides only.
_BESIDE = np.array([0.0017, 0.0031])


class Tracing(Labels):
    """A Labels layer of one structure on one section: 1 is the structure, 0 is not.

    Its polygon tool takes the pixels whose centres are inside. (napari's takes all that the polygon
    touches, 11% more of a disc of radius 10.)
    """

    def restart(self, mask: np.ndarray, colour: npt.ArrayLike) -> None:
        """Begins anew: the strokes of another question cannot come back.

        The tool in hand stays. (A new layer for each question would cost a window half a second.)

        Args:
          mask: [H, W] bool, what the layer holds then.
          colour: red, green, blue, 0-1.
        """
        tool: str = getattr(self, "mode")  # noqa: B009  (mypy cannot type napari's property)
        self.editable = False  # napari forgets history and corners with it
        self.data = mask.astype(np.uint8)
        colours = {None: colour, 0: "transparent", 1: colour}
        self.colormap = DirectLabelColormap(color_dict=colours)
        self.editable = True
        self.selected_label, self.mode = 1, tool

    def paint_polygon(self, points: npt.ArrayLike, new_label: int) -> None:
        """Gives the pixels in a polygon [K, 2] of pixel numbers a label; one step of undo."""
        corners = np.floor(np.asarray(points, float)) + _BESIDE
        rows, columns = polygon(corners[:, 0], corners[:, 1], shape=self.data.shape)
        self.data_setitem((rows, columns), new_label)


def make_tracing(shape: tuple[int, int], name: str) -> Tracing:
    """An empty layer of `shape` [H, W], with a fine brush ready; `restart` begins a question."""
    layer = Tracing(np.zeros(shape, np.uint8), name=name, opacity=0.6)
    layer.mode, layer.brush_size = "paint", 1  # a wider one makes what it outlines larger
    return layer


def held(layer: Labels) -> np.ndarray:
    """[H, W] bool, what a layer says is the structure: every label but 0."""
    return np.asarray(layer.data) != 0


def fill_outline(layer: Labels) -> None:
    """Fills what an outline in the layer encloses; one step of undo."""
    mask = held(layer)
    inner = ndimage.binary_fill_holes(mask) & ~mask
    if inner.any():
        layer.data_setitem(np.nonzero(inner), layer.selected_label or 1)


def put(layer: Labels, mask: np.ndarray) -> None:
    """Makes the layer hold `mask` [H, W] bool; one step of undo."""
    changed = held(layer) != mask
    if changed.any():
        layer.data_setitem(np.nonzero(changed), mask[changed].astype(layer.data.dtype))
