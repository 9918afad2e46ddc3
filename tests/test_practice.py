"""The usual practice: what is filled between traced sections, and what tracing them costs."""

import csv
import functools
import pathlib

import jax
import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.core.boundary import total_length
from al_jax.core.stack import InputError, make_stack
from al_jax.core.state import annotate, init_state
from al_jax.files.stacks import write_stack
from al_jax.learner.config import Config, changed
from al_jax.learner.neighbours import fields_of
from al_jax.learner.registration import Registered
from experiments.bench import filling, practice


def squares(*halves: int | None, shift: int = 0):
    """Sections of 12x12 with a centred square of such half sides on a darker ground."""
    rows = np.abs(np.arange(12) - 5.5)
    truth = np.zeros((len(halves), 12, 12), int)
    for n, half in enumerate(halves):
        if half:
            truth[n] = np.roll(np.maximum.outer(rows, rows) < half, n * shift, 1)
    return make_stack(np.uint8(100 + 100 * truth), truth, ("background", "square"))


def both_everywhere(stack):
    return np.ones((stack.num_sections, stack.num_classes), bool)


def test_traced_sections_are_at_even_distances():
    assert filling.spread(24, 12).tolist() == list(range(1, 24, 2))
    assert filling.spread(24, 8).tolist() == list(range(1, 24, 3))
    assert filling.spread(4, 2).tolist() == [1, 3] and filling.spread(4, 3).tolist() == [0, 2, 3]
    assert filling.spread(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_signed_distance_by_hand():
    row = np.array([[0, 1, 1, 1, 0]], bool)
    assert filling.signed_distance(row).tolist() == [[-1, 1, 2, 1, -1]]


def test_a_square_between_two_is_as_large_as_their_mean():
    # Between the outlines the distances are 2 and -1 of the large and the small square, and 1 and
    # -2 a pixel further out.
    stack = squares(2, 3, 4)
    found = filling.interpolate(stack, np.array([0, 2]), both_everywhere(stack))
    assert (found == stack.truth).all()


def test_beyond_the_last_traced_section_its_outlines_go_on_within_the_range():
    stack = squares(3, 3, 3, 3)
    in_range = both_everywhere(stack)
    in_range[3, 1] = False
    found = filling.interpolate(stack, np.array([1]), in_range)
    assert (found[:3] == stack.truth[1]).all() and not found[3].any()


def test_nothing_but_traced_sections_is_looked_at():
    stack = tiny.stack()
    traced, in_range = filling.spread(stack.num_sections, 3), both_everywhere(stack)
    blank = np.where(np.isin(np.arange(stack.num_sections), traced)[:, None, None], stack.truth, 0)
    hidden = make_stack(stack.images, blank, stack.names, stack.inside)
    for fill in (filling.interpolate, filling.walk):
        assert (fill(stack, traced, in_range) == fill(hidden, traced, in_range)).all()


def test_outlines_move_along_the_registration():
    stack = squares(3, 3, 3, shift=1)
    one = np.broadcast_to(np.float32([0, 1]), (12, 12, 2))  # a column to the right, per section
    fields = fields_of([Registered(one, -one, 1.0)] * 2, 1)
    carried = functools.partial(filling.interpolate, move=filling.along(fields))
    for traced in ([0, 2], [0]):
        found = carried(stack, np.array(traced), both_everywhere(stack))
        assert (found == stack.truth).all()
    assert (filling.interpolate(stack, np.array([0]), both_everywhere(stack)) != stack.truth).any()


def test_a_walk_follows_the_image():
    stack = squares(2, 3, 4)
    found = filling.walk(stack, np.array([0, 2]), both_everywhere(stack))
    assert (found == stack.truth).all()
    in_range = both_everywhere(stack)
    in_range[1, 1] = False
    assert not filling.walk(stack, np.array([0, 2]), in_range)[1].any()


def test_a_section_costs_what_a_simulation_counts():
    stack = tiny.stack()
    once, own = practice.costs(stack)
    state = init_state(jax.random.key(0), stack.inside, both_everywhere(stack))
    answer = jax.jit(annotate)
    for section, structure in np.ndindex(stack.num_sections, stack.num_classes):
        if structure:  # what is left over is the background
            mask = stack.truth[section] == structure
            state, _ = answer(state, section, structure, mask, stack.inside[section])
    total = sum(map(total_length, stack.truth, stack.inside))
    assert once.sum() == pytest.approx(1)
    assert once == pytest.approx(np.asarray(state.drawn_unique / total))
    assert own == pytest.approx(np.asarray(state.drawn_whole / (2 * total)))
    assert practice.dice(stack, stack.truth) == (1, 1)
    assert practice.dice(stack, np.zeros_like(stack.truth)) == (0, 0)


def test_without_background_the_longest_outline_is_left_over():
    truth = np.array([[[1, 1, 2, 3]], [[0, 1, 2, 3]]])  # outlines: a 1, b 2, c 1; and 1, 2, 2, 1
    stack = make_stack(np.zeros(truth.shape, np.uint8), truth, ("background", *"abc"))
    once, own = practice.costs(stack)
    assert once == pytest.approx([0.4, 0.6]) and own == pytest.approx([0.2, 0.5])


@pytest.mark.slow
def test_the_network_learns_from_the_traced_sections():
    stack = tiny.stack()
    config = changed(Config(), {"network": tiny.Pixelwise, "initial_steps": 250, "crop": 32})
    found = filling.network(config, 0)(stack, np.array([0, 3, 5]), both_everywhere(stack))
    assert (found[[0, 3, 5]] == stack.truth[[0, 3, 5]]).all()
    assert practice.dice(stack, found)[0] > 0.85


def test_the_best_is_the_cheapest_that_is_good_enough():
    rows = [
        {"effort_own": own, "dice": dice} for own, dice in ((0.2, 0.7), (0.3, 0.95), (0.4, 0.9))
    ]
    assert practice.best(rows, 0.9)["effort_own"] == 0.3
    assert practice.numbers_traced([], 5) == [2, 3, 4, 5] and practice.numbers_traced(["3"], 5) == [
        3,
        5,
    ]
    with pytest.raises(InputError, match="--traced=1,x takes numbers from 2 to 5"):
        practice.numbers_traced(["1", "x"], 5)


def test_the_table_of_the_page_is_that_of_its_csv():
    results = pathlib.Path(practice.__file__).parents[1] / "results"
    stacks: dict[str, list[dict]] = {}
    for row in csv.DictReader((results / "practice.csv").read_text().splitlines()):
        numbers = {name: float(row[name]) for name in ("effort", "effort_own", "dice")}
        stacks.setdefault(row["stack"].removesuffix(".npz"), []).append(row | numbers)
    section = (
        (results / "history.md").read_text().split("## The usual practice")[1].split("\n## ")[0]
    )
    told = {}
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| stack"):
            stack, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            told[stack] = cells[:3]
    assert told.keys() == stacks.keys()
    for stack, rows in stacks.items():
        for target, cell in zip(practice.TARGETS, told[stack], strict=True):
            found = practice.best(rows, target)
            effort = f"{100 * found['effort_own']:.1f} / {100 * found['effort']:.1f} "
            which = f"({found['method']}, {found['traced']} of {found['sections']})"
            assert cell == effort + ("(all)" if found["k"] == "1.0" else which)


def test_the_command(tmp_path, monkeypatch, capsys):
    write_stack(tmp_path / "stack.npz", tiny.stack())
    out = tmp_path / "practice.csv"
    with flags_of(practice):
        call = caller(practice, monkeypatch, capsys)
        arguments = (
            f"--stack={tmp_path / 'stack.npz'}",
            f"--out={out}",
            "--methods=interpolated,walk",
        )
        for _ in range(2):
            status, said, err = call(*arguments, "--traced=2,4")
            assert status == 0, err
        assert call(*arguments[:2], "--methods=guess")[0] == 2
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert [row[3] for row in rows] == ["method"] + 2 * (3 * ["interpolated"] + 3 * ["walk"])
    assert "least effort" in said and rows[3][6] == "1.0"
