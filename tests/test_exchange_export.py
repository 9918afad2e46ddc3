"""An export read back, by other libraries, gives the same arrays."""

import csv
import hashlib
import io

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from partitions import CLASSES, NAMES, partition
from PIL import Image
from samples import TABLE, oblique_volumes, save
from test_exchange import needs

from al_jax.core.stack import InputError
from al_jax.exchange import export as exporting
from al_jax.exchange.classes import labels_of, make_classes, tables
from al_jax.exchange.export import export_stack, section_files
from al_jax.exchange.formats import tiff
from al_jax.exchange.placement import LPS, Grid, affine_on, own_place
from al_jax.exchange.polygons import read_geojson
from al_jax.files.atomic import write_atomic
from al_jax.files.inputs import read_labelled
from al_jax.files.slicing import AXES, Cut
from al_jax.files.table_rows import read_rows
from al_jax.session.results import Answered, Export

AFFINE = np.array([[0, 0, -2, 7], [0.3, 0, 0, -5], [0, -0.3, 0, 9], [0, 0, 0, 1.0]])
pytestmark = pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
SECTIONS = ("a/one 1.png", "two.png", "three.png")
FILES = ("0_one_1", "1_two", "2_three")


def stack(**changes) -> Export:
    rng = np.random.default_rng(0)
    every = np.maximum(np.stack([np.resize(partition(4 * n + 1), (9, 12)) for n in range(3)]), 0)
    segmentation = every.astype(np.int16)
    segmentation[:, :2, :3] = -1  # outside
    traced = np.where(segmentation < 2, segmentation, -1).astype(np.int16)
    traced[2] = -1
    parts = dict(
        traced=traced,
        segmentation=segmentation,
        confidence=rng.random(traced.shape, np.float32),
        names=NAMES,
        sections=SECTIONS,
        answers=[
            Answered(0, 1, "traced", None, 31.0, None, 12.5, 31.0, None),
            Answered(1, 1, "corrected", 30.25, 28.0, 0.75, 4.0, 59.0, 0.5),
        ],
        place=own_place((3, 9, 12))._replace(affine=tuple(map(tuple, AFFINE.tolist()))),
        downsample=4.0,
    )
    return Export(**(parts | changes))


@pytest.fixture
def exported(tmp_path):
    export = stack()
    paths = export_stack(tmp_path / "out", export, ("nifti", "tiff", "png")).files
    assert set(paths) == {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    return export, tmp_path / "out"


def both(export):
    return {"traced": export.traced, "labels": export.segmentation}.items()


def test_nifti(exported):
    export, folder = exported
    for role, labels in both(export):
        image = nibabel.load(folder / f"{role}.nii.gz")
        np.testing.assert_array_equal(labels_of(np.asarray(image.dataobj).T), labels)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
        np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-6)
    confidence = np.asarray(nibabel.load(folder / "confidence.nii.gz").dataobj).T
    np.testing.assert_array_equal(confidence, export.confidence)


def test_tiff(exported):
    export, folder = exported
    for role, labels in both(export):
        pages = tifffile.imread(folder / f"{role}.tif")
        np.testing.assert_array_equal(labels_of(pages), labels)
    np.testing.assert_array_equal(tifffile.imread(folder / "confidence.tif"), export.confidence)


def test_png(exported):
    export, folder = exported
    files = section_files(SECTIONS)
    assert files == list(FILES)
    for n, stem in enumerate(files):
        for role, labels in both(export):
            ids = np.array(Image.open(folder / f"{role}_png" / f"{stem}.png"))
            np.testing.assert_array_equal(labels_of(ids), labels[n])
        percent = np.array(Image.open(folder / "confidence_png" / f"{stem}.png"))
        assert abs(percent / 100 - export.confidence[n]).max() <= 0.00501


def test_seg_nrrd(tmp_path):
    slicerio = pytest.importorskip("slicerio", reason="pip install '.[annotate]'")
    export = stack(names=("background", "a", "b", "c", "d"))
    export_stack(tmp_path, export, ["seg.nrrd"])
    for role, labels in both(export):
        found = slicerio.read_segmentation(str(tmp_path / f"{role}.seg.nrrd"))
        np.testing.assert_allclose(found["ijkToLPS"], LPS @ AFFINE)
        names = slicerio.segment_names(found)
        shown = np.unique(labels[labels >= 0])
        assert names == [export.names[c] for c in shown]
        for c, name in zip(shown, names, strict=True):
            mask = slicerio.segment_mask(found, name).T
            np.testing.assert_array_equal(mask, labels == c)


