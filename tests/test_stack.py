import jax
import numpy as np
import pytest

from al_jax.core.stack import (
    UNLABELLED,
    Images,
    InputError,
    Place,
    Stack,
    drop_absent,
    make_images,
    make_stack,
)

NAMES = ("background", "a", "b")


def parts(**changes):
    truth = np.zeros((2, 3, 4), np.int64)
    truth[0, 0, 0], truth[1, 2, 3] = 1, 2
    given = {"images": np.zeros((2, 3, 4), np.uint8), "truth": truth, "names": NAMES}
    return given | changes


def with_value(array, where, value):
    array = array.copy()
    array[where] = value
    return array


def test_fills_in_the_channel_and_the_domain():
    stack = make_stack(**parts())
    assert stack.images.shape == (2, 3, 4, 1) and stack.images.dtype == np.uint8
    assert stack.inside.all() and stack.inside.dtype == bool
    assert stack.truth.dtype == np.int16 and stack.truth[1, 2, 3] == 2
    assert stack.names == NAMES
    assert (stack.num_sections, stack.num_classes) == (2, 3)


def test_outside_is_unlabelled_whatever_the_labels_say():
    given = parts()
    inside = with_value(np.ones((2, 3, 4), bool), (0, 1), False)
    # 70000 would wrap to a class in int16.
    stack = make_stack(
        **given | {"truth": with_value(given["truth"], (0, 1, 0), 70000)}, inside=inside
    )
    assert (stack.truth[0, 1] == UNLABELLED).all()
    assert (stack.truth == UNLABELLED).sum() == 4


def test_floats_become_float32_and_the_arguments_stay_as_they_are():
    given = parts(images=np.full((2, 3, 4, 3), 0.5), truth=parts()["truth"].tolist())
    stack = make_stack(**given)
    assert stack.images.dtype == np.float32 and stack.images.shape[-1] == 3
    assert given["images"].dtype == np.float64
    assert isinstance(make_stack(**parts(images=jax.numpy.zeros((2, 3, 4)))).images, np.ndarray)


def test_background_alone_may_be_empty():
    truth = np.ones((2, 3, 4), np.uint8)
    assert make_stack(np.zeros((2, 3, 4), np.uint8), truth, ("background", "a")).num_classes == 2


def test_absent_classes_are_dropped_but_for_the_background():
    truth = np.array([[[3, -1, 3, 1]]])
    reds = [(red, 0, 0) for red in range(4)]
    found, names, colours = drop_absent(truth, ("background", "a", "b", "c"), reds)
    np.testing.assert_array_equal(found, [[[2, -1, 2, 1]]])
    assert names == ("background", "a", "c") and found.dtype == np.int16
    assert colours == ((0, 0, 0), (1, 0, 0), (3, 0, 0))
    assert drop_absent(truth, ("background", "a", "b", "c"))[2] is None


def test_labels_are_copied_only_where_they_must_change():
    truth = np.array([[[0, 1]], [[1, -1]]], np.int16)
    images, names = np.zeros((2, 1, 2), np.uint8), ("background", "a")
    inside = truth >= 0
    assert make_stack(images, truth, names, inside).truth is truth
    wild = np.where(inside, truth, 7).astype(np.int16)  # ignored outside
    np.testing.assert_array_equal(make_stack(images, wild, names, inside).truth, truth)
    assert wild[1, 0, 1] == 7
    out = np.array([[[2, 2]], [[-1, 0]]], np.int16)
    left, kept, _ = drop_absent(out, ("background", "a", "b"), out=out)
    assert left is out and out.tolist() == [[[1, 1]], [[-1, 0]]] and kept == ("background", "b")


