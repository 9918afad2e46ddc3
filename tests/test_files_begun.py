"""Labels that a session begins with: of some sections, or of an export."""

import pathlib
import shutil

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import TABLE, noted, oblique_volumes, refused, save

from al_jax.core.stack import UNLABELLED, Images
from al_jax.exchange.export import export_stack
from al_jax.files.inputs import read_begun, read_images, read_labelled
from al_jax.files.slicing import Cut
from al_jax.session.results import Export

pytestmark = pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
SHAPES = {"s1 (a)": (9, 12), "s2": (12, 7), "s10": (12, 12)}
NAMES = ("background", "left", "right", "shell")


def export(folder: pathlib.Path, images: Images, traced: np.ndarray, formats: list[str]) -> None:
    export_stack(
        folder,
        Export(
            traced=traced,
            segmentation=None,
            confidence=None,
            names=images.names,
            sections=images.sections,
            place=images.place,
        ),
        formats,
    )


@pytest.fixture
def begun(tmp_path):
    """Images of unlike sizes, one of them turned by its tag, and what was traced of them."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(3)
    for n, (stem, shape) in enumerate(SHAPES.items()):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        exif = Image.Exif()
        if n == 2:
            exif[0x0112] = 3  # upside down, which sizes do not tell
        Image.fromarray(pixels).save(tmp_path / "images" / f"{stem}.png", exif=exif)
    (tmp_path / "names.csv").write_text(TABLE)
    images = read_images(tmp_path / "images", tmp_path / "names.csv")
    traced = np.full(images.inside.shape, UNLABELLED, np.int16)
    traced[0, 2:5, 3:9] = 3
    traced[2, 0, :4] = 1
    traced[2, 1:] = 0  # the background, as somebody traced it
    return tmp_path, images, traced


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("table", ["own", "of the export", "of the export, one more"])
def test_an_export_comes_back(begun, form, table):
    folder, images, traced = begun
    export(folder / "out", images, traced, [form])
    labels, names = folder / "out" / {"png": "traced_png", "tiff": "traced.tif"}[form], NAMES
    path = folder / "names.csv"
    if table != "own":
        path = folder / "classes.csv"
        text = (folder / "out" / "classes.csv").read_text()
        if "more" in table:
            text, names = text + "9,nucleus,#ff00ff\n", (*NAMES, "nucleus")
        path.write_text(text)
    says = "0 is what was not labelled"
    found, known = noted(says, read_begun, folder / "images", labels, path)
    np.testing.assert_array_equal(known, traced)
    np.testing.assert_array_equal(found.inside, images.inside)
    np.testing.assert_array_equal(found.images, images.images)
    assert found.names == names and found.sections == images.sections


def test_an_export_of_some_sections_that_was_copied_comes_back(begun):
    """Without the tables beside it, and by the names of the images: the given table tells."""
    folder, images, traced = begun
    export(folder / "out", images, traced, ["png"])
    (folder / "l").mkdir()
    shutil.copy(folder / "out/traced_png/2_s10.png", folder / "l/s10.png")
    table = folder / "out" / "classes.csv"
    found, known = read_begun(folder / "images", folder / "l", table)
    np.testing.assert_array_equal(known[2], traced[2])
    assert (known[:2] == UNLABELLED).all()
    np.testing.assert_array_equal(found.inside, images.inside)


def test_what_does_not_fit_an_export(begun):
    folder, images, traced = begun
    export(folder / "out", images, traced, ["png", "tiff"])
    out, given = folder / "out", folder / "images"
    names = folder / "names.csv"
    refused(
        "traced.tif: --outside_id=0 would put all outside",
        read_begun,
        given,
        out / "traced.tif",
        names,
        outside_id=0,
    )
    names.write_text("id,name\n0,background\n3,left\n")
    refused(
        "names.csv: does not list 'right', which .*classes.csv does",
        read_begun,
        given,
        out / "traced_png",
        names,
    )
    names.write_text(TABLE)
    (given / "s2.png").unlink()
    refused(
        "traced.tif: has section s2.png, of which there is no image",
        read_begun,
        given,
        out / "traced.tif",
        names,
    )
    says = "has no image that belongs to 1_s2.png; left out"
    assert noted(says, read_begun, given, out / "traced_png", names)[1].shape[0] == 2


def test_a_stack_of_pages_takes_its_export_back(begun):
    folder, _, _ = begun
    pages = np.random.default_rng(0).integers(0, 256, (12, 8, 9), dtype=np.uint8)
    tifffile.imwrite(folder / "pages.tif", pages)
    images = read_images(folder / "pages.tif", folder / "names.csv")
    traced = np.full(pages.shape, UNLABELLED, np.int16)
    traced[11, 2:4] = 2
    export(folder / "out", images, traced, ["png", "tiff"])
    for n in range(11):
        (folder / "out/traced_png" / f"{n:02}_{n}.png").unlink()
    for labels in ("traced_png", "traced.tif"):
        paths = folder / "pages.tif", folder / "out" / labels, folder / "names.csv"
        np.testing.assert_array_equal(read_begun(*paths)[1], traced)
    (folder / "out/traced_png/11_11.png").rename(folder / "out/traced_png/x.png")
    refused(
        "x.png is called like no section; these are 0, 1, 2, 3 and 8 more",
        read_begun,
        folder / "pages.tif",
        folder / "out/traced_png",
        folder / "names.csv",
    )


@pytest.mark.parametrize("form", ["nifti", "seg.nrrd"])
def test_a_volume_takes_its_export_back(tmp_path, form):
    if form == "seg.nrrd":
        pytest.importorskip("slicerio")
    image, labels, affine = oblique_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    path, names = save(tmp_path / "i.nii", image, affine), tmp_path / "names.csv"
    truth = read_labelled(
        path, save(tmp_path / "l.nii", labels, affine), names, cut=Cut(sections=5)
    )
    traced = np.where(truth.truth == 1, 1, UNLABELLED).astype(np.int16)
    traced[2] = truth.truth[2]  # with its background
    export(tmp_path / "out", truth, traced, [form, "png"])
    file = tmp_path / "out" / {"nifti": "traced.nii.gz", "seg.nrrd": "traced.seg.nrrd"}[form]
    found, known = read_begun(path, file, names, cut=Cut(sections=5))
    shown = [n for n, own in enumerate(traced) if (own > 0).any()]
    for n in shown:
        at = found.sections.index(truth.sections[n])
        for c in range(1, 4):
            assert (known[at] == c).sum() == (traced[n] == c).sum()
    assert found.images.shape[1:] == truth.images.shape[1:]
    at = found.sections.index(truth.sections[2])
    np.testing.assert_array_equal(known[at], traced[2])  # what was put around is background again
    assert found.names == NAMES and found.inside.all()
    refused(
        r"traced_png: is a folder, not a volume; .*export --formats=nifti",
        read_begun,
        path,
        tmp_path / "out/traced_png",
        names,
        cut=Cut(sections=5),
    )


@pytest.mark.parametrize("ending", [".png", ".tif", "_mask.png", ".ome.tif"])
def test_labels_of_some_sections_are_taken_over(begun, ending):
    """In which 0 may be background or not annotated."""
    folder, images, _ = begun
    (folder / "labels").mkdir()
    ids = np.zeros(SHAPES["s2"], np.uint8)
    ids[3:5, 2:6] = 5
    path = folder / "labels" / f"s2{ending}"
    tifffile.imwrite(path, ids) if ending.endswith("tif") else Image.fromarray(ids).save(path)
    paths = folder / "images", folder / "labels", folder / "names.csv"
    found, known = read_begun(*paths)
    assert found.names == NAMES and found.sections == images.sections
    np.testing.assert_array_equal(found.inside, images.inside)
    np.testing.assert_array_equal(known[1, :, :7], np.where(ids == 5, 2, UNLABELLED))
    assert (known[[0, 2]] == UNLABELLED).all()
    refused("labels: lacks the section", read_labelled, *paths)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "labels/s10.png")
    refused("s10.png: has 4 by 4 pixels but .*s10.png has 12 by 12", read_begun, *paths)
    (folder / "labels/s10.png").unlink()
    tifffile.imwrite(path, ids * 0) if ending.endswith("tif") else Image.fromarray(ids * 0).save(
        path
    )
    refused("labels: shows no structure", read_begun, *paths)


def test_what_is_outside_and_which_background_is_sure(begun):
    folder, _, _ = begun
    (folder / "labels").mkdir()
    ids = np.full(SHAPES["s2"], 9, np.uint8)
    ids[:2], ids[2], ids[3] = 0, 200, 3
    Image.fromarray(ids).save(folder / "labels/s2.png")
    paths = folder / "images", folder / "labels", folder / "names.csv"
    paths[2].write_text("id,name\n0,background\n3,left\n9,background\n")
    refused("s2.png: has the id 200", read_begun, *paths)
    found, known = read_begun(*paths, outside_id=200)
    assert not found.inside[1, 2].any() and found.inside[1, :2, :7].all()
    rows = [UNLABELLED, UNLABELLED, UNLABELLED, 1, 0]  # 0 is not sure, 9 is
    assert [set(known[1, row, :7].tolist()) for row in range(5)] == [{value} for value in rows]


def test_volumes_of_which_some_sections_are_labelled(tmp_path):
    image, labels, affine = oblique_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    some = labels.copy()
    some[27:] = 0
    paths = save(tmp_path / "i.nii", image, affine), save(tmp_path / "l.nii", some, affine)
    found, known = read_begun(*paths, tmp_path / "names.csv", cut=Cut("axial", sections=4))
    assert found.names == NAMES and (known == 0).sum() == 0
    assert (known > 0).any((1, 2)).sum() >= 1
    nibabel.load(paths[1])
