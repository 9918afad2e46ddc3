"""Stacks of pictures: places, depths, ids, and stacks in one TIFF."""

import gc
import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import TABLE, noted, picture_bytes, refused

from al_jax.core.stack import UNLABELLED
from al_jax.files.inputs import read_images, read_labelled
from al_jax.files.reading import InputNote

pytestmark = pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
SHAPES = {"s1": (5, 5), "s2": (6, 3), "s10": (4, 5)}


@pytest.fixture
def folders(tmp_path):
    """Three grey sections, s1, s2 and s10, of different sizes; ids 0, 3, 5, 7."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for n, (stem, shape) in enumerate(reversed(SHAPES.items())):
        ids = np.zeros(shape, np.uint8)
        ids[0, :3] = [3, 5, 7]
        image = np.full(shape, 10 * (n + 1), np.uint8)
        (tmp_path / "images" / f"{stem}.png").write_bytes(picture_bytes(image))
        (tmp_path / "labels" / f"{stem}.png").write_bytes(picture_bytes(ids))
    (tmp_path / "images" / "notes.txt").write_text("ignored")
    (tmp_path / "names.csv").write_text(TABLE)
    return tmp_path / "images", tmp_path / "labels", tmp_path / "names.csv"


def test_order_padding_and_outside(folders):
    stack = read_labelled(*folders)
    assert stack.images.shape == (3, 6, 5, 1) and stack.sections == ("s1.png", "s2.png", "s10.png")
    assert stack.images[:, 0, 0, 0].tolist() == [30, 20, 10]
    assert stack.inside.sum((1, 2)).tolist() == [25, 18, 20]
    assert stack.inside[1, :, :3].all() and not stack.inside[1, :, 3:].any()
    assert (stack.truth[~stack.inside] == UNLABELLED).all()
    assert stack.truth[2, 0].tolist() == [1, 2, 3, 0, 0]
    outside = read_labelled(*folders, outside_id=0)
    assert outside.inside.sum() == 9 and outside.names == stack.names
    # An outside id need not be a class, and if listed is none.
    without = read_labelled(*folders, outside_id=5)
    assert without.names == ("background", "left", "shell")
    assert (without.truth == UNLABELLED).sum() == (stack.truth == UNLABELLED).sum() + 3
    folders[2].write_text("id,name\n0,background\n3,a\n7,b\n")
    assert read_labelled(*folders, outside_id=5).names == ("background", "a", "b")
    folders[2].write_text(TABLE)
    grouped = read_labelled(*folders, grouping="group")
    assert grouped.names == ("background", "nucleus", "shell")


def _notes(reader, *arguments) -> list[str]:
    with pytest.warns(InputNote) as caught:
        reader(*arguments)
    return [str(warning.message) for warning in caught]


def test_sections_that_are_unlike_are_named(folders):
    images = folders[0]
    says = "images: sections differ in size: 5 by 5 pixels, but s2.png .6 by 3 pixels., s10.png .4"
    noted(says, read_labelled, *folders)
    for name in ("s1", "s2", "s10", "s11"):
        Image.fromarray(np.full((4, 4), 9, np.uint8)).save(images / f"{name}.png", dpi=(300, 300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_images(images, folders[2])
    (images / "s11.png").unlink()
    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(images / "s2.png", dpi=(150, 150))
    assert _notes(read_images, images, folders[2]) == [
        f"{images}: sections differ in colour: grey, but s2.png (RGB); grey ones become RGB",
        (
            f"{images}: sections differ in the size of a pixel: 0.0847 by 0.0847 mm, but s2.png "
            "(0.169 by 0.169 mm); they are not scaled to each other"
        ),
    ]


@pytest.mark.parametrize("kind", ["inch", "cm", "imagej", "ome", "none"])
def test_pixels_of_another_size_are_named(folders, kind):
    images = folders[0]
    for path in images.glob("*.png"):
        path.unlink()
    for n, micrometres in enumerate((0.5, 0.5, 0.5, 1.25)):
        data, more = np.full((4, 4), n + 1, np.uint8), {}
        ending = "ome.tif" if kind == "ome" else "tif"
        if kind in ("inch", "cm", "none"):
            number = {"inch": 25_400, "cm": 10_000, "none": 1}[kind] / micrometres
            unit = {"inch": "INCH", "cm": "CENTIMETER", "none": "NONE"}[kind]
            more = {"resolution": (number, number), "resolutionunit": unit}
        elif kind == "imagej":
            more = {
                "resolution": (1 / micrometres,) * 2,
                "metadata": {"unit": "um"},
                "imagej": True,
            }
        else:
            size = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), micrometres)
            more = {"metadata": {"axes": "YX", **size}}
        tifffile.imwrite(images / f"s{n}.{ending}", data, **more)
    if kind == "none":  # and no unit that another program would know
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_images(images, folders[2])
        return
    (line,) = _notes(read_images, images, folders[2])
    said = "sections differ in the size of a pixel: 0.0005 by 0.0005 mm, but s3."
    assert said in line and "(0.00125 by 0.00125 mm); they are not scaled" in line


def test_images_without_labels(folders):
    stack = read_labelled(*folders)
    images = read_images(folders[0], folders[2])
    np.testing.assert_array_equal(images.images, stack.images)
    np.testing.assert_array_equal(images.inside, stack.inside)
    assert images.sections == stack.sections and images.names == stack.names


def test_classes_that_no_section_shows_are_left_out_with_a_note(folders):
    colours = "id,name,color\n0,background,#000000\n2,none,#010101\n"
    colours += "3,left,#020202\n5,right,#030303\n7,shell,#040404\n9,nor this,#050505\n"
    folders[2].write_text(colours)
    stack = noted("no section shows 'none', 'nor this'; left out", read_labelled, *folders)
    assert stack.names == ("background", "left", "right", "shell")
    assert stack.colours == ((0, 0, 0), (2, 2, 2), (3, 3, 3), (4, 4, 4))
    assert set(np.unique(stack.truth)) == {-1, 0, 1, 2, 3}


def test_a_table_of_more_rows_than_int16_gives_the_right_names(folders):
    rows = "".join(f"{n},class {n}\n" for n in range(10, 40_000))
    folders[2].write_text("id,name\n0,background\n" + rows + "3,left\n5,right\n7,shell\n")
    stack = noted("and 39978 more; left out", read_labelled, *folders)
    assert stack.names == ("background", "left", "right", "shell") and stack.truth.dtype == np.int16
    assert stack.truth[2, 0].tolist() == [1, 2, 3, 0, 0]


def test_kinds_of_images_mix(folders):
    images = folders[0]
    for path in images.glob("*.png"):
        path.unlink()
    rng = np.random.default_rng(0)
    colours = {s: rng.integers(0, 256, (*shape, 4), dtype=np.uint8) for s, shape in SHAPES.items()}
    (images / "s1.png").write_bytes(picture_bytes(colours["s1"]))  # RGBA
    palette = Image.fromarray(colours["s2"][..., :3]).quantize(18)
    palette.save(images / "s2.TIFF", "TIFF")
    (images / "s10.tif").write_bytes(picture_bytes(colours["s10"][..., 0], ".tif"))  # grey
    stack = read_labelled(*folders)
    assert stack.images.shape == (3, 6, 5, 3)
    np.testing.assert_array_equal(stack.images[0, :5], colours["s1"][..., :3])
    np.testing.assert_array_equal(stack.images[1, :, :3], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(stack.images[2, :4, :, 2], colours["s10"][..., 0])


@pytest.mark.parametrize("dtype", ["u2", "i2", "i1", "f4", "u4"])
def test_deep_images_have_one_scale_for_the_stack(folders, dtype):
    images = folders[0]
    low = -100 if dtype[0] != "u" else 0
    for n, (stem, shape) in enumerate(SHAPES.items()):
        (images / f"{stem}.png").unlink()
        values = np.full(shape, low + 40 * n).astype(dtype)
        if stem == "s1":
            values = np.stack([values] * 3, -1)
            tifffile.imwrite(images / "s1.tif", values, photometric="rgb")
        else:
            tifffile.imwrite(images / f"{stem}.tif", values)
    stack = read_labelled(*folders)
    assert stack.images[:, 0, 0, 0].tolist() == [0, 128, 255] and stack.images.shape[-1] == 3
    (images / "s2.tif").unlink()
    (images / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.uint8)))
    refused("s2.png: has pixels of type uint8 but .*s1.tif of type", read_labelled, *folders)


def test_pixels_that_are_not_finite_are_named(folders):
    for stem, shape in SHAPES.items():
        (folders[0] / f"{stem}.png").unlink()
        values = np.ones(shape, np.float32)
        values[2, 1] = np.nan if stem == "s2" else 0
        tifffile.imwrite(folders[0] / f"{stem}.tif", values)
    refused("s2.tif: the pixel in row 2, column 1 is not finite", read_labelled, *folders)


def test_palettes_that_differ_or_were_sorted_are_refused(folders):
    def index(stem, palette):
        ids = np.asarray(Image.open(folders[1] / f"{stem}.png"))
        indexed = Image.fromarray(ids)
        indexed.putpalette(palette)
        indexed.save(folders[1] / f"{stem}.png")

    colours = [0, 0, 0] + [v for n in range(1, 8) for v in (n, 0, 255 - n)]
    index("s1", colours)
    index("s2", [*colours, 9, 9, 9])
    read_labelled(*folders)
    index("s10", [*colours[:15], 1, 2, 3, *colours[18:]])
    message = r"s10.png: the colour of index 5 is \(1, 2, 3\) but in .*s1.png it is \(5, 0, 250\)"
    refused(message, read_labelled, *folders)
    index("s10", [255, 0, 0, *colours[3:9], 0, 0, 0, *colours[12:]])
    refused("s10.png: its palette has black at index 3, not at 0", read_labelled, *folders)


def test_labels_that_are_refused(folders):
    images, labels, names = folders

    def with_label(message, array):
        (labels / "s2.png").write_bytes(picture_bytes(array))
        refused(message, read_labelled, *folders)

    with_label(
        "s2.png: has 5 by 3 pixels but .*images/s2.png has 6 by 3", np.zeros((5, 3), np.uint8)
    )
    with_label(
        "s2.png: has the id 4, which .*names.csv does not list; add it .* --outside_id=4",
        np.full((6, 3), 4, np.uint8),
    )
    (labels / "s2.png").write_bytes(picture_bytes(np.ones((6, 3), bool)))
    refused("the id 1, .* list .a pixel has 1 bit: white is stored as 1", read_labelled, *folders)
    (labels / "s2.png").write_bytes(picture_bytes(np.full((6, 3), 9, np.uint8)))
    message = "s2.png: every pixel has the outside id 9; leave the section out"
    refused(message, read_labelled, *folders, outside_id=9)
    refused("names.csv: is not a folder but .*images is", read_labelled, images, names, names)
    for path in labels.iterdir():
        shape = SHAPES[path.stem]
        path.write_bytes(picture_bytes(np.zeros(shape, np.uint8)))
    refused("labels: shows background alone", read_labelled, *folders)
    (labels / "s1.png").write_bytes(picture_bytes(np.full((5, 5), 3, np.uint8)))
    names.write_text("id,name\n0,background\n1,a\n")
    refused("s1.png: has the id 3", read_labelled, *folders)
    names.write_text(TABLE)
    for stem in ("s2", "s10"):
        (images / f"{stem}.png").unlink()
        (labels / f"{stem}.png").unlink()
    refused("images: there is only one section", read_labelled, *folders)


# A TIFF with a page a section.


@pytest.fixture
def pages(tmp_path):
    """Images and labels [4, 5, 6], and their TIFFs."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 3, 5, 7], (4, 5, 6)).astype(np.uint16)
    images = rng.integers(0, 256, labels.shape, dtype=np.uint8)
    (tmp_path / "names.csv").write_text(TABLE)
    tifffile.imwrite(tmp_path / "labels.tif", labels, imagej=True)
    return (
        images,
        labels,
        (tmp_path / "images.tif", tmp_path / "labels.tif", tmp_path / "names.csv"),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack"},
        {"photometric": "minisblack", "metadata": None, "compression": "deflate"},
        {"imagej": True},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"bigtiff": True, "photometric": "minisblack", "tile": (16, 16)},
    ],
)
def test_pages_are_sections(pages, options):
    images, labels, paths = pages
    tifffile.imwrite(paths[0], images, **options)
    stack = read_labelled(*paths)
    np.testing.assert_array_equal(stack.images[..., 0], images)
    np.testing.assert_array_equal(stack.truth, np.searchsorted([0, 3, 5, 7], labels))
    assert stack.sections == ("0", "1", "2", "3") and stack.inside.all()
    np.testing.assert_array_equal(read_images(paths[0], paths[2]).images, stack.images)


