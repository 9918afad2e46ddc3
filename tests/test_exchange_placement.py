"""Volumes lie on a section where their headers say, in whatever order they are stored."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from partitions import partition

from al_jax.core.stack import InputError, Place
from al_jax.exchange.formats import nifti
from al_jax.exchange.placement import (
    Grid,
    affine_on,
    in_volume,
    onto_section,
    own_place,
    reach,
    section_affine,
    stack_affine,
)

# Slices run along the first axis of the volume, columns back along the last, rows along the second.
PLACE = Place(
    shape=(6, 3, 4),
    affine=((0, 0, 2, 5), (3, 0, 0, -7), (0, -1, 0, 2), (0, 0, 0, 1)),
    cut=((0, 0, 1, 0), (0, 1, 0, -1), (-1, 0, 0, 3), (0, 0, 0, 1)),
    slices=(1, 2, 5),
)


def test_sections_of_a_stack_lie_on_each_other():
    affine = stack_affine(pixel=0.5, spacing=2.0)
    place = section_affine(affine, 7)
    np.testing.assert_array_equal(place @ [4, 6, 0, 1], [-2, -3, 14, 1])
    np.testing.assert_array_equal(place @ [4, 6, 0, 1], affine @ [4, 6, 7, 1])
    assert "".join(nibabel.aff2axcodes(affine)) == "LPS"  # upright in an axial view


def test_sections_lie_in_their_slices_of_the_volume():
    pixels = np.arange(1, 3 * 4 * 3 + 1).reshape(3, 4, 3)  # sections of 4 rows and 3 columns
    volume = in_volume(pixels, PLACE).T
    expected = np.zeros((6, 3, 4), int)
    for number, i in enumerate((1, 2, 5)):
        for row in range(1, 4):  # the first one is padding
            for column in range(3):
                expected[i, row - 1, 3 - column] = pixels[number, row, column]
    np.testing.assert_array_equal(volume, expected)


def test_each_section_has_an_affine_of_its_own():
    for number, i in enumerate((1, 2, 5)):
        for row, column in ((0, 0), (1, 2), (3, 1)):
            at = affine_on(PLACE, number) @ [column, row, 0, 1]
            np.testing.assert_array_equal(at, np.array(PLACE.affine) @ [i, row - 1, 3 - column, 1])


def test_a_stack_without_a_place_lies_in_a_volume_of_its_own():
    pixels = np.random.default_rng(0).integers(0, 9, (5, 2, 3))
    place = own_place((5, 2, 3))
    np.testing.assert_array_equal(in_volume(pixels, place), pixels)
    for number in range(5):
        np.testing.assert_array_equal(affine_on(place, number), affine_on(None, number))


def test_of_a_volume_with_other_slices_the_one_of_the_section_is_taken():
    pixels = np.random.default_rng(1).integers(1, 9, (3, 4, 3))
    pixels[:, 0] = 0  # what the volume does not have
    volume, affine = in_volume(pixels, PLACE).T, np.array(PLACE.affine, float)
    for number in range(3):
        section = affine_on(PLACE, number)
        found = onto_section(np.asarray(volume), affine, section, (4, 3), "file")
        np.testing.assert_array_equal(found, pixels[number])
        reached = reach(volume.shape, affine, section, (4, 3), "file")
        assert reached.astype(int).tolist() == [[0] * 3, [1] * 3, [1] * 3, [1] * 3]
    volume[1] = 0
    with pytest.raises(InputError, match="its header places it 1 slices above the section asked"):
        onto_section(np.asarray(volume), affine, affine_on(PLACE, 0), (4, 3), "file")
    with pytest.raises(InputError, match="beyond the section of 3 by 3 px"):
        onto_section(np.asarray(volume), affine, affine_on(PLACE, 1), (3, 3), "file")
    assert not reach((1, 3, 4), affine, affine_on(PLACE, 0), (4, 3), "file").any()


@given(
    seed=st.integers(0, 99),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    border=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    scale=st.sampled_from([1.0, 0.0003, 40.0]),
    turn=st.floats(-3, 3),
)
@settings(max_examples=80, deadline=None)
def test_any_order_direction_crop_and_border(seed, order, flips, border, scale, turn):
    ids = (partition(seed) + 1).astype(np.uint8)
    cosine, sine = np.cos(turn), np.sin(turn)
    place = np.array(
        [[cosine, -sine, 0, 5], [0, 0, 3, -7], [sine, cosine, 0, 2], [0, 0, 0, 1 / scale]]
    )
    place *= scale
    # What is empty around is cut off, then some border is put around.
    filled = np.argwhere(ids.T[..., None]) if ids.any() else np.zeros((1, 3), int)
    low, high = filled.min(0), filled.max(0) + 1
    voxels = np.pad(
        ids.T[..., None][tuple(map(slice, low, high))], np.reshape(border, (3, 2)).tolist()
    )
    shift = np.eye(4)
    shift[:3, 3] = low - np.reshape(border, (3, 2))[:, 0]
    affine = place @ shift
    ornt = np.array([[axis, -1 if flip else 1] for axis, flip in zip(order, flips, strict=True)])
    affine = affine @ nibabel.orientations.inv_ornt_aff(ornt, voxels.shape)
    voxels = nibabel.orientations.apply_orientation(voxels, ornt)
    np.testing.assert_array_equal(onto_section(voxels, affine, place, ids.shape, "file"), ids)


@pytest.mark.parametrize(("axis", "step"), itertools.product(range(3), (-1, 1)))
def test_one_pixel_or_section_beside_is_refused(axis, step):
    voxels = np.ones((4, 3, 1), np.uint8)
    place = section_affine(stack_affine(2.0, 5.0), 3)
    moved = np.array(place)
    moved[:3, 3] += step * place[:3, axis]
    with pytest.raises(InputError, match="file: its header places"):
        onto_section(voxels, moved, place, (3, 4), "file")


def test_other_spacing_and_direction_are_refused():
    voxels, place = np.ones((30, 20, 1), np.uint8), stack_affine()
    turned = np.array(place)
    turned[:2, :2] = [[-np.cos(0.02), np.sin(0.02)], [-np.sin(0.02), -np.cos(0.02)]]
    for other in (np.diag([-1.02, -1, 1, 1]), np.diag([-2, -2, 1, 1]), turned):
        with pytest.raises(InputError, match="other voxel sizes or directions"):
            onto_section(voxels, other, place, (20, 30), "file")


def test_a_slide_in_micrometres_far_from_the_origin(tmp_path):
    """Headers of NIfTI are float32."""
    ids = (partition(3) + 1).astype(np.uint8)
    place = section_affine(stack_affine(0.00025, 0.05), 4000)
    place[:2, 3] = 60
    path = tmp_path / "slide.nii.gz"
    path.write_bytes(nifti(ids[None], Grid(place)))
    image = nibabel.load(path)
    found = onto_section(np.asarray(image.dataobj), image.affine, place, ids.shape, path)
    np.testing.assert_array_equal(found, ids)
