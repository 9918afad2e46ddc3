"""Intelligent scissors: what leads the path, where it goes, what it encloses; and their hand."""

import csv
from concurrent.futures import Future

import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.core.stack import UNLABELLED
from al_jax.files.stacks import write_stack
from al_jax.window import scissors
from al_jax.window.livewire import Livewire
from experiments.bench import outlines

SHAPE = (60, 64)
ROWS, COLUMNS = np.indices(SHAPE)
DISC = (ROWS - 30) ** 2 + (COLUMNS - 32) ** 2 <= 17**2
FREE = np.full(SHAPE, UNLABELLED)


def _grey(mask):
    noise = np.random.default_rng(0).normal(0, 6, SHAPE)
    return (100.0 + 40 * mask + noise)[..., None]


def _red_and_green(mask):
    """Of one mean everywhere."""
    image = np.full((*SHAPE, 3), 90.0)
    image[..., 0] += 60 * mask
    image[..., 1] += 60 * ~mask
    return image


def _clicks(mask, seed=0):
    (outline,) = outlines.parts(mask)
    return outlines.clicks(outline, np.random.default_rng(seed), 15, 1.0)


def _share(mask, drawn):
    (outline,) = outlines.parts(mask)
    return outlines.near(outline, drawn) / (len(outline) - 1)


@pytest.mark.parametrize("paint", [_grey, _red_and_green])
def test_the_path_follows_an_edge_that_straight_lines_miss(paint):
    guide, points = scissors.make_guide(paint(DISC), FREE, None), _clicks(DISC)
    drawn = outlines.trace(guide, points)
    assert _share(DISC, drawn) > 0.97
    assert _share(DISC, outlines.filled(points, SHAPE)) < 0.8
    np.testing.assert_array_equal(drawn, outlines.trace(guide, points))


def test_the_proposal_leads_where_nothing_is_seen_unless_the_clicks_disagree():
    blank = np.full((*SHAPE, 1), 7)
    square = (abs(ROWS - 30) <= 15) & (abs(COLUMNS - 32) <= 15)
    points = _clicks(square, seed=3)
    alone = scissors.make_guide(blank, FREE, None)
    led, misled = (scissors.propose(alone, m) for m in (square, np.roll(square, 9, 1)))
    shares = [_share(square, outlines.trace(guide, points)) for guide in (alone, led, misled)]
    assert shares[1] > 0.9 > shares[0] and abs(shares[2] - shares[0]) < 0.15


def test_what_was_traced_before_is_an_edge():
    labels = np.where(COLUMNS < 32, 2, UNLABELLED)
    edges = scissors.make_guide(np.zeros((*SHAPE, 1)), labels, None).edges
    assert (edges[1:-1, 32] == 1).all() and (edges[:, :31] == 0).all()


def test_clicks_are_held_by_the_edge_and_stay_on_the_section():
    guide = scissors.make_guide(100.0 + 40 * (COLUMNS >= 30)[..., None], FREE, None)
    held = [scissors.hold(guide, (20, column))[1] for column in (27.6, 30, 31)]
    assert max(abs(column - 30) for column in held) <= 1
    assert scissors.hold(guide, (20, 50)) == (20, 50)  # corner and pixel differ by a half
    for point in ((-9, -9), (99, 99)):
        row, column = scissors.hold(guide, point)
        assert 0 <= row <= SHAPE[0] and 0 <= column <= SHAPE[1]


def test_a_smooth_curve_leads_from_click_to_click():
    line = np.array([[0.0, 0], [3, 3], [9, 9], [10, 10]])
    found = scissors.curve(line)
    np.testing.assert_allclose(found[[0, -1]], line[1:3])
    np.testing.assert_allclose(found[:, 0], found[:, 1])
    angle = np.radians([0, 40, 80, 120])
    bow = scissors.curve(20 * np.stack([np.cos(angle), np.sin(angle)], 1))
    np.testing.assert_allclose(np.linalg.norm(bow, axis=1), 20, atol=0.15)  # a chord: 1.2 off