def test_simpleitk_finds_the_confidence_in_the_same_place(tmp_path):
    needs("seg.nrrd")
    export = stack()
    export_stack(tmp_path, export, ["nifti", "seg.nrrd"])
    for suffix in (".nii.gz", ".nrrd"):
        image = sitk.ReadImage(str(tmp_path / f"confidence{suffix}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), export.confidence)
        place = image.TransformIndexToPhysicalPoint((11, 8, 2))
        np.testing.assert_allclose(place, (LPS @ AFFINE @ [11, 8, 2, 1])[:3], atol=1e-5)


def test_geojson(tmp_path):
    needs("geojson")
    export = stack()
    export_stack(tmp_path, export, ["geojson"])
    for n, stem in enumerate(section_files(SECTIONS)):
        for role, labels in both(export):
            path = tmp_path / f"{role}_geojson" / f"{stem}.geojson"
            masks = read_geojson(path, labels.shape[1:], downsample=4.0)
            found = np.full(labels.shape[1:], -1)
            for name, mask in masks.items():
                found[mask] = NAMES.index(name)
            np.testing.assert_array_equal(found, labels[n])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "confidence.tif"), export.confidence)


def test_al_jax_reads_its_own_export(exported, tmp_path):
    """As a stack for a simulation, of ids with 0 outside."""
    export, folder = exported
    images = np.random.default_rng(1).integers(0, 255, export.traced.shape).astype(np.uint8)
    (tmp_path / "images.tif").write_bytes(tiff(images, Grid(AFFINE)))
    arguments = tmp_path / "images.tif", folder / "labels.tif", folder / "classes.csv"
    found = read_labelled(*arguments, outside_id=0)
    np.testing.assert_array_equal(found.truth, export.segmentation)
    assert found.names == NAMES and found.colours == make_classes(NAMES).colours


@pytest.fixture(params=AXES)
def original(tmp_path, request):
    """A stack that was cut out of an oblique volume, its files, and the cut."""
    image, labels, affine = oblique_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    paths = save(tmp_path / "i.nii", image, affine), save(tmp_path / "l.nii", labels, affine)
    cut = Cut(request.param, sections=5)
    return read_labelled(*paths, tmp_path / "names.csv", cut=cut), paths, cut


def exported_of(stack, folder, formats):
    confidence = np.random.default_rng(0).random(stack.truth.shape, np.float32) + 1
    traced = np.where(stack.truth == 1, 1, -1).astype(np.int16)
    parts = dict(names=stack.names, sections=stack.sections, place=stack.place)
    export = Export(traced=traced, segmentation=stack.truth, confidence=confidence, **parts)
    export_stack(folder, export, formats)
    return export


def test_what_is_exported_lies_in_the_volume_that_was_cut(original, tmp_path):
    stack, paths, cut = original
    export = exported_of(stack, tmp_path, ["nifti"])
    volume = nibabel.load(paths[1])
    labels = np.asarray(volume.dataobj)
    class_of = np.zeros(8, int)
    class_of[[0, 3, 5, 7]] = [
        stack.names.index(n) for n in ("background", "left", "right", "shell")
    ]
    through = {"sagittal": 2, "coronal": 0, "axial": 1}[cut.axis]  # of the array as stored
    for role, known in (("labels", labels > 0), ("traced", class_of[labels] == 1)):
        image = nibabel.load(tmp_path / f"{role}.nii.gz")
        assert image.shape == volume.shape
        np.testing.assert_array_equal(image.get_sform(), volume.get_sform())
        np.testing.assert_allclose(image.get_qform(), volume.affine, atol=1e-4)
        ids = np.asarray(image.dataobj)
        sliced = np.flatnonzero((ids > 0).any(tuple({0, 1, 2} - {through})))
        assert len(sliced) == 5
        # Structures are where they were on the slices that were cut, and on no other.
        expected = np.where(
            known.take(sliced, through), class_of[labels.take(sliced, through)] + 1, 0
        )
        found = ids.take(sliced, through)
        np.testing.assert_array_equal(found[expected > 0], expected[expected > 0])
        assert set(np.unique(found[expected == 0])) <= {0, 1}  # beside them: border, background
    image = nibabel.load(tmp_path / "confidence.nii.gz")
    filled = np.asarray(image.dataobj)
    assert (
        image.shape == volume.shape
        and (filled > 0).sum()
        == (np.asarray(nibabel.load(tmp_path / "labels.nii.gz").dataobj) > 0).sum()
    )
    # World to world: a pixel of a section, and the same in the files.
    for number in range(5):
        for row, column in np.argwhere(stack.truth[number] > 0)[::7]:
            at = np.linalg.inv(image.affine) @ affine_on(stack.place, number) @ [column, row, 0, 1]
            np.testing.assert_allclose(at, np.rint(at), atol=1e-4)
            i, j, k = np.rint(at[:3]).astype(int)
            assert filled[i, j, k] == export.confidence[number, row, column]
            assert class_of[labels[i, j, k]] == stack.truth[number, row, column]


