"""A question as layers of a napari viewer, with or without a window around it.

From below: the section, the network's proposal, what has been traced, the outline already traced,
the outline still to trace, the layer to trace in, which begins afresh with each question, as
napari's history of strokes is not tied to a section, and the way of the scissors. Only the layer to
trace in may be changed by hand.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Vectors
from napari.layers.labels._labels_mouse_bindings import draw
from napari.utils.colormaps import DirectLabelColormap
from skimage.draw import line

from al_jax.core.stack import UNLABELLED, Colour
from al_jax.window.lines import enclosed, labelled_outline, outline_left
from al_jax.window.livewire import Livewire
from al_jax.window.scissors import enclosed_pixels
from al_jax.window.smart_brush import stroke

IMAGE, PROPOSAL, TRACED = "section", "proposal", "traced"
OUTLINE, LEFT, TRACE = "outline already traced", "outline still to trace", "trace here"
PATH = "outline under way"
LAYERS = (IMAGE, PROPOSAL, TRACED, OUTLINE, LEFT, TRACE, PATH)
CLOSED = "closed: "
WHOLE = 4096  # the longest side, pixels, of a section that is drawn whole
BESIDE = ("another section", "outlines of another section")  # over all, while somebody looks
OVER = (PROPOSAL, TRACED, TRACE)
WHITE, LINE = "white", 0.35  # the width of a crack, in pixels of the section
THIN = 2.0  # pixels of the screen, the width of a line at least
BRUSH = 1.5  # pixels of the screen, the width that the brush has at least
SMART = 27.0  # pixels of the screen, the width of the smart brush
SMART_LEAST = 7  # pixels of the section
GAP = 12.0  # pixels of the screen between the ends of an outline that is closed
START = 8.0  # pixels of the screen from the first click of the scissors, where another one closes
ROOM = 0.7  # of the canvas, that is filled by what is zoomed to
BENT = 1.2  # times as long as the way between its ends is a stroke that may enclose something


class View(NamedTuple):
    """One question as arrays.

    Attributes:
      image: [H, W, 1 or 3] pixels of the section.
      inside: [H, W] bool, its image domain.
      labels: [H, W] int16, its annotated classes, else `UNLABELLED`; without the answer that
        is being corrected.
      proposal: [H, W] bool, the pixels that the network gives the structure, if any.
      begun: [H, W] bool, what the layer to trace in begins with.
      structure: the class that is asked for.
    """

    image: np.ndarray
    inside: np.ndarray
    labels: np.ndarray
    proposal: np.ndarray
    begun: np.ndarray
    structure: int


def _draw(layer: "Tracing", event: Any) -> Iterator[None]:
    """napari's brush; what the stroke encloses is filled when the mouse is let go."""
    before, path = held(layer), [layer.world_to_data(event.position)]
    for _ in draw(layer, event):
        path.append(layer.world_to_data(event.position))
        yield
    layer.close_stroke(before, np.array(path), GAP / event.camera_zoom)


def _grow(layer: "Tracing", event: Any) -> Iterator[None]:
    """The smart brush: a fine line, which grows to the edges when the mouse is let go."""
    if event.button == 2 or layer.cursor == "circle_frozen":  # the brush's size is being changed
        return
    before, path = held(layer), [layer.world_to_data(event.position)]
    with layer.block_history():
        layer.draw_line(np.array(path), event.camera_zoom)
        yield
        while event.type == "mouse_move":
            path.append(layer.world_to_data(event.position))
            layer.draw_line(np.array(path[-2:]), event.camera_zoom)
            yield
    layer.grow_stroke(before, np.array(path), GAP / event.camera_zoom)


def _cut(layer: "Tracing", event: Any) -> None:
    """The scissors: a click; the other button takes one back."""
    if event.button == 2:
        layer.take_corner_back()
    else:
        layer.cut(layer.world_to_data(event.position), event.camera_zoom)


def _follow(layer: "Tracing", event: Any) -> None:
    """The path of the scissors follows the pointer."""
    if layer.wire.clicks:
        layer.draw_path(layer.world_to_data(event.position), event.camera_zoom)


def _close(layer: "Tracing", event: Any) -> None:
    """A double click, which follows upon a click."""
    if layer.mode == "pick" and event.button == 1:
        layer.close_path()


