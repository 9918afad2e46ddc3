"""A reader of a plugin: OME-Zarr is read as if al_jax knew it."""

import numpy as np
import pytest
from samples import TABLE, refused

from al_jax.files.inputs import is_volume, read_images, read_labelled
from al_jax.files.registry import STACKS, register_reader

zarr = pytest.importorskip("zarr", reason="the package of the example: pip install '.[test]'")


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    """The plugin's line in the table, which goes with the test."""
    from experiments.plugins.ome_zarr import read_ome_zarr

    monkeypatch.delitem(STACKS, ".ome.zarr", raising=False)
    register_reader(".ome.zarr", read_ome_zarr)
    yield
    del STACKS[".ome.zarr"]


def save(path, array, axes):
    """An image with one resolution, as the specification (0.5) says."""
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=array)
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    image = {"axes": named, "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 3, 5, 7], (4, 5, 6)).astype(np.uint16)
    images = rng.integers(0, 256, labels.shape, dtype=np.uint8)
    (tmp_path / "names.csv").write_text(TABLE)
    return (
        save(tmp_path / "images.ome.zarr", images, "zyx"),
        save(tmp_path / "labels.OME.zarr", labels, "zyx"),
        tmp_path / "names.csv",
    ), (images, labels)


def test_sections_and_labels(paths):
    paths, (images, labels) = paths
    assert not is_volume(paths[0])
    stack = read_labelled(*paths)
    np.testing.assert_array_equal(stack.images[..., 0], images)
    np.testing.assert_array_equal(stack.truth, np.searchsorted([0, 3, 5, 7], labels))
    assert stack.sections == ("0", "1", "2", "3")
    np.testing.assert_array_equal(read_images(paths[0], paths[2]).images, stack.images)


@pytest.mark.parametrize(("axes", "at"), [("czyx", 0), ("zcyx", 1), ("zyxc", 3)])
def test_channels(paths, axes, at):
    paths, (images, _) = paths
    colours = np.stack([images, 255 - images, images // 2], at)
    save(paths[0], colours, axes)
    found = read_images(paths[0], paths[2]).images
    np.testing.assert_array_equal(found, np.moveaxis(colours, at, -1))
    save(paths[0], colours.take([0, 1], at), axes)
    refused("images.ome.zarr: has 2 channels, not one or three", read_labelled, *paths)
    np.testing.assert_array_equal(read_labelled(*paths, channels=[1]).images[..., 0], 255 - images)


def test_deep_images_are_scaled(paths):
    paths, (images, _) = paths
    save(paths[0], images.astype(np.float32) / 7, "zyx")
    deep = read_images(paths[0], paths[2]).images[..., 0]
    assert deep.dtype == np.uint8 and np.corrcoef(deep.ravel(), images.ravel())[0, 1] > 0.99


def test_what_is_refused(paths, tmp_path):
    paths, (images, labels) = paths
    refused(
        "names.csv: is not a stack of pages but .*images.ome.zarr is",
        read_labelled,
        paths[0],
        paths[2],
        paths[2],
    )
    save(paths[1], labels[:3], "zyx")
    refused("labels.OME.zarr: has 3 pages but .*images.ome.zarr has 4", read_labelled, *paths)
    save(paths[0], images[None, None], "tczyx")
    refused("images.ome.zarr: holds 1 by 4 by 5 by 6 by 1 values", read_labelled, *paths)
    zarr.open_group(tmp_path / "empty.ome.zarr", mode="w")
    refused(
        "empty.ome.zarr: cannot be read as a stack",
        read_images,
        tmp_path / "empty.ome.zarr",
        paths[2],
    )
