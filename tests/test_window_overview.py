"""All pairs at a glance, and what stopping now would mean."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed")

import controllers
from controllers import at_controller

from al_jax.session import Session
from al_jax.window.overview import Mark, Overview, describe, expected, good_enough, overview

NAN = np.nan


def _overview(marks, dice, latest=()):
    return Overview(np.array(marks, np.int8), np.array(dice, float), tuple(latest))


def test_the_expected_dice_is_worked_out_by_hand():
    # Background, one structure traced on one of two sections, one on none of one.
    marks = [[1, Mark.TRACED, Mark.OPEN], [1, Mark.OPEN, Mark.OUT]]
    found = _overview(marks, [NAN, 0.6, 0.5])
    assert expected(found) == pytest.approx(((1 + 0.6) / 2 + 0.5) / 2)
    # One answer more gains 0.4 / 2 or 0.5 / 1, half of either as a mean of two structures.
    assert expected(found, 1) == pytest.approx(0.65 + (0.2 + 0.5) / 2 / 2)
    assert expected(found, 99) == pytest.approx(1)
    absent = found._replace(marks=np.array([[1, Mark.ABSENT, Mark.OPEN], marks[1]], np.int8))
    assert expected(absent) == pytest.approx((0.6 + 0.5) / 2)


def test_nothing_is_expected_of_a_network_that_proposes_nothing():
    found = _overview([[1, 1, 1]], [NAN] * 3)
    assert expected(found) is None and good_enough(found, 5.0) == ""


def test_what_to_say_of_stopping():
    marks = np.full((20, 2), Mark.OPEN, np.int8)
    found = _overview(marks, [NAN, 0.7], latest=(0.6, 0.8, 0.8, 0.9))
    assert good_enough(found, 30.0).splitlines() == [
        "If you stopped now: an expected mean Dice of 70% (half of the latest were at 75% to 82%)",
        "10 more answers: at least 85% (+15.0 points) in 5 min",
    ]
    one = found._replace(latest=(0.5,), marks=marks[:3])
    assert good_enough(one, None) == (
        "If you stopped now: an expected mean Dice of 70% (the latest proposal was at 50%)"
    )


def test_each_pair_of_a_session_is_marked(tmp_path, monkeypatch):
    controllers.no_training(monkeypatch)
    controllers.proposing(monkeypatch, lambda q: np.roll(q.inside, 3, 0) & q.inside)
    with at_controller(controllers.make_session(tmp_path / "session")) as controller:
        assert overview(controller.session).marks.tolist() == [
            [Mark.OPEN] * 3 + [Mark.OPEN if 0 < n < 5 else Mark.OUT] for n in range(6)
        ]
        for (n, c), name in {
            (2, 1): "let_truth_answer",
            (0, 2): "absent",
            (1, 3): "accept",
            (3, 2): "skip",
        }.items():
            controller.do("go", n, c)
            assert controller.do(name), controller.message
        found = overview(controller.session)
        assert [found.marks[pair] for pair in ((2, 1), (0, 2), (1, 3), (3, 2))] == [
            Mark.TRACED,
            Mark.ABSENT,
            Mark.ACCEPTED,
            Mark.LATER,
        ]
        assert len(found.latest) == 2 and np.isnan(found.dice).all()
        images = controller.session.images
        words = describe(found, (2, 1), images.sections, images.names)
        assert words == "'outer' on section 2: traced"
        likely = found._replace(dice=np.full(4, 0.81))
        assert "at a Dice of 81%" in describe(likely, (3, 2), images.sections, images.names)
        network = controller.session.network
        assert not network.proposes and isinstance(controller.session, Session)


def test_a_pair_that_is_corrected_and_taken_back(tmp_path, monkeypatch):
    controllers.no_training(monkeypatch)
    with at_controller(controllers.make_session(tmp_path / "session")) as controller:
        controller.do("go", 2, 1)
        question = controller.question
        truth = controllers.true_mask(controller)
        proposal = truth.copy()
        proposal[tuple(np.argwhere(truth)[0])] = False
        shown = dataclasses.replace(question, proposal=proposal)
        controller.session.store_answer(2, 1, truth, question=shown, how="corrected")
        assert overview(controller.session).marks[2, 1] == Mark.CORRECTED
        controller.do("undo")
        assert overview(controller.session).marks[2, 1] == Mark.OPEN