def _take(layer: "Tracing", smart_before: bool, smart: bool) -> None:
    """Gives the tool that is taken its own width; `smart`: the smart brush."""
    layer.widths[smart_before] = layer.brush_size
    layer.brush_size = layer.widths[smart]
    layer.help = "" if smart else layer.help  # napari's is on moving layers


class Tracing(Labels):
    """A Labels layer of one structure on one section: 1 is the structure, 0 is not.

    A stroke of the brush that comes back to its start, or to what is drawn, is closed and filled.
    The polygon tool takes the pixels whose centres are inside. (napari's takes all that the polygon
    touches, 11% more of a disc of radius 10.) In place of the tool that picks a label, as there is
    one alone, are the scissors (`Livewire`), in place of the one that moves a layer is the smart
    brush, which has a width of its own. The layer cannot be moved.

    Attributes:
      wire: the outline of the scissors under way.
      path_drawn: called with its path [K, 2], its clicks [L, 2] and the camera's zoom.
      widths: of the brush and the smart brush, in pixels, that of the tool in hand as it was taken.
      fitted: those that were chosen for the person (`fit_brushes`).
      widest: the brush of all strokes of the question that was the widest, in pixels.
      grown: gives rows and columns of what a stroke along a path [K, 2] grows to, by a smart brush
        of a width in pixels.
      grew: called with how many pixels a stroke grew by.
      filled: called with how many pixels a stroke enclosed.
      named: says what is at a row and a column, for napari's status bar; another thread calls it.
    """

    _drag_modes = Labels._drag_modes | {
        Labels._modeclass.PAINT: _draw,
        Labels._modeclass.PICK: _cut,
        Labels._modeclass.TRANSFORM: _grow,
    }
    _move_modes = Labels._move_modes | {
        Labels._modeclass.PICK: _follow,
        Labels._modeclass.TRANSFORM: Labels._move_modes[Labels._modeclass.PAINT],
    }
    _cursor_modes = Labels._cursor_modes | {Labels._modeclass.TRANSFORM: "circle"}
    widest: float = 1
    wire: Livewire
    widths: list[int]
    fitted: list[int]
    _camera_zoom: float = 1.0
    path_drawn: Callable[[np.ndarray, np.ndarray, float], None] = staticmethod(
        lambda path, clicks, zoom: None
    )
    grown: Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]] = staticmethod(
        lambda path, width: (np.zeros(0, int), np.zeros(0, int))
    )
    grew: Callable[[int], None] = staticmethod(lambda count: None)
    filled: Callable[[int], None] = staticmethod(lambda count: None)
    named: Callable[[int, int], str] = staticmethod(lambda row, column: "")

    def _mode_setter_helper(self, mode_in: Any) -> Any:
        """napari's; the smart brush keeps its own width, and there is no box to move layers by."""
        before, mode = self._mode, super()._mode_setter_helper(mode_in)
        if mode != before:
            smart = self._modeclass.TRANSFORM
            _take(self, before == smart, mode == smart)
            self.update_transform_box_visibility(False)
        return mode

    def update_transform_box_visibility(self, visible: bool) -> None:
        """napari's, of a box that is never shown here."""
        super().update_transform_box_visibility(False)

    def get_status(self, position: npt.ArrayLike | None = None, **how: Any) -> dict[str, str]:
        """napari's, with what is under the pointer."""
        found: dict[str, str] = super().get_status(position, **how)
        if position is not None:
            row, column = np.rint(self.world_to_data(position)[-2:]).astype(int).tolist()
            found["coordinates"] = f"{found['coordinates']}  {self.named(row, column)}".rstrip()
        return found

    def restart(self, mask: np.ndarray, colour: npt.ArrayLike) -> None:
        """Begins anew: the strokes of another question cannot come back.

        The tool in hand stays, but for the eraser. (A new layer for each question would cost a
        window half a second.)

        Args:
          mask: [H, W] bool, what the layer holds then.
          colour: red, green, blue, 0-1.
        """
        tool: str = getattr(self, "mode")  # noqa: B009  (mypy cannot type napari's property)
        self.editable = False  # napari forgets its history with it
        self.drop_path()
        self.data = mask.astype(np.uint8)
        colours = {None: colour, 0: "transparent", 1: colour}
        self.colormap = DirectLabelColormap(color_dict=colours)
        self.editable, self.visible, self.widest = True, True, 1
        self.selected_label, self.mode = 1, "paint" if tool == "erase" else tool

    def draw_line(self, path: np.ndarray, zoom: float) -> None:
        """Draws a line along a path [K, 2], as fine as can be seen at a camera's zoom."""
        pixels = stroke(path, self.data.shape, brush_at(zoom))
        self.data_setitem(tuple(pixels.T), self.selected_label or 1)

    def grow_stroke(self, before: np.ndarray, path: np.ndarray, gap: float) -> None:
        """Has a stroke of the smart brush grow, and closed; each a step of undo after its own.

        The arguments are those of `close_stroke`.
        """
        drawn = int(held(self).sum())
        self.data_setitem(self.grown(path, self.brush_size), self.selected_label or 1)
        if count := int(held(self).sum()) - drawn:
            self.grew(count)
        self.close_stroke(before, path, gap)

    def close_stroke(self, before: np.ndarray, path: np.ndarray, gap: float) -> None:
        """Fills what a stroke encloses, if it is bent; one step of undo, after the stroke's own.

        Args:
          before: [H, W] bool, what the layer held before it.
          path: [K, 2], where the mouse was, in pixels.
          gap: as far apart may its ends be, in pixels.
        """
        self.widest = max(self.widest, self.brush_size)
        between = float(np.linalg.norm(path[-1] - path[0]))
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        if length < max(BENT * between, 4):
            return
        drawn, known = held(self), enclosed(before)
        closing = np.zeros_like(drawn)
        if 0 < between <= gap + self.brush_size < length / 2:
            rows, columns = line(*np.rint(path[[-1, 0]]).astype(int).ravel())
            within = np.all([rows >= 0, columns >= 0], 0)
            within &= (rows < drawn.shape[0]) & (columns < drawn.shape[1])
            closing[rows[within], columns[within]] = True
        inner = enclosed(drawn | closing) & ~known
        if not inner.any():
            return
        self.data_setitem(np.nonzero((inner | closing) & ~drawn), self.selected_label or 1)
        self.filled(int(inner.sum()))

    @property
    def corners(self) -> np.ndarray:
        """[K, 2], rows and columns of the corners of the polygon under way."""
        points = self._overlays["polygon"].points[:-1]  # the last one follows the pointer
        return np.array(points, float).reshape(-1, 2)

    @property
    def clicks(self) -> np.ndarray:
        """[K, 2] int, the clicks of the scissors under way, corners of pixels."""
        return np.array(self.wire.clicks, int).reshape(-1, 2)

    @property
    def under_way(self) -> str:
        """What is not closed yet: 'polygon', 'outline' of the scissors, or ''."""
        return "polygon" if len(self.corners) else "outline" if self.wire.clicks else ""

    def resume(self, corners: np.ndarray, clicks: np.ndarray) -> None:
        """Goes on with a polygon of `corners` [K, 2], or with `clicks` [K, 2] of the scissors."""
        if len(corners):
            self.mode = "polygon"
            self._points([*corners.tolist(), (corners[-1] + 1e-3).tolist()])
        elif len(clicks):
            self.mode = "pick"
            self.wire.clicks = [(row, column) for row, column in clicks.tolist()]
            self.draw_path()

    def cut(self, point: npt.ArrayLike, zoom: float) -> None:
        """A click of the scissors at a pixel [2]; one at the start closes the outline."""
        place, clicks = np.asarray(point, float), self.wire.clicks
        if len(clicks) > 2 and np.hypot(*(place + 0.5 - clicks[0])) <= max(START / zoom, 1):
            self.close_path()
        else:
            self.wire.add(place.tolist())
            self.draw_path(None, zoom)

    def draw_path(self, pointer: npt.ArrayLike | None = None, zoom: float | None = None) -> None:
        """Has the path of the scissors drawn, on to the pointer [2]."""
        self._camera_zoom = self._camera_zoom if zoom is None else zoom
        place = None if pointer is None else np.asarray(pointer, float).tolist()
        self.path_drawn(self.wire.path(place), self.clicks - 0.5, self._camera_zoom)

    def take_corner_back(self) -> bool:
        """Takes back the corner, or the click, that was set last; whether there was one."""
        if self.wire.clicks:
            self.wire.clicks.pop()
            self.draw_path()
            return True
        points = self._overlays["polygon"].points
        if len(points) < 2:
            return False
        self._points([] if len(points) == 2 else [*points[:-2], points[-1]])
        return True

    def close_path(self) -> None:
        """Takes what the polygon or the outline under way encloses; one step of undo."""
        corners, before = self.corners, int(held(self).sum())
        path = self.wire.path(closed=True) if len(self.wire.clicks) > 2 else None
        self.drop_path()
        if len(corners) > 2:
            self.paint_polygon(corners, 1)
        if path is not None:
            self.data_setitem(enclosed_pixels(path, self.data.shape), self.selected_label or 1)
            self.filled(int(held(self).sum()) - before)

    def drop_path(self) -> None:
        """Forgets the polygon or the outline under way."""
        self._points([])
        self.wire.clicks = []
        self.draw_path()

    def paint_polygon(self, points: npt.ArrayLike, new_label: int) -> None:
        """Gives the pixels in a polygon [K, 2] of pixel numbers a label; one step of undo."""
        corners = np.floor(np.asarray(points, float))
        self.data_setitem(enclosed_pixels(corners, self.data.shape), new_label)

    def _points(self, points: list[list[float]]) -> None:
        self._overlays["polygon"].points = points