def test_a_click_changes_only_the_path_near_it():
    guide = scissors.make_guide(_grey(DISC), FREE, None)
    clicks, known = [scissors.hold(guide, point) for point in _clicks(DISC)], {}
    scissors.outline(guide, clicks[:5], closed=False, known=known)
    before = len(known)
    scissors.outline(guide, clicks[:6], closed=False, known=known)
    assert before == 4 and len(known) == before + 2
    assert scissors.outline(guide, clicks[:1], closed=True).tolist() == [
        [clicks[0][0] - 0.5, clicks[0][1] - 0.5]
    ]


def test_no_path_is_sought_in_more_than_a_small_window(monkeypatch):
    sizes, search = [], scissors.MCP_Geometric
    monkeypatch.setattr(scissors, "MCP_Geometric", lambda c: sizes.append(c.shape) or search(c))
    wide = np.zeros((1501, 2001), np.float32)
    wide[700] = 1
    guide = scissors.Guide(wide, np.zeros(wide.shape, bool))
    path = scissors.segment(guide, (700, 40), (702, 1900), (700, 10), (700, 1990))
    assert max(map(max, sizes)) <= scissors.SIDE
    assert path[0].tolist() == [700, 40] and path[-1].tolist() == [702, 1900]
    assert abs(path[1:-1, 0] - 700).max() <= 14  # as coarse as it is


def test_pixels_are_enclosed_by_their_centres():
    square = np.array([[1, 1], [1, 4], [3, 4], [3, 1]]) - 0.5
    assert outlines.filled(square, (6, 6)).nonzero()[0].tolist() == [1] * 3 + [2] * 3
    other = np.array([[1, 4], [1, 6], [3, 6], [3, 4]]) - 0.5  # which has the same side
    assert not (outlines.filled(square, (6, 6)) & outlines.filled(other, (6, 6))).any()


def test_the_hand_of_the_measurement():
    mask = np.zeros((9, 9), bool)
    mask[2:6, 3:7] = True
    (outline,) = outlines.parts(mask)
    assert len(outline) - 1 == 16  # cracks
    for shift, share in ((0, 1), (1, 1), (3, 0.0)):
        assert abs(_share(mask, np.roll(mask, shift, 1)) - share) <= (0.5 if shift == 3 else 0)
    still = outlines.clicks(outline, np.random.default_rng(0), 5, 0.0)
    assert len(still) == 3 and np.abs(still[0] - outline[0]).max() == 0


def test_the_path_goes_straight_until_it_is_led_and_where_it_cannot_be():
    wire, coming, said = Livewire(), Future(), []
    wire.said = said.append
    wire.lead(lambda: coming)
    wire.add((10, 10))
    assert wire.path((10.0, 20)).tolist() == [[9.5, 9.5], [9.5, 19.5]]
    coming.set_result(scissors.make_guide(_grey(COLUMNS >= 30), FREE, None))
    assert len(wire.path((10.0, 29.0))) > 10
    wire.lead(lambda: _failed())
    wire.add((3, 3))
    assert len(wire.path((9.0, 9.0))) == 2
    assert said and said[0] == "The scissors go straight on this section (no memory)"


def _failed():
    future = Future()
    future.set_exception(MemoryError("no memory"))
    return future


@pytest.mark.slow
def test_the_command_that_measures(tmp_path, monkeypatch, capsys):
    write_stack(tmp_path / "stack.npz", tiny.stack())
    out = tmp_path / "outlines.csv"
    with flags_of(outlines):
        call = caller(outlines, monkeypatch, capsys)
        paths = f"--stack={tmp_path / 'stack.npz'}", f"--out={out}", "--pick=0:6:1"
        quick = "--network=pixelwise", "--initial_steps=3", "--crop=32", "--tuned=0"
        status, text, err = call(*paths, *quick)
        assert status == 0, err
        with out.open() as file:
            rows = list(csv.DictReader(file))
        assert len(text.splitlines()) == len(rows) + 1
        assert {row["structure"] for row in rows} == {"outer", "middle", "inner", "mean"}
        for row in rows:
            assert all(0 <= float(row[name]) <= 1 for name in outlines.TRACERS)
        status, _, err = call(*paths[:2], "--pick=4", *quick)
        assert status == 2 and "give first:end:step" in err
