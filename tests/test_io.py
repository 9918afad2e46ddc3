import gzip
import io as std_io
import os
import pathlib
import tempfile
import warnings

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from al_jax import io
from al_jax.stack import UNLABELLED, InputError, Stack, make_stack

DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens")
TABLE = "id,name,group\n0,background,background\n3,left,nucleus\n5,right,nucleus\n7,shell,shell\n"


@pytest.fixture(autouse=True)
def quiet():
    """Readers of damaged files warn; what counts here is what they return or raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def small_stack() -> Stack:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (3, 5, 6))
    inside = rng.random((3, 5, 6)) < 0.8
    images = rng.integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    return make_stack(images, truth, ("background", "a", "bé, c"), inside)


def assert_equal(first: Stack, second: Stack) -> None:
    for name in ("images", "inside", "truth"):
        one, two = getattr(first, name), getattr(second, name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    assert first.names == second.names


def refused(message: str, reader, *args, **kwargs) -> None:
    with pytest.raises(InputError, match=message) as caught:
        reader(*args, **kwargs)
    assert "\n" not in str(caught.value)


# write_whole


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / ("x" * 250)
    io.write_whole(path, b"one")
    io.write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == [path.name]


def test_write_whole_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused("file: cannot be written .No space left", io.write_whole, path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_write_whole_removes_the_temporary_file_when_interrupted(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        io.write_whole(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_write_whole_names_a_place_that_cannot_be_written(tmp_path):
    refused("missing/file: cannot be written", io.write_whole, tmp_path / "missing/file", b"")
    (tmp_path / "folder").mkdir()
    refused("folder: cannot be written", io.write_whole, tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]


# npz


def test_npz_round_trip_gives_equal_stacks_and_equal_bytes(tmp_path):
    stack = small_stack()
    first, second = tmp_path / "first", tmp_path / "second.npz"
    io.write_stack(first, stack)
    io.write_stack(second, io.read_stack(first))
    assert_equal(io.read_stack(second), stack)
    assert first.read_bytes() == second.read_bytes()


def test_npz_round_trip_of_floats(tmp_path):
    stack = make_stack(
        np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
        np.ones((2, 3, 4), int),
        ["background", "a"],
    )
    io.write_stack(tmp_path / "stack.npz", stack)
    assert_equal(io.read_stack(tmp_path / "stack.npz"), stack)


def test_read_stack_refuses(tmp_path):
    stack = small_stack()
    path = tmp_path / "stack.npz"
    arrays = {"images": stack.images, "truth": stack.truth, "inside": stack.inside}
    refused("stack.npz: there is no such file", io.read_stack, path)
    refused("cannot be read as an npz", io.read_stack, tmp_path)
    path.write_bytes(b"")
    refused("stack.npz: cannot be read as an npz", io.read_stack, path)
    np.save(tmp_path / "array.npy", stack.images)
    refused("array.npy: cannot be read as an npz", io.read_stack, tmp_path / "array.npy")
    np.savez(path, **arrays)
    refused("stack.npz: has no array 'names'", io.read_stack, path)
    np.savez(path, **arrays, names=np.array([0, 1, 2]))
    refused("stack.npz: 'names' is no list of strings", io.read_stack, path)
    np.savez(path, **arrays, names=np.array(["background", None, "b"], object))
    refused("stack.npz: cannot be read as an npz", io.read_stack, path)
    np.savez(path, **arrays | {"truth": stack.truth[:, :2]}, names=np.array(stack.names))
    refused("stack.npz: truth has shape", io.read_stack, path)


def test_default_stack():
    stack = io.load_default()
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
    size = pathlib.Path(io.__file__).with_name("data").joinpath("colin27.npz").stat().st_size
    assert size <= 600_000


@pytest.mark.slow
def test_default_stack_is_what_the_script_makes(shared):
    script = pytest.importorskip("experiments.make_colin27")
    assert_equal(io.load_default(), script.make(shared / "data/colin27"))


# NIfTI


def small_volumes():
    """A volume [10, 12, 14] in RAS order with one structure per octant, and its ids."""
    x, y, z = np.mgrid[:10, :12, :14]
    labels = np.zeros((10, 12, 14), np.uint8)
    body = (x > 1) & (x < 8) & (y > 2) & (y < 9) & (z > 1) & (z < 12)
    labels[body] = 7
    labels[(x == 3) & (y == 5) & (z == 9)] = 3
    labels[(x == 6) & (y == 6) & (z == 4)] = 5
    return np.where(body, 100 + x + 10 * z, 0).astype(np.uint8), labels


def save(path, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def volumes(tmp_path):
    image, labels = small_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    return (
        save(tmp_path / "image.nii.gz", image),
        save(tmp_path / "labels.nii.gz", labels),
        tmp_path / "names.csv",
    )


def test_nifti_sections_are_upright_and_aligned(volumes):
    stack = io.read_nifti(*volumes, sections=6)
    assert stack.names == ("background", "left", "right", "shell")
    # Volume 10 wide, 14 high: less border than the margin, so all of it, padded to 16 by 16.
    assert stack.images.shape == (6, 16, 16, 1) and stack.inside.all()
    image, _ = small_volumes()
    (section,), (row,), (column,) = np.nonzero(stack.truth == 1)
    assert (section, row, column) == (2, 1 + 13 - 9, 3 + 3)
    assert stack.images[section, row, column, 0] == image[3, 5, 9]
    # Superior up: brighter there.
    rows = stack.images[0, ..., 0].max(1)
    assert rows[rows > 0][0] > rows[rows > 0][-1]
    assert (stack.truth[0] == 3).sum() == 6 * 10


def test_nifti_orientation_of_the_file_does_not_matter(volumes, tmp_path):
    image, labels = small_volumes()
    expected = io.read_nifti(*volumes, sections=6)
    # Array axes A, S, L, as a scanner may store them.
    affine = np.array([[0, 0, -1, 9], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])

    def turned(array):
        return array[::-1].transpose(1, 2, 0)

    paths = (
        save(tmp_path / "i.nii", turned(image), affine),
        save(tmp_path / "l.nii.gz", turned(labels).astype(np.float32)[..., None], affine),
    )
    assert_equal(io.read_nifti(*paths, volumes[2], sections=6), expected)
    # The two files may differ in storage order, too.
    assert_equal(io.read_nifti(volumes[0], paths[1], volumes[2], sections=6), expected)


def test_nifti_types_of_labels(volumes, tmp_path):
    expected = io.read_nifti(*volumes, sections=6)
    for dtype in (np.int16, np.int64, np.uint64, np.float64):
        image = nibabel.Nifti1Image(small_volumes()[1].astype(dtype), np.eye(4), dtype=dtype)
        nibabel.save(image, tmp_path / "typed.nii")
        stack = io.read_nifti(volumes[0], tmp_path / "typed.nii", volumes[2], sections=6)
        assert_equal(stack, expected)


def test_nifti_other_axes(volumes):
    sagittal = io.read_nifti(*volumes, axis="sagittal", sections=6)
    assert [int(v[0]) for v in np.nonzero(sagittal.truth == 1)] == [1, 1 + 13 - 9, 2 + 5]
    axial = io.read_nifti(*volumes, axis="axial", sections=10)
    assert [int(v[0]) for v in np.nonzero(axial.truth == 1)] == [7, 2 + 11 - 5, 3 + 3]


def test_nifti_grouping_and_dropped_classes(volumes):
    stack = io.read_nifti(*volumes, "group", sections=6)
    assert stack.names == ("background", "nucleus", "shell")
    assert (stack.truth == 1).sum() == 2
    ends = io.read_nifti(*volumes, "group", sections=2)
    assert ends.names == ("background", "shell") and ends.truth.max() == 1
    within = io.read_nifti(*volumes, "group", sections=2, within=("nucleus",))
    assert within.names == ("background", "nucleus", "shell")
    assert (within.truth == 1).any((1, 2)).all()
    ungrouped = io.read_nifti(*volumes, sections=2, within=("nucleus",))  # of another column
    np.testing.assert_array_equal(ungrouped.images, within.images)
    assert set(ungrouped.names) == {"background", "left", "right", "shell"}


def test_nifti_spacing(volumes):
    assert io.read_nifti(*volumes, spacing=2).num_sections == 3
    assert io.read_nifti(*volumes, spacing=1).num_sections == 6
    assert io.read_nifti(*volumes, spacing=5, sections=None).num_sections == 2
    refused("give at least 1 mm", io.read_nifti, *volumes, spacing=0.5)
    refused("give at least 1 mm", io.read_nifti, *volumes, spacing=float("nan"))
    refused("1 sections at 50 mm.*smaller", io.read_nifti, *volumes, spacing=50)


def test_nifti_trims_to_the_margin_and_rounds_up(volumes, tmp_path):
    image, labels = (np.pad(v, ((30, 40), (0, 0), (20, 30))) for v in small_volumes())
    stack = io.read_nifti(
        save(tmp_path / "i.nii", image), save(tmp_path / "l.nii", labels), volumes[2], sections=6
    )
    # The body is 10 high and 6 wide: 26 and 22 with the margins.
    assert stack.images.shape == (6, 32, 32, 1)
    body = stack.images[..., 0].max(0)
    assert np.flatnonzero(body.any(1))[[0, -1]].tolist() == [11, 20]
    assert np.flatnonzero(body.any(0))[[0, -1]].tolist() == [13, 18]


def test_nifti_intensities(volumes, tmp_path):
    image, _ = small_volumes()
    assert io.read_nifti(*volumes, sections=6).images.max() == image.max()
    scaled = image.astype(np.float32) * 7 - 100
    scaled[4, 4, 4] = 1e6  # one bright voxel does not darken the rest
    path = save(tmp_path / "float.nii.gz", scaled)
    stack = io.read_nifti(path, *volumes[1:], sections=6)
    assert stack.images.dtype == np.uint8 and stack.images.max() == 255
    assert np.median(stack.images[stack.truth > 0]) > 150
    assert stack.images[stack.truth == 0].max() == 0
    flat = save(tmp_path / "flat.nii.gz", np.full((10, 12, 14), 3, np.int16))
    refused("flat.nii.gz: all intensities are 3", io.read_nifti, flat, *volumes[1:], sections=6)


def test_nifti_refuses_bad_arguments(volumes):
    read = io.read_nifti
    refused("unknown axis 'frontal'.*coronal", read, *volumes, axis="frontal")
    refused("no column 'nine'; its columns are id, name, group", read, *volumes, "nine")
    refused("no class 'thalamus'.*left, right, shell", read, *volumes, within=["thalamus"])
    refused("24 sections were asked for but 6", read, *volumes)
    refused("0 sections were asked for", read, *volumes, sections=0)
    refused("None sections were asked for", read, *volumes, sections=None)
    refused("2.5 sections were asked for", read, *volumes, sections=2.5)
    refused("labels.nii.gz: 1 sections show", read, *volumes, sections=2, within=["left"])


def test_nifti_refuses_bad_volumes(volumes, tmp_path):
    image, labels = small_volumes()
    image_path, labels_path, names = volumes
    other = tmp_path / "other.nii.gz"

    def with_labels(message, data, affine=None):
        refused(message, io.read_nifti, image_path, save(other, data, affine), names, sections=6)

    def with_image(message, data):
        refused(message, io.read_nifti, save(other, data), labels_path, names, sections=6)

    with_labels("other.nii.gz: has 10 by 12 by 13 voxels but .*image.nii.gz", labels[..., 1:])
    with_labels("other.nii.gz: lies up to 3 mm", labels, np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 3)
    unknown = labels.copy()
    unknown[4, 6, 8] = 9
    with_labels(r"other.nii.gz: section 6 has the id 9, which .*names.csv does not list", unknown)
    with_labels(
        "other.nii.gz: has the label 0.5", labels.astype(np.float32) / 2 * (labels != 3) + 0.5
    )
    with_labels("other.nii.gz: 0 sections show", np.zeros_like(labels))
    broken = image.astype(np.float32)
    broken[1, 2, 3] = np.inf
    with_image(r"other.nii.gz: the voxel \(1, 2, 3\) .* not finite", broken)
    with_image("other.nii.gz: has 10 by 12 by 14 by 2 voxels", np.stack([image, image], -1))
    with_image("other.nii.gz: has 10 by 12 voxels", image[..., 0])
    with_image("other.nii.gz: has voxels of type complex64", image.astype(np.complex64))
    refused("none.nii: there is no such file", io.read_nifti, tmp_path / "none.nii", *volumes[1:])
    refused("names.csv: cannot be read as a NIfTI", io.read_nifti, names, *volumes[1:])
    whole = labels_path.read_bytes()
    other.write_bytes(whole[:-20])
    refused("other.nii.gz: cannot be read as a NIfTI", io.read_nifti, image_path, other, names)
    # A flipped bit that still inflates is caught by the checksum.
    damaged = bytearray(gzip.compress(gzip.decompress(whole), 0))
    damaged[len(damaged) // 2] ^= 1
    other.write_bytes(damaged)
    refused("other.nii.gz: cannot be read as a NIfTI", io.read_nifti, image_path, other, names)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "has no column 'id'; its columns are none"),
        ("id;name\n0;background\n", "has no column 'id'"),
        ("id\n0\n", "has no column 'name'"),
        ("id,name,id\n0,a,0\n", "two columns 'id'"),
        ("id,name\n0,background\n3,a\n3,b\n", "line 4 repeats the id 3"),
        ("id,name\n0,background\n3.0,a\n", "line 3 has the id '3.0'"),
        ("id,name\n0,background\n1_0,a\n", "line 3 has the id '1_0'"),
        ("id,name\n0,background\n" + "9" * 5000 + ",a\n", "line 3 has the id '9999"),
        ("id,name\n0,background\n3,\n", "line 3 has no printable 'name'"),
        ("id,name\n0,background\n3,left, upper\n", "line 3 has 3 fields"),
        ("id,name\n0,background\n", "no class but background"),
        ('id,name\n0,"background\n', "cannot be read as a CSV"),
        ("id,name\n0,\xff\n", "cannot be read as a CSV"),
        ("id,name\n0,background\n3,a\n", "has the id [57], which"),
    ],
)
def test_tables_refused(volumes, table, message):
    volumes[2].write_bytes(table.encode("latin-1"))
    refused(f"names.csv.*{message}|{message}.*names.csv", io.read_nifti, *volumes, sections=6)


def test_tables_may_have_a_byte_order_mark_blank_lines_and_spaces(volumes):
    expected = io.read_nifti(*volumes, sections=6)
    text = (
        "\ufeff" + TABLE.replace("\n", "\r\n").replace(",", " , ").replace("back", "Back") + "\r\n"
    )
    volumes[2].write_bytes(text.encode())
    assert_equal(io.read_nifti(*volumes, sections=6), expected)


@pytest.mark.parametrize("scan", ["1000", "1006", "1010"])
def test_mri_scans(shared, scan):
    folder = shared / "data/mri"
    stack = io.read_nifti(
        folder / f"{scan}_t1.nii.gz",
        folder / f"{scan}_labels.nii.gz",
        folder / "labels.csv",
        "nine",
        within=DEEP,
    )
    assert stack.num_sections == 24 and set(stack.names) == {
        "background",
        "cortex",
        "white_matter",
        *DEEP,
    }
    assert not stack.images.shape[1] % 16 and not stack.images.shape[2] % 16
    medians = {
        n: np.median(stack.images[..., 0][stack.truth == c]) for c, n in enumerate(stack.names)
    }
    assert medians["background"] < medians["cortex"] < medians["white_matter"]
    # Upright: white matter lies above the amygdala.
    rows = np.arange(stack.images.shape[1])[:, None] + 0 * stack.truth
    assert rows[stack.truth == stack.names.index("white_matter")].mean() < (
        rows[stack.truth == stack.names.index("amygdala")].mean()
    )


def test_mri_merged_grouping(shared):
    folder = shared / "data/mri"
    stack = io.read_nifti(
        folder / "1000_t1.nii.gz",
        folder / "1000_labels.nii.gz",
        folder / "labels.csv",
        "merged",
        sections=9,
    )
    assert stack.num_sections == 9 and 50 < stack.num_classes <= 78
    assert np.bincount(stack.truth.ravel(), minlength=stack.num_classes).all()


# Folders


def picture_bytes(array, extension=".png", **options):
    buffer = std_io.BytesIO()
    Image.fromarray(array).save(buffer, {".png": "PNG"}.get(extension, "TIFF"), **options)
    return buffer.getvalue()


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
    stack = io.read_folder(*folders)
    assert stack.images.shape == (3, 6, 5, 1)
    assert stack.images[:, 0, 0, 0].tolist() == [30, 20, 10]
    assert stack.inside.sum((1, 2)).tolist() == [25, 18, 20]
    assert stack.inside[1, :, :3].all() and not stack.inside[1, :, 3:].any()
    assert (stack.truth[~stack.inside] == UNLABELLED).all()
    assert stack.truth[2, 0].tolist() == [1, 2, 3, 0, 0]
    outside = io.read_folder(*folders, outside_id=0)
    assert outside.inside.sum() == 9 and outside.names == stack.names
    # An outside id need not be a class, and if listed is none.
    without = io.read_folder(*folders, outside_id=5)
    assert without.names == ("background", "left", "shell")
    assert (without.truth == UNLABELLED).sum() == (stack.truth == UNLABELLED).sum() + 3
    folders[2].write_text("id,name\n0,background\n3,a\n7,b\n")
    assert io.read_folder(*folders, outside_id=5).names == ("background", "a", "b")


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
    stack = io.read_folder(*folders)
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
    stack = io.read_folder(*folders)
    # One scale for the stack: 1000, 3000, 5000 to 0, 127.5, 255.
    assert stack.images[:, 0, 0, 0].tolist() == [0, 128, 255] and stack.images.shape[-1] == 3
    (images / "s2.png").write_bytes(picture_bytes(np.zeros((6, 3), np.uint8)))
    refused("s2.png: has 8 bits but .*s1.tif has 16", io.read_folder, *folders)


def test_folder_labels_may_be_palette_or_16_bit(folders):
    expected = io.read_folder(*folders)
    ids = np.asarray(Image.open(folders[1] / "s1.png"))
    indexed = Image.fromarray(ids)
    indexed.putpalette(list(range(256)) * 3)
    indexed.save(folders[1] / "s1.png")
    deep = np.asarray(Image.open(folders[1] / "s2.png")).astype(np.uint16)
    (folders[1] / "s2.png").unlink()
    tifffile.imwrite(folders[1] / "s2.tif", deep)
    assert_equal(io.read_folder(*folders), expected)


def test_folder_refuses(folders, tmp_path):
    images, labels, names = folders
    read = io.read_folder
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
        return io.read_folder(*folders, outside_id=outside_id)
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
            io.read_folder,
            folder / donor / "images",
            folder / donor / "labels",
            table,
            0,
        )
        table = tmp_path / "labels.csv"
        table.write_text("\n".join(line for line in lines if line[-2:] not in ("L1", "L2")))
    stack = io.read_folder(folder / donor / "images", folder / donor / "labels", table, 0)
    assert stack.images.shape == (4, 600, 600, 3) and stack.num_classes == layers + 1
    assert (stack.truth[stack.inside] > 0).all()
    assert 0.3 < stack.inside.mean() < 0.5


# Damaged files of any kind: a valid stack or one line.


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file cut short, with bits flipped, with a stretch replaced, or nothing but noise."""
    place = st.integers(0, len(whole) - 1)

    def flip(places):
        data = bytearray(whole)
        for at, bit in places:
            data[at] ^= 1 << bit
        return bytes(data)

    return st.one_of(
        place.map(lambda n: whole[:n]),
        st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=4).map(flip),
        # The head of a file holds shapes and types, where a flip does most harm.
        st.lists(
            st.tuples(st.integers(0, min(len(whole), 360) - 1), st.integers(0, 7)),
            min_size=1,
            max_size=3,
        ).map(flip),
        st.tuples(place, st.binary(max_size=40)).map(
            lambda p: whole[: p[0]] + p[1] + whole[p[0] + len(p[1]) :]
        ),
        st.binary(max_size=200),
    )