def test_pages_of_channels(pages):
    images, _, paths = pages
    channels = np.stack([images, 255 - images], 1)  # [sections, channels, height, width]
    tifffile.imwrite(paths[0], channels, imagej=True, metadata={"axes": "ZCYX"})
    refused("images.tif: has 2 channels, not one or three", read_labelled, *paths)
    for channel in (0, 1):
        stack = read_labelled(*paths, channels=[channel])
        np.testing.assert_array_equal(stack.images[..., 0], channels[:, channel])
    first = np.ascontiguousarray(channels.swapaxes(0, 1))  # all of one channel first
    tifffile.imwrite(paths[0], first, ome=True, metadata={"axes": "CZYX"}, photometric="minisblack")
    stack = read_labelled(*paths, channels=[1])
    np.testing.assert_array_equal(stack.images[..., 0], channels[:, 1])
    colours = np.stack([images] * 2 + [255 - images], -1)
    tifffile.imwrite(paths[0], colours, photometric="rgb")
    np.testing.assert_array_equal(read_labelled(*paths).images, colours)


def test_pages_that_are_refused(pages):
    images, labels, paths = pages
    tifffile.imwrite(paths[0], images[:3], imagej=True)
    refused("labels.tif: has 4 pages but .*images.tif has 3", read_labelled, *paths)
    tifffile.imwrite(paths[0], np.stack([images, images]), imagej=True, metadata={"axes": "TZYX"})
    refused("images.tif: holds 2 along T and 4 along Z; sections", read_labelled, *paths)
    tifffile.imwrite(paths[0], images, imagej=True)
    refused(
        "names.csv: is not a stack of pages but .*images.tif is",
        read_labelled,
        paths[0],
        paths[2],
        paths[2],
    )
    labels[2, 1, 1] = 9
    tifffile.imwrite(paths[1], labels, imagej=True)
    refused("labels.tif: page 2: has the id 9, which", read_labelled, *paths)
    paths[0].write_bytes(paths[0].read_bytes()[:-40])
    refused("images.tif: cannot be read as an image, it may be damaged", read_labelled, *paths)


