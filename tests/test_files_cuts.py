"""Sections cut out of volumes: place, order, classes, and what is refused."""

import warnings

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from samples import TABLE, assert_equal, noted, oblique_volumes, refused, save, small_volumes

from al_jax.core.stack import UNLABELLED
from al_jax.files.inputs import read_images, read_labelled
from al_jax.files.slicing import AXES, Cut, trim

DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens")
SIX = Cut(sections=6)
pytestmark = pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")


@pytest.fixture
def volumes(tmp_path):
    image, labels = small_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    return (
        save(tmp_path / "image.nii.gz", image),
        save(tmp_path / "labels.nii.gz", labels),
        tmp_path / "names.csv",
    )


def test_sections_are_upright_and_aligned(volumes):
    stack = read_labelled(*volumes, cut=SIX)
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


def test_orientation_of_the_file_does_not_matter(volumes, tmp_path):
    image, labels = small_volumes()
    expected = read_labelled(*volumes, cut=SIX)
    # Array axes A, S, L, as a scanner may store them.
    affine = np.array([[0, 0, -1, 9], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])

    def turned(array):
        return array[::-1].transpose(1, 2, 0)

    paths = (
        save(tmp_path / "i.nii", turned(image), affine),
        save(tmp_path / "l.nii.gz", turned(labels).astype(np.float32)[..., None], affine),
    )
    assert_equal(read_labelled(*paths, volumes[2], cut=SIX), expected)
    # The two files may differ in storage order, too.
    assert_equal(read_labelled(volumes[0], paths[1], volumes[2], cut=SIX), expected)


def test_other_axes(volumes):
    sagittal = read_labelled(*volumes, cut=Cut("sagittal", 6))
    assert [int(v[0]) for v in np.nonzero(sagittal.truth == 1)] == [1, 1 + 13 - 9, 2 + 5]
    axial = read_labelled(*volumes, cut=Cut("axial", 10))
    assert [int(v[0]) for v in np.nonzero(axial.truth == 1)] == [7, 2 + 11 - 5, 3 + 3]


def test_grouping_and_dropped_classes(volumes):
    stack = read_labelled(*volumes, grouping="group", cut=SIX)
    assert stack.names == ("background", "nucleus", "shell")
    assert (stack.truth == 1).sum() == 2
    ends = read_labelled(*volumes, grouping="group", cut=Cut(sections=2))
    assert ends.names == ("background", "shell") and ends.truth.max() == 1
    within = read_labelled(*volumes, grouping="group", cut=Cut(sections=2, within=("nucleus",)))
    assert within.names == ("background", "nucleus", "shell")
    assert (within.truth == 1).any((1, 2)).all()
    ungrouped = read_labelled(
        *volumes, cut=Cut(sections=2, within=("nucleus",))
    )  # of another column
    np.testing.assert_array_equal(ungrouped.images, within.images)
    assert set(ungrouped.names) == {"background", "left", "right", "shell"}


def test_spacing(volumes):
    assert read_labelled(*volumes, cut=Cut(spacing=2)).num_sections == 3
    assert read_labelled(*volumes, cut=Cut(spacing=1)).num_sections == 6
    assert read_labelled(*volumes, cut=Cut(spacing=5, sections=None)).num_sections == 2
    refused("give at least 1 mm", read_labelled, *volumes, cut=Cut(spacing=0.5))
    refused("give at least 1 mm", read_labelled, *volumes, cut=Cut(spacing=float("nan")))
    refused("1 sections at 50 mm.*smaller", read_labelled, *volumes, cut=Cut(spacing=50))


def test_trims_to_the_margin_and_rounds_up(volumes, tmp_path):
    image, labels = (np.pad(v, ((30, 40), (0, 0), (20, 30))) for v in small_volumes())
    stack = read_labelled(
        save(tmp_path / "i.nii", image), save(tmp_path / "l.nii", labels), volumes[2], cut=SIX
    )
    # The body is 10 high and 6 wide: 26 and 22 with the margins.
    assert stack.images.shape == (6, 32, 32, 1)
    body = stack.images[..., 0].max(0)
    assert np.flatnonzero(body.any(1))[[0, -1]].tolist() == [11, 20]
    assert np.flatnonzero(body.any(0))[[0, -1]].tolist() == [13, 18]


