"""Figures: valid, deterministic files whose colours are where the labels are."""

import io

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from al_jax.core.colours import class_colours
from al_jax.core.stack import Stack, make_stack
from al_jax.plotting import canvas, figures

COLOURS = class_colours(4)
GREY = 0.5


def _annotations(images, truth, inside, names, rows, path, max_sections=12, **given):
    """The picture of a stack that nobody checks: with classes on no section, say."""
    sections = tuple(str(n) for n in range(len(images)))
    parts = {"images": images, "truth": truth, "inside": inside, "names": tuple(names)}
    stack = Stack(**{"sections": sections, **parts, **given})
    figures.annotations(stack, rows, path, max_sections)


def _traces(names, seed=0):
    rng = np.random.default_rng(seed)
    traces = {}
    for i, name in enumerate(names):
        effort = 7.8 + np.concatenate([[0.0], np.cumsum(rng.exponential(0.5, 40))])
        dice = 1 - 0.4 * np.exp(-(effort - 7.8) / (3 + 2 * i))
        traces[name] = {"dice": dice, "dice_unclamped": dice - 0.05}
        traces[name] |= {"effort_percent": effort, "effort_own_percent": effort**0.9}
    return traces


def _stack(sections=3, height=24, width=32):
    """Three structures in blocks; the first section is off the slide at the right."""
    truth = np.zeros((sections, height, width), np.int16)
    truth[:, 4:12, 4:14] = 1
    truth[:, 4:12, 14:26] = 2
    truth[:, 12:20, 4:26] = 3
    inside = np.ones(truth.shape, bool)
    inside[0, :, 24:] = False
    ramp = np.linspace(0, 200, width, dtype=np.uint8)
    images = np.broadcast_to(ramp, truth.shape)[..., None].copy()
    return images, truth, inside, ("background", "one", "two", "three")


