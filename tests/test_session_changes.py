"""Classes and sections that change: what becomes of outlines, ranges, and of the folder."""

import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_session as ts
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from al_jax import session as sessions
from al_jax.core.stack import InputError, make_images
from al_jax.learner.config import changed
from al_jax.learner.neighbours import begin
from al_jax.session import Settings, conversion, ledger
from al_jax.session.turns import turned, turned_back

pytestmark = pytest.mark.usefixtures("programs_once")
SHAPE = (4, 5, 8)
NAMES = ("background", "a", "b")
INSIDE = np.ones(SHAPE, bool)
INSIDE[:, :, :2] = INSIDE[:, :, -2:] = False  # not square, but what is inside can be turned
INSIDE[3, 0] = False
PIXELS = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
IMAGES = make_images(PIXELS, NAMES, INSIDE, sections=("s0", "s1", "s2", "s3"))
EVERYWHERE = np.ones((4, 3), bool)
CONFIG = tiny.config(initial_steps=2, query_steps=1, crop=32, batch=2)


def create(folder, in_range=EVERYWHERE, images=IMAGES):
    sessions.create(folder, images, in_range, Settings(0, CONFIG))
    return folder


@pytest.fixture
def place(tmp_path):
    return create(tmp_path / "s")


@pytest.fixture
def session(place):
    with sessions.open_session(place) as opened:
        yield opened


def columns(first, last):
    """[5, 8] bool, some columns of a section."""
    mask = np.zeros(SHAPE[1:], bool)
    mask[:, first:last] = True
    return mask


def answer(session, section, name, mask):
    return session.store_answer(section, session.images.names.index(name), mask)


def labels(session, section_name):
    """[5, 8] names of the classes of a section, '' where nothing is annotated."""
    n = session.images.sections.index(section_name)
    found = session.annotations.labels_of(n, session.images)
    return np.array([*session.images.names, ""])[found]


def answered(session):
    """Pairs that count, by name."""
    pairs = np.argwhere(session.annotations.state.annotated)
    return {(session.images.sections[n], session.images.names[c]) for n, c in pairs}


def ranges(session):
    """Sections of each class, by name."""
    in_range, images = session.annotations.state.in_range, session.images
    return {
        name: [images.sections[n] for n in np.flatnonzero(in_range[:, c])]
        for c, name in enumerate(images.names)
    }


def agrees_with_disk(session):
    """What is in memory is what another process reads."""
    other = sessions.read_session(session.folder)
    assert ts.same(session.annotations, other.annotations)
    mine, its = session.images, other.images
    assert (mine.names, mine.sections, mine.colours) == (its.names, its.sections, its.colours)
    np.testing.assert_array_equal(mine.images, its.images)
    np.testing.assert_array_equal(mine.inside, its.inside)
    assert session.events == other.events and session.left_out == other.left_out


# Each kind, worked out by hand.


def test_a_renamed_class_keeps_all_it_has(session):
    answer(session, 1, "a", columns(2, 4))
    event = session.rename_class(1, "putamen")
    assert event["text"] == "class 'a' is 'putamen' now"
    assert session.images.names == ("background", "putamen", "b")
    assert answered(session) == {("s1", "putamen")}
    assert (labels(session, "s1")[:, 2:4] == "putamen").all()
    answer(session, 2, "putamen", columns(3, 4))
    agrees_with_disk(session)
    lines = [json.loads(line) for line in (session.folder / ledger.LEDGER).open()]
    assert [line.get("structure") for line in lines] == ["a", "a", "putamen"]
    session.withdraw(2)  # what was answered under the new name is of the old one again
    assert answered(session) == {("s1", "a"), ("s2", "a")}
    agrees_with_disk(session)


