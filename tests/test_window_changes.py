"""The window where classes and sections change: names, the pair that is shown, and its strokes."""

import numpy as np
import pytest
from controllers import at_controller, make_session, no_training, trace

from al_jax.window import layers


@pytest.fixture
def controller(tmp_path, monkeypatch):
    no_training(monkeypatch)
    with at_controller(make_session(tmp_path / "s")) as opened:
        yield opened


def stroke() -> np.ndarray:
    """[40, 48] bool."""
    mask = np.zeros((40, 48), bool)
    mask[18:22, 20:30] = True
    return mask


def shown(controller) -> tuple[str, str]:
    return controller.question.section_name, controller.question.name


def test_strokes_stay_with_their_pair(controller):
    controller.do("go", 3, 2)
    trace(controller, stroke())
    assert controller.do("change", "leave_out", 1)
    assert shown(controller) == ("3", "middle") and controller.question.section == 2
    assert controller.message == "Section 1 is left out"
    np.testing.assert_array_equal(layers.held(controller.layer), stroke())
    assert controller.do("change", "rename_class", 2, "ring") and shown(controller) == ("3", "ring")
    assert controller.do("change", "mirror", 2)
    np.testing.assert_array_equal(layers.held(controller.layer), stroke()[:, ::-1])
    assert controller.do("change", "add_class", "core") and len(controller.colours) == 5
    assert not controller.do("change", "add_class", "core") and "both 'core'" in controller.message
    assert controller.do("store")
    assert controller.do("undo") and controller.do("undo")
    assert controller.message == "Taken back: class 'core' was added"
    assert controller.do("undo") and controller.do("undo") and shown(controller) == ("3", "middle")
    np.testing.assert_array_equal(layers.held(controller.layer), stroke())


def test_a_pair_that_is_gone_is_shown_no_longer(controller):
    controller.do("go", 3, 2)
    trace(controller, stroke())
    assert controller.do("change", "leave_out", 3)
    assert controller.question.section_name != "3"
    assert not layers.held(controller.layer).any()
    assert controller.do("undo") and controller.do("go", 3, 2)
    np.testing.assert_array_equal(layers.held(controller.layer), stroke())


def test_a_draft_is_found_again_in_another_order(tmp_path, monkeypatch):
    no_training(monkeypatch)
    place = make_session(tmp_path / "s")
    with at_controller(place) as first:
        first.do("go", 3, 2)
        trace(first, stroke())
        first.do("change", "set_order", [5, 4, 3, 2, 1, 0])
        first.do("change", "leave_out", 0)
    with at_controller(place) as second:
        assert shown(second) == ("3", "middle")
        np.testing.assert_array_equal(layers.held(second.layer), stroke())
