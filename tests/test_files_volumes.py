"""Volumes: one file as an array in RAS order, whatever format and orientation it is stored in."""

import gzip

import nibabel
import nrrd
import numpy as np
import pytest
from samples import noted, refused, save

from al_jax.files.volumes import load_volume

DATA = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
SIZES = np.diag([1.0, 2.0, 0.5, 1.0])


def assert_is_data(volume, zooms=(1, 2, 0.5)):
    np.testing.assert_array_equal(volume.voxels, DATA)
    np.testing.assert_allclose(volume.zooms, zooms)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.mgz", "v.img"])
def test_formats_of_nibabel(tmp_path, name):
    kind = nibabel.MGHImage if name == "v.mgz" else nibabel.Nifti1Image
    if name == "v.img":
        kind = nibabel.Nifti1Pair
    nibabel.save(kind(DATA, SIZES), tmp_path / name)
    assert_is_data(load_volume(tmp_path / name))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2"])
def test_types_are_kept(tmp_path, dtype):
    volume = load_volume(save(tmp_path / "v.nii", DATA.astype(dtype), SIZES))
    assert_is_data(volume)
    assert volume.voxels.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL", "PIR", "SRA"])
def test_any_orientation_is_turned(tmp_path, axes):
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    image = nibabel.Nifti1Image(DATA, SIZES).as_reoriented(turn)
    nibabel.save(image, tmp_path / "v.nii")
    volume = load_volume(tmp_path / "v.nii")
    assert_is_data(volume)
    assert volume.axes == axes and volume.stored == image.shape
    np.testing.assert_allclose(volume.stored_affine, image.affine)
    np.testing.assert_allclose(volume.affine, SIZES)


def test_units_and_voxels_below_a_micrometre(tmp_path):
    for unit, millimetres in (("micron", 1e-3), ("mm", 1), ("meter", 1e3), ("unknown", 1)):
        image = nibabel.Nifti1Image(DATA, SIZES)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "v.nii")
        volume = load_volume(tmp_path / "v.nii")
        assert_is_data(volume, np.array([1, 2, 0.5]) * millimetres)
    tiny = np.diag([2e-4, 2e-4, 5e-4, 1])
    assert_is_data(load_volume(save(tmp_path / "v.nii", DATA, tiny)), [2e-4, 2e-4, 5e-4])


