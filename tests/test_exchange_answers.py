"""Answers as other tools save them: masks of one value, stacks, planes, regions, shear."""

import gzip
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image
from samples import noted, png
from test_exchange import Asking, needs, refusal

from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import ids_of, make_classes
from al_jax.exchange.questions import Origin, read_manifest, write_question

SHAPE = (10, 12)
MASK = np.zeros(SHAPE, bool)
MASK[2:6, 3:9] = True
BACKGROUND = np.zeros(SHAPE, bool)
BACKGROUND[8:] = True


def asked(folder, *, structure=2, classes=4, labels=None, affine=None, formats=("png",)):
    """The manifest of a question on section 3 of 6; nothing was labelled, or `labels`."""
    question = Asking(
        section=3,
        structure=structure,
        section_name="s4.png",
        why="",
        image=np.arange(120, dtype=np.uint8).reshape(*SHAPE, 1),
        inside=np.ones(SHAPE, bool),
        labels=np.full(SHAPE, -1, np.int16) if labels is None else labels.astype(np.int16),
        proposal=None,
    )
    table = make_classes(["background", *(f"class {c}" for c in range(1, classes))])
    origin = Origin(sections=6)
    write_question(folder, question, table, formats, affine=affine, origin=origin)
    return read_manifest(folder)


def save(folder, ids, kind):
    """Ids [H, W] in a file of some kind."""
    path = folder / f"answer.{kind}"
    if kind == "png":
        Image.fromarray(ids.astype(np.uint8)).save(path)
    elif kind == "tif":
        tifffile.imwrite(path, ids)
    else:
        nibabel.save(nibabel.Nifti1Image(ids.T[..., None], np.diag([-1, -1, 1, 1])), path)
    return path


@pytest.mark.parametrize("value", [1, 255, 128, 3, 7])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_mask_has_any_value(value, kind, tmp_path):
    manifest = asked(tmp_path / "q")
    ids = (value * MASK).astype(np.uint8)
    np.testing.assert_array_equal(read_answer(save(tmp_path, ids, kind), manifest), MASK)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint16])
def test_a_mask_has_any_type(dtype, tmp_path):
    manifest = asked(tmp_path / "q")
    path = save(tmp_path, MASK.astype(dtype), "tif")
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    manifest = asked(tmp_path / "q2", affine=np.diag([-1.0, -1, 1, 1]), formats=("nifti",))
    path = save(tmp_path, MASK.astype(dtype), "nii.gz")
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)


@pytest.mark.parametrize("classes", [3, 254, 255, 300])
def test_a_mask_is_one_whatever_the_number_of_classes(classes, tmp_path):
    manifest = asked(tmp_path / "q", classes=classes)
    path = tmp_path / "one.png"
    path.write_bytes(png(MASK[..., None].astype(np.uint8), 1, 0))
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    for value in (1, 255):
        path = save(tmp_path, (value * MASK).astype(np.uint8), "png")
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)


def test_what_had_been_labelled_is_no_mask(tmp_path):
    """An unfilled template of the background alone, and with the structure filled in by mistake."""
    labels = np.where(BACKGROUND, 0, -1)
    manifest = asked(tmp_path / "q", labels=labels)
    unfilled = ids_of(labels, 4)
    assert "shows 'background' and no pixel of it (id 3)" in refusal(
        save(tmp_path, unfilled, "png"), manifest
    )
    np.testing.assert_array_equal(
        read_answer(save(tmp_path, MASK.astype(np.uint8), "png"), manifest), MASK
    )
    both = np.where(MASK, 3, unfilled)
    np.testing.assert_array_equal(read_answer(save(tmp_path, both, "png"), manifest), MASK)


def test_another_class_is_not_a_mask(tmp_path):
    """Its id says what it is; the line says what would be a mask."""
    manifest = asked(tmp_path / "q")
    line = refusal(save(tmp_path, (2 * MASK).astype(np.uint8), "png"), manifest)
    assert "px of 'class 1' differ" in line and "as a mask of 0 and 255" in line
    both = (1 + MASK).astype(np.uint8)
    assert "0 and 255" in refusal(save(tmp_path, both, "png"), manifest)
    background = asked(tmp_path / "b", structure=0)
    np.testing.assert_array_equal(
        read_answer(save(tmp_path, MASK.astype(np.uint8), "png"), background), MASK
    )


def palette_png(path, indices, palette):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([int(v) for grey in palette for v in (grey,) * 3])
    image.save(path)
    return path


def test_inverting_tables_of_imagej(tmp_path):
    """It shows 255 as black; a small table of greys is one of a program that saves room."""
    manifest = asked(tmp_path / "q")
    path = palette_png(tmp_path / "inverting.png", 255 * MASK, range(255, -1, -1))
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    path = palette_png(tmp_path / "small.png", ~MASK, (255, 0))
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    path = palette_png(tmp_path / "greys.png", 255 * MASK, range(256))
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    path = tmp_path / "inverting.tif"
    tifffile.imwrite(path, (255 * MASK).astype(np.uint8), photometric="miniswhite")
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)