def show(viewer: ViewerModel, view: View, colours: Sequence[Colour]) -> Tracing:
    """Shows a question; the layer to trace in, which is active then.

    The layers are made once, so that what a person chose of them (tool, opacity, visibility, gamma)
    stays; contrast stays as a share of the section's range.

    Args:
      viewer: of a window, or a model alone. Call this on the thread of the window.
      view: what to show.
      colours: C colours of the classes, 0-255.
    """
    first = IMAGE not in viewer.layers
    if first:
        for layer in _empty(view.image, colours):
            viewer.add_layer(layer)
        clear(viewer)
    layers = viewer.layers
    colour = bright(np.array(colours[view.structure]) / 255)
    show_image(layers[IMAGE], view.image, view.inside, first)
    kind = layers[TRACED].data.dtype
    _update(layers[PROPOSAL], (view.proposal * (view.structure + 1)).astype(kind))
    _update(layers[TRACED], (view.labels - UNLABELLED).astype(kind))
    with _drawn_anew(layers[OUTLINE]), _drawn_anew(layers[LEFT]):
        _update(layers[OUTLINE], labelled_outline(view.labels, view.inside))
        _update(layers[LEFT], outline_left(view.proposal, view.labels, view.inside))
        layers[LEFT].edge_color = colour
    tracing = layers[TRACE]
    tracing.restart(view.begun, colour)
    layers.selection.active = tracing
    for name in LAYERS:
        layers[name].locked = True  # not to be deleted by hand
        layers[name].editable = name == TRACE  # so that no tool moves another one
    if first:
        tracing.path_drawn = functools.partial(_show_path, layers[PATH])
        viewer.reset_view()
        fit_brushes(tracing, viewer.camera.zoom)
    return tracing


