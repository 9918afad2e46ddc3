"""Outlines as lines, the layer to trace in, and the layers of a question."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("napari", reason="napari is not installed")

from napari.components import ViewerModel
from napari.layers import Labels

from al_jax.core.boundary import shared_lengths
from al_jax.window import layers
from al_jax.window.layers import fill_outline, held, make_tracing, put
from al_jax.window.lines import cracks, enclosed, is_line, labelled_outline, outline_left

COLOURS = ((150, 150, 150), (200, 20, 20), (20, 20, 200))


def _circle(radius: float, centre: float = 30.5) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    return centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def _layer(mask: np.ndarray):
    layer = make_tracing(mask.shape, "trace here")
    layer.restart(mask, (1, 0, 0))
    return layer


def test_cracks_of_a_pixel_are_its_four_sides():
    classes = np.zeros((3, 3), int)
    classes[1, 1] = 1
    found = {tuple(line.ravel().tolist()) for line in cracks(classes, np.ones((3, 3), bool))}
    assert found == {
        (0.5, 0.5, 0.0, 1.0),
        (1.5, 0.5, 0.0, 1.0),
        (0.5, 0.5, 1.0, 0.0),
        (0.5, 1.5, 1.0, 0.0),
    }


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.int16, (5, 6), elements=st.integers(0, 2)))
def test_there_are_as_many_cracks_as_the_length_counts(classes):
    inside = np.ones(classes.shape, bool)
    inside[0, :2] = False
    lengths = np.asarray(shared_lengths(classes, inside, 3))
    assert len(cracks(classes, inside)) == np.trace(lengths) / 2


def test_what_is_traced_and_what_is_left():
    labels = np.full((1, 6), -1, np.int16)
    labels[0, :2] = (1, 2)
    inside = np.ones(labels.shape, bool)
    assert labelled_outline(labels, inside)[:, 0, 1].tolist() == [0.5, 1.5]
    mask = np.array([[False, False, True, True, False, False]])
    assert outline_left(mask, labels, inside)[:, 0, 1].tolist() == [3.5]


@pytest.mark.parametrize("radius", [4, 10, 20])
def test_a_polygon_takes_the_pixels_whose_centres_are_inside(radius):
    ours, napari = _layer(np.zeros((60, 60), bool)), Labels(np.zeros((60, 60), np.uint8))
    for layer in (ours, napari):
        layer.paint_polygon(_circle(radius), 1)
    area = np.pi * radius**2
    assert abs(held(ours).sum() / area - 1) < 0.04
    assert napari.data.sum() > 1.02 * area  # what the tool does by itself
    ours.undo()
    assert not held(ours).any()


def test_polygons_side_by_side_leave_no_gap_and_no_double():
    layer = _layer(np.zeros((20, 20), bool))
    layer.paint_polygon([[3, 3], [3, 9], [11, 6], [11, 3]], 1)
    first = held(layer)
    layer.restart(np.zeros((20, 20), bool), (1, 0, 0))
    layer.paint_polygon([[3, 9], [3, 15], [11, 15], [11, 6]], 1)
    second = held(layer)
    layer.restart(np.zeros((20, 20), bool), (1, 0, 0))
    layer.paint_polygon([[3, 3], [3, 15], [11, 15], [11, 3]], 1)
    assert not (first & second).any()
    np.testing.assert_array_equal(first | second, held(layer))


def test_an_outline_is_filled_and_can_be_undone():
    ring = np.zeros((9, 9), bool)
    ring[2:7, 2:7] = True
    ring[3:6, 3:6] = False
    layer = _layer(ring)
    fill_outline(layer)
    assert held(layer).sum() == 25
    layer.undo()
    np.testing.assert_array_equal(held(layer), ring)


def test_put_is_one_step_of_undo():
    layer = _layer(np.eye(4, dtype=bool))
    put(layer, ~np.eye(4, dtype=bool))
    np.testing.assert_array_equal(held(layer), ~np.eye(4, dtype=bool))
    layer.undo()
    np.testing.assert_array_equal(held(layer), np.eye(4, dtype=bool))


def test_a_second_label_counts_too():
    layer = _layer(np.zeros((4, 4), bool))
    layer.data_setitem((np.array([1]), np.array([2])), 2)
    assert held(layer).sum() == 1


@pytest.mark.parametrize(("tool", "then"), [("fill", "fill"), ("erase", "paint")])
def test_the_tool_in_hand_stays_but_for_the_eraser_and_strokes_go(tool, then):
    layer = _layer(np.zeros((4, 4), bool))
    layer.mode = tool
    layer.data_setitem((np.array([1]), np.array([2])), 1)
    layer.restart(np.eye(4, dtype=bool), (0, 1, 0))
    layer.undo()
    assert layer.mode == then and layer.selected_label == 1
    np.testing.assert_array_equal(held(layer), np.eye(4, dtype=bool))


def _view(channels: int = 1, size: int = 8, structure: int = 1) -> layers.View:
    rng = np.random.default_rng(0)
    inside = np.ones((size, size), bool)
    inside[0] = False
    labels = np.full((size, size), -1, np.int16)
    labels[1:4, 1:4] = 2
    proposal = np.zeros((size, size), bool)
    proposal[4:6, 1:4] = True
    image = rng.integers(10, 200, (size, size, channels)).astype(np.uint8)
    return layers.View(image, inside, labels, proposal, np.zeros_like(proposal), structure)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_question_is_shown_from_below(channels):
    viewer, view = ViewerModel(), _view(channels)
    tracing = layers.show(viewer, view, COLOURS)
    shown = viewer.layers
    assert [layer.name for layer in shown] == list(layers.LAYERS)
    assert shown[layers.PROPOSAL].opacity == 0.25 and shown[layers.TRACED].opacity == 0.45
    assert shown.selection.active is tracing and tracing.mode == "paint"
    changeable = {layer.name for layer in shown if layer.editable}
    assert changeable == {layers.TRACE}
    assert all(layer.locked for layer in shown)
    np.testing.assert_array_equal(shown[layers.TRACED].data, view.labels + 1)
    np.testing.assert_array_equal(shown[layers.PROPOSAL].data == 2, view.proposal)
    assert len(shown[layers.OUTLINE].data) == 9  # the fourth side is at the end of the image
    assert len(shown[layers.LEFT].data) == 7  # of ten, three lie along what is traced
    assert shown[layers.IMAGE].rgb == (channels == 3)
    if channels == 1:
        seen = view.image[view.inside]
        assert shown[layers.IMAGE].contrast_limits == [seen.min(), seen.max()]


def test_the_next_question_uses_the_same_layers():
    viewer = ViewerModel()
    layers.show(viewer, _view(), COLOURS)
    before = list(viewer.layers)
    viewer.layers[layers.TRACED].opacity = 0.1
    viewer.layers[layers.IMAGE].visible = False
    layers.show(viewer, _view(structure=2), COLOURS)
    assert list(viewer.layers) == before
    assert viewer.layers[layers.TRACED].opacity == 0.1 and not viewer.layers[layers.IMAGE].visible
    layers.retire(viewer)
    assert len(viewer.layers) == len(before) and not any(one.visible for one in viewer.layers)
    layers.show(viewer, _view(), COLOURS)
    assert not set(before) & set(viewer.layers) and len(viewer.layers) == len(before)
    assert viewer.layers[layers.IMAGE].visible


def test_contrast_gamma_and_opacity_stay_from_section_to_section():
    viewer = ViewerModel()
    layers.show(viewer, _view(), COLOURS)
    image = viewer.layers[layers.IMAGE]
    assert layers.change_contrast(image, 0.5)
    low, high = image.contrast_limits_range
    assert image.contrast_limits == pytest.approx([low + (high - low) / 4, high - (high - low) / 4])
    image.gamma = 0.7
    view = _view(structure=2)
    layers.show(viewer, view._replace(image=(view.image // 2)), COLOURS)
    low, high = image.contrast_limits_range
    assert low == (view.image[view.inside] // 2).min() and image.gamma == 0.7
    assert image.contrast_limits == pytest.approx([low + (high - low) / 4, high - (high - low) / 4])


def test_what_is_enclosed():
    mask = np.zeros((8, 9), bool)
    mask[2:7, 2:7] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    assert enclosed(mask).sum() == 8
    assert not enclosed(~mask)[0].any() and not enclosed(np.zeros((3, 3), bool)).any()
    mask[4, 2] = False  # an open outline
    assert not enclosed(mask).any()


@pytest.mark.parametrize(
    ("rows", "columns", "brush", "line"),
    [
        ((3, 4), (2, 30), 1, True),
        ((3, 5), (2, 30), 1, True),  # two wide, as a line across is
        ((3, 6), (2, 30), 1, False),
        ((3, 6), (2, 30), 3, True),
        ((3, 4), (2, 5), 1, False),  # some pixels are a small structure
    ],
)
def test_what_is_a_line_and_no_area(rows, columns, brush, line):
    mask = np.zeros((40, 40), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert is_line(mask, brush) == line
    assert not is_line(np.zeros((4, 4), bool), 1)


def test_more_classes_than_a_byte_holds():
    viewer, colours = ViewerModel(), [(c % 256, 9, 99) for c in range(266)]
    layers.show(viewer, _view(structure=265), colours)
    assert viewer.layers[layers.PROPOSAL].data.max() == 266
    shown = viewer.layers[layers.PROPOSAL].get_color(266)
    np.testing.assert_allclose(shown[:3], np.array(colours[265]) / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_section_is_drawn_at_the_level_that_is_looked_at(channels, monkeypatch):
    monkeypatch.setattr(layers, "WHOLE", 4)
    viewer = ViewerModel()
    for structure in (1, 2):
        view = _view(structure=structure, channels=channels)
        view = view._replace(image=view.image // structure)
        layers.show(viewer, view, COLOURS)
        image = viewer.layers[layers.IMAGE]
        assert image.multiscale and len(image.data) > 1
        assert max(image.data[-1].shape[:2]) <= 4
        pixels = layers.pixels_of(view.image)[0]
        np.testing.assert_array_equal(image.data[0], pixels)
        np.testing.assert_array_equal(image.data[1], pixels[::2, ::2])
        if channels == 1:
            assert layers.change_contrast(image, 0.8)