@pytest.mark.parametrize("imagej", [False, True])
def test_of_a_stack_the_page_of_the_section_is_taken(imagej, tmp_path):
    manifest = asked(tmp_path / "q")
    pages = np.zeros((6, *SHAPE), np.uint8)
    pages[3], pages[2] = 3 * MASK, 3
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, pages, imagej=imagej)
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    pages[3] = 0
    tifffile.imwrite(path, pages, imagej=imagej)
    assert "shows no pixel of it" in refusal(path, manifest)
    tifffile.imwrite(path, pages[:5], imagej=imagej)
    line = refusal(path, manifest)
    assert "has 5 pages; save that of the section alone, or all 6 of the stack" in line
    tifffile.imwrite(path, (3 * MASK).astype(np.uint8)[None], imagej=imagej)
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)


def outline(name, mask=MASK, **geometry):
    """A feature along a mask that is a box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    (top, bottom), (left, right) = ((x[0], x[-1] + 1) for x in (rows, columns))
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[int(x), int(y)] for x, y in ring]],
            **geometry,
        },
        "properties": {} if name is None else {"classification": {"name": name}},
    }


def geojson(folder, *features, name="answer.geojson"):
    path, data = folder / name, json.dumps(features).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


class TestOutlines:
    @pytest.fixture
    def manifest(self, tmp_path):
        needs("geojson")
        return asked(tmp_path / "q")

    @pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.JSON", "a.json.gz"])
    def test_compressed_or_not(self, name, manifest, tmp_path):
        path = geojson(tmp_path, outline("class 2"), name=name)
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)

    @pytest.mark.parametrize("axis", ["z", "t"])
    def test_the_plane_of_the_section_is_taken(self, axis, manifest, tmp_path):
        other = outline("class 2", BACKGROUND, plane={"c": -1, "z": 0, "t": 0} | {axis: 1})
        beyond = outline("class 2", plane={"c": -1, "z": 0, "t": 0} | {axis: 5})
        beyond["geometry"]["coordinates"][0][1] = [900, 0]
        own = outline("class 2", plane={"c": -1, "z": 0, "t": 0} | {axis: 3})
        path = geojson(tmp_path, other, own, beyond)
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)
        line = refusal(geojson(tmp_path, other, beyond), manifest)
        assert "is drawn on planes 1, 5 (counted from 0)" in line and "is plane 3" in line
        assert "is drawn on planes 1" in refusal(geojson(tmp_path, other), manifest)
        none = outline("class 2", plane={"c": 0, "z": 0, "t": 0})  # of a picture with one plane
        np.testing.assert_array_equal(read_answer(geojson(tmp_path, none), manifest), MASK)

    @pytest.mark.parametrize("axis", ["z", "t"])
    def test_numbers_of_planes_as_other_writers_write_them(self, axis, manifest, tmp_path):
        for number in (3, 3.0, "3", "3.0"):
            own = outline("class 2", plane={axis: number})
            np.testing.assert_array_equal(read_answer(geojson(tmp_path, own), manifest), MASK)
        for number in (1, 1.0, "1", -1.0):
            other = outline("class 2", plane={axis: number})
            assert "is drawn on planes" in refusal(geojson(tmp_path, other), manifest)
        for plane in ({axis: "second"}, {axis: 2.5}, {axis: [3]}, {axis: float("nan")}, 3, [0, 3]):
            other = outline("class 2", plane=plane)
            assert "annotation 1 is on the plane" in refusal(geojson(tmp_path, other), manifest)
        for plane in (None, {}, {axis: None}, {axis: 0.0}):
            none = outline("class 2", plane=plane)
            np.testing.assert_array_equal(read_answer(geojson(tmp_path, none), manifest), MASK)

    def test_what_has_no_class_is_left_out_beside_the_right_one(self, manifest, tmp_path):
        extra = outline(None, BACKGROUND)
        line = {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}
        ruler = {"type": "Feature", "geometry": line, "properties": {}}
        ignored = outline("Ignore*", BACKGROUND)
        path = geojson(tmp_path, extra, ignored, outline("Class  2"), ruler)
        found = noted("2 annotations have no class; they are left out", read_answer, path, manifest)
        np.testing.assert_array_equal(found, MASK)
        path = geojson(tmp_path, ignored, outline("class 2"))
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)
        path = geojson(tmp_path, outline("class 1", BACKGROUND), extra)
        assert "annotation 2 has no class; set its class" in refusal(path, manifest)
        assert "shows no pixel of it" in refusal(geojson(tmp_path, ignored), manifest)

    def test_names_are_alike_but_for_case_and_spaces(self, manifest, tmp_path):
        path = geojson(
            tmp_path, outline("CLASS 2"), outline("class\N{NO-BREAK SPACE}2", BACKGROUND)
        )
        np.testing.assert_array_equal(read_answer(path, manifest), MASK | BACKGROUND)


class TestRegionsOfImageJ:
    @pytest.fixture
    def roifile(self):
        needs("geojson")
        return pytest.importorskip("roifile", reason="pip install '.[annotate]'")

    def region(self, roifile, mask=MASK, **more):
        ring = outline("", mask)["geometry"]["coordinates"][0][:-1]
        return roifile.ImagejRoi.frompoints(np.array(ring, np.float32), **more)

    def saved(self, roifile, tmp_path, *regions):
        path = tmp_path / ("RoiSet.zip" if len(regions) > 1 else "one.roi")
        path.unlink(missing_ok=True)
        roifile.roiwrite(path, list(regions) if len(regions) > 1 else regions[0])
        return path

    def test_regions_are_joined(self, roifile, tmp_path):
        manifest = asked(tmp_path / "q")
        path = self.saved(roifile, tmp_path, self.region(roifile, name="0004-0006"))
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)
        for name in ("0009-0006", "0003-0009-0006", "0009-0006-1", "10009-10006", "", None):
            more = self.region(roifile, BACKGROUND, name=name)
            path = self.saved(roifile, tmp_path, self.region(roifile, name="CLASS 2"), more)
            np.testing.assert_array_equal(read_answer(path, manifest), MASK | BACKGROUND)

    def test_a_name_is_that_of_a_class(self, roifile, tmp_path):
        manifest = asked(tmp_path / "q", labels=np.where(BACKGROUND, 1, -1))
        other = self.region(roifile, BACKGROUND, name="class 1")
        path = self.saved(roifile, tmp_path, self.region(roifile, name=""), other)
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)
        other = self.region(roifile, MASK, name="class 1")
        path = self.saved(roifile, tmp_path, self.region(roifile, name=""), other)
        assert "px of 'class 1' differ" in refusal(path, manifest)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("class 2-1", None),
            ("CLASS  2-12", None),
            ("class 1-1", "px of 'class 1' differ"),
            ("class 9", "has 'class 9', which is not a class; call it 'class 2' if"),
            ("class 9-1", "has 'class 9-1', which is not a class"),
            ("Class 2 b", "has 'Class 2 b', which is not a class"),
            ("1", "has '1', which is not a class"),
            ("x", "has 'x', which is not a class"),
        ],
    )
    def test_names_that_imagej_made_of_doubles(self, name, says, roifile, tmp_path):
        manifest = asked(tmp_path / "q")
        more = self.region(roifile, BACKGROUND, name=name)
        for own in ("class 2", "0004-0006"):
            path = self.saved(roifile, tmp_path, self.region(roifile, name=own), more)
            if says is None:
                np.testing.assert_array_equal(read_answer(path, manifest), MASK | BACKGROUND)
            else:
                assert says in refusal(path, manifest)

    def test_the_slice_of_the_section_is_taken(self, roifile, tmp_path):
        manifest = asked(tmp_path / "q")
        own = self.region(roifile, name="class 2", position=3)
        other = self.region(roifile, BACKGROUND, name="class 2-1", position=1)
        path = self.saved(roifile, tmp_path, other, own)
        np.testing.assert_array_equal(read_answer(path, manifest), MASK)
        assert "is drawn on planes 1" in refusal(self.saved(roifile, tmp_path, other), manifest)

    def test_what_is_no_area_is_refused(self, roifile, tmp_path):
        manifest = asked(tmp_path / "q")
        line = self.region(roifile, name="a")
        line.roitype = roifile.ROI_TYPE.POLYLINE
        assert "region 'a' is a polyline, which has no area" in refusal(
            self.saved(roifile, tmp_path, line), manifest
        )
        (tmp_path / "no.zip").write_bytes(b"PK\x05\x06" + bytes(18))
        assert "no.zip: " in refusal(tmp_path / "no.zip", manifest)
        (tmp_path / "no.roi").write_bytes(b"nothing of ImageJ")
        assert "cannot be read as a file of ImageJ regions" in refusal(
            tmp_path / "no.roi", manifest
        )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_what_itk_saves_of_a_place_with_shear(suffix, tmp_path):
    """ITK knows axes at right angles alone: it takes the qform, and saves that."""
    shear = np.array([[1, 0.08, 0, -10], [0, 0, 1.2, -8], [0, -0.9, 0.05, -9], [0, 0, 0, 1.0]])
    manifest = asked(tmp_path / "q", affine=shear, formats=("nifti",))
    template = nibabel.load(tmp_path / "q" / "template.nii.gz")
    assert abs(template.get_qform() - template.get_sform()).max() > 0.03
    path = tmp_path / f"itk{suffix}"
    image = sitk.ReadImage(str(tmp_path / "q" / "template.nii.gz"))
    answer = sitk.GetImageFromArray((3 * MASK).astype(np.uint8)[None])
    answer.CopyInformation(image)
    sitk.WriteImage(answer, str(path))
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    nibabel.save(nibabel.Nifti1Image((3 * MASK).astype(np.uint8).T[..., None], shear), path)
    np.testing.assert_array_equal(read_answer(path, manifest), MASK)
    moved = answer[:, :, :]
    moved.SetOrigin([x + 1 for x in answer.GetOrigin()])
    sitk.WriteImage(moved, str(path))
    assert "its header" in refusal(path, manifest)