def test_segments_lie_in_the_volume_that_was_cut(original, tmp_path):
    slicerio = pytest.importorskip("slicerio", reason="pip install '.[annotate]'")
    stack, paths, _ = original
    exported_of(stack, tmp_path, ["seg.nrrd"])
    volume = nibabel.load(paths[1])
    labels = np.asarray(volume.dataobj)
    found = slicerio.read_segmentation(str(tmp_path / "labels.seg.nrrd"))
    voxels, header = nrrd.read(str(tmp_path / "confidence.nrrd"))
    for place in (
        LPS @ found["ijkToLPS"],
        LPS
        @ np.vstack([np.c_[header["space directions"].T, header["space origin"]], [0, 0, 0, 1]]),
    ):
        np.testing.assert_allclose(place, volume.affine, atol=1e-6)
    assert voxels.shape == labels.shape
    for name, number in (("left", 3), ("right", 5), ("shell", 7)):
        mask = slicerio.segment_mask(found, name)
        assert mask.any() and (labels[mask > 0] == number).all()
        on_sections = (stack.truth == stack.names.index(name)).sum()
        assert mask.sum() == on_sections and (voxels[mask > 0] > 0).all()


def test_an_export_and_the_volume_that_was_cut_are_read_again(original, tmp_path):
    stack, paths, cut = original
    exported_of(stack, tmp_path, ["nifti"])
    arguments = paths[0], tmp_path / "labels.nii.gz", tmp_path / "classes.csv"
    found = read_labelled(*arguments, cut=cut, outside_id=0)
    assert (found.place, found.sections, found.names) == (stack.place, stack.sections, stack.names)
    np.testing.assert_array_equal(found.images, stack.images)
    np.testing.assert_array_equal(found.truth[found.inside], stack.truth[found.inside])
    assert not stack.truth[~found.inside].any()  # padding


def test_tables(exported):
    _, folder = exported
    rows = list(csv.DictReader(io.StringIO((folder / "answers.csv").read_text())))
    assert [row["structure_name"] for row in rows] == ["outer", "outer"]
    assert rows[0]["predicted"] == rows[0]["dice"] == "" and rows[0]["section_name"] == SECTIONS[0]
    assert rows[1] | {"kept": "0.75", "seconds": "4.0", "kind": "corrected"} == rows[1]
    sections = list(csv.DictReader(io.StringIO((folder / "sections.csv").read_text())))
    assert [row["section"] for row in sections] == list(SECTIONS)


def test_without_a_network_there_is_what_was_traced(tmp_path):
    paths = export_stack(tmp_path, stack(segmentation=None, confidence=None), ["tiff"]).files
    assert {path.name for path in paths if path.suffix == ".tif"} == {"traced.tif"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        export_stack(tmp_path / "file", stack(), ["tiff"])
    with pytest.raises(InputError, match="unknown format 'dicom'"):
        export_stack(tmp_path / "new", stack(), ["dicom"])
    assert not (tmp_path / "new").exists()


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["classes.csv", "answers.csv", "own.txt", "traced_png/1_two.png", "traced_png"]
)
def test_nothing_is_replaced_that_no_export_wrote(name, tmp_path):
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("mine")
    with pytest.raises(InputError, match=rf"{name}: is not of an export .* choose another --out"):
        export_stack(tmp_path, stack(), ["png"], {"own.txt": lambda: b"ours"})
    assert tree(tmp_path) == {name: b"mine"}
    own.unlink()
    own.symlink_to(tmp_path / "elsewhere")  # a link is a person's, too
    with pytest.raises(InputError, match="is not of an export"):
        export_stack(tmp_path, stack(), ["png"], {"own.txt": lambda: b"ours"})


