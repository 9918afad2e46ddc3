"""The outline of a neighbouring section, in another section's place."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from al_jax import session as core
from al_jax.core.stack import InputError, make_images
from al_jax.learner.config import DEFAULT, changed
from al_jax.learner.neighbours import carry_mask
from al_jax.model.inputs import Fields
from al_jax.session import Settings

SPANS = np.ones((6, 4), bool)


def _fields(shifts, factor, size):
    """Each section shows at x what the next one shows at x + its shift, downsampled pixels."""
    field = np.zeros((len(shifts) + 1, 2, *size, 2), np.float16)
    for n, shift in enumerate(shifts):
        field[n, 1], field[n + 1, 0] = shift, -np.array(shift)
    return Fields(jnp.asarray(field), jnp.ones((len(field), 2)), factor)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_mask_is_carried_over_the_fields_between(factor):
    mask = np.zeros((24, 32), bool)
    mask[8:14, 10:20] = True
    fields = _fields([(1, 2), (0, -1)], factor, (24 // factor, 32 // factor))
    moved = np.roll(mask, np.array([1, 1]) * -factor, (0, 1))
    np.testing.assert_array_equal(carry_mask(mask, fields, 2, 0), moved)
    np.testing.assert_array_equal(carry_mask(moved, fields, 0, 2), mask)
    np.testing.assert_array_equal(carry_mask(mask, fields, 1, 1), mask)


def test_a_session_carries_the_nearest_one_where_it_registers(tmp_path, monkeypatch):
    stack = tiny.stack()
    images = make_images(stack.images, stack.names, stack.inside)
    settings = Settings(config=changed(DEFAULT, {"neighbours": False}))
    core.create(tmp_path / "session", images, SPANS, settings, truth=stack.truth)
    with core.open_session(tmp_path / "session") as session:
        with pytest.raises(InputError, match="'inner' was traced on no other section"):
            session.neighbour_outline(2, 3)
        for section in (1, 4):
            session.store_answer(section, 3, session.true_mask(section, 3))
        source, plain = session.neighbour_outline(3, 3)
        assert source == 4
        np.testing.assert_array_equal(plain, session.true_mask(4, 3) & images.inside[3])
        assert session.neighbour_outline(1, 3)[0] == 4  # not itself
        fields = _fields([(0, 0)] * 3 + [(0, 2)] + [(0, 0)], 1, plain.shape)
        monkeypatch.setattr(session._trainer, "_carries", True)
        monkeypatch.setattr(session._trainer, "_fields", fields)
        source, carried = session.neighbour_outline(3, 3)
        np.testing.assert_array_equal(carried, np.roll(plain, -2, 1) & images.inside[3])
        pixels, labels = session.seen_beside(3, 4)
        np.testing.assert_array_equal(pixels[:, :-2], images.images[4][:, 2:])
        np.testing.assert_array_equal(labels[:, :-2] == 3, plain[:, 2:])
        np.testing.assert_array_equal(session.seen_beside(3, 3)[0], images.images[3])
        with pytest.raises(InputError):
            session.seen_beside(3, 6)
