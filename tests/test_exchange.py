"""A question goes out as files, and the answer comes back from whatever a tool saved."""

import json
import shutil
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
import tifffile
from partitions import CLASSES, NAMES, partition
from PIL import Image

from al_jax.core.stack import InputError
from al_jax.exchange.answers import read_answer, read_traced
from al_jax.exchange.classes import ids_of, make_classes
from al_jax.exchange.formats import FORMATS
from al_jax.exchange.questions import array_digest, outline_to_trace, read_manifest, write_question

PLAIN = ("nifti", "tiff", "png")  # without further packages


def needs(name):
    for module in {"geojson": ["rasterio"], "seg.nrrd": ["slicerio"]}.get(name, []):
        pytest.importorskip(module, reason=f"{name} needs it: pip install '.[annotate]'")


class Asking(NamedTuple):
    section: int
    structure: int
    section_name: str
    why: str
    image: np.ndarray
    inside: np.ndarray
    labels: np.ndarray
    proposal: np.ndarray | None
    network: int = 0
    asked: float = 0.0


TABLE = make_classes(NAMES)


def ask(seed=0, structure=2) -> tuple[Asking, np.ndarray]:
    """A question about a random section, on which the classes below the structure are traced."""
    truth = partition(seed)
    rng = np.random.default_rng(seed)
    mask = truth == structure
    question = Asking(
        section=3,
        structure=structure,
        section_name="section_3.png",
        why="expected Dice 0.31",
        image=rng.integers(0, 256, (*truth.shape, 1)).astype(np.uint8),
        inside=np.ones(truth.shape, bool),
        labels=np.where((truth >= 0) & (truth < structure), truth, -1).astype(np.int16),
        proposal=mask,
    )
    return question, mask


@pytest.fixture
def asked(tmp_path):
    """A question of a small section in plain formats, its manifest and template ids."""
    labels = np.full((6, 8), -1, np.int16)
    labels[:, :3], labels[0, 4:6] = 0, 1
    proposal = np.zeros((6, 8), bool)
    proposal[2:5, 2:6] = True
    question, _ = ask()
    question = question._replace(
        image=np.arange(48, dtype=np.uint8).reshape(6, 8, 1),
        inside=np.ones((6, 8), bool),
        labels=labels,
        proposal=proposal,
    )
    write_question(tmp_path / "q", question, TABLE, PLAIN)
    return read_manifest(tmp_path / "q"), ids_of(labels, CLASSES)


def saved(folder, ids):
    path = folder / "answer.png"
    Image.fromarray(ids.astype(np.uint8)).save(path)
    return path


def refusal(path, manifest):
    with pytest.raises(InputError) as caught:
        read_answer(path, manifest)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{path}: {manifest.pair}: ")
    assert line.count(str(path)) == 1
    return line


@pytest.mark.parametrize("name", FORMATS)
def test_the_proposal_comes_back_as_the_answer(name, tmp_path):
    needs(name)
    for seed in range(6):
        question, mask = ask(seed, structure=seed % CLASSES)
        folder = tmp_path / str(seed)
        write_question(folder, question, TABLE, [name])
        manifest = read_manifest(folder)
        path = folder / manifest.files[name]["proposal"]
        if mask.any():
            np.testing.assert_array_equal(read_answer(path, manifest), mask)
        else:
            assert "answer 'absent'" in refusal(path, manifest)
        np.testing.assert_array_equal(read_traced(manifest), question.labels)


@pytest.mark.parametrize("name", ["geojson", "seg.nrrd"])
@pytest.mark.parametrize(
    "spelt", ["Pu\u0308tamen, left", "P\u00fctamen,\u00a0left", "p\u00dcTAMEN, Left "]
)
def test_a_class_in_an_answer_is_called_as_people_write_it(name, spelt, tmp_path):
    needs(name)
    question, mask = ask(2)
    write_question(tmp_path / "q", question, TABLE, [name])
    manifest = read_manifest(tmp_path / "q")
    names = ("background", "O\u200bUTER", spelt, *NAMES[3:])
    ids = ids_of(np.where(mask, question.structure, question.labels), CLASSES)
    path = tmp_path / f"answer.{name}"
    grid = manifest.grid
    path.write_bytes(FORMATS[name].labels(ids[None], make_classes(names), grid, ()))
    np.testing.assert_array_equal(read_answer(path, manifest), mask)


