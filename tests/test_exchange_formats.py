"""Mask to each format and back is the identity; other libraries read the same from our files."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from partitions import CLASSES, NAMES, partition
from test_exchange import needs

from al_jax.core.stack import InputError
from al_jax.exchange.classes import ids_of, labels_of, make_classes
from al_jax.exchange.formats import FORMATS, Wanted, nifti, nrrd_image, read_saved, tiff
from al_jax.exchange.placement import Grid, section_affine, stack_affine

CLASS_TABLE = make_classes(NAMES)
TURNED = np.array([[0, 0, -2, 7], [0.3, 0, 0, -5], [0, -0.3, 0, 9], [0, 0, 0, 1.0]])


def read_back(path, grid, shape):
    saved = read_saved(path, Wanted(CLASS_TABLE, grid, shape, asked=1))
    labels = np.full(shape, -1, np.int16)
    for name, mask in saved.layers:
        assert (labels[mask] == -1).all()  # neither doubles
        labels[mask] = NAMES.index(name)
    return labels


@pytest.mark.parametrize("name", FORMATS)
def test_a_hundred_partitions_come_back(name, tmp_path):
    needs(name)
    for seed in range(100):
        labels = partition(seed)
        affine = TURNED if seed % 3 == 2 else section_affine(stack_affine(0.7, 4.0), seed)
        grid = Grid(affine, downsample=(1.0, 4.0, 3.7)[seed % 3])
        path = tmp_path / f"{seed}{FORMATS[name].suffix}"
        ids = ids_of(labels, CLASSES)
        path.write_bytes(FORMATS[name].labels(ids[None], CLASS_TABLE, grid, ()))
        np.testing.assert_array_equal(read_back(path, grid, labels.shape), labels)


def test_ids_tell_the_background_from_what_is_not_traced():
    labels = np.array([-1, 0, 4], np.int16)
    assert ids_of(labels, CLASSES).tolist() == [0, 1, 5]
    assert ids_of(labels, 255).dtype == np.uint8 and ids_of(labels, 256).dtype == np.uint16
    np.testing.assert_array_equal(labels_of(ids_of(labels, CLASSES)), labels)


def test_many_classes_need_wider_ids(tmp_path):
    labels = np.arange(300, dtype=np.int16).reshape(15, 20) - 1
    classes = make_classes([f"class {c}" for c in range(299)])
    grid = Grid(stack_affine())
    for name in ("nifti", "tiff", "png"):
        path = tmp_path / f"many{FORMATS[name].suffix}"
        path.write_bytes(FORMATS[name].labels(ids_of(labels, 299)[None], classes, grid, ()))
        found = dict(read_saved(path, Wanted(classes, grid, labels.shape, asked=1)).layers)
        assert len(found) == 299 and found["class 254"].sum() == 1


def test_simpleitk_reads_the_same_volumes(tmp_path):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 200, (4, 5, 7)).astype(np.uint8)
    for affine in (stack_affine(0.5, 2.0), TURNED):
        for suffix, write in ((".nii.gz", nifti), (".nrrd", nrrd_image)):
            path = tmp_path / f"v{suffix}"
            path.write_bytes(write(voxels, Grid(affine)))
            image = sitk.ReadImage(str(path))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
            for index in ((0, 0, 0), (6, 4, 3)):  # its physical points are LPS
                expected = np.diag([-1, -1, 1, 1]) @ affine @ [*index, 1]
                np.testing.assert_allclose(
                    image.TransformIndexToPhysicalPoint(index), expected[:3], atol=1e-5
                )


def test_simpleitk_reads_the_same_colours(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (1, 5, 7, 3)).astype(np.uint8)
    for suffix, write in ((".nii.gz", nifti), (".nrrd", nrrd_image)):
        path = tmp_path / f"c{suffix}"
        path.write_bytes(write(colours, Grid(stack_affine())))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), colours)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nii", ".mha"])
def test_what_simpleitk_saves_is_read(suffix, tmp_path):
    """As ITK-SNAP saves: ITK writes both."""
    labels = partition(2)
    grid = Grid(section_affine(stack_affine(0.4, 3.0), 6))
    path = tmp_path / "ours.nii.gz"
    path.write_bytes(nifti(ids_of(labels, CLASSES)[None], grid))
    image = sitk.ReadImage(str(path))
    other = tmp_path / f"theirs{suffix}"
    sitk.WriteImage(sitk.Flip(image, [True, False, False]), str(other))  # the header follows
    if suffix == ".mha":
        with pytest.raises(InputError, match="not of a format that is read"):
            read_back(other, grid, labels.shape)
    else:
        np.testing.assert_array_equal(read_back(other, grid, labels.shape), labels)


def test_headers_agree(tmp_path):
    path = tmp_path / "v.nii.gz"
    path.write_bytes(nifti(np.zeros((3, 4, 5), np.uint8), Grid(TURNED)))
    header = nibabel.load(path).header
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-6)
    assert header["qform_code"] == header["sform_code"] == 1
    assert header.get_xyzt_units()[0] == "mm"


def test_equal_sections_give_equal_bytes():
    voxels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for write in (nifti, tiff):
        assert write(voxels, Grid(TURNED)) == write(voxels, Grid(TURNED))


def test_a_tiff_has_a_page_a_section(tmp_path):
    pages = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = tmp_path / "v.tif"
    path.write_bytes(tiff(pages, Grid(TURNED)))
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 2
        np.testing.assert_array_equal(file.asarray(), pages)


def test_damaged_files_are_one_line(tmp_path):
    ids = ids_of(partition(2), CLASSES)
    for name, form in FORMATS.items():
        needs(name)
        data = form.labels(ids[None], CLASS_TABLE, Grid(stack_affine()), ())
        path = tmp_path / f"half{form.suffix}"
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"half\S+: "):
            read_back(path, Grid(stack_affine()), ids.shape)
