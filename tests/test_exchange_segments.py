"""`.seg.nrrd` as 3D Slicer writes it: placed by its header, cropped, overlapping, renamed."""

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from partitions import CLASSES, NAMES, partition
from test_exchange import ask, refusal

from al_jax.core.stack import InputError
from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import ids_of, make_classes
from al_jax.exchange.placement import LPS, section_affine, stack_affine
from al_jax.exchange.questions import read_manifest, write_question
from al_jax.exchange.segments import read_seg_nrrd, to_seg_nrrd

slicerio = pytest.importorskip("slicerio", reason="pip install '.[annotate]'")

PLACE = section_affine(stack_affine(0.5, 3.0), 4)
TABLE = make_classes(NAMES)


def segmentation(masks, affine=PLACE, names=NAMES):
    """What slicerio writes of masks [H, W] that may overlap, one slice deep."""
    shape = (*next(iter(masks.values())).shape[::-1], 1)
    made = slicerio.create_segmentation(shape, LPS @ affine)
    for c, mask in masks.items():
        slicerio.add_segment(made, mask.T[..., None], {"id": f"s{c}", "name": names[c]})
    return made


def write(path, made):
    slicerio.write_segmentation(str(path), made)
    return path


def masks_of(labels):
    return {c: labels == c for c in range(CLASSES)}


def ascii_names():
    return ["background", "outer", "putamen", "inner: x", "fourth"]


def assert_read(path, labels):
    """A file holds every class of `labels` [H, W], in order, at its place."""
    found = read_seg_nrrd(path, PLACE, labels.shape)
    for (_, mask), c in zip(found, masks_of(labels), strict=True):
        np.testing.assert_array_equal(mask, labels == c)


def test_slicerio_reads_the_same(tmp_path):
    labels = np.stack([partition(8), partition(8)[::-1]])
    path = tmp_path / "ours.seg.nrrd"
    path.write_bytes(to_seg_nrrd(ids_of(labels, CLASSES), TABLE, PLACE, [4]))
    found = slicerio.read_segmentation(str(path))
    np.testing.assert_allclose(found["ijkToLPS"], LPS @ PLACE)
    for segment in found["segments"]:
        c = segment["labelValue"] - 1
        mask = slicerio.segment_mask(found, segment)
        np.testing.assert_array_equal(mask.transpose(2, 1, 0), labels == c)
        np.testing.assert_allclose(segment["color"], np.array(TABLE.colours[c]) / 255, atol=1e-6)
    assert b"_Name:=P\xc3\xbctamen, left\n" in path.read_bytes()


def test_a_cropped_file_lies_where_its_origin_says(tmp_path):
    for seed in range(20):
        labels = partition(seed)
        made = segmentation(masks_of(labels), names=ascii_names())
        filled = np.argwhere(made["voxels"] > 0)
        low, high = filled.min(0), filled.max(0) + 1
        made["voxels"] = made["voxels"][tuple(map(slice, low, high))]
        made["ijkToLPS"][:3, 3] += made["ijkToLPS"][:3, :3] @ low
        path = write(tmp_path / f"{seed}.seg.nrrd", made)
        assert_read(path, labels)


def test_a_padded_file_is_read(tmp_path):
    labels = partition(9)
    made = segmentation(masks_of(labels), names=ascii_names())
    made["voxels"] = np.pad(made["voxels"], 3)
    made["ijkToLPS"][:3, 3] -= made["ijkToLPS"][:3, :3] @ [3, 3, 3]
    path = write(tmp_path / "padded.seg.nrrd", made)
    assert_read(path, labels)


