"""One reader for all inputs: it finds that of the format, and refuses what is not of it."""

import numpy as np
import pytest
import tifffile
from samples import TABLE, noted, refused, save, small_stack, small_volumes

from al_jax.files.inputs import is_volume, read_images, read_labelled
from al_jax.files.slicing import Cut
from al_jax.files.stacks import write_stack


@pytest.fixture
def inputs(tmp_path):
    """The same sections as a folder and as pages, a volume, an npz, and a table."""
    image, labels = small_volumes()
    for name, array in (("images", image), ("labels", labels)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="minisblack")
        for n, section in enumerate(array):
            tifffile.imwrite(tmp_path / name / f"{n}.tif", section)
        save(tmp_path / f"{name}.nii", array)
    (tmp_path / "names.csv").write_text(TABLE)
    write_stack(tmp_path / "stack.npz", small_stack())
    return tmp_path


def test_stacks_with_labels(inputs):
    names = inputs / "names.csv"
    folder = read_labelled(inputs / "images", inputs / "labels", names)
    assert folder.sections[:2] == ("0.tif", "1.tif") and folder.place is None
    pages = read_labelled(inputs / "images.tif", inputs / "labels.tif", names)
    np.testing.assert_array_equal(pages.truth, folder.truth)
    cut = Cut("axial", 5)
    volume = read_labelled(inputs / "images.nii", inputs / "labels.nii", names, cut=cut)
    assert volume.num_sections == 5 and volume.place is not None and volume.names == folder.names
    assert [is_volume(inputs / n) for n in ("images", "images.tif", "stack.npz", "images.nii")] == [
        False,
        False,
        False,
        True,
    ]


def test_images_without_labels(inputs):
    names = inputs / "names.csv"
    folder = read_images(inputs / "images", names)
    assert folder.images.shape == (10, 12, 14, 1) and folder.sections[:2] == ("0.tif", "1.tif")
    np.testing.assert_array_equal(read_images(inputs / "images.tif", names).images, folder.images)
    volume = read_images(inputs / "images.nii", names, cut=Cut(sections=3))
    assert volume.images.shape == (3, 16, 16, 1) and volume.sections == ("3", "5", "8")
    npz = read_images(inputs / "stack.npz")
    assert npz.names == small_stack().names and npz.colours == small_stack().colours
    grouped = read_images(inputs / "images", names, grouping="group")
    assert grouped.names == ("background", "nucleus", "shell")


def test_what_does_not_go_together(inputs):
    names = inputs / "names.csv"
    both = inputs / "images", inputs / "labels", names
    refused("images: is not a volume out of which", read_labelled, *both, cut=Cut())
    refused("images: is not a volume", read_images, inputs / "images", names, cut=Cut())
    refused("images: has no names of classes; give a table", read_images, inputs / "images")
    refused("stack.npz: has names of its own", read_images, inputs / "stack.npz", names)
    volume = inputs / "images.nii", inputs / "labels.nii", names
    refused("is a volume, whose labels have no suffix", read_labelled, *volume, label_suffix="_x")
    refused("none: there is no such file", read_images, inputs / "none", names)
    refused("names.csv: is not a volume that is read", read_images, names, names)
    refused("labels: is a folder, not a volume", read_labelled, volume[0], inputs / "labels", names)
    noted("24 sections were asked for but 6 show", read_labelled, *volume)