def test_an_added_class_is_asked_for_where_it_may_be(session):
    answer(session, 1, "a", columns(2, 4))
    session.add_class("c", (1, 2))
    assert session.images.names == (*NAMES, "c")
    assert ranges(session)["c"] == ["s1", "s2"]
    answer(session, 1, "c", columns(4, 6))
    agrees_with_disk(session)
    with pytest.raises(InputError, match="event 3 is an answer of 'c', which would be gone"):
        session.withdraw(2)
    session.undo()
    session.undo()
    assert session.images.names == NAMES and answered(session) == {("s1", "a")}
    agrees_with_disk(session)


def test_merged_outlines_are_one_where_no_part_is_open(session):
    session.set_range(2, (0, 2))
    answer(session, 0, "a", columns(2, 4))
    answer(session, 0, "background", columns(3, 5))  # of it one column is free
    answer(session, 0, "b", columns(4, 6))
    answer(session, 1, "a", columns(2, 3))  # b is open there
    answer(session, 3, "a", columns(3, 5))  # b is out of its range there
    session.store_absent(2, 1)
    answer(session, 2, "b", columns(2, 4))
    before = labels(session, "s0")
    event = session.merge_classes([1, 2], "ab")
    assert event["text"] == "classes 'a', 'b' are one, 'ab'"
    assert session.images.names == ("background", "ab")
    np.testing.assert_array_equal(
        labels(session, "s0"), np.where(np.isin(before, ["a", "b"]), "ab", before)
    )
    assert answered(session) == {("s0", "background"), ("s0", "ab"), ("s2", "ab"), ("s3", "ab")}
    assert (labels(session, "s1") == "").all()
    assert (labels(session, "s2")[:, 2:4] == "ab").all()
    agrees_with_disk(session)
    with pytest.raises(InputError, match="belongs to what was changed since"):
        session.withdraw(2)
    answer(session, 0, "ab", columns(2, 3))  # a correction of both
    assert (labels(session, "s0")[:, 2] == "ab").all() and "ab" not in labels(session, "s0")[:, 3:]
    session.undo()
    session.undo()
    np.testing.assert_array_equal(labels(session, "s0"), before)
    assert len(answered(session)) == 7
    agrees_with_disk(session)


def test_a_class_merged_into_the_background(session):
    answer(session, 0, "a", columns(2, 4))
    answer(session, 0, "background", columns(4, 5))
    session.merge_classes([0, 1], "background")
    assert session.images.names == ("background", "b")
    assert (labels(session, "s0")[:, 2:5] == "background").all()
    with pytest.raises(InputError, match="no class but background"):
        session.merge_classes([0, 1], "background")
    with pytest.raises(InputError, match="class 0 is 'x'; put 'background' first"):
        session.merge_classes([0, 1], "x")
    agrees_with_disk(session)


def test_a_split_class_is_to_be_traced_again_where_it_was(session):
    answer(session, 0, "a", columns(2, 4))
    answer(session, 0, "b", columns(3, 5))
    session.store_absent(1, 1)
    session.set_range(1, (0, 2))
    event = session.split_class(1, ["left", "right"])
    assert session.images.names == ("background", "left", "right", "b")
    assert answered(session) == {("s0", "b")} and event["text"].endswith("'left', 'right'")
    # What lay under the old outline does not fall to its neighbour.
    assert (labels(session, "s0")[:, 2:4] == "").all()
    assert (labels(session, "s0")[:, 4] == "b").all()
    assert ranges(session)["left"] == ranges(session)["right"] == ["s0", "s2"]
    answer(session, 0, "left", columns(2, 3))
    answer(session, 0, "right", columns(3, 4))
    agrees_with_disk(session)
    for _ in range(3):
        session.undo()
    assert answered(session) == {("s0", "a"), ("s0", "b"), ("s1", "a")}
    assert (labels(session, "s0")[:, 2:4] == "a").all()
    agrees_with_disk(session)