def bright(colour: np.ndarray) -> np.ndarray:
    """A colour [3], 0-1, that is seen on a dark section: half way to white where it is dark."""
    weight = np.array([0.3, 0.6, 0.1]) @ colour
    return colour if weight > 0.4 else 0.5 + 0.5 * colour


def zoom_to(viewer: ViewerModel, mask: np.ndarray) -> None:
    """Shows what is in a mask [H, W] as large as there is room for, or all if it is so already."""
    rows, columns = map(np.flatnonzero, (mask.any(1), mask.any(0)))
    ends = np.array([rows[[0, -1]], columns[[0, -1]]], float)
    before = viewer.camera.center[-2:], viewer.camera.zoom
    room = np.array(viewer.canvas.size) / (np.ptp(ends, axis=1) + 1)
    zoom, centre = ROOM * float(room.min()), tuple(ends.mean(1).tolist())
    if np.allclose((*before[0], before[1]), (*centre, zoom)):
        viewer.reset_view()
        return
    viewer.camera.center, viewer.camera.zoom = (0.0, *centre), zoom


def retire(viewer: ViewerModel) -> None:
    """Hides the layers of a session that is closed, until others take their place (`clear`).

    Once labels that somebody painted on are removed, a canvas of napari 0.9 that is drawn before
    there are others is drawn from buffers that are gone; with Mesa that ends the process.
    """
    viewer.layers.selection.clear()
    for name in (*LAYERS, *BESIDE):
        if name in viewer.layers:
            viewer.layers[name].visible = False
            viewer.layers[name].name = f"{CLOSED}{name}"