def nifti_bytes(array, compress=True):
    data = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    return gzip.compress(data, mtime=0) if compress else data


def npz_bytes():
    with tempfile.TemporaryDirectory() as folder:
        io.write_stack(pathlib.Path(folder, "stack"), small_stack())
        return pathlib.Path(folder, "stack").read_bytes()


def valid_or_one_line(reader, *args, **kwargs) -> None:
    try:
        stack = reader(*args, **kwargs)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        return
    # What came through is a stack that would be accepted again.
    assert_equal(make_stack(stack.images, stack.truth, stack.names, stack.inside), stack)


fuzz = settings(max_examples=60, deadline=None, derandomize=True, database=None)
IMAGE, LABELS = small_volumes()
COLOUR = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
IDS = np.array([[3, 5, 7, 0, 0]] * 4, np.uint8)


@fuzz
@given(damaged(npz_bytes()))
def test_damaged_npz(data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "stack.npz")
        path.write_bytes(data)
        valid_or_one_line(io.read_stack, path)


@fuzz
@given(
    st.sampled_from(
        [("image", True), ("image", False), ("labels", True), ("labels", False)]
    ).flatmap(
        lambda k: st.tuples(
            st.just(k), damaged(nifti_bytes(IMAGE if k[0] == "image" else LABELS, k[1]))
        )
    )
)
def test_damaged_nifti(case):
    (which, compress), data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths = {k: folder / f"{k}.nii.gz" for k in ("image", "labels")}
        paths["image"].write_bytes(nifti_bytes(IMAGE))
        paths["labels"].write_bytes(nifti_bytes(LABELS))
        if not compress:
            paths[which] = folder / f"{which}.nii"
        paths[which].write_bytes(data)
        (folder / "names.csv").write_text(TABLE)
        valid_or_one_line(
            io.read_nifti, paths["image"], paths["labels"], folder / "names.csv", sections=3
        )


