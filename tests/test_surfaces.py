"""Surface distances, by hand and against all pairs of pixels."""

import dataclasses

import numpy as np
import pytest
import tiny
from scipy.spatial.distance import cdist

from al_jax.core.stack import Place
from al_jax.simulation.surfaces import pixel_size, stack_surfaces, surface_distances


def square(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((12, 14), bool)
    mask[rows, columns] = True
    return mask


def test_by_hand():
    same = square(slice(2, 6), slice(3, 8))
    assert surface_distances(same, same) == (0, 0)
    # Two lines of equal length, three rows apart, then with rows twice as high as columns are wide.
    one, other = square(slice(2, 3), slice(3, 8)), square(slice(5, 6), slice(3, 8))
    assert surface_distances(one, other) == (3, 3)
    assert surface_distances(one, other, (2.0, 1.0)) == (6, 6)
    # One pixel and a line of three that begins at it: 0; 0, 1, 2. 95% of the way to the fourth.
    one, other = square(slice(4, 5), slice(4, 5)), square(slice(4, 5), slice(4, 7))
    hd95, mean = surface_distances(one, other)
    assert mean == 0.5
    np.testing.assert_allclose(hd95, 1 + 0.85)  # rank 0.95 * 3 = 2.85 of 0, 0, 1, 2


def test_an_empty_side_has_no_distance():
    with pytest.raises(ValueError, match="both sides"):
        surface_distances(square(slice(0, 0), slice(0, 0)), square(slice(2, 3), slice(2, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_against_all_pairs(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 12, 14)) < (0.2, 0.8)[seed % 2]
    pixel = np.array([(1.0, 1.0), (0.5, 2.0)][seed // 2])
    points = []
    for mask in masks:
        padded = np.pad(mask, 1)
        whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        points.append(np.argwhere(mask & ~whole) * pixel)
    apart = cdist(*points)
    both = [apart.min(1), apart.min(0)]
    expected = np.percentile(np.concatenate(both), 95), np.mean([d.mean() for d in both])
    np.testing.assert_allclose(surface_distances(*masks, tuple(pixel)), expected)
    np.testing.assert_allclose(surface_distances(*masks[::-1], tuple(pixel)), expected)


def test_of_a_stack_by_its_masks():
    """Boxes, the domain, and what the segmentation lacks; the truth itself is at no distance."""
    stack = tiny.stack()
    truth = np.asarray(stack.truth)
    exact = stack_surfaces(truth, stack)
    np.testing.assert_array_equal(exact.missed, 0)
    np.testing.assert_array_equal(exact.hd95[exact.sections > 0], 0)
    moved = np.roll(truth, 1, axis=2)
    moved[0][moved[0] == 1] = 0
    inside = np.asarray(stack.inside).copy()
    inside[:, :, :3] = False
    stack = dataclasses.replace(stack, inside=inside)
    found = stack_surfaces(moved, stack)
    for c in range(stack.num_classes):
        own, true = ((labels == c) & inside for labels in (moved, truth))
        shown = [n for n in range(len(truth)) if true[n].any()]
        both = [n for n in shown if own[n].any()]
        assert found.sections[c] == len(shown) and found.missed[c] == len(shown) - len(both)
        expected = np.mean([surface_distances(own[n], true[n]) for n in both], 0)
        np.testing.assert_allclose([found.hd95[c], found.mean[c]], expected)
    assert found.missed[1] == 1


def test_the_size_of_a_pixel():
    """Columns run along the second axis of the volume, of 0.5 mm, rows along the third, of 2 mm."""
    affine = ((3.0, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1))
    cut = ((0, 0, 1, 0), (1, 0, 0, 0), (0, -1, 0, 9), (0, 0, 0, 1))
    assert pixel_size(Place((5, 6, 10), affine, cut, (0, 2))) == (2.0, 0.5)
    assert pixel_size(None) is None