def test_an_sform_of_zeros_falls_back_on_the_qform(tmp_path):
    image = nibabel.Nifti1Image(DATA, SIZES)
    image.set_qform(SIZES, 1)
    nibabel.save(image, path := tmp_path / "v.nii")
    data = bytearray(path.read_bytes())
    data[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(data)
    assert_is_data(noted("v.nii: its sform is all zeros; placed by its qform", load_volume, path))


def test_colours_become_the_last_axis(tmp_path):
    colours = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    record = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    flipped = np.diag([-1.0, 1, 1, 1])
    for data in (record, colours, colours[:, :, :, None]):
        volume = load_volume(save(tmp_path / "v.nii", data, flipped))
        np.testing.assert_array_equal(volume.voxels, colours[::-1])
    alpha = [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]
    four = np.concatenate([colours, colours[..., :1]], -1)
    record = np.ascontiguousarray(four).view(alpha)[..., 0]
    np.testing.assert_array_equal(load_volume(save(tmp_path / "v.nii", record)).voxels, colours)
    assert load_volume(save(tmp_path / "v.nii", DATA[..., None, None])).voxels.shape == DATA.shape


def test_nrrd_spaces(tmp_path):
    lps = {
        "space": "left-posterior-superior",
        "space directions": np.diag([-1.0, -2.0, 0.5]),
        "space origin": [3.0, 4.0, 5.0],
    }
    nrrd.write(str(tmp_path / "v.nrrd"), DATA, lps)
    volume = load_volume(tmp_path / "v.nrrd")
    assert_is_data(volume)
    assert volume.axes == "RAS" and volume.affine[:3, 3].tolist() == [-3, -4, 5]
    nrrd.write(
        str(tmp_path / "v.nrrd"), DATA[::-1, ::-1], lps | {"space directions": SIZES[:3, :3]}
    )
    assert_is_data(load_volume(tmp_path / "v.nrrd"))
    nrrd.write(str(tmp_path / "v.nrrd"), DATA, {"spacings": [1, 2, 0.5]})
    assert_is_data(load_volume(tmp_path / "v.nrrd"))
    colours = np.arange(72, dtype=np.uint8).reshape(3, 2, 3, 4)
    kinds = {"kinds": ["RGB-color", "domain", "domain", "domain"]}
    directions = np.vstack([np.full(3, np.nan), np.diag([-1.0, -2.0, 0.5])])
    nrrd.write(str(tmp_path / "v.nrrd"), colours, lps | kinds | {"space directions": directions})
    np.testing.assert_array_equal(
        load_volume(tmp_path / "v.nrrd").voxels, np.moveaxis(colours, 0, -1)
    )


def test_nrrd_that_is_refused(tmp_path):
    layers = np.zeros((2, 2, 3, 4), np.uint8)
    nrrd.write(
        str(tmp_path / "v.seg.nrrd"), layers, {"kinds": ["list", "domain", "domain", "domain"]}
    )
    refused(
        "v.seg.nrrd: holds 2 layers of segments that overlap", load_volume, tmp_path / "v.seg.nrrd"
    )
    space = {"space": "scanner-xyz", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    nrrd.write(str(tmp_path / "v.nrrd"), DATA, space)
    refused("v.nrrd: has the space 'scanner-xyz'", load_volume, tmp_path / "v.nrrd")
    (tmp_path / "v.nrrd").write_bytes(b"NRRD0004\ntype: uchar\n")
    refused(
        "v.nrrd: cannot be read as a volume, it may be damaged", load_volume, tmp_path / "v.nrrd"
    )
    refused("none.nrrd: there is no such file", load_volume, tmp_path / "none.nrrd")


def test_what_is_refused(tmp_path):
    path = tmp_path / "v.nii.gz"

    def with_data(message, data, affine=None):
        refused(message, load_volume, save(path, data, affine))

    with_data("v.nii.gz: has 2 by 3 voxels; give one volume", DATA[..., 0])
    with_data("has 2 by 3 by 4 by 2 by 2 voxels", np.zeros((2, 3, 4, 2, 2), np.uint8))
    with_data("has voxels of type complex64", DATA.astype(np.complex64))
    broken = DATA.astype(np.float32)
    broken[1, 2, 3] = np.nan
    with_data(r"the voxel \(1, 2, 3\) .* is not finite; .*np.nan_to_num, or fslmaths", broken)
    data = bytearray(save(tmp_path / "flat.nii", DATA, SIZES).read_bytes())
    data[296:328] = bytes(32)  # srow_y and srow_z
    (tmp_path / "flat.nii").write_bytes(data)
    refused("flat.nii: the header gives no valid orientation", load_volume, tmp_path / "flat.nii")
    (tmp_path / "text.nii").write_text("no volume")
    refused(
        "text.nii: is not a volume that is read .*give NIfTI, NRRD or MGH",
        load_volume,
        tmp_path / "text.nii",
    )
    refused("is a folder, not a volume", load_volume, tmp_path)
    refused("none.nii: there is no such file", load_volume, tmp_path / "none.nii")
    nibabel.save(nibabel.Nifti1Pair(DATA, SIZES), tmp_path / "pair.img")
    (tmp_path / "pair.img").unlink()
    refused("pair.hdr: its other half pair.img is missing", load_volume, tmp_path / "pair.hdr")
    (tmp_path / "pair.hdr").rename(tmp_path / "pair.img")
    refused("pair.img: its other half pair.hdr is missing", load_volume, tmp_path / "pair.img")
    save(path, DATA).rename(tmp_path / "v.nii")
    refused("v.nii: is compressed though its name", load_volume, tmp_path / "v.nii")
    save(tmp_path / "w.nii", DATA).rename(path)
    refused("v.nii.gz: is not compressed though its name", load_volume, path)


@pytest.mark.filterwarnings("error")
def test_the_end_of_compressed_data(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (12, 12, 12), dtype=np.uint8)
    path = save(tmp_path / "v.nii.gz", data)
    whole = path.read_bytes()
    for more, said in ((b"", False), (bytes(100), False), (b"junk", True)):
        path.write_bytes(whole + more)
        volume = noted("bytes follow the end", load_volume, path) if said else load_volume(path)
        np.testing.assert_array_equal(volume.voxels, data)
    # Two parts, as pigz and cat write them.
    plain = gzip.decompress(whole)
    path.write_bytes(gzip.compress(plain[:300]) + gzip.compress(plain[300:]))
    np.testing.assert_array_equal(load_volume(path).voxels, data)
    path.write_bytes(whole[:-6])
    refused("v.nii.gz: cannot be read as a volume, it may be damaged", load_volume, path)
    damaged = bytearray(gzip.compress(plain, 0))
    damaged[len(damaged) // 2] ^= 1  # still inflates, but for the checksum
    path.write_bytes(damaged)
    refused("v.nii.gz: cannot be read as a volume, it may be damaged", load_volume, path)
