"""A new session of what a person fills in, without a window; and the stacks to try."""

import pathlib
import re

import numpy as np
import pytest
import tiny
from PIL import Image

from al_jax.core.stack import InputError, make_images
from al_jax.files.slicing import Cut
from al_jax.files.stacks import write_stack
from al_jax.learner.transfer import Experience
from al_jax.session import read_session, storage
from al_jax.simulation.serial_sections import make_serial_sections
from al_jax.window import starting
from al_jax.window.starting import Beginning, Stack, begin_session, read_stack, spans_by_table

NAMES = "outer\n middle \n\ninner"
NOWHERE = Beginning("", "", None, "")


@pytest.fixture
def slides(tmp_path, monkeypatch):
    """A folder of images, which is the working directory's only content."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("slides").mkdir()
    for number, image in enumerate(tiny.stack().images[..., 0]):
        Image.fromarray(np.asarray(image)).save(f"slides/s{number}.png")
    return Stack("slides", Cut(), NAMES, "")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"sections": " "}, "The sections are missing; choose a folder of images, or a volume"),
        ({"sections": "slide"}, "slide: there is no such file"),
        ({"classes": "\n"}, "no class is named; name each structure to trace, one a line"),
        ({"classes": "a\nb\nA "}, "the class 'A' is named twice; name it once"),
        ({"table": "t.csv"}, "Name the classes or give a table of them, not both"),
        ({"classes": "", "table": "t.csv"}, "t.csv: "),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(slides, given, says):
    with pytest.raises(InputError, match=f"^{re.escape(says)}") as caught:
        read_stack(slides._replace(**given))
    assert "\n" not in str(caught.value)


def test_classes_are_typed_and_ranges_chosen_or_from_a_table(slides, tmp_path):
    images, notes = read_stack(slides)
    assert images.names == ("background", "outer", "middle", "inner") and notes == []
    assert images.sections[1] == "s1.png"
    with pytest.raises(InputError, match=r"^Say where the session goes: a new folder"):
        begin_session(NOWHERE, images)
    with pytest.raises(InputError, match=r"^slides: is not empty; choose another folder"):
        begin_session(NOWHERE._replace(folder="slides"), images)
    assert begin_session(NOWHERE._replace(folder="a", spans={"inner": (1, 4)}), images) == []
    in_range = read_session("a").annotations.state.in_range
    np.testing.assert_array_equal(np.asarray(in_range)[:, 3], [False, *[True] * 4, False])
    assert np.asarray(in_range)[:, :3].all()
    pathlib.Path("r.csv").write_text("name,first,last\nInner,s1.png,s4\n")
    assert spans_by_table("r.csv", images) == {"inner": (1, 4)}
    begin_session(NOWHERE._replace(folder="b", ranges="r.csv"), images)
    np.testing.assert_array_equal(read_session("b").annotations.state.in_range, in_range)
    nowhere = dict.fromkeys(images.names, (0, 4))
    with pytest.raises(InputError, match=r"section s5.png is in the range of no class"):
        begin_session(NOWHERE._replace(folder="c", spans=nowhere), images)
    assert not pathlib.Path("c").exists()


def test_an_npz_has_its_own_classes(slides):
    write_stack("stack.npz", tiny.stack())
    images, _ = read_stack(slides._replace(sections="stack.npz", classes=""))
    assert images.names == tiny.stack().names
    with pytest.raises(InputError, match=r"stack.npz: has names of its own; leave the classes out"):
        read_stack(slides._replace(sections="stack.npz"))


def test_what_an_earlier_session_taught_is_taken_where_it_fits(slides, monkeypatch):
    images, _ = read_stack(slides)
    with pytest.raises(InputError, match=r"^nowhere: "):
        begin_session(NOWHERE._replace(folder="a", earlier="nowhere"), images)
    learnt = Experience(
        names=("background", "outer"),
        weights={"score/kernel": np.zeros((1, 2), np.float32)},
        network="small",
        convention="plain",
        downsampling=1,
        class_layers=(),
        lengths=np.zeros((2, 2, 2), np.float32),
        offered=np.zeros((2, 2), np.float32),
        dice=np.full(2, np.nan, np.float32),
    )
    monkeypatch.setattr(starting, "experience_at", lambda path: learnt)
    monkeypatch.setattr(starting, "misfit", lambda *_: "of another kind of stack")
    (line,) = begin_session(NOWHERE._replace(folder="a", earlier="there"), images)
    assert line == "The earlier session is of another kind of stack"
    assert read_session("a").earlier is None
    monkeypatch.setattr(starting, "misfit", lambda *_: None)
    (line,) = begin_session(NOWHERE._replace(folder="b", earlier="there"), images)
    assert "new: background, outer, middle, inner" in line
    begun = storage.read(pathlib.Path("b"))
    assert begun.earlier is not None and begun.settings.config.training.initial_steps == 0
    plugin = learnt._replace(network="mine 1234")
    monkeypatch.setattr(starting, "experience_at", lambda path: plugin)
    with pytest.raises(InputError, match="'mine 1234', which is not known here"):
        begin_session(NOWHERE._replace(folder="c", earlier="there"), images)
    assert not pathlib.Path("c").exists()


def test_serial_sections_are_the_same_for_a_seed_and_show_each_class():
    stack, other = make_serial_sections(0), make_serial_sections(1)
    np.testing.assert_array_equal(stack.images, make_serial_sections(0).images)
    assert (stack.images != other.images).any() and (stack.truth != other.truth).any()
    shown = np.stack([np.isin(np.arange(stack.num_classes), labels) for labels in stack.truth])
    assert (shown.sum(0) >= 3).all() and not shown[:, 4].all()  # the eye is not everywhere
    # What belongs together is told from what is around it by its colour.
    pixels = [stack.images[stack.truth == c].mean(0) for c in range(stack.num_classes)]
    distances = [np.abs(a - b).max() for i, a in enumerate(pixels) for b in pixels[:i]]
    assert min(distances) > 5
    make_images(stack.images, stack.names, stack.inside)
