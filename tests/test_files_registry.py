"""One table of readers: the longest ending wins, and a line more is a format more."""

import pathlib

import numpy as np
import pytest
from samples import TABLE, refused, save, small_volumes

from al_jax.files.inputs import is_volume, read_images, read_labelled
from al_jax.files.pictures import array_pages
from al_jax.files.registry import PICTURES, STACKS, VOLUMES, find
from al_jax.files.slicing import Cut
from al_jax.files.voxels import load_nibabel, load_nrrd


def test_the_longest_ending_wins_and_then_what_is_in_the_file(tmp_path):
    assert find(VOLUMES, pathlib.Path("a.NII.gz")) is load_nibabel
    assert find(VOLUMES, pathlib.Path("a.seg.nrrd")) is load_nrrd
    assert find(VOLUMES, pathlib.Path("a.mha")) is None
    readers = {".b": 1, ".a.b": 2, pathlib.Path.is_dir: 3}
    assert [find(readers, pathlib.Path(name)) for name in ("x.b", "x.A.b", "a.b.c")] == [1, 2, None]
    assert find(readers, tmp_path) == 3
    assert find(STACKS, tmp_path) is None
    refused("none: there is no such file", find, STACKS, tmp_path / "none")


def test_a_format_of_volumes_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(VOLUMES, ".npv", lambda path: (np.load(path), np.diag([-1.0, 1, 1, 1])))
    image, labels = small_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    for name, array in (("image", image), ("labels", labels)):
        with open(tmp_path / f"{name}.npv", "wb") as file:
            np.save(file, array)
        save(tmp_path / f"{name}.nii", array, np.diag([-1.0, 1, 1, 1]))
    assert is_volume(tmp_path / "image.npv")
    own, known = (
        read_labelled(
            tmp_path / f"image{ending}",
            tmp_path / f"labels{ending}",
            tmp_path / "names.csv",
            cut=Cut(sections=6),
        )
        for ending in (".npv", ".nii")
    )
    np.testing.assert_array_equal(own.images, known.images)
    np.testing.assert_array_equal(own.truth, known.truth)
    assert own.place == known.place


def test_a_format_of_pictures_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(PICTURES, ".npy", lambda path: array_pages(path, np.load(path)[None])[0])
    (tmp_path / "names.csv").write_text(TABLE)
    (tmp_path / "images").mkdir()
    for n in (10, 9):
        np.save(tmp_path / "images" / f"s{n}.npy", np.full((3, 4), n, np.uint8))
    found = read_images(tmp_path / "images", tmp_path / "names.csv")
    assert found.sections == ("s9.npy", "s10.npy") and found.images[:, 0, 0, 0].tolist() == [9, 10]


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 1, 1), (0, 3, 4)])
def test_arrays_that_are_not_a_stack(shape):
    refused("x: holds .* values of type", array_pages, "x", np.zeros(shape))
    refused("of type <U1", array_pages, "x", np.full((2, 3, 4), "a"))