def test_files_are_as_the_manifest_says(tmp_path):
    question, _ = ask(1)
    paths = write_question(tmp_path, question, TABLE, PLAIN)
    assert paths[0].name == "question.json" and set(paths) == set(tmp_path.iterdir())
    content = json.loads(paths[0].read_text())
    assert content["name"] == "Pütamen, left" and content["id"] == 3
    assert content["shape"] == list(question.labels.shape)
    assert content["image_digest"] == array_digest(question.image)
    manifest = read_manifest(tmp_path)
    assert manifest.pair == "'Pütamen, left' on section section_3.png"
    assert set(manifest.files) == set(PLAIN)
    for files in manifest.files.values():
        assert set(files) == {"image", "template", "proposal", "outline"}
    for picture in ("image.png", "image.tif"):
        stored = np.array(Image.open(tmp_path / picture))
        np.testing.assert_array_equal(stored, question.image[..., 0])
    volume = nibabel.load(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(np.asarray(volume.dataobj)[..., 0].T, question.image[..., 0])
    np.testing.assert_array_equal(volume.get_qform(), volume.get_sform())
    assert volume.affine[2, 3] == 3  # sections lie on each other


def test_without_a_proposal_there_is_none(tmp_path):
    question, _ = ask(1)
    write_question(tmp_path, question._replace(proposal=None), TABLE, ["png"])
    assert set(read_manifest(tmp_path).files["png"]) == {"image", "template"}


def test_colours_and_floats_are_written(tmp_path):
    rng = np.random.default_rng(0)
    question, _ = ask(2)
    colours = rng.integers(0, 256, (*question.labels.shape, 3)).astype(np.uint8)
    write_question(tmp_path / "rgb", question._replace(image=colours), TABLE, PLAIN)
    for picture in ("image.png", "image.tif"):
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "rgb" / picture)), colours)
    voxels = np.asarray(nibabel.load(tmp_path / "rgb" / "image.nii.gz").dataobj)[..., 0]
    for k, channel in enumerate("RGB"):
        np.testing.assert_array_equal(voxels[channel].T, colours[..., k])
    floats = rng.normal(size=(*question.labels.shape, 1)).astype(np.float32)
    write_question(tmp_path / "float", question._replace(image=floats), TABLE, PLAIN)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "float" / "image.tif"), floats[..., 0])
    grey = np.array(Image.open(tmp_path / "float" / "image.png"))
    assert grey.min() == 0 and grey.max() == 255


def test_the_outline_to_trace_leaves_out_what_is_shared():
    labels = np.full((5, 7), -1)
    labels[:, 0] = 0
    proposal = np.zeros((5, 7), bool)
    proposal[1:4, 1:4] = True
    inside = np.ones((5, 7), bool)
    inside[4] = False
    rim = outline_to_trace(proposal, labels, inside)
    expected = np.zeros((5, 7), bool)
    expected[1, 1:4] = expected[1:4, 3] = True  # neither along what is traced nor along the edge
    np.testing.assert_array_equal(rim, expected)


def test_an_unfilled_template_is_empty(asked, tmp_path):
    manifest, ids = asked
    line = refusal(saved(tmp_path, ids), manifest)
    assert "'Pütamen, left' on section section_3.png" in line and "answer 'absent'" in line
    assert "shows 'background', 'outer' and no pixel of it (id 3)" in line
    assert "shows no pixel of it" in refusal(saved(tmp_path, 0 * ids), manifest)


def test_a_file_of_the_structure_alone_is_an_answer(asked, tmp_path):
    manifest, ids = asked
    mask = np.zeros(ids.shape, bool)
    mask[3:5, 1:6] = True
    np.testing.assert_array_equal(read_answer(saved(tmp_path, 3 * mask), manifest), mask)
    np.testing.assert_array_equal(read_answer(saved(tmp_path, 255 * mask), manifest), mask)
    path = tmp_path / "two.png"
    Image.fromarray(mask).save(path)
    np.testing.assert_array_equal(read_answer(path, manifest), mask)


def test_what_lies_on_others_is_left_to_the_answer(asked, tmp_path):
    manifest, ids = asked
    mask = np.zeros(ids.shape, bool)
    mask[0, 2:7] = True  # on both other classes
    np.testing.assert_array_equal(
        read_answer(saved(tmp_path, np.where(mask, 3, ids)), manifest), mask
    )


@pytest.mark.parametrize("change", ["painted", "erased", "new class"])
def test_other_classes_may_not_change(change, asked, tmp_path):
    manifest, ids = asked
    ids[4, 4:] = 3
    where, value, name = {
        "painted": ((5, 5), 2, "outer"),
        "erased": ((0, 4), 0, "outer"),
        "new class": ((5, 6), 5, "第四"),
    }[change]
    ids[where] = value
    line = refusal(saved(tmp_path, ids), manifest)
    assert f"1 px of '{name}' differ" in line and "only 'Pütamen, left' (id 3) may change" in line