def test_intensities(volumes, tmp_path):
    image, _ = small_volumes()
    assert read_labelled(*volumes, cut=SIX).images.max() == image.max()
    scaled = image.astype(np.float32) * 7 - 100
    scaled[4, 4, 4] = 1e6  # one bright voxel does not darken the rest
    path = save(tmp_path / "float.nii.gz", scaled)
    stack = read_labelled(path, *volumes[1:], cut=SIX)
    assert stack.images.dtype == np.uint8 and stack.images.max() == 255
    assert np.median(stack.images[stack.truth > 0]) > 150
    assert stack.images[stack.truth == 0].max() == 0
    flat = save(tmp_path / "flat.nii.gz", np.full((10, 12, 14), 3, np.int16))
    refused("flat.nii.gz: all intensities are 3", read_labelled, flat, *volumes[1:], cut=SIX)


def test_refuses_bad_arguments(volumes):
    def with_cut(message, **cut):
        refused(message, read_labelled, *volumes, cut=Cut(**cut))

    with_cut("unknown axis 'frontal'.*coronal", axis="frontal")
    with_cut("no class 'thalamus'.*left, right, shell", within=("thalamus",))
    with_cut("0 sections were asked for", sections=0)
    with_cut("None sections were asked for", sections=None)
    with_cut("2.5 sections were asked for", sections=2.5)
    with_cut("labels.nii.gz: 1 sections show", sections=2, within=("left",))
    message = "no column 'nine'; its columns are id, name, group"
    refused(message, read_labelled, *volumes, grouping="nine")


def test_fewer_sections_than_asked_for_are_taken_with_a_note(volumes):
    stack = noted("24 sections were asked for but 6 show", read_labelled, *volumes)
    assert stack.sections == tuple("345678")
    assert_equal(stack, read_labelled(*volumes, cut=SIX))


def test_outside_ids_are_not_inside_the_image(volumes, tmp_path):
    _, labels = small_volumes()
    labels[:2] = labels[4, 5, 6] = 255  # a side, and a voxel amid the body
    labels[:, 0] = 255  # all of a slice
    paths = volumes[0], save(tmp_path / "l.nii", labels), volumes[2]
    refused("slice 0: has the id 255, .* --outside_id=255", read_labelled, *paths, cut=SIX)
    stack = read_labelled(*paths, cut=SIX, outside_id=255)
    full = read_labelled(*volumes, cut=SIX)
    assert stack.names == full.names and stack.images.shape == full.images.shape
    rows, columns = slice(1, 15), slice(3, 13)  # of the volume among the padding
    assert not stack.inside[:, :, :5].any() and not stack.inside[:, :, 13:].any()
    outside = ~stack.inside[:, rows, columns]
    outside[:, :, :2] = False
    assert np.argwhere(outside).tolist() == [[2, 13 - 6, 4]]
    same = stack.inside
    np.testing.assert_array_equal(stack.truth[same], full.truth[same])