def test_what_was_changed_since_an_export_is_not_replaced(tmp_path):
    export_stack(tmp_path, stack(), ["tiff"])
    (tmp_path / "classes.csv").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"classes.csv: was changed since it was exported"):
        export_stack(tmp_path, stack(traced=stack().segmentation), ["tiff"])
    assert tree(tmp_path) == before
    (tmp_path / "classes.csv").unlink()  # moved away
    made = export_stack(tmp_path, stack(traced=stack().segmentation), ["tiff"])
    assert not made.removed and not made.kept
    assert tree(tmp_path)["traced.tif"] != before["traced.tif"]


def test_formats_of_an_earlier_export_do_not_stay_beside_others(tmp_path):
    export_stack(tmp_path, stack(), ["tiff", "png", "nifti"], {"more.npz": lambda: b"x"})
    (tmp_path / "traced.nii.gz").write_bytes(b"corrected by hand")
    (tmp_path / "traced_png" / "mine.txt").write_text("mine")
    made = export_stack(tmp_path, stack(confidence=None), ["tiff"])
    assert made.kept == [tmp_path / "traced.nii.gz"]
    assert {str(p.relative_to(tmp_path)) for p in made.removed} == {
        *("confidence.tif", "confidence.nii.gz", "labels.nii.gz", "more.npz"),
        *(f"{role}_png/{s}.png" for role in ("traced", "labels", "confidence") for s in FILES),
    }
    left = {str(path.relative_to(tmp_path)) for path in made.files}
    assert set(tree(tmp_path)) == left | {"traced.nii.gz", "traced_png/mine.txt"}
    assert not (tmp_path / "labels_png").exists()
    again = export_stack(tmp_path, stack(confidence=None), ["tiff"])
    assert not again.removed and not again.kept  # what was named once is a person's from then on
    with pytest.raises(InputError, match=r"traced.nii.gz: is not of an export"):
        export_stack(tmp_path, stack(), ["nifti"])


@pytest.mark.parametrize("after", range(1, 8))
def test_an_export_that_was_killed_is_done_again(after, tmp_path, monkeypatch):
    export_stack(tmp_path, stack(), ["tiff", "png"])
    written = []

    def killed(path, data):
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(path)
        write_atomic(path, data)

    changed = stack(traced=stack().segmentation)
    monkeypatch.setattr(exporting, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        export_stack(tmp_path, changed, ["tiff"])
    monkeypatch.undo()
    export_stack(tmp_path, changed, ["tiff"])
    export_stack(tmp_path / "new", changed, ["tiff"])
    new = {f"new/{name}" for name in tree(tmp_path / "new")}
    found = tree(tmp_path)
    assert {name: found[name] for name in found if name not in new} == tree(tmp_path / "new")


def test_the_list_of_an_export_is_that_of_sha256sum(tmp_path):
    made = export_stack(tmp_path, stack(), ["png"])
    lines = (tmp_path / "exported.sha256").read_text().splitlines()
    assert len(lines) == len(made.files) - 1
    for line in lines:
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", tables(make_classes(NAMES)))
def test_every_table_of_classes_can_be_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(tables(make_classes(NAMES))[name])
    rows = {row.id: row for row in read_rows(path)}
    assert set(rows) - {0} == set(range(1, CLASSES + 1))
    for c, (own, colour) in enumerate(zip(*make_classes(NAMES), strict=True)):
        spaced = own if "csv" in name or "itksnap" in name else own.replace(" ", "_")
        assert (rows[c + 1].cells["name"], rows[c + 1].colour) == (spaced, colour)


def test_opacity_is_as_each_tool_counts_it():
    lines = {name: data.decode().splitlines() for name, data in tables(make_classes(NAMES)).items()}
    assert lines["classes_freesurfer.txt"][2] == "2 outer 230 159 0 0"
    assert lines["classes_slicer.ctbl"][3] == "2 outer 230 159 0 255"
    assert lines["classes_itksnap.txt"][1].split() == [*"0000000", '"Clear', 'Label"']