def test_sections_are_never_held_twice(tmp_path):
    """Images of 16 bits are read twice instead, and labels are held as classes alone."""
    count, side = 40, 128
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for n in range(count):
        tifffile.imwrite(
            tmp_path / f"images/{n}.tif", rng.integers(0, 60000, (side, side)).astype("u2")
        )
        tifffile.imwrite(
            tmp_path / f"labels/{n}.tif", rng.integers(0, 2, (side, side)).astype("i8")
        )
    (tmp_path / "names.csv").write_text("id,name\n0,background\n1,a\n")
    paths = tmp_path / "images", tmp_path / "labels", tmp_path / "names.csv"
    read_labelled(*paths)
    seldom = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # as anywhere but in the tests
    tracemalloc.start()
    stack = read_labelled(*paths)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.set_threshold(*seldom)
    held = sum(array.nbytes for array in (stack.images, stack.inside, stack.truth))
    assert held == count * side * side * 4
    assert most < held + 12 * 8 * side * side  # and a few sections


@pytest.mark.parametrize(("donor", "layers"), [("Br5292", 7), ("Br5595", 5)])
def test_histology(shared, donor, layers):
    folder = shared / "data/histology"
    paths = folder / donor / "images", folder / donor / "labels", folder / "labels.csv"
    if donor == "Br5595":  # shows neither of the two outer layers
        stack = noted("no section shows 'L1', 'L2'", read_labelled, *paths, outside_id=0)
    else:
        stack = read_labelled(*paths, outside_id=0)
    assert stack.images.shape == (4, 600, 600, 3) and stack.num_classes == layers + 1
    assert (stack.truth[stack.inside] > 0).all()
    assert 0.3 < stack.inside.mean() < 0.5