def test_a_section_left_out_comes_back_with_its_answers(session):
    answer(session, 1, "a", columns(2, 4))
    answer(session, 2, "a", columns(3, 4))
    session.set_range(1, (1, 2))
    session.leave_out(1)
    assert session.images.sections == ("s0", "s2", "s3") and session.left_out == ("s1",)
    assert answered(session) == {("s2", "a")} and ranges(session)["a"] == ["s2"]
    session.set_range(1, (1, 2))  # from s2 to s3 now, so that s1 is beyond it
    answer(session, 2, "b", columns(2, 5))
    agrees_with_disk(session)
    with pytest.raises(InputError, match="belongs to what was changed"):
        session.withdraw(1)
    session.take_in("s1")
    assert answered(session) == {("s1", "a"), ("s2", "a"), ("s3", "b")}
    assert ranges(session)["a"] == ["s1", "s2", "s3"]  # it was traced there
    agrees_with_disk(session)
    session.leave_out(0)
    session.leave_out(0)
    with pytest.raises(InputError, match="at least two sections"):
        session.leave_out(0)
    with pytest.raises(InputError, match="is not left out; of those that are: s0, s1"):
        session.take_in("s3")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_section_takes_its_outlines_along(session, degrees):
    corner = np.zeros(SHAPE[1:], bool)
    corner[0, 2:4] = True
    answer(session, 1, "a", corner)
    image = session.images.images[1]
    with pytest.raises(InputError, match="4 degrees; give 90"):
        session.turn(1, 4)
    session.turn(1, degrees)
    # Of 5 x 8, a quarter turn takes the middle 5 columns along, of which 4 are inside.
    own, seen = {90: ((1, 6), (1, 6)), 180: ((0, 8), (0, 8)), 270: ((2, 7), (1, 6))}[degrees]
    own, seen = slice(*own), slice(*seen)
    np.testing.assert_array_equal(
        labels(session, "s1")[:, seen] == "a", np.rot90(corner[:, own], -degrees // 90)
    )
    np.testing.assert_array_equal(
        session.images.images[1][:, seen], np.rot90(image[:, own], -degrees // 90)
    )
    session.mirror(1)
    answer(session, 1, "b", labels(session, "s1") == "")
    agrees_with_disk(session)
    session.withdraw(2)
    np.testing.assert_array_equal(labels(session, "s1") == "a", corner[:, ::-1] & INSIDE[1])
    agrees_with_disk(session)


def test_what_is_turned_out_of_its_frame_is_refused(tmp_path):
    images = make_images(PIXELS, NAMES)
    create(tmp_path / "s", images=images)
    with sessions.open_session(tmp_path / "s") as session:
        with pytest.raises(InputError, match="15 px would be out of the frame of 5 by 8"):
            session.turn(0, 90)
        session.turn(0, 180)
        np.testing.assert_array_equal(session.images.images[0, ..., 0], PIXELS[0, ::-1, ::-1])


def test_a_rescan_lies_under_the_outlines(session):
    answer(session, 1, "a", columns(2, 4))
    scan = np.full((*SHAPE[1:], 1), 7, np.uint8)
    scan[0, 2] = 90
    session.mirror(1)
    session.replace_image(1, scan)
    np.testing.assert_array_equal(session.images.images[1], scan)  # as it is seen now
    assert answered(session) == {("s1", "a")}
    agrees_with_disk(session)
    with pytest.raises(InputError, match=r"section s1: .* bring it into the frame of the others"):
        session.replace_image(1, scan[:2])
    session.withdraw(2)
    np.testing.assert_array_equal(session.images.images[1], scan[:, ::-1])
    (path,) = (session.folder / "rescans").iterdir()
    np.save(path, scan)
    with pytest.raises(InputError, match="holds another image than its section"):
        sessions.read_session(session.folder)


def test_another_order_takes_ranges_along(session):
    answer(session, 1, "a", columns(2, 4))
    session.set_range(1, (0, 1))
    session.set_order([0, 2, 1, 3])
    assert session.images.sections == ("s0", "s2", "s1", "s3")
    assert ranges(session)["a"] == ["s0", "s2", "s1"]  # what is between may show it, too
    assert answered(session) == {("s1", "a")}
    with pytest.raises(InputError, match="names each of the 4 sections once"):
        session.set_order([0, 0, 1, 2])
    session.leave_out(1)
    session.set_order([2, 0, 1])
    session.take_in("s2")
    assert session.images.sections == ("s3", "s0", "s2", "s1")
    agrees_with_disk(session)


def test_a_new_class_has_a_colour_of_its_own(tmp_path):
    colours = [(0, 0, 0), (230, 159, 0), (213, 94, 0)]
    create(tmp_path / "s", images=make_images(PIXELS, NAMES, INSIDE, colours=colours))
    with sessions.open_session(tmp_path / "s") as session:
        session.add_class("c")
        session.add_class("d", colour=(1, 2, 3))
        assert session.images.colours[:3] == tuple(colours)
        assert session.images.colours[4] == (1, 2, 3) and len(set(session.images.colours)) == 5
        agrees_with_disk(session)


MEANT = [
    lambda session: session.turn(np.int64(1), np.int64(180)),
    lambda session: session.add_class("c", [np.int8(1), None], np.array([1, 2, 255], np.uint8)),
    lambda session: session.add_class(np.str_("c"), np.array([1, 2]), [1, 2, 3]),
    lambda session: session.merge_classes(np.array([1, 2]), "ab"),
    lambda session: session.split_class(np.int64(1), np.array(["c", "d"])),
    lambda session: session.set_order(np.array([1, 0, 2, 3])),
    lambda session: session.replace_image(jax.numpy.int32(1), jax.numpy.asarray(IMAGES.images[0])),
    lambda session: session.skip(1, 1, np.str_("torn")),
    lambda session: session.note(np.str_("torn")),
]


@pytest.mark.parametrize("change", MEANT)
def test_numbers_and_arrays_of_numpy_are_taken(session, change):
    change(session)
    agrees_with_disk(session)


WRONG = [
    (lambda session: session.leave_out(True), "the section is True; give a whole number"),
    (lambda session: session.mirror("s1"), "the section is 's1'"),
    (lambda session: session.turn(1, [180]), r"the angle is \[180\]"),
    (lambda session: session.turn(1, "180"), "the angle is '180'"),
    (lambda session: session.turn(1, 45), "45 degrees; give 90, 180 or 270"),
    (lambda session: session.add_class("c", (None, None), "red"), "the parts .* are 'red'; give a"),
    (lambda session: session.add_class("c", colour=(1, 2)), r"the colour is \(1, 2\); give red"),
    (lambda session: session.add_class("c", colour=(300, 2, 1)), "each 0 to 255"),
    (lambda session: session.add_class("c", colour=(0.5, 0, 0)), "part of the colour is 0.5"),
    (lambda session: session.add_class("c", colour=7), "colour are 7; give a list"),
    (lambda session: session.add_class("c", "s1"), "the section is 's'"),
    (lambda session: session.add_class("c", ("s1", "s2")), "the section is 's1'"),
    (lambda session: session.add_class("c", (0.0, 2.0)), "the section is 0.0"),
    (lambda session: session.add_class("c", (1,)), r"the range is \(1,\)"),
    (lambda session: session.add_class("c", None), "the range is None"),
    (lambda session: session.add_class(5), "the name of a class is 5; give text"),
    (lambda session: session.rename_class(1.0, "c"), "the structure is 1.0"),
    (lambda session: session.rename_class("a", "c"), "the structure is 'a'"),
    (lambda session: session.rename_class(3, "c"), "there is no structure 3"),
    (lambda session: session.rename_class(1, ["c"]), r"the name of a class is \['c'\]"),
    (lambda session: session.merge_classes(["a", "b"], "c"), "the structure is 'a'"),
    (lambda session: session.merge_classes("ab", "c"), "the structures are 'ab'; give a list"),
    (lambda session: session.merge_classes(1, "c"), "the structures are 1; give a list"),
    (lambda session: session.split_class(1, "cd"), "the names are 'cd'; give a list"),
    (lambda session: session.split_class(1, [1, 2]), "the name of a class is 1"),
    (lambda session: session.set_order(None), "the sections are None; give a list"),
    (lambda session: session.set_order([0, "a", 2, 3]), "the section is 'a'"),
    (lambda session: session.set_order("0123"), "the sections are '0123'"),
    (lambda session: session.set_order([[0, 1, 2, 3]]), "give a whole number"),
    (lambda session: session.replace_image(0, None), r"the image is object of \[\]"),
    (
        lambda session: session.replace_image(0, PIXELS[0].tolist()),
        r"the image is int64 of \[5, 8\]",
    ),
    (lambda session: session.replace_image(0, [[0], [0, 1]]), "s0: the image is no array"),
    (lambda session: session.take_in(2), "the name of the section is 2; give text"),
    (lambda session: session.skip(1, 1, np.int64(4)), "the reason is .*4.*; give text"),
    (lambda session: session.note(np.int64(4)), "the note is .*4.*; give text"),
    (lambda session: session.note(b"x"), "the note is b'x'; give text"),
]


def test_what_is_no_number_no_list_and_no_text_is_refused(session):
    for change, says in WRONG:
        with pytest.raises(InputError, match=says):
            change(session)
    assert (session.folder / ledger.LEDGER).read_bytes() == b""


@pytest.mark.parametrize("name", ["A", " a", "a\u200b", "a  "])
def test_names_that_tables_could_not_tell_apart_are_refused(session, name):
    for change in (
        lambda: session.add_class(name),
        lambda: session.rename_class(2, name),
        lambda: session.merge_classes([0, 2], name),
        lambda: session.split_class(2, ["c", name]),
    ):
        with pytest.raises(InputError, match="is 'a' once more; give it another name"):
            change()
    with pytest.raises(InputError, match="'C' is 'c' once more"):
        session.split_class(2, ["c", "C"])
    session.rename_class(1, name.strip(" \u200b").upper())  # of its own name
    assert session.images.names == ("background", "A", "b")


@pytest.mark.parametrize("name", ["s2.png", "s2", " S2 ", "S2.PNG"])
def test_a_section_is_taken_in_by_its_name_as_it_is_left_out(tmp_path, name):
    sections = tuple(f"s{n}.png" for n in range(4))
    images = make_images(PIXELS, NAMES, INSIDE, sections=sections)
    with sessions.open_session(create(tmp_path / "s", images=images)) as session:
        session.leave_out(2)
        with pytest.raises(InputError, match=r"section 's1' is not left out; .* are: s2.png"):
            session.take_in("s1")
        session.take_in(name)
        assert session.images.sections == sections and not session.left_out


def test_refusals_of_names(session):
    for change in (
        lambda: session.add_class("a"),
        lambda: session.add_class(" "),
        lambda: session.rename_class(1, "b"),
        lambda: session.rename_class(0, "ground"),
        lambda: session.merge_classes([1, 1], "x"),
        lambda: session.split_class(1, ["x"]),
        lambda: session.split_class(1, ["x", "b"]),
        lambda: session.split_class(9, ["x", "y"]),
        lambda: session.add_class("c", (0, 7)),
        lambda: session.leave_out(4),
    ):
        with pytest.raises(InputError):
            change()
    assert session.events == [] and session.images.names == NAMES


@pytest.mark.parametrize("shape", [(4, 4), (5, 8), (8, 5), (5, 6), (6, 5)])
def test_what_turns_is_turned_back(shape):
    side, (height, width) = min(shape), shape
    number, own = np.arange(height * width).reshape(shape) + 1, np.zeros(shape, int)
    middle = (slice((height - side) // 2, None), slice((width - side) // 2, None))
    own[middle][:side, :side] = number[middle][:side, :side]
    for turns in ("m", "r", "h", "l"):
        found = turned_back(turned(own, turns), turns)
        np.testing.assert_array_equal(found, own if (found > 0).sum() == side**2 else found, turns)
    np.testing.assert_array_equal(turned(own, "h"), own[::-1, ::-1])
    np.testing.assert_array_equal(turned_back(turned(number, "mhm"), "mhm"), number)
    if height == width:
        np.testing.assert_array_equal(turned(number, "r"), np.rot90(number, -1))
        np.testing.assert_array_equal(turned(number, "rlmm"), number)


# The network.


@pytest.fixture(scope="module")
def trained(tmp_path_factory, programs_once):
    """A session of the small stack whose network has learnt."""
    place = ts.create(tmp_path_factory.mktemp("trained") / "s")
    with sessions.open_session(place) as session:
        while session.next_question().example:
            ts.answer_question(session)
        ts.answer_question(session)
        while session.train_step():
            pass
    return place


@pytest.fixture
def learnt(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "s")
    with sessions.open_session(tmp_path / "s") as session:
        yield session


def probabilities(session, section=0):
    """[H, W, C], of the network alone."""
    network, params = (
        tiny.Pixelwise(session.images.num_classes),
        session.network.learner.train.params,
    )
    image = np.asarray(session.images.images[section], np.float32)
    logits = network.apply({"params": params}, np.repeat(image[None], 3, -1) / 127.5 - 1)
    return np.asarray(jax.nn.softmax(logits[0]))


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_a_network_goes_with_other_names_and_sections(learnt):
    before = learnt.network
    learnt.rename_class(1, "ring")
    learnt.mirror(2)
    assert learnt.network is before and learnt.train_step() is None
    learnt.leave_out(4)
    learnt.set_order([1, 0, 2, 3, 4])
    assert learnt.train_step() is None and learnt.behind() == 0
    equal(learnt.network.learner.train, before.learner.train)
    equal(learnt.network.learner.dice, before.learner.dice)
    for name in ("fit", "labelled", "uncertainty"):
        old = np.asarray(getattr(before.learner, name))[[1, 0, 2, 3, 5]]
        np.testing.assert_array_equal(getattr(learnt.network.learner, name), old)
    assert learnt.next_question().proposal is not None
    again = sessions.read_session(learnt.folder)
    assert not again.notices, again.notices
    equal(again.network.learner, learnt.network.learner)
    for _ in range(4):
        learnt.undo()
    assert learnt.network is before and learnt.train_step() is None


@pytest.mark.slow
def test_an_added_class_takes_little_of_the_others(learnt):
    before, network = probabilities(learnt), learnt.network
    learnt.add_class("core", (2, 3))
    assert learnt.train_step() is None and learnt.network.trained
    after = probabilities(learnt)
    assert (after[..., 4] <= np.exp(-5) * before.max(-1) + 1e-6).all()
    ratio = after[..., :4] / before
    assert (ratio > 1 - np.exp(-5)).all() and np.ptp(ratio, -1).max() < 1e-4  # their odds stay
    np.testing.assert_array_equal(after[..., :4].argmax(-1), before.argmax(-1))
    question = learnt.next_question()
    assert question.example and question.name == "core"
    mask = question.inside & (question.labels < 0) & (np.arange(48) < 24)
    learnt.store_answer(question.section, question.structure, mask, question=question)
    assert learnt.train_step() is not None
    learnt.save_network()
    again = sessions.read_session(learnt.folder)
    assert not again.notices, again.notices
    equal(again.network.learner, learnt.network.learner)
    learnt.undo()
    learnt.undo()
    assert learnt.network.learner.dice.shape == network.learner.dice.shape
    while learnt.train_step():  # what was undone
        pass
    assert learnt.next_question().proposal is not None


@pytest.mark.slow
def test_a_network_with_merged_and_split_classes_learns_by_an_update(learnt):
    before, network = probabilities(learnt), learnt.network
    learnt.split_class(3, ["left", "right"])
    after = probabilities(learnt)
    np.testing.assert_allclose(after[..., 3], before[..., 3] / 2, atol=1e-5)
    np.testing.assert_allclose(after[..., 4], before[..., 3] / 2, atol=1e-5)
    np.testing.assert_allclose(after[..., :3], before[..., :3], atol=1e-5)
    trained = learnt.train_step()
    assert trained is not None and not trained.first
    learnt.undo()
    learnt.merge_classes([2, 3], "middle")
    assert learnt.images.num_classes == 3 and learnt.train_step() is not None
    learnt.undo()
    assert learnt.network.learner.dice.shape == network.learner.dice.shape


def test_what_is_known_of_carried_outlines_goes_with_its_class(tmp_path):
    """A class is added to a session with neighbours, which is opened again at once, and later."""
    own = Settings(0, changed(ts.CONFIG, {"neighbours": True}))
    place = ts.create(tmp_path / "s", settings=own)
    with sessions.open_session(place) as session:
        while session.next_question().example:
            ts.answer_question(session)
        while session.train_step():
            pass
        session.save_network()
        before = session.network.learner
        assert before.carrying.shape == (4, 4) and np.isfinite(before.proposed).all()
        session.add_class("core", (2, 3))
        for _ in range(2):
            after = session.network.learner
            np.testing.assert_allclose(after.carrying[:, :4], before.carrying, rtol=1e-6)
            np.testing.assert_array_equal(after.carrying[:, 4:], begin(jnp.zeros(1)))
            np.testing.assert_array_equal(after.proposed[:, :4], before.proposed)
            assert np.isnan(after.proposed[:, 4]).all()
            again = sessions.read_session(place)
            assert not again.notices, again.notices
            equal(again.network.learner, after)
            session.train_step()
            session.save_network()


def test_what_goes_with_merged_and_split_classes_by_hand():
    """Classes 1 and 2 become one, 3 has two parts, and another is new."""
    sources = [[0], [1, 2], [3], [3], []]
    carrying = np.arange(16, dtype=np.float32).reshape(4, 4)
    found = conversion._carrying(carrying, sources)
    np.testing.assert_array_equal(found[:, :4], carrying[:, [0, 1, 3, 3]] + [0, 0.5, 0, 0])
    np.testing.assert_array_equal(found[:, 4:], begin(jnp.zeros(1)))
    outlines = np.arange(8, dtype=np.float32).reshape(2, 4)
    learner = types.SimpleNamespace(proposed=outlines)
    found = conversion._proposed(learner, [1, -1, 0], [[0], [1, 2], [3], [3], []])
    expected = np.full((3, 5), np.nan)
    expected[[0, 2], 0] = [4, 0]
    np.testing.assert_array_equal(found, expected)


# The same at random.

KINDS = (
    *("answer",) * 6,
    *("absent", "skip", "range", "undo", "withdraw", "withdraw"),
    *("add", "rename", "merge", "split", "leave_out", "take_in", "replace"),
    *("mirror", "turn", "order"),
)
MOVES = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 999), st.integers(0, 999), st.integers(0, 9)
)


def _move(session, kind, one, two, three):
    images = session.images
    n, c = one % images.num_sections, two % images.num_classes
    other = (c + 1 + three % (images.num_classes - 1)) % images.num_classes
    free = f"n{len(session.events)}"
    match kind:
        case "answer":
            mask = np.random.default_rng(one * 1000 + two).random(SHAPE[1:]) < 0.4
            session.store_answer(n, c, mask, widen=bool(three % 2))
        case "absent":
            session.store_absent(n, c)
        case "skip":
            session.skip(n, c)
        case "range":
            session.set_range(c, (None if three % 3 else min(n, one % 2), max(n, 1)))
        case "undo":
            session.undo()
        case "withdraw":
            session.withdraw(1 + one % (len(session.events) + 1))
        case "add":
            session.add_class(free, (0, n))
        case "rename":
            session.rename_class(c, free)
        case "merge":
            keep = "background" if 0 in (c, other) else (free, images.names[c])[three % 2]
            session.merge_classes([c, other], keep)
        case "split":
            session.split_class(c, [images.names[c] if c == 0 or three % 2 else free, f"{free}x"])
        case "leave_out":
            session.leave_out(n)
        case "take_in":
            session.take_in((session.left_out or ("none",))[0])
        case "replace":
            session.replace_image(n, np.full((*SHAPE[1:], 1), one % 256, np.uint8))
        case "mirror":
            session.mirror(n)
        case "turn":
            session.turn(n, 90 * (1 + two % 3))
        case "order":
            order = np.random.default_rng(one).permutation(images.num_sections)
            session.set_order(order.tolist())


def _seen(session):
    """Labels of each section by its name, in the pixels that it has before any turn, by name."""
    found = {}
    for n, name in enumerate(session.images.sections):
        turns = session.place_of(n, 0)[2]
        own = session.annotations.labels_of(n, session.images)
        inside = turned_back(np.asarray(session.images.inside[n]), turns)
        back = turned_back(own + 1, turns)
        found[name] = np.where(inside, np.array(["", *session.images.names])[back], "")
    return found


def _renamed(kind, event, labels):
    """What the labels of a section are to be after a change."""
    if kind == "rename":
        return np.where(labels == event["structure"], event["names"][0], labels)
    if kind == "merge":
        return np.where(np.isin(labels, event["structures"]), event["names"][0], labels)
    if kind == "split":
        return np.where(labels == event["structure"], "", labels)
    return labels


# An answer on a section that was left out and taken in again.
AGAIN = [
    *(("split", 701, 10, 8), ("add", 846, 107, 7), ("answer", 225, 869, 0)),
    *(("order", 642, 15, 0), ("answer", 449, 477, 3), ("leave_out", 480, 193, 3)),
    *(("take_in", 839, 829, 6), ("answer", 999, 235, 2), ("answer", 0, 138, 0)),
]


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@example(AGAIN)
@given(st.lists(MOVES, min_size=4, max_size=16))
def test_any_changes_leave_outlines_where_they_were(tmp_path_factory, moves):
    place = create(tmp_path_factory.mktemp("any") / "s")
    history = []  # what was seen before each event
    with sessions.open_session(place) as session:
        for kind, *numbers in moves:
            before, count, ledger_before = _seen(session), len(session.events), session._written[:]
            left = sessions.effective(session.events)
            newest = max(
                (e["number"] for e in left if e["event"] not in ("note", "rest")), default=0
            )
            state = session.annotations
            try:
                _move(session, kind, *numbers)
            except InputError as error:
                assert str(error)
                assert len(session.events) == count and session._written == ledger_before
                assert session.annotations is state
                continue
            agrees_with_disk(session)
            after = _seen(session)
            history += [before] * (len(session.events) - len(history))
            if kind in ("answer", "absent", "undo", "withdraw"):
                if kind == "undo" and 0 < newest == count:  # nothing came after what it takes back
                    assert set(after) == set(history[count - 1])
                    for name, own in history[count - 1].items():
                        np.testing.assert_array_equal(after[name], own)
                continue
            event = session._written[-1]
            for name in set(before) & set(after):
                expected = _renamed(kind, event, before[name])
                if kind == "merge":  # where a part is open, the pair is to be answered again
                    n = session.images.sections.index(name)
                    c = session.images.names.index(event["names"][0])
                    if not session.annotations.state.annotated[n, c]:
                        expected = np.where(expected == event["names"][0], "", expected)
                np.testing.assert_array_equal(after[name], expected)
