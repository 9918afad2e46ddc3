"""The smart brush: where a stroke grows to, and where not; and the hand that paints with it."""

import numpy as np
import pytest
from scipy import ndimage

from al_jax.core.stack import UNLABELLED
from al_jax.window import smart_brush
from al_jax.window.lines import enclosed
from experiments.bench import outlines, strokes

SHAPE = (40, 48)
ROWS, COLUMNS = np.indices(SHAPE)
FREE = np.full(SHAPE, UNLABELLED)
BLANK = np.full((*SHAPE, 1), 7, np.uint8)
DOWN = np.array([[5.0, 16], [34, 16]])  # a stroke


def _grown(path, width, image, labels=FREE):
    mask = np.zeros(labels.shape, bool)
    mask[smart_brush.grow(np.asarray(path, float), width, image, labels)] = True
    return mask


def _noise(shape=SHAPE, channels=1, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, (*shape, channels))
    return ndimage.gaussian_filter(noise, (1.5, 1.5, 0))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 9, 13])
def test_without_edges_it_is_the_disc_of_the_brush(width):
    disc = (width // 2 + 0.5) ** 2 >= (ROWS - 20) ** 2 + (COLUMNS - 24) ** 2  # as napari's
    np.testing.assert_array_equal(_grown([[20, 24]], width, BLANK), disc)


def _grey(side):
    return (40 * side + 100)[..., None].astype(np.uint8)


def _red_and_green(side):
    """Of one mean everywhere."""
    return np.stack([100 + 60 * side, 160 - 60 * side, 90 + 0 * side], -1).astype(np.uint8)


@pytest.mark.parametrize("paint", [_grey, _red_and_green])
def test_it_grows_up_to_a_step_and_not_beyond(paint):
    mask = _grown(DOWN, 13, paint(COLUMNS >= 20))  # 6 pixels to each side of column 16
    assert np.flatnonzero(mask[20]).tolist() == list(range(10, 20))
    assert not mask[:, 20:].any()
    wider = _grown(DOWN, 7, paint(COLUMNS >= 20))  # which does not reach as far
    assert np.flatnonzero(wider[20]).tolist() == list(range(13, 20))


def test_of_two_edges_the_near_one_holds_it():
    side = (COLUMNS >= 19).astype(int) + (COLUMNS >= 22)
    assert np.flatnonzero(_grown(DOWN, 15, _grey(side))[20])[-1] == 18


def test_pixels_labelled_before_are_left_alone_and_not_jumped_over():
    labels = np.where((COLUMNS == 19) | ((ROWS == 20) & (COLUMNS < 12)), 2, UNLABELLED)
    mask = _grown(DOWN, 13, BLANK, labels)
    assert not mask[labels == 2].any() and not mask[:, 19:].any()
    assert np.flatnonzero(mask[10]).tolist() == list(range(10, 19))
    island = np.where((ROWS == 20) & (COLUMNS == 18), 2, UNLABELLED)
    assert not _grown(DOWN, 13, BLANK, island)[20, 18]
    assert not _grown(DOWN, 13, BLANK, np.full(SHAPE, 2)).any()  # nor is there anything to grow


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_same_turned_and_mirrored(channels):
    image = _noise((48, 48), channels)
    path = np.array([[8.0, 9], [28, 29], [38, 29]])
    free = np.full((48, 48), UNLABELLED)
    mask = _grown(path, 11, image, free)
    assert 50 < mask.sum() < 11 * 60
    mirrored = _grown(np.stack([path[:, 0], 47 - path[:, 1]], 1), 11, image[:, ::-1], free)
    np.testing.assert_array_equal(mirrored, mask[:, ::-1])
    turned = _grown(np.stack([47 - path[:, 1], path[:, 0]], 1), 11, np.rot90(image), free)
    np.testing.assert_array_equal(turned, np.rot90(mask))
    brighter = _grown(path, 11, 3 * image + 50, free)
    assert (brighter != mask).mean() < 0.002


@pytest.mark.parametrize("seed", range(4))
def test_it_is_one_piece_under_the_brush_without_holes(seed):
    path = np.array([[8.0, 9], [20, 30], [30, 12]])
    mask = _grown(path, 11, _noise(seed=seed))
    line = np.zeros(SHAPE, bool)
    line[tuple(smart_brush.stroke(path, SHAPE).T)] = True
    assert mask[line].all() and mask.sum() > 1.5 * line.sum()
    assert ndimage.distance_transform_edt(~line)[mask].max() <= 5.5
    assert ndimage.label(mask, np.ones((3, 3)))[1] == 1  # as a line of pixels is
    under = ndimage.distance_transform_edt(~line) <= 5.5
    assert not (enclosed(mask) & ~enclosed(under)).any()


def test_a_stroke_may_leave_the_section():
    mask = _grown([[20, 40], [20, 90]], 5, BLANK)
    assert mask[18:23, 40:].all() and mask.sum() < 5 * 8 + 20
    assert not _grown([[-30, 4], [-20, 4]], 9, BLANK).any()


def test_a_large_section_is_seen_by_windows_around_the_stroke(monkeypatch):
    sizes, edges = [], smart_brush.edge_image
    monkeypatch.setattr(smart_brush, "edge_image", lambda i: sizes.append(i.shape) or edges(i))
    wide = np.broadcast_to(_grey(np.arange(4000) >= 2020), (3000, 4000, 1))
    labels = np.broadcast_to(np.int16(UNLABELLED), (3000, 4000))
    rows, columns = smart_brush.grow(np.array([[100.0, 2010], [700, 2010]]), 31, wide, labels)
    assert columns.max() == 2019 and columns.min() == 2010 - 15
    assert len(np.unique(rows)) == 601 + 2 * 15  # without a gap between windows
    room = smart_brush.SIDE + 2 * (16 + 2 + smart_brush.AROUND)
    assert len(sizes) == 3 and max(max(size[:2]) for size in sizes) <= room
    sizes.clear()
    rows, columns = smart_brush.grow(np.array([[100.0, 1990], [700, 1990]]), 120, wide, labels)
    assert abs(columns.max() - 2019) <= 4 and abs(columns.min() - (1990 - 60)) <= 4  # its blocks
    assert max(max(size[:2]) for size in sizes) <= room


def test_the_hand_paints_inside_of_the_outline():
    disc = (ROWS - 20) ** 2 + (COLUMNS - 24) ** 2 <= 12**2
    (outline,) = outlines.parts(disc)
    inner = strokes.inwards(outline, disc, 3)
    assert abs(np.hypot(*(inner - (20, 24)).T) - 8.9).max() < 0.6
    bar = (abs(ROWS - 20) <= 1) & (abs(COLUMNS - 24) <= 15)
    (outline,) = outlines.parts(bar)
    assert abs(strokes.inwards(outline, bar, 3)[:, 0] - 20).max() < 0.4  # its middle line
    ring = disc & ((ROWS - 20) ** 2 + (COLUMNS - 24) ** 2 > 5**2)
    hand = strokes.Hand(depth=2, width=7, spacing=15, tremor=0.5)
    image = _grey(ring) + np.random.default_rng(1).integers(0, 9, (*SHAPE, 1), np.uint8)
    for outline in outlines.parts(ring):
        _, wide, smart = strokes.painted(outline, ring, image, hand, np.random.default_rng(0))
        shares = [outlines.near(outline, mask) / (len(outline) - 1) for mask in (wide, smart)]
        assert shares[1] > 0.95 > shares[0]
