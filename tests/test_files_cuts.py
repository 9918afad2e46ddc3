"""Sections cut out of volumes: place, order, classes, and what is refused."""

import gzip

import nibabel
import numpy as np
import pytest
from samples import TABLE, assert_equal, refused, save, small_volumes

from al_jax.files.cuts import read_nifti

DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens")


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
    stack = read_nifti(*volumes, sections=6)
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
    expected = read_nifti(*volumes, sections=6)
    # Array axes A, S, L, as a scanner may store them.
    affine = np.array([[0, 0, -1, 9], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])

    def turned(array):
        return array[::-1].transpose(1, 2, 0)

    paths = (
        save(tmp_path / "i.nii", turned(image), affine),
        save(tmp_path / "l.nii.gz", turned(labels).astype(np.float32)[..., None], affine),
    )
    assert_equal(read_nifti(*paths, volumes[2], sections=6), expected)
    # The two files may differ in storage order, too.
    assert_equal(read_nifti(volumes[0], paths[1], volumes[2], sections=6), expected)


def test_nifti_types_of_labels(volumes, tmp_path):
    expected = read_nifti(*volumes, sections=6)
    for dtype in (np.int16, np.int64, np.uint64, np.float64):
        image = nibabel.Nifti1Image(small_volumes()[1].astype(dtype), np.eye(4), dtype=dtype)
        nibabel.save(image, tmp_path / "typed.nii")
        stack = read_nifti(volumes[0], tmp_path / "typed.nii", volumes[2], sections=6)
        assert_equal(stack, expected)


def test_nifti_other_axes(volumes):
    sagittal = read_nifti(*volumes, axis="sagittal", sections=6)
    assert [int(v[0]) for v in np.nonzero(sagittal.truth == 1)] == [1, 1 + 13 - 9, 2 + 5]
    axial = read_nifti(*volumes, axis="axial", sections=10)
    assert [int(v[0]) for v in np.nonzero(axial.truth == 1)] == [7, 2 + 11 - 5, 3 + 3]


def test_nifti_grouping_and_dropped_classes(volumes):
    stack = read_nifti(*volumes, "group", sections=6)
    assert stack.names == ("background", "nucleus", "shell")
    assert (stack.truth == 1).sum() == 2
    ends = read_nifti(*volumes, "group", sections=2)
    assert ends.names == ("background", "shell") and ends.truth.max() == 1
    within = read_nifti(*volumes, "group", sections=2, within=("nucleus",))
    assert within.names == ("background", "nucleus", "shell")
    assert (within.truth == 1).any((1, 2)).all()
    ungrouped = read_nifti(*volumes, sections=2, within=("nucleus",))  # of another column
    np.testing.assert_array_equal(ungrouped.images, within.images)
    assert set(ungrouped.names) == {"background", "left", "right", "shell"}


def test_nifti_spacing(volumes):
    assert read_nifti(*volumes, spacing=2).num_sections == 3
    assert read_nifti(*volumes, spacing=1).num_sections == 6
    assert read_nifti(*volumes, spacing=5, sections=None).num_sections == 2
    refused("give at least 1 mm", read_nifti, *volumes, spacing=0.5)
    refused("give at least 1 mm", read_nifti, *volumes, spacing=float("nan"))
    refused("1 sections at 50 mm.*smaller", read_nifti, *volumes, spacing=50)


def test_nifti_trims_to_the_margin_and_rounds_up(volumes, tmp_path):
    image, labels = (np.pad(v, ((30, 40), (0, 0), (20, 30))) for v in small_volumes())
    stack = read_nifti(
        save(tmp_path / "i.nii", image), save(tmp_path / "l.nii", labels), volumes[2], sections=6
    )
    # The body is 10 high and 6 wide: 26 and 22 with the margins.
    assert stack.images.shape == (6, 32, 32, 1)
    body = stack.images[..., 0].max(0)
    assert np.flatnonzero(body.any(1))[[0, -1]].tolist() == [11, 20]
    assert np.flatnonzero(body.any(0))[[0, -1]].tolist() == [13, 18]


def test_nifti_intensities(volumes, tmp_path):
    image, _ = small_volumes()
    assert read_nifti(*volumes, sections=6).images.max() == image.max()
    scaled = image.astype(np.float32) * 7 - 100
    scaled[4, 4, 4] = 1e6  # one bright voxel does not darken the rest
    path = save(tmp_path / "float.nii.gz", scaled)
    stack = read_nifti(path, *volumes[1:], sections=6)
    assert stack.images.dtype == np.uint8 and stack.images.max() == 255
    assert np.median(stack.images[stack.truth > 0]) > 150
    assert stack.images[stack.truth == 0].max() == 0
    flat = save(tmp_path / "flat.nii.gz", np.full((10, 12, 14), 3, np.int16))
    refused("flat.nii.gz: all intensities are 3", read_nifti, flat, *volumes[1:], sections=6)


def test_nifti_refuses_bad_arguments(volumes):
    read = read_nifti
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
        refused(message, read_nifti, image_path, save(other, data, affine), names, sections=6)

    def with_image(message, data):
        refused(message, read_nifti, save(other, data), labels_path, names, sections=6)

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
    refused("none.nii: there is no such file", read_nifti, tmp_path / "none.nii", *volumes[1:])
    refused("names.csv: cannot be read as a NIfTI", read_nifti, names, *volumes[1:])
    whole = labels_path.read_bytes()
    other.write_bytes(whole[:-20])
    refused("other.nii.gz: cannot be read as a NIfTI", read_nifti, image_path, other, names)
    # A flipped bit that still inflates is caught by the checksum.
    damaged = bytearray(gzip.compress(gzip.decompress(whole), 0))
    damaged[len(damaged) // 2] ^= 1
    other.write_bytes(damaged)
    refused("other.nii.gz: cannot be read as a NIfTI", read_nifti, image_path, other, names)


@pytest.mark.parametrize("scan", ["1000", "1006", "1010"])
def test_mri_scans(shared, scan):
    folder = shared / "data/mri"
    stack = read_nifti(
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
    stack = read_nifti(
        folder / "1000_t1.nii.gz",
        folder / "1000_labels.nii.gz",
        folder / "labels.csv",
        "merged",
        sections=9,
    )
    assert stack.num_sections == 9 and 50 < stack.num_classes <= 78
    assert np.bincount(stack.truth.ravel(), minlength=stack.num_classes).all()