def clear(viewer: ViewerModel) -> None:
    """Takes the layers of closed sessions away; to be called right after others came.

    An image that comes may have the canvas drawn at once, by a slider that it needs.
    """
    for layer in [layer for layer in viewer.layers if layer.name.startswith(CLOSED)]:
        viewer.layers.remove(layer)


def _empty(image: np.ndarray, colours: Sequence[Colour]) -> tuple[Layer, ...]:
    """The layers with nothing in them."""
    (pixels, about), size = pixels_of(image), image.shape[:2]
    lines = np.zeros((0, 2, 2), np.float32)
    drawn = {"vector_style": "line", "edge_width": LINE, "ndim": 2}
    return (
        Image(levels(pixels), name=IMAGE, **about),
        _labels(size, colours, name=PROPOSAL, opacity=0.25),
        _labels(size, colours, name=TRACED, opacity=0.45),
        Vectors(lines, name=OUTLINE, edge_color=WHITE, **drawn),
        Vectors(lines, name=LEFT, **drawn),
        make_tracing(size, TRACE),
        Vectors(lines, name=PATH, edge_color="yellow", **drawn),
    )


def make_beside(image: np.ndarray, colours: Sequence[Colour]) -> tuple[Image, Labels]:
    """The layers of another section, hidden: a section like `image` [H, W, K], and its outlines."""
    (pixels, about), (section, outlines) = pixels_of(image), BESIDE
    return (
        Image(levels(pixels), name=section, visible=False, **about),
        _labels(image.shape[:2], colours, name=outlines, visible=False),
    )


