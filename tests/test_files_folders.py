"""Folders of pictures."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import TABLE, assert_equal, picture_bytes, refused

from al_jax.files.folders import read_folder
from al_jax.stack import UNLABELLED


@pytest.fixture
def folders(tmp_path):
    """Three grey sections, s1, s2 and s10, of different sizes; ids 0, 3, 5, 7."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for n, (stem, shape) in enumerate({"s10": (4, 5), "s2": (6, 3), "s1": (5, 5)}.items()):
        ids = np.zeros(shape, np.uint8)
        ids[0, :3] = [3, 5, 7]
        image = np.full(shape, 10 * (n + 1), np.uint8)
        (tmp_path / "images" / f"{stem}.png").write_bytes(picture_bytes(image))
        (tmp_path / "labels" / f"{stem}.png").write_bytes(picture_bytes(ids))
    (tmp_path / "images" / "notes.txt").write_text("ignored")
    (tmp_path / "names.csv").write_text(TABLE)
    return tmp_path / "images", tmp_path / "labels", tmp_path / "names.csv"


def test_folder_order_padding_and_outside(folders):
    stack = read_folder(*folders)
    assert stack.images.shape == (3, 6, 5, 1)
    assert stack.images[:, 0, 0, 0].tolist() == [30, 20, 10]
    assert stack.inside.sum((1, 2)).tolist() == [25, 18, 20]
    assert stack.inside[1, :, :3].all() and not stack.inside[1, :, 3:].any()
    assert (stack.truth[~stack.inside] == UNLABELLED).all()
    assert stack.truth[2, 0].tolist() == [1, 2, 3, 0, 0]
    outside = read_folder(*folders, outside_id=0)
    assert outside.inside.sum() == 9 and outside.names == stack.names
    # An outside id need not be a class, and if listed is none.
    without = read_folder(*folders, outside_id=5)
    assert without.names == ("background", "left", "shell")
    assert (without.truth == UNLABELLED).sum() == (stack.truth == UNLABELLED).sum() + 3
    folders[2].write_text("id,name\n0,background\n3,a\n7,b\n")
    assert read_folder(*folders, outside_id=5).names == ("background", "a", "b")


def test_folder_kinds_of_images(folders):
    images = folders[0]
    for path in images.glob("*.png"):
        path.unlink()
    rng = np.random.default_rng(0)
    colours = {
        s: rng.integers(0, 256, (*shape, 4), dtype=np.uint8)
        for s, shape in {"s1": (5, 5), "s2": (6, 3), "s10": (4, 5)}.items()
    }
    (images / "s1.png").write_bytes(picture_bytes(colours["s1"]))  # RGBA
    palette = Image.fromarray(colours["s2"][..., :3]).quantize(18)
    palette.save(images / "s2.TIFF", "TIFF")
    (images / "s10.tif").write_bytes(picture_bytes(colours["s10"][..., 0], ".tif"))  # grey
    stack = read_folder(*folders)
    assert stack.images.shape == (3, 6, 5, 3)
    np.testing.assert_array_equal(stack.images[0, :5], colours["s1"][..., :3])
    np.testing.assert_array_equal(stack.images[1, :, :3], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(stack.images[2, :4, :, 2], colours["s10"][..., 0])


def test_folder_16_bit(folders):
    images = folders[0]
    for n, (stem, shape) in enumerate({"s1": (5, 5), "s2": (6, 3), "s10": (4, 5)}.items()):
        (images / f"{stem}.png").unlink()
        deep = np.full(shape, 1000 + 2000 * n, np.uint16)
        if stem == "s1":
            tifffile.imwrite(images / "s1.tif", np.stack([deep] * 3, -1), photometric="rgb")
        else:
            (images / f"{stem}.png").write_bytes(picture_bytes(deep))
    stack = read_folder(*folders)
    # One scale for the stack: 1000, 3000, 5000 to 0, 127.5, 255.
    assert stack.images[:, 0, 0, 0].tolist() == [0, 128, 255] and stack.images.shape[-1] == 3
    (images / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.uint8)))
    refused("s2.png: has 8 bits but .*s1.tif has 16", read_folder, *folders)