def test_flipped_axes_and_ras_headers_are_read(tmp_path):
    labels = partition(10)
    made = segmentation(masks_of(labels), names=ascii_names())
    data, place = made["voxels"], LPS @ made["ijkToLPS"]  # RAS from here
    place = place @ np.array(
        [[-1, 0, 0, data.shape[0] - 1], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
    )
    made["voxels"], made["ijkToLPS"] = np.ascontiguousarray(data[::-1]), place
    path = write(tmp_path / "flipped.seg.nrrd", made)
    content = path.read_bytes().replace(b"left-posterior-superior", b"right-anterior-superior")
    path.write_bytes(content)
    assert_read(path, labels)


def test_segments_may_overlap(tmp_path):
    rng = np.random.default_rng(0)
    masks = {c: rng.random((9, 11)) < 0.5 for c in range(3)}
    made = segmentation(masks, names=ascii_names())
    assert made["voxels"].ndim == 4
    found = read_seg_nrrd(write(tmp_path / "o.seg.nrrd", made), PLACE, (9, 11))
    assert [name for name, _ in found] == ascii_names()[:3]
    for (_, mask), own in zip(found, masks.values(), strict=True):
        np.testing.assert_array_equal(mask, own)


def test_a_single_voxel_stands_for_nothing(tmp_path):
    """3D Slicer saves so what has no filled segment."""
    made = segmentation({1: np.zeros((1, 1), bool)}, affine=np.eye(4), names=ascii_names())
    ((name, mask),) = read_seg_nrrd(write(tmp_path / "n.seg.nrrd", made), PLACE, (5, 6))
    assert name == "outer" and mask.shape == (5, 6) and not mask.any()


def test_what_is_no_segmentation_is_refused(tmp_path):
    path = tmp_path / "plain.seg.nrrd"
    nrrd.write(str(path), np.zeros((3, 4, 1), np.uint8), {"kinds": ["domain"] * 3})
    with pytest.raises(InputError, match="has no segments"):
        read_seg_nrrd(path, PLACE, (4, 3))
    with pytest.raises(InputError, match="no such file"):
        read_seg_nrrd(tmp_path / "none.seg.nrrd", PLACE, (4, 3))


class TestAnswers:
    """What 3D Slicer sends back of a question."""

    @pytest.fixture
    def asked(self, tmp_path):
        names = tuple(ascii_names())
        question, mask = ask(11)
        formats = ["seg.nrrd"]
        write_question(tmp_path / "q", question, make_classes(names), formats, affine=PLACE)
        return read_manifest(tmp_path / "q"), mask, question.labels

    def answered(self, tmp_path, layers):
        """`layers`: (name, mask) pairs."""
        shape = (*layers[0][1].shape[::-1], 1)
        made = slicerio.create_segmentation(shape, LPS @ PLACE)
        for k, (name, mask) in enumerate(layers):
            slicerio.add_segment(made, mask.T[..., None], {"id": f"s{k}", "name": name})
        return write(tmp_path / "answer.seg.nrrd", made)

    def test_the_template_has_a_segment_to_fill(self, asked):
        manifest, _, _ = asked
        template = manifest.path.with_name("template.seg.nrrd")
        names = slicerio.segment_names(slicerio.read_segmentation(str(template)))
        assert "putamen" in names and len(names) == 3

    def test_one_segment_alone_is_an_answer(self, asked, tmp_path):
        manifest, mask, _ = asked
        path = self.answered(tmp_path, [("putamen", mask)])
        np.testing.assert_array_equal(read_answer(path, manifest), mask)

    def test_it_may_overlap_what_was_traced(self, asked, tmp_path):
        manifest, mask, labels = asked
        wide = mask | (labels == 1)
        layers = [("outer", labels == 1), ("putamen", wide)]
        np.testing.assert_array_equal(read_answer(self.answered(tmp_path, layers), manifest), wide)

    def test_several_segments_of_that_name(self, asked, tmp_path):
        manifest, mask, _ = asked
        path = self.answered(tmp_path, [("putamen", mask), ("putamen", mask)])
        assert "'putamen' on section section_3.png: has 2 segments of that name" in refusal(
            path, manifest
        )

    def test_a_segment_that_was_not_named(self, asked, tmp_path):
        manifest, mask, _ = asked
        path = self.answered(tmp_path, [("putamen", 0 * mask), ("Segment_1", mask)])
        assert "'Segment_1', which is not a class; call it 'putamen'" in refusal(path, manifest)

    def test_another_class_changed(self, asked, tmp_path):
        manifest, mask, labels = asked
        other = labels == 1
        other[np.argwhere(labels == -1)[0][0], np.argwhere(labels == -1)[0][1]] = True
        path = self.answered(tmp_path, [("outer", other), ("putamen", mask & ~other)])
        assert "1 px of 'outer' differ" in refusal(path, manifest)

    def test_nothing_was_filled(self, asked, tmp_path):
        manifest, mask, _ = asked
        path = self.answered(tmp_path, [("putamen", 0 * mask)])
        assert "answer 'absent'" in refusal(path, manifest)

    def test_what_itk_crops_and_writes(self, asked, tmp_path):
        """ITK keeps the names of segments and moves the origin, as 3D Slicer does."""
        manifest, mask, _ = asked
        whole = sitk.ReadImage(str(manifest.path.with_name("proposal.seg.nrrd")))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        low = [int(columns[0]), int(rows[0]), 0]
        size = [int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1, 1]
        part = sitk.RegionOfInterest(sitk.Mask(whole, whole == manifest.id), size, low)
        for key in whole.GetMetaDataKeys():
            part.SetMetaData(key, whole.GetMetaData(key))
        assert 0 < part.GetNumberOfPixels() < mask.size
        path = tmp_path / "itk.seg.nrrd"
        sitk.WriteImage(part, str(path), useCompression=True)
        np.testing.assert_array_equal(read_answer(path, manifest), mask)