def pixels_of(image: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What napari shows of pixels [..., K], and what it is to know of them."""
    grey = image.shape[-1] == 1
    return np.asarray(image[..., 0] if grey else image), {"rgb": not grey}


def levels(pixels: np.ndarray) -> np.ndarray | list[np.ndarray]:
    """Pixels [H, W, ...] for a layer; large ones with every second of them, and so on.

    napari draws of these only the part and the level that is looked at.
    """
    found = [pixels]
    while max(found[-1].shape[:2]) > WHOLE:
        found.append(found[-1][::2, ::2])
    return found if found[1:] else pixels


def _labels(size: tuple[int, ...], colours: Sequence[Colour], **look: Any) -> Labels:
    """A layer of classes [H, W] with nothing in it; class c is drawn as c + 1."""
    of_classes: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    of_classes |= {c + 1: np.array(rgb) / 255 for c, rgb in enumerate(colours)}
    # A wider type makes napari map 65,536 values to colours.
    nothing = np.zeros(size, np.uint8 if len(colours) < 255 else np.int16)
    return Labels(nothing, colormap=DirectLabelColormap(color_dict=of_classes), **look)


@contextlib.contextmanager
def _drawn_anew(lines: Vectors) -> Iterator[None]:
    """Shows lines while they change: napari draws hidden ones by the places of those before."""
    seen, lines.visible = lines.visible, True
    try:
        yield
    finally:
        lines.visible = seen


def _update(layer: Layer, data: np.ndarray) -> None:
    """Gives a layer other data, if they are; napari draws anew whatever it is given."""
    if not np.array_equal(layer.data, data):
        layer.data = data


def show_image(layer: Image, image: np.ndarray, inside: np.ndarray, first: bool = False) -> None:
    """Shows a section [H, W, K]; contrast is a share of its range within `inside` [H, W]."""
    pixels, _ = pixels_of(image)
    shares = np.array([0.0, 1.0])
    if not (first or layer.rgb):
        low, high = layer.contrast_limits_range
        shares = (np.array(layer.contrast_limits) - low) / (high - low)
    if not np.array_equal(layer.data[0] if layer.multiscale else layer.data, pixels):
        layer.data = levels(pixels)
    if not layer.rgb:  # as for the network: each section by its own darkest and brightest pixel
        seen = pixels[inside]
        low = float(seen.min())
        high = max(float(seen.max()), low + 1e-6)
        limits = (low + shares * (high - low)).tolist()
        if [*layer.contrast_limits_range, *layer.contrast_limits] != [low, high, *limits]:
            layer.contrast_limits_range = [low, high]
            layer.contrast_limits = limits


def _show_path(layer: Vectors, path: np.ndarray, clicks: np.ndarray, zoom: float) -> None:
    """Draws a path [K, 2] and its clicks [L, 2], as crosses, in a layer of lines."""
    pixel = 1 / zoom  # of the screen
    steps = [np.stack([path[:-1], np.diff(path, axis=0)], 1)]
    for arm in np.array([[4, 4], [4, -4]]) * pixel:
        steps.append(np.stack([clicks - arm, np.broadcast_to(2 * arm, clicks.shape)], 1))
    with _drawn_anew(layer):
        layer.edge_width = 2 * pixel
        layer.data = np.concatenate(steps).astype(np.float32)


def change_contrast(layer: Image, by: float) -> bool:
    """Narrows the range of greys that are told apart to `by` of what it is, or widens it.

    Returns:
      Whether that is another range: it has at most all of the section's, and some of them.
    """
    (low, high), (first, last) = layer.contrast_limits, layer.contrast_limits_range
    middle, half = (low + high) / 2, max((high - low) * by, 0.02 * (last - first)) / 2
    limits = [max(middle - half, first), min(middle + half, last)]
    layer.contrast_limits = limits
    return not np.allclose(limits, [low, high], rtol=0, atol=1e-6 * (last - first))


def brush_at(zoom: float) -> int:
    """The width of a brush that can be seen, in pixels of the section, at a camera's zoom."""
    return max(1, round(BRUSH / zoom))


def fit_lines(viewer: ViewerModel) -> None:
    """Lines that can be seen at any zoom."""
    width = max(LINE, THIN / viewer.camera.zoom)
    for name in (OUTLINE, LEFT):
        layer = viewer.layers[name]
        if not 0.8 < layer.edge_width / width < 1.25:  # drawing many anew takes a while
            with _drawn_anew(layer):
                layer.edge_width = width


def fit_brushes(layer: Tracing, zoom: float) -> None:
    """Brushes whose width nobody has chosen can be seen, and reach far enough, at any zoom."""
    smart = layer.mode == "transform"
    layer.widths[smart] = layer.brush_size
    for tool, width in enumerate((brush_at(zoom), max(SMART_LEAST, round(SMART / zoom)))):
        if layer.widths[tool] == layer.fitted[tool]:
            layer.widths[tool] = layer.fitted[tool] = width
    if layer.brush_size != layer.widths[smart]:
        layer.brush_size = layer.widths[smart]


def make_tracing(shape: tuple[int, int], name: str) -> Tracing:
    """An empty layer of `shape` [H, W], with a fine brush ready; `restart` begins a question."""
    layer = Tracing(np.zeros(shape, np.uint8), name=name, opacity=0.6)
    layer.wire, layer.widths, layer.fitted = Livewire(), [1, SMART_LEAST], [1, SMART_LEAST]
    layer.brush_size = 1  # a wider one makes what it outlines larger
    layer.mouse_double_click_callbacks.append(_close)
    layer.mode = "paint"
    return layer


def held(layer: Labels) -> np.ndarray:
    """[H, W] bool, what is the structure in a layer: every label but 0."""
    return np.asarray(layer.data) != 0


def fill_outline(layer: Labels) -> None:
    """Fills what an outline in the layer encloses; one step of undo."""
    inner = enclosed(held(layer))
    if inner.any():
        layer.data_setitem(np.nonzero(inner), layer.selected_label or 1)


def put(layer: Labels, mask: np.ndarray) -> None:
    """Makes the layer hold `mask` [H, W] bool; one step of undo."""
    changed = held(layer) != mask
    if changed.any():
        layer.data_setitem(np.nonzero(changed), mask[changed].astype(layer.data.dtype))
