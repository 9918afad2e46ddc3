"""Deformed stacks: one grid for all, as much as asked for, the same for the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.core.stack import InputError, make_stack
from al_jax.files.stacks import load_default
from al_jax.simulation import synthesis
from al_jax.simulation.synthesis import Deformation


def _bands() -> np.ndarray:
    return np.repeat(np.arange(4, dtype=np.int16), 12)[None, :, None] * np.ones(
        (3, 1, 40), np.int16
    )


def test_image_and_labels_move_together():
    truth = _bands()
    stack = make_stack(60 * truth.astype(np.uint8), truth, ("background", "a", "b", "c"))
    found = synthesis.synthesise(jax.random.key(0), stack)
    assert found.images.dtype == np.uint8 and found.names == stack.names
    assert (found.truth != stack.truth).mean() > 0.1
    # Bilinear and nearest differ by less than one step between bands.
    apart = np.abs(found.images[..., 0].astype(int) - 60 * found.truth)
    assert apart.max() <= 30
    again = synthesis.synthesise(jax.random.key(0), stack)
    other = synthesis.synthesise(jax.random.key(1), stack)
    np.testing.assert_array_equal(found.images, again.images)
    assert (found.truth != other.truth).any()
    assert (found.truth[0] != found.truth[1]).any()


def test_no_deformation_changes_nothing(monkeypatch):
    monkeypatch.setitem(synthesis.FIELDS, "smooth", (32, 0.0, "cubic"))
    truth = _bands()
    stack = make_stack(60 * truth.astype(np.uint8), truth, ("background", "a", "b", "c"))
    same = synthesis.synthesise(jax.random.key(0), stack, Deformation(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(same.images, stack.images)
    np.testing.assert_array_equal(same.truth, stack.truth)


def test_the_similarity_has_the_asked_for_spread():
    draw = jax.vmap(lambda key: synthesis.random_deformation(key, 33, 33, Deformation()))
    points = np.asarray(draw(jax.random.split(jax.random.key(0), 500)))
    slope = (points[:, -1, 16] - points[:, 0, 16]) / 32  # how (y, x) changes a row further down
    angle = np.rad2deg(np.arctan2(slope[:, 1], slope[:, 0]))
    scale = np.log(np.hypot(slope[:, 0], slope[:, 1]))
    # The field, 4 px at points 32 px apart, adds sqrt(2) * 4 / 32 to angle (rad) and log scale.
    extra = np.sqrt(2) * 4 / 32
    assert np.std(angle) == pytest.approx(np.hypot(10, np.rad2deg(extra)), rel=0.15)
    assert np.std(scale) == pytest.approx(np.hypot(0.1, extra), rel=0.2)


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="field 'rough' is not one of smooth, paper"):
        Deformation(field="rough")


def test_the_shipped_stack_keeps_its_structures():
    stack = load_default()
    found = synthesis.synthesise(jax.random.key(0), stack)
    areas = [np.bincount(s.truth[s.inside], minlength=9) for s in (stack, found)]
    assert (np.abs(np.log(areas[1] / areas[0])) < 0.5).all()
    assert jnp.corrcoef(found.images[12].ravel(), stack.images[12].ravel())[0, 1] > 0.3


def test_a_canvas_centres_and_goes_on_as_the_border():
    images = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2)
    truth = np.zeros((2, 3, 2), int)
    truth[:, 1, 1] = 1
    inside = np.ones((2, 3, 2), bool)
    inside[:, 0, 0] = False
    stack = make_stack(images, truth, ("background", "a"), inside)
    found = synthesis.on_canvas(stack, 4)
    # One more row above is none: (3 - 4) // 2 is -1, and one column on either side.
    np.testing.assert_array_equal(
        found.images[0, ..., 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]
    )
    np.testing.assert_array_equal(
        found.truth[1], [[-1, -1, 0, 0], [-1, -1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(found.inside, found.truth >= 0)


@pytest.mark.parametrize(("first", "expected"), [(0, 0), (4, 2), (8, 6)])
def test_a_canvas_keeps_the_structures(first, expected):
    """A structure of 2 pixels from `first` on, on a side of 10 cut to 6: 2 are left around it."""
    truth = np.zeros((2, 10, 6), int)
    truth[:, first : first + 2] = 1
    rows = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None], truth.shape)
    found = synthesis.on_canvas(make_stack(rows, truth, ("background", "a")), 6)
    start = min(expected, 4)
    np.testing.assert_array_equal(found.images[0, :, 0, 0], np.arange(start, start + 6))
    assert (found.truth == 1).sum() == (truth == 1).sum()


def test_a_canvas_that_is_too_small():
    truth = np.zeros((2, 10, 10), int)
    truth[0, 2, 3], truth[1, 3, 8] = 1, 1
    stack = make_stack(truth.astype(np.uint8), truth, ("background", "a"))
    assert synthesis.on_canvas(stack, 6).truth.sum() == 2
    with pytest.raises(InputError, match="are 6 pixels wide; a size of 5 cuts them off"):
        synthesis.on_canvas(stack, 5)


def test_a_class_that_leaves_the_picture_is_left_out(monkeypatch):
    """Every section is moved up by 2 pixels: 'a' is gone and 'b' is class 1."""
    truth = np.repeat([0, 1, 0, 2, 2, 0], 2)[None, :, None] * np.ones((2, 1, 12), int)
    stack = make_stack(truth.astype(np.uint8), truth, ("background", "a", "b"))
    grid = np.stack(np.meshgrid(np.arange(12.0) + 4, np.arange(12.0), indexing="ij"), -1)
    monkeypatch.setattr(synthesis, "random_deformation", lambda *_: jnp.asarray(grid))
    found = synthesis.synthesise(jax.random.key(0), stack)
    assert found.names == ("background", "b")
    np.testing.assert_array_equal(found.truth[1, :, 0], [0] * 2 + [1] * 4 + [0] * 6)