def test_folder_labels_may_be_palette_or_16_bit(folders):
    expected = read_folder(*folders)
    ids = np.asarray(Image.open(folders[1] / "s1.png"))
    indexed = Image.fromarray(ids)
    indexed.putpalette(list(range(256)) * 3)
    indexed.save(folders[1] / "s1.png")
    deep = np.asarray(Image.open(folders[1] / "s2.png")).astype(np.uint16)
    (folders[1] / "s2.png").unlink()
    tifffile.imwrite(folders[1] / "s2.tif", deep)
    assert_equal(read_folder(*folders), expected)


def test_folder_refuses(folders, tmp_path):
    images, labels, names = folders
    read = read_folder
    refused("none: is no folder", read, tmp_path / "none", labels, names)
    refused("names.csv: is no folder", read, names, labels, names)
    (tmp_path / "empty").mkdir()
    refused("empty: holds no PNG or TIFF", read, tmp_path / "empty", labels, names)
    refused("s1.png: every pixel has the outside id 0", blank_section, folders, 0)
    (images / "s1.tif").write_bytes(b"")
    refused("s1.tif: s1.png is the same section", read, *folders)
    (images / "s1.tif").unlink()
    (images / "s1.png").rename(images / "s3.png")
    refused("images: lacks the section 's1' of .*labels", read, *folders)
    (images / "s3.png").rename(images / "s1.png")

    def with_label(message, array):
        (labels / "s2.png").write_bytes(picture_bytes(array))
        refused(message, read, *folders)

    with_label(
        "s2.png: has 5 by 3 pixels but .*images/s2.png has 6 by 3", np.zeros((5, 3), np.uint8)
    )
    with_label("s2.png: has pixels of type RGB; labels", np.zeros((6, 3, 3), np.uint8))
    with_label("s2.png: has the id 4, which .*names.csv", np.full((6, 3), 4, np.uint8))
    tifffile.imwrite(labels / "s2.tif", np.zeros((2, 6, 3), np.uint8), photometric="minisblack")
    (labels / "s2.png").unlink()
    refused("s2.tif: holds 2 images", read, *folders)
    (labels / "s2.tif").unlink()
    (labels / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.uint8))[:-30])
    refused("labels/s2.png: cannot be read as an image", read, *folders)
    (labels / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.uint8)))
    names.write_text(TABLE + "8,missing,shell\n9,absent,shell\n")
    refused("names.csv: .*class 'missing', 'absent'", read, *folders)
    (images / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.float32), ".tif"))
    refused("images/s2.png: has pixels of type F", read, *folders)


def blank_section(folders, outside_id):
    """Reads the folders with a section s1 that is all outside."""
    path = folders[1] / "s1.png"
    before = path.read_bytes()
    path.write_bytes(picture_bytes(np.full((5, 5), outside_id, np.uint8)))
    try:
        return read_folder(*folders, outside_id=outside_id)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(("donor", "layers"), [("Br5292", 7), ("Br5595", 5)])
def test_histology(shared, tmp_path, donor, layers):
    folder = shared / "data/histology"
    table = folder / "labels.csv"
    if donor == "Br5595":  # shows neither of the two outer layers
        lines = table.read_text().splitlines()
        refused(
            "'L1', 'L2'",
            read_folder,
            folder / donor / "images",
            folder / donor / "labels",
            table,
            0,
        )
        table = tmp_path / "labels.csv"
        table.write_text("\n".join(line for line in lines if line[-2:] not in ("L1", "L2")))
    stack = read_folder(folder / donor / "images", folder / donor / "labels", table, 0)
    assert stack.images.shape == (4, 600, 600, 3) and stack.num_classes == layers + 1
    assert (stack.truth[stack.inside] > 0).all()
    assert 0.3 < stack.inside.mean() < 0.5