def test_colours(volumes, tmp_path):
    image, _ = small_volumes()
    colours = np.stack([image, image // 2, 255 - image], -1)[..., None, :]
    grey = read_labelled(*volumes, cut=SIX)
    stack = read_labelled(save(tmp_path / "c.nii", colours), *volumes[1:], cut=SIX)
    np.testing.assert_array_equal(stack.images[..., 0], grey.images[..., 0])
    shown = stack.images[..., 2] > 0  # not the padding
    np.testing.assert_array_equal(stack.images[shown][:, 2], 255 - grey.images[shown][:, 0])
    five = np.stack([image] * 4 + [image // 2], -1)[..., None, :]
    path = save(tmp_path / "five.nii", five)
    refused(
        "five.nii: has 5 channels, not one or three; choose",
        read_labelled,
        path,
        *volumes[1:],
        cut=SIX,
    )
    chosen = read_labelled(path, *volumes[1:], cut=SIX, channels=[4])
    np.testing.assert_array_equal(chosen.images, grey.images // 2)
    message = "five.nii: has 5 channels, numbered from 0; --channels=5 asks"
    refused(message, read_labelled, path, *volumes[1:], cut=SIX, channels=[5])


@pytest.mark.parametrize("count", [2, 3, 4, 7])
@pytest.mark.parametrize("name", ["t.nii", "t.nii.gz", "t.mgz", "t.nrrd"])
def test_volumes_along_time_are_no_colours(volumes, tmp_path, count, name):
    image, _ = small_volumes()
    times = np.stack([image // (n + 1) for n in range(count)], -1)
    path, grey = tmp_path / name, read_labelled(*volumes, cut=SIX)
    if name == "t.nrrd":
        kinds = {"kinds": ["list", "domain", "domain", "domain"]}
        nrrd.write(str(path), np.moveaxis(times, -1, 0), kinds)
    else:
        kind = nibabel.MGHImage if name == "t.mgz" else nibabel.Nifti1Image
        nibabel.save(kind(times, np.eye(4)), path)
    said = f"{name}: holds {count} volumes along time, of which the first is taken; --channels=1"
    first = noted(said, read_labelled, path, *volumes[1:], cut=SIX)
    np.testing.assert_array_equal(first.images, grey.images)
    second = read_labelled(path, *volumes[1:], cut=SIX, channels=[1])
    np.testing.assert_array_equal(second.images, grey.images // 2)
    if count > 2:  # the way that the note proposes
        colours = read_labelled(path, *volumes[1:], cut=SIX, channels=[0, 1, 2])
        np.testing.assert_array_equal(colours.images[..., 2], grey.images[..., 0] // 3)


def test_pixels_that_are_not_square_are_noted(volumes, tmp_path):
    affine = np.diag([1.0, 2, 0.5, 1])
    image, labels = small_volumes()
    paths = save(tmp_path / "i.nii", image, affine), save(tmp_path / "l.nii", labels, affine)
    message = "i.nii: pixels of coronal sections are 1 by 0.5 mm; outlines are measured in pixels"
    noted(message, read_labelled, *paths, volumes[2], cut=SIX)
    affine = np.diag([2.0, 1, 1, 1])
    paths = save(tmp_path / "i.nii", image, affine), save(tmp_path / "l.nii", labels, affine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_labelled(*paths, volumes[2], cut=Cut("sagittal", 6))  # 1 by 1 mm


def test_labels_whose_axes_run_otherwise_are_noted(tmp_path, volumes):
    """The headers are right, or they are not: nobody can tell but the user."""
    image, labels = small_volumes()
    centred = np.eye(4)
    centred[:3, 3] = [-4.5, -5.5, 0]
    mirrored = np.diag([-1.0, -1, 1, 1])
    mirrored[:3, 3] = [4.5, 5.5, 0]
    paths = save(tmp_path / "i.nii", image, centred), save(tmp_path / "l.nii", labels, mirrored)
    message = "l.nii: its axes run LPS but those of .*i.nii RAS; .* if the labels come out mirrored"
    noted(message, read_labelled, *paths, volumes[2], cut=SIX)


@pytest.mark.parametrize("name", ["l.nii.gz", "l.nrrd", "l.seg.nrrd"])
def test_labels_that_itk_saved_of_a_volume_with_shear(name, volumes, tmp_path):
    """ITK knows axes at right angles alone: it takes the qform, and saves that."""
    shear = np.array([[-1, 0.15, 0, -10], [0, 0, 1.2, -8], [0, -0.9, 0.05, -9], [0, 0, 0, 1.0]])
    image, labels = small_volumes()
    path, whole = tmp_path / "i.nii.gz", nibabel.Nifti1Image(image, shear)
    whole.set_qform(shear, code="scanner")
    nibabel.save(whole, path)
    there = read_labelled(path, save(tmp_path / "own.nii", labels, shear), volumes[2], cut=SIX)
    seen = sitk.ReadImage(str(path))
    segments = sitk.GetImageFromArray(labels.T.astype(np.uint8))
    segments.CopyInformation(seen)
    sitk.WriteImage(segments, str(tmp_path / name))
    back = read_labelled(path, tmp_path / name, volumes[2], cut=SIX)
    np.testing.assert_array_equal(back.truth, there.truth)
    assert len(np.unique(there.truth)) > 2
    segments.SetSpacing([1.2 * x for x in seen.GetSpacing()])
    sitk.WriteImage(segments, str(tmp_path / name))
    refused("header|grid", read_labelled, path, tmp_path / name, volumes[2], cut=SIX)


def test_refuses_bad_labels(volumes, tmp_path):
    _, labels = small_volumes()
    image_path, _, names = volumes
    other = tmp_path / "other.nii.gz"

    def with_labels(message, data, affine=None):
        refused(message, read_labelled, image_path, save(other, data, affine), names, cut=SIX)

    with_labels("other.nii.gz: has 10 by 12 by 13 voxels but .*image.nii.gz", labels[..., 1:])
    apart = np.eye(4) + np.eye(4, k=3) * 3
    with_labels(
        "its header places it up to 3 mm from .*image.nii.gz though both have 10 by 12 by 14 "
        "voxels; .* image's header .*, else resample",
        labels,
        apart,
    )
    turned = labels.transpose(1, 0, 2)
    with_labels("other.nii.gz: has 12 by 10 by 14 voxels but", turned)
    sideways = np.eye(4)[[1, 0, 2, 3]]
    with_labels("its header places it up to .* though both have", labels, sideways)
    flipped = turned[::-1]
    with_labels(
        "lies up to 9 mm from the grid of",
        flipped,
        sideways @ np.diag([1, 1, 1, 1]) + np.eye(4, k=3)[[1, 0, 2, 3]] * 9,
    )
    unknown = labels.copy()
    unknown[4, 6, 8] = 9
    with_labels(r"other.nii.gz: slice 6: has the id 9, which .*names.csv does not list", unknown)
    with_labels(
        "other.nii.gz: has the label 0.5", labels.astype(np.float32) / 2 * (labels != 3) + 0.5
    )
    with_labels("other.nii.gz: 0 sections show", np.zeros_like(labels))
    hot = np.stack([labels == label for label in (0, 3, 5, 7)], -1).astype(np.uint8)
    with_labels("is 4D .10 by 12 by 14 by 4., a one-hot label map of 4 classes.*np.argmax", hot)
    with_labels("is 4D .*, 2 numbers a voxel; labels", np.stack([labels, labels], -1))


def test_a_segmentation_of_slicer_fills_a_part_of_the_grid(volumes, tmp_path):
    _, labels = small_volumes()
    expected = read_labelled(*volumes, cut=SIX)
    part = labels[2:9, 3:10, 1:13]
    place = {
        "space": "left-posterior-superior",
        "space directions": np.diag([-1.0, -1.0, 1.0]),
        "space origin": [-2.0, -3.0, 1.0],
        "kinds": ["domain"] * 3,
    }
    path = str(tmp_path / "l.seg.nrrd")
    nrrd.write(path, part, place)
    assert_equal(read_labelled(volumes[0], path, volumes[2], cut=SIX), expected)
    nrrd.write(path, part, place | {"space origin": [-2.0, -3.5, 1.6]})
    assert read_labelled(volumes[0], path, volumes[2], cut=SIX) is not None
    # Segments may stick out of the image.
    out = np.pad(labels, ((3, 2), (1, 0), (0, 4)), constant_values=0)
    nrrd.write(path, out, place | {"space origin": [3.0, 1.0, 0.0]})
    assert_equal(read_labelled(volumes[0], path, volumes[2], cut=SIX), expected)
    nrrd.write(path, part, place | {"space directions": np.diag([-1.5, -1.0, 1.0])})
    refused("l.seg.nrrd: is on another grid", read_labelled, volumes[0], path, volumes[2], cut=SIX)
    nrrd.write(path, part, place | {"space origin": [-200.0, -3.0, 1.0]})
    refused("l.seg.nrrd: lies outside", read_labelled, volumes[0], path, volumes[2], cut=SIX)


def test_images_without_labels(volumes):
    stack = read_labelled(*volumes, cut=SIX)
    images = read_images(volumes[0], volumes[2], cut=SIX)
    np.testing.assert_array_equal(images.images, stack.images)
    assert images.sections == stack.sections and images.inside.all()
    assert images.names == ("background", "left", "right", "shell")
    axial = noted(
        "24 sections were asked for but 10",
        read_images,
        volumes[0],
        volumes[2],
        cut=Cut("axial"),
    )
    assert axial.num_sections == 10


def test_labels_of_a_part_leave_the_other_sections_in(volumes, tmp_path):
    """Those that have some are all taken, beside evenly spaced ones of all that show an image."""
    labels = small_volumes()[1]
    labels[:, [n for n in range(labels.shape[1]) if n not in (4, 7)]] = 0
    part = save(tmp_path / "part.nii.gz", labels)
    assert read_labelled(volumes[0], part, volumes[2], cut=Cut(sections=2)).sections == ("4", "7")
    whole = read_images(volumes[0], volumes[2], cut=SIX)
    stack = read_labelled(volumes[0], part, volumes[2], cut=SIX._replace(partial=True))
    assert stack.sections == whole.sections
    np.testing.assert_array_equal(stack.images, whole.images)
    two = read_labelled(volumes[0], part, volumes[2], cut=Cut(sections=2, partial=True))
    assert two.sections == ("3", "4", "7", "8")


@pytest.mark.parametrize("axis", AXES)
def test_every_pixel_has_the_place_of_its_voxel(axis, tmp_path):
    image, labels, affine = oblique_volumes()
    names = tmp_path / "names.csv"
    names.write_text(TABLE)
    paths = save(tmp_path / "i.nii", image, affine), save(tmp_path / "l.nii", labels, affine)
    cut = Cut(axis, sections=5)
    stack = read_labelled(*paths, names, cut=cut)
    place = stack.place
    assert place == read_images(paths[0], names, cut=cut).place
    assert place.shape == image.shape
    np.testing.assert_array_equal(place.affine, nibabel.load(paths[0]).affine)
    assert len(set(np.diff(place.slices).tolist())) == 2  # unevenly spaced
    class_of = np.zeros(8, int)
    class_of[[0, 3, 5, 7]] = [
        stack.names.index(n) for n in ("background", "left", "right", "shell")
    ]
    row, column = np.indices(stack.truth.shape[1:])
    for number, (pixels, classes) in enumerate(zip(stack.images[..., 0], stack.truth, strict=True)):
        flat = np.stack([column, row, np.full_like(row, place.slices[number]), np.ones_like(row)])
        at = np.tensordot(place.cut, flat, 1)[:3]
        held = ((at >= 0) & (at < np.reshape(image.shape, (3, 1, 1)))).all(0)
        there = tuple(at[:, held])
        np.testing.assert_array_equal(pixels[held], image[there])
        np.testing.assert_array_equal(classes[held], class_of[labels[there]])
        assert not pixels[~held].any()
        through = {"sagittal": 2, "coronal": 0, "axial": 1}[axis]  # of the array as stored
        whole = image.take(there[through][0], through)
        assert (pixels > 0).sum() == (whole > 0).sum()
        assert held.sum() < whole.size  # borders were trimmed
        if axis != "sagittal":
            assert not held.all()  # and padded


def test_trim_pads_with_air():
    images = np.zeros((1, 40, 40, 1), np.uint8)
    truth = np.zeros((1, 40, 40), np.int16)
    images[0, 20, 20] = 9
    for air in (0, UNLABELLED):
        trimmed, classes, corner = trim(images, truth, air)
        assert corner == (20 - 7 - 8, 20 - 7 - 8)
        assert trimmed.shape == (1, 32, 32, 1) and classes.shape == (1, 32, 32)
        assert (classes[0, :7] == air).all() and classes[0, 8, 8] == 0  # 17 rows amid 32
        assert trimmed[0, 7 + 8, 7 + 8, 0] == 9


@pytest.mark.parametrize("scan", ["1000", "1006", "1010"])
def test_mri_scans(shared, scan):
    folder = shared / "data/mri"
    stack = read_labelled(
        folder / f"{scan}_t1.nii.gz",
        folder / f"{scan}_labels.nii.gz",
        folder / "labels.csv",
        grouping="nine",
        cut=Cut(within=DEEP),
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
    stack = read_labelled(
        folder / "1000_t1.nii.gz",
        folder / "1000_labels.nii.gz",
        folder / "labels.csv",
        grouping="merged",
        cut=Cut(sections=9),
    )
    assert stack.num_sections == 9 and 50 < stack.num_classes <= 78
    assert np.bincount(stack.truth.ravel(), minlength=stack.num_classes).all()
