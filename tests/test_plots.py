"""Pictures of many runs: whole files, the same bytes again, colours where the numbers are."""

import io

import numpy as np
import pytest
from PIL import Image

from al_jax.plotting import canvas, plots

NAN = float("nan")
EFFORT = np.linspace(10, 60, 50)
COLOURS = plots.method_colours(("one", "two"), ["two", "new"])


def _bands(path, std=3.0, solid=30.0):
    middle = np.linspace(50, 97, 50)
    line = EFFORT, middle, middle - std, middle + std, solid
    plots.bands([("a", {"two": line}), ("b", {"two": line, "new": line})], COLOURS, path)


def _settings(path):
    panels = [("a", {"two": ([10.0, NAN, 30.0], [1.0, NAN, NAN]), "new": ([20.0] * 3, [1.0] * 3)})]
    plots.settings(panels, ["0", "0.5", "1"], "alpha", COLOURS, path)


def _matrix(path):
    plots.matrix(np.array([[20.0, NAN], [100.0, 60.0]]), ["left_x", "y"], ["two", "new"], path)


def _lengths(path):
    points = {"two": (np.array([10.0, 1000.0]), np.array([12.0, 900.0]))}
    plots.lengths(points, {"two": "r = 1"}, COLOURS, path)


def _pixels(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("draw", [_bands, _settings, _matrix, _lengths])
def test_equal_inputs_give_equal_bytes(draw, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder / "a")
    for suffix in (".png", ".svg", ".pdf"):
        first, second = ((tmp_path / f / f"a{suffix}").read_bytes() for f in ("one", "two"))
        assert first == second and len(first) > 1000
    draw(tmp_path / "a.png")
    assert [path.name for path in tmp_path.glob("*.*")] == ["a.png"]
    assert len(np.unique(_pixels(tmp_path / "a.png").reshape(-1, 3), axis=0)) > 20


def _count(path, colour):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (abs(_pixels(path) - wanted).max(-1) <= 3).sum()


def test_a_line_is_dotted_once_a_run_has_ended(tmp_path):
    """Dots hide more than a quarter of the second half of the line."""
    _bands(tmp_path / "solid.png", 0.0, np.inf)
    _bands(tmp_path / "dotted.png", 0.0, 35.0)
    whole, part = (_count(tmp_path / f"{name}.png", COLOURS["two"]) for name in ("solid", "dotted"))
    assert 0.5 * whole < part < 0.9 * whole


def test_colours_keep_to_their_method():
    assert {"two": canvas.LINES[1], "new": plots.LINES[2]} == COLOURS
    assert plots.method_colours(("one", "two"), ["two"])["two"] == COLOURS["two"]
    many = plots.method_colours(("one",), [str(n) for n in range(20)])
    assert canvas.LINES[0] not in many.values()  # it is the first one's alone


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are(tmp_path):
    odd = ["a$_$b", "_x", "$\\frac{", "小脑"]
    colours = plots.method_colours((), odd)
    middle = np.linspace(50, 97, 50)
    line = EFFORT, middle, middle - 3, middle + 3, 30.0
    plots.bands([("$_$ {", dict.fromkeys(odd, line))], colours, tmp_path / "bands.png")
    plots.matrix(np.full((4, 4), 50.0), odd, odd, tmp_path / "matrix.png")
    means = dict.fromkeys(odd, ([1.0, 2.0], [0.1, 0.1]))
    plots.settings([("$_$", means)], odd[:2], "$k_", colours, tmp_path / "settings.png")
    pair = np.array([10.0, 1000.0]), np.array([12.0, 900.0])
    plots.lengths({odd[0]: pair}, {odd[0]: "$_$"}, colours, tmp_path / "lengths.png")
    assert len(list(tmp_path.glob("*.png"))) == 4