def test_is_a_pytree_with_static_names():
    stack = make_stack(**parts())
    assert len(jax.tree.leaves(stack)) == 3

    @jax.jit
    def count(given: Stack):
        return [(given.truth == c).sum() for c in range(given.num_classes)]

    assert [int(n) for n in count(stack)] == [22, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((2, 3, 5), np.uint8)}, r"truth has shape \[2, 3, 4\].*\[2, 3, 5\]"),
        ({"images": np.zeros((2, 3, 4, 2), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((2, 3), np.uint8)}, r"shape \[2, 3\]"),
        ({"images": np.zeros((2, 0, 4), np.uint8)}, r"shape \[2, 0, 4, 1\]"),
        ({"images": np.zeros((2, 3, 4), np.int32)}, "int32; scale them"),
        ({"images": np.zeros((2, 3, 4), bool)}, "bool; scale them"),
        ({"images": np.full((2, 3, 4), "x")}, "scale them"),
        ({"images": [[1], [2, 3]]}, "images is not an array"),
        (
            {"images": with_value(np.zeros((2, 3, 4)), (1, 0, 0), np.nan)},
            "section 1 has pixels that are not finite",
        ),
        (
            {"images": with_value(np.zeros((2, 3, 4)), (0, 0, 0), 1e300)},
            "section 0 has pixels that are not finite",
        ),
        ({"images": np.zeros((1, 3, 4)), "truth": np.ones((1, 3, 4), int)}, "only one section"),
        ({"truth": parts()["truth"][:, :, :3]}, r"truth has shape \[2, 3, 3\]"),
        ({"truth": parts()["truth"].astype(float)}, "float64; give integer classes"),
        ({"truth": with_value(parts()["truth"], (1, 0, 0), 3)}, "section 1 has class 3"),
        ({"truth": with_value(parts()["truth"], (1, 0, 0), 65536)}, "section 1 has class 65536"),
        ({"truth": with_value(parts()["truth"], (0, 0, 1), -1)}, "section 0 has class -1"),
        ({"truth": with_value(parts()["truth"], (1, 2, 3), 0)}, "class 'b'; take it out"),
        ({"names": ("background", "a")}, "section 1 has class 2"),
        ({"names": (*NAMES, "c", "d")}, "class 'c', 'd'; take it out"),
        ({"names": ("background", "a", "a")}, "classes 1 and 2 are both 'a'"),
        ({"names": ("background", "a", " ")}, "class 2 has the name ' '"),
        ({"names": ("background", "a", "b\n")}, "class 2 has the name"),
        ({"names": ("background", "a", 3)}, "class 2 has the name 3"),
        ({"names": ("a", "b", "c")}, "put 'background' first"),
        ({"names": ("background",)}, "no class but background"),
        ({"names": ()}, "no names"),
        ({"names": "background"}, "must be a sequence"),
        ({"names": None}, "must be a sequence"),
        ({"inside": np.ones((2, 3, 4), int)}, "inside has dtype int64; give booleans"),
        ({"inside": np.ones((2, 3, 3), bool)}, r"inside has shape \[2, 3, 3\]"),
        (
            {"inside": with_value(np.ones((2, 3, 4), bool), 1, False)},
            "section 1 has no pixel inside",
        ),
        ({"inside": with_value(np.ones((2, 3, 4), bool), (0, 0, 0), False)}, "class 'a'"),
    ],
)
def test_refuses_bad_input_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        make_stack(**parts(**changes))
    assert "\n" not in str(caught.value)


def test_an_input_error_is_always_one_line():
    assert str(InputError("file:\n  first\n\tsecond ")) == "file: first second"
    assert issubclass(InputError, ValueError)


def test_images_need_no_truth():
    given = parts()
    images = make_images(given["images"], NAMES, sections=("s7", "s12"))
    assert not hasattr(images, "truth") and images.inside.all()
    assert images.sections == ("s7", "s12") and images.colours is None
    assert make_images(given["images"], NAMES).sections == ("0", "1")
    leaves = jax.tree.leaves(images)
    assert len(leaves) == 2 and isinstance(make_stack(**given), Images)


@pytest.mark.parametrize(
    "change",
    [{"sections": ["a"]}, {"colours": [(0, 0, 0)]}, {"place": Place((4, 3, 9), (), (), (7,))}],
)
def test_sections_and_classes_have_what_they_have_one_each(change):
    with pytest.raises(InputError, match="give one for each"):
        make_images(parts()["images"], NAMES, **change)


def test_a_refused_section_is_called_by_its_name():
    inside = with_value(np.ones((2, 3, 4), bool), 1, False)
    with pytest.raises(InputError, match=r"section s12 has no pixel inside"):
        make_images(parts()["images"], NAMES, inside, sections=("s7", "s12"))
