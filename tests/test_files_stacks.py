"""npz files and the shipped stack."""

import importlib.resources

import numpy as np
import pytest
from samples import assert_equal, refused, small_stack

from al_jax.core.stack import make_images, make_stack
from al_jax.files.stacks import load_default, read_stack, read_stack_images, write_stack


def test_npz_round_trip_gives_equal_stacks_and_equal_bytes(tmp_path):
    stack = small_stack()
    first, second = tmp_path / "first", tmp_path / "second.npz"
    write_stack(first, stack)
    write_stack(second, read_stack(first))
    assert_equal(read_stack(second), stack)
    assert first.read_bytes() == second.read_bytes()


def test_npz_round_trip_of_floats(tmp_path):
    stack = make_stack(
        np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
        np.ones((2, 3, 4), int),
        ["background", "a"],
    )
    write_stack(tmp_path / "stack.npz", stack)
    assert_equal(read_stack(tmp_path / "stack.npz"), stack)


def test_sections_without_truth(tmp_path):
    stack = small_stack()
    images = make_images(
        stack.images, stack.names, stack.inside, sections=stack.sections, colours=stack.colours
    )
    write_stack(tmp_path / "images.npz", images)
    write_stack(tmp_path / "stack.npz", stack)
    for name in ("images.npz", "stack.npz"):
        found = read_stack_images(tmp_path / name)
        np.testing.assert_array_equal(found.images, stack.images)
        np.testing.assert_array_equal(found.inside, stack.inside)
        assert found.sections == stack.sections and found.colours == stack.colours
        assert found.names == stack.names and not hasattr(found, "truth")
    refused("images.npz: has no array 'truth'", read_stack, tmp_path / "images.npz")


def test_files_of_before_have_no_sections_and_colours(tmp_path):
    stack = small_stack()
    parts = {
        name: np.asarray(getattr(stack, name)) for name in ("images", "inside", "truth", "names")
    }
    np.savez(tmp_path / "old.npz", **parts)
    found = read_stack(tmp_path / "old.npz")
    assert found.sections == ("0", "1", "2") and found.colours is None
    np.testing.assert_array_equal(found.truth, stack.truth)
    # Nor do those of sections that have only their numbers.
    write_stack(tmp_path / "new.npz", found)
    with np.load(tmp_path / "new.npz") as archive:
        assert sorted(archive) == sorted(parts)


def test_read_stack_refuses(tmp_path):
    stack = small_stack()
    path = tmp_path / "stack.npz"
    arrays = {"images": stack.images, "truth": stack.truth, "inside": stack.inside}
    refused("stack.npz: there is no such file", read_stack, path)
    refused(": is a folder, not an npz", read_stack, tmp_path)
    path.write_bytes(b"")
    refused("stack.npz: cannot be read as an npz", read_stack, path)
    np.save(tmp_path / "array.npy", stack.images)
    refused("array.npy: cannot be read as an npz", read_stack, tmp_path / "array.npy")
    np.savez(path, **arrays)
    refused("stack.npz: has no array 'names'", read_stack, path)
    np.savez(path, **arrays, names=np.array([0, 1, 2]))
    refused("stack.npz: 'names' is not a list of strings", read_stack, path)
    np.savez(path, **arrays, names=np.array(["background", None, "b"], object))
    refused("stack.npz: cannot be read as an npz", read_stack, path)
    names = np.array(stack.names)
    np.savez(path, **arrays | {"truth": stack.truth[:, :2]}, names=names)
    refused("stack.npz: truth has shape", read_stack, path)
    np.savez(path, **arrays, names=names, sections=np.arange(3))
    refused("stack.npz: 'sections' is not a list of strings", read_stack, path)
    np.savez(path, **arrays, names=names, sections=np.array(["a", "b"]))
    refused("stack.npz: 2 names for 3 sections", read_stack, path)
    np.savez(path, **arrays, names=names, colours=np.zeros((3, 4), int))
    refused("stack.npz: 'colours' is not a list of colours", read_stack, path)


def test_a_path_may_begin_with_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_stack("~/stack.npz", small_stack())
    assert_equal(read_stack("~/stack.npz"), small_stack())
    assert [path.name for path in tmp_path.iterdir()] == ["stack.npz"]


def test_default_stack():
    stack = load_default()
    assert stack.names == (
        "background",
        "cortex",
        "white_matter",
        "thalamus",
        "caudate",
        "putamen",
        "pallidum",
        "hippocampus",
        "amygdala",
    )
    assert stack.num_sections == 24 and stack.images.dtype == np.uint8
    assert stack.images.shape[-1] == 1 and stack.inside.all()
    assert not stack.images.shape[1] % 16 and not stack.images.shape[2] % 16
    assert (stack.truth >= 3).any((1, 2)).all()
    # Images and labels line up: no tissue in air, white matter is brightest, background darkest.
    grey = stack.images[..., 0]
    assert (grey[stack.truth > 0] > 0).all()
    medians = [np.median(grey[stack.truth == c]) for c in range(9)]
    assert np.argmax(medians) == 2 and np.argmin(medians) == 0
    shipped = importlib.resources.files("al_jax").joinpath("data", "colin27.npz")
    with importlib.resources.as_file(shipped) as path:
        assert path.stat().st_size <= 600_000


@pytest.mark.slow
def test_default_stack_is_what_the_script_makes(shared):
    script = pytest.importorskip("experiments.make_colin27")
    assert_equal(load_default(), script.make(shared / "data/colin27"))
