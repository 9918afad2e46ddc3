"""Deformed stacks: one grid for all, as much as asked for, the same for the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import io, synthesis
from al_jax.stack import make_stack
from al_jax.synthesis import Deformation


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
    stack = io.load_default()
    found = synthesis.synthesise(jax.random.key(0), stack)
    areas = [np.bincount(s.truth[s.inside], minlength=9) for s in (stack, found)]
    assert (np.abs(np.log(areas[1] / areas[0])) < 0.5).all()
    assert jnp.corrcoef(found.images[12].ravel(), stack.images[12].ravel())[0, 1] > 0.3