def _picture(path):
    """A file's pixels, decoded in full."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")), image.info


def _near(picture, colour, tolerance=3):
    """How many pixels have a colour."""
    return (np.abs(picture.astype(int) - np.asarray(colour)).max(-1) <= tolerance).sum()


def test_overlay_by_hand():
    image = np.full((2, 3, 1), GREY)
    labels = np.array([[-1, 0, 1], [2, 3, 3]])
    inside = np.array([[True, True, True], [True, True, False]])
    found = figures.overlay(image, labels, inside, COLOURS)
    assert found.dtype == np.uint8
    assert (np.abs(found[0, :2].astype(int) - 127.5) <= 1).all()  # neither is coloured
    for y, x, c in ((0, 2, 1), (1, 0, 2), (1, 1, 3)):
        mixed = figures.TRACED * COLOURS[c] + (1 - figures.TRACED) * 127.5
        np.testing.assert_allclose(found[y, x], mixed, atol=1)
    np.testing.assert_array_equal(found[1, 2], 255)


def test_overlay_keeps_the_colours_of_an_image():
    image = np.array([[[0.2, 0.4, 0.6]]])
    one = np.ones((1, 1), bool)
    found = figures.overlay(image, np.array([[-1]]), one, COLOURS)
    np.testing.assert_array_equal(found, [[[51, 102, 153]]])


@pytest.mark.parametrize("classes", [2, 10, 80])
def test_classes_have_colours_of_their_own(classes):
    colours = class_colours(classes)
    assert colours.shape == (classes, 3) and colours.dtype == np.uint8
    apart = np.abs(colours[1:, None].astype(int) - colours[None, 1:]).sum(-1)
    assert classes == 2 or apart[~np.eye(classes - 1, dtype=bool)].min() >= 8
    assert (colours[1:].astype(int).sum(1) > 150).all()  # seen on black
    np.testing.assert_array_equal(colours, class_colours(90)[:classes])


@pytest.mark.parametrize("names", [("BDa",), ("BDa", "Rand"), tuple("abcdefghijkl")])
def test_curve_is_a_picture_with_a_line_for_each_strategy(names, tmp_path):
    path = tmp_path / "curve.png"
    figures.curve(_traces(names), path)
    picture, _ = _picture(path)
    assert picture.shape[0] > 600 and picture.shape[1] > 1000
    for line in canvas.LINES[: len(names)]:
        assert _near(picture, [int(line[i : i + 2], 16) for i in (1, 3, 5)]) > 300
    assert _near(picture, (255, 255, 255)) > 0.7 * picture.shape[0] * picture.shape[1]
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_curve_of_the_initial_annotations_alone(tmp_path):
    trace = {"dice": [0.5], "dice_unclamped": [0.4]}
    trace |= {"effort_percent": [7.8], "effort_own_percent": [3.9]}
    path = tmp_path / "curve.png"
    figures.curve({"BDa": {k: np.array(v) for k, v in trace.items()}}, path)
    _picture(path)


def test_curve_with_lengths_that_differ_and_a_target_never_reached(tmp_path):
    traces = _traces(("BDa", "Rand"))
    traces["Rand"] = {k: v[:7] for k, v in traces["Rand"].items()}
    figures.curve(traces, tmp_path / "curve.png", targets=(0.5, 0.9, 0.9999))
    _picture(tmp_path / "curve.png")


def _draw(path, **kwargs):
    images, truth, inside, names = _stack()
    labels = np.where((truth == 2) & inside, 2, -1).astype(np.int16)
    labels[1] = -1
    annotated = np.zeros((3, 4), bool)
    annotated[[0, 2], 2] = True
    annotated[2, 0] = True
    _annotations(images, truth, inside, names, [("BDa (18.2%)", labels, annotated)], path, **kwargs)


def test_annotations_have_colours_where_the_labels_are(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "TRACED", 1.0)  # classes then have their own colour exactly
    _draw(tmp_path / "all.png")
    picture, _ = _picture(tmp_path / "all.png")
    patches = {c: _near(picture, COLOURS[c], 0) for c in (1, 2, 3)}
    # Blocks of 80, 96 (80 where cut by the slide's edge) and 176 (160) pixels. Truth shows all
    # three sections, the row below two of structure 2. The legend's three patches are alike.
    bare = _legendless(tmp_path)
    one, two, three = (_near(bare, COLOURS[c], 0) for c in (1, 2, 3))
    assert one > 1000
    assert two / one == pytest.approx((80 + 96 + 96 + 80 + 96) / (3 * 80), rel=0.1)
    assert three / one == pytest.approx((160 + 176 + 176) / (3 * 80), rel=0.1)
    assert all(patches[c] > n for c, n in ((1, one), (2, two), (3, three)))


def _legendless(tmp_path):
    """The same figure with too many names for a legend."""
    images, truth, inside, _ = _stack()
    labels = np.where((truth == 2) & inside, 2, -1).astype(np.int16)
    labels[1] = -1
    names = ("background", *(f"structure {i}" for i in range(30)))
    path = tmp_path / "many.png"
    row = ("BDa (18.2%)", labels, np.zeros((3, 31), bool))
    _annotations(images, truth, inside, names, [row], path)
    return _picture(path)[0]


def test_annotations_sit_in_the_right_panel(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "TRACED", 1.0)
    picture = _legendless(tmp_path)
    coloured = (picture == COLOURS[2]).all(-1)
    rows = np.flatnonzero(coloured.any(1))
    upper, lower = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    for part, runs in ((upper, 3), (lower, 2)):  # sections 1-3, then sections 1 and 3
        line = coloured[part[len(part) // 2]]
        assert (np.diff(line.astype(int)) == 1).sum() == runs
    start = np.flatnonzero(coloured[upper[len(upper) // 2]])[0]
    assert start == np.flatnonzero(coloured[lower[len(lower) // 2]])[0]


def test_a_mark_where_the_background_was_traced(tmp_path):
    images, truth, inside, names = _stack()
    labels, without = np.full(truth.shape, -1, np.int16), np.zeros((3, 4), bool)
    pictures = []
    for traced in ((), (1,)):
        annotated = without.copy()
        annotated[list(traced), 0] = True
        _annotations(
            images, truth, inside, names, [("start", labels, annotated)], tmp_path / "b.png"
        )
        pictures.append(_picture(tmp_path / "b.png")[0].astype(int))
    changed = np.argwhere(np.abs(pictures[0] - pictures[1]).max(-1) > 0)
    assert len(changed) > 20  # one small letter, in the second of three columns
    height, width = pictures[0].shape[:2]
    low, high = changed.min(0), changed.max(0)
    assert (high - low < 0.15 * width).all() and low[0] > height / 2
    assert width / 3 < low[1] and high[1] < 0.8 * width


def test_sections_are_chosen_evenly(tmp_path):
    images, truth, inside, names = _stack(sections=30)
    row = ("start", truth, np.ones((30, 4), bool))
    widths = []
    for count in (30, 12, 5):
        _annotations(images, truth, inside, names, [row], tmp_path / "n.png", max_sections=count)
        widths.append(_picture(tmp_path / "n.png")[0].shape[1])
    assert widths[0] > 2 * widths[1] > 2 * 1000


def test_empty_border_is_cut_away(tmp_path):
    images, truth, inside, names = _stack()
    row = ("start", truth, np.ones((3, 4), bool))
    _annotations(images, truth, inside, names, [row], tmp_path / "small.png")
    pad = ((0, 0), (50, 50), (50, 50))
    _annotations(
        np.pad(images, (*pad, (0, 0))),
        np.pad(truth, pad),
        np.pad(inside, pad),
        names,
        [(row[0], np.pad(truth, pad), row[2])],
        tmp_path / "large.png",
    )
    small, large = (_picture(tmp_path / f"{n}.png")[0] for n in ("small", "large"))
    assert small.shape == large.shape and (small == large).mean() > 0.99


@pytest.mark.parametrize("kind", ["rgb", "float", "constant"])
def test_images_of_other_kinds(kind, tmp_path):
    images, truth, inside, names = _stack()
    images = {
        "rgb": np.repeat(images, 3, -1),
        "float": images.astype(np.float32) * 1e-3 - 7,
        "constant": np.zeros_like(images),
    }[kind]
    row = ("start", truth, np.ones((3, 4), bool))
    _annotations(images, truth, inside, names, [row], tmp_path / "a.png")
    _picture(tmp_path / "a.png")


def test_files_are_deterministic_and_undated(tmp_path):
    settings = dict(rcParams)
    for draw in (lambda p: figures.curve(_traces(("BDa", "Rand")), p), _draw):
        first, second = tmp_path / "1.png", tmp_path / "2.png"
        draw(first)
        draw(second)
        assert first.read_bytes() == second.read_bytes()
        assert 5_000 < first.stat().st_size < 500_000
        assert not {"Software", "Creation Time"} & set(_picture(first)[1])
    assert settings == dict(rcParams)


def test_a_contact_sheet_shows_every_section_in_its_row(tmp_path, monkeypatch):
    """Labels are coloured in the second row alone; border that is empty everywhere is cut away."""
    monkeypatch.setattr(figures, "TRACED", 1.0)
    images, truth, inside, names = _stack()
    pad = ((0, 0), (40, 40), (40, 40))
    stack = make_stack(
        np.pad(images, (*pad, (0, 0))), np.pad(truth, pad), names, np.pad(inside, pad)
    )
    path = tmp_path / "sheet.png"
    rows = [("before", stack, False), ("labels", stack, True)]
    figures.contact_sheet(rows, ["first", "second", "third"], path)
    picture = _picture(path)[0]
    height, width = picture.shape[:2]
    coloured = (picture == COLOURS[3]).all(-1)
    coloured[int(0.9 * height) :] = False  # the legend
    used = np.flatnonzero(coloured.any(1))
    assert height / 2 < used[0] and np.ptp(used) == len(used) - 1
    line = coloured[used[len(used) // 2]].astype(int)
    assert (np.diff(line) == 1).sum() == 3
    assert np.ptp(np.flatnonzero(coloured.any(0))) > 0.6 * width  # structures fill the panels
    again = tmp_path / "again.png"
    figures.contact_sheet(rows, ["first", "second", "third"], again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("scale, shift", [(1e-9, 0), (1e30, 0), (1.0, -7)])
def test_an_image_looks_the_same_in_any_unit(scale, shift):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 200, (2, 9, 9, 1))
    inside = np.ones((2, 9, 9), bool)
    other = (images * scale + shift).astype(np.float32)
    expected = figures.grey_levels(images, inside)
    assert np.ptp(expected) == 1
    np.testing.assert_allclose(figures.grey_levels(other, inside), expected, atol=1e-5)


def test_the_whole_range_of_float32_is_a_range():
    images = np.array([-3e38, 0, 3e38], np.float32).reshape(1, 1, 3, 1)
    found = figures.grey_levels(images, np.ones((1, 1, 3), bool))
    np.testing.assert_allclose(found.ravel(), [0, 0.5, 1], atol=2e-3)


ODD = ("_first", "a$_$b", "$\\frac{", "{}_^\\", "cost $5", "小脑皮层")


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are(tmp_path, monkeypatch):
    """In every place for text, with a font for all characters or without."""
    images, truth, inside, _ = _stack()
    truth = np.where(truth > 0, truth + (np.arange(24)[:, None] > 7), 0)
    row = ("of $1 (x_$)", truth, np.ones((3, 7), bool))
    shown = []
    monkeypatch.setattr(
        canvas, "literal", lambda text, literal=canvas.literal: shown.append(text) or literal(text)
    )
    names = ("background", *ODD)
    _annotations(images, truth, inside, names, [row], tmp_path / "a.png")
    assert set(ODD) <= set(shown)
    stack = make_stack(images, np.minimum(truth, 3), ("background", *ODD[:3]), inside)
    figures.contact_sheet([(ODD[1], stack, True)], ODD[1:4], tmp_path / "b.png")
    figures.curve(_traces(ODD), tmp_path / "c.png")
    assert all(_picture(tmp_path / f"{n}.png")[0].size for n in "abc")


def test_a_character_without_a_font_is_its_code(monkeypatch):
    monkeypatch.setattr(canvas, "_characters", lambda: frozenset(map(ord, "ab$_\\ ")))
    assert canvas.literal("a 小\nb_$") == "a U+5C0F\nb_$"
    assert canvas.columns("a小") == 7


def test_colours_and_section_names_are_those_of_the_stack(tmp_path):
    images, truth, inside, names = _stack()
    row = ("row", truth, np.zeros((3, 4), bool))
    own = {"colours": ((0, 0, 0), (10, 200, 30), (1, 2, 3), (250, 0, 250))}
    stack = make_stack(images, truth, names, inside, sections=("s7.png", "s8.png", "s9.png"), **own)
    np.testing.assert_array_equal(figures.colours_of(stack), own["colours"])
    np.testing.assert_array_equal(
        figures.colours_of(make_stack(images, truth, names, inside)), class_colours(4)
    )
    figures.annotations(stack, [row], tmp_path / "own.png")
    _annotations(images, truth, inside, names, [row], tmp_path / "ours.png")
    own_picture, ours = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("own.png", "ours.png")
    )

    def green(picture):  # a pixel of class a, over grey
        r, g, b = np.moveaxis(picture.astype(int), -1, 0)
        return ((g > r + 60) & (g > b + 60)).sum()

    assert green(own_picture) > 100 and green(ours) < green(own_picture) / 4