PICTURES = {
    ("images", ".png"): picture_bytes(COLOUR),
    ("images", ".tif"): picture_bytes(COLOUR, ".tif", compression="tiff_lzw"),
    ("labels", ".png"): picture_bytes(IDS),
    ("labels", ".tif"): picture_bytes(IDS, ".tif"),
}


@fuzz
@given(
    st.sampled_from(sorted(PICTURES)).flatmap(
        lambda k: st.tuples(st.just(k), damaged(PICTURES[k]))
    ),
    st.sampled_from([None, 0, 7]),
)
def test_damaged_folder(case, outside_id):
    (where, extension), data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind in ("images", "labels"):
            (folder / kind).mkdir()
            for stem in ("1", "2"):
                (folder / kind / f"{stem}.png").write_bytes(PICTURES[kind, ".png"])
        (folder / where / "2.png").unlink()
        (folder / where / f"2{extension}").write_bytes(data)
        (folder / "names.csv").write_text(TABLE)
        valid_or_one_line(
            io.read_folder, folder / "images", folder / "labels", folder / "names.csv", outside_id
        )


@fuzz
@given(
    st.one_of(
        damaged(TABLE.encode()),
        st.text('id,name\n\r"03579 -+._é\x00', max_size=60).map(
            lambda t: ("id,name\n" + t).encode()
        ),
    )
)
def test_damaged_table(data):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "image.nii").write_bytes(nifti_bytes(IMAGE, compress=False))
        (folder / "labels.nii").write_bytes(nifti_bytes(LABELS, compress=False))
        (folder / "names.csv").write_bytes(data)
        paths = [folder / n for n in ("image.nii", "labels.nii", "names.csv")]
        valid_or_one_line(io.read_nifti, *paths, sections=3)


@fuzz
@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=5),
    st.lists(st.integers(0, 4), min_size=0, max_size=5),
    st.sampled_from([np.uint8, np.int16, np.float32, np.float64, bool, "U1"]),
    st.integers(-2, 3),
)
def test_any_shapes_and_types_make_a_stack_or_one_line(images, truth, dtype, value):
    valid_or_one_line(
        lambda: make_stack(
            np.full(images, value).astype(dtype), np.full(truth, value), ("background", "a")
        )
    )