def test_ids_must_be_classes(asked, tmp_path):
    manifest, ids = asked
    ids[5, 5:7] = 9
    assert "2 px have the id 9, which is not a class" in refusal(saved(tmp_path, ids), manifest)


def test_another_size_is_refused(asked, tmp_path):
    manifest, ids = asked
    assert "has 5 by 8 px" in refusal(saved(tmp_path, ids[1:]), manifest)
    volume = nibabel.load(manifest.path.with_name("template.nii.gz"))
    path = tmp_path / "cropped.nii.gz"
    nibabel.save(volume.slicer[1:], path)
    assert "has 7 by 6 by 1 voxels but the section has 8 by 6 by 1" in refusal(path, manifest)


@pytest.mark.parametrize("change", ["shifted", "resampled", "another section", "half a pixel"])
def test_another_place_is_refused(change, asked, tmp_path):
    manifest, _ = asked
    volume = nibabel.load(manifest.path.with_name("proposal.nii.gz"))
    affine = np.array(volume.affine)
    if change == "resampled":
        affine[0, 0] *= 1.1
    else:
        axis, step = {"shifted": (0, 1), "another section": (2, 2), "half a pixel": (1, 0.5)}[
            change
        ]
        affine[axis, 3] += step
    path = tmp_path / "moved.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.dataobj), affine), path)
    line = refusal(path, manifest)
    expected = {
        "shifted": "beyond the section",
        "another section": "2 slices above the section asked for",
        "half a pixel": "0.5 px beside",
        "resampled": "other voxel sizes or directions",
    }
    assert expected[change] in line


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "SAR", "PIL"])
def test_volumes_may_be_stored_in_any_order(codes, asked, tmp_path):
    manifest, _ = asked
    expected = read_answer(manifest.path.with_name("proposal.png"), manifest)
    volume = nibabel.load(manifest.path.with_name("proposal.nii.gz"))
    own = nibabel.io_orientation(volume.affine)
    turn = nibabel.orientations.ornt_transform(own, nibabel.orientations.axcodes2ornt(codes))
    path = tmp_path / "turned.nii.gz"
    nibabel.save(volume.as_reoriented(turn), path)
    np.testing.assert_array_equal(read_answer(path, manifest), expected)


def test_a_place_that_the_stack_had_is_kept(tmp_path):
    turned = np.array([[0, 0, -2, 7], [0.3, 0, 0, -5], [0, -0.3, 0, 9], [0, 0, 0, 1.0]])
    question, mask = ask(5)
    write_question(tmp_path, question, TABLE, ["nifti"], affine=turned)
    volume = nibabel.load(tmp_path / "proposal.nii.gz")
    np.testing.assert_allclose(volume.affine, turned, atol=1e-6)
    path = tmp_path / "proposal.nii.gz"
    np.testing.assert_array_equal(read_answer(path, read_manifest(tmp_path)), mask)


def test_a_question_that_was_changed_is_refused(asked, tmp_path):
    manifest, ids = asked
    path = saved(tmp_path, np.where(ids == 0, 3, ids))
    reference = manifest.path.with_name("traced.png")
    shutil.copy(path, reference)
    with pytest.raises(InputError, match="was changed since the question was written"):
        read_answer(path, manifest)
    reference.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_answer(path, manifest)


def test_what_is_no_question_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path)
    file = tmp_path / "question.json"
    for content in ("[]", "{}", '{"al_jax_question": 2}'):
        file.write_text(content)
        with pytest.raises(InputError, match="not a question of this version"):
            read_manifest(tmp_path)
    for content in ('{"al_jax_question": 1}', "{"):
        file.write_text(content)
        with pytest.raises(InputError, match="cannot be read as a question"):
            read_manifest(file)


def test_unknown_formats_are_refused(tmp_path):
    question, _ = ask()
    for formats in (["png", "dicom"], []):
        with pytest.raises(InputError, match="choose from nifti, "):
            write_question(tmp_path / "none", question, TABLE, formats)
    assert not (tmp_path / "none").exists()
    write_question(tmp_path, question, TABLE, ["png"])
    (tmp_path / "answer.txt").write_text("x")
    assert "is not of a format that is read" in refusal(
        tmp_path / "answer.txt", read_manifest(tmp_path)
    )


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rasterio.features", None)
    question, _ = ask()
    with pytest.raises(InputError, match=r"GeoJSON needs .* rasterio .*al_jax\[annotate\]"):
        write_question(tmp_path / "none", question, TABLE, ["geojson"])
    assert not (tmp_path / "none").exists()
