"""Downsampled images and their labels, and the factor that suits what is labelled, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.measure import block_reduce

from al_jax.core.stack import make_images
from al_jax.core.state import PartialLabels
from al_jax.model import resolution
from al_jax.model.inputs import make_sections


def test_downsampled_by_hand():
    image = np.array([[0, 2, 9], [4, 4, 8], [6, 1, 7]], np.uint8)[..., None]
    found = resolution.mean_downsample(image, 2)
    assert found.dtype == jnp.uint8
    # Means of four pixels, of which the last row and column stand twice: 2.5 goes to the even one.
    np.testing.assert_array_equal(found[..., 0], [[2, 8], [4, 7]])
    np.testing.assert_array_equal(resolution.nearest_downsample(image[..., 0], 2), [[4, 8], [1, 7]])
    assert resolution.mean_downsample(image, 1) is image


@pytest.mark.parametrize("factor", [2, 3])
def test_downsampled_is_the_mean_of_blocks(factor):
    image = np.random.default_rng(3).normal(size=(6, 12, 3)).astype(np.float32)
    expected = block_reduce(image, (factor, factor, 1), np.mean)
    np.testing.assert_allclose(
        resolution.mean_downsample(image, factor), expected, rtol=1e-5, atol=1e-6
    )


def test_downsampled_sections_by_hand():
    images = np.array([[[0, 2, 9], [4, 4, 8]], [[1, 1, 1], [1, 1, 5]]], np.uint8)
    sections = make_sections(make_images(images, ("background", "a")))
    found = resolution.downsample_sections(sections, 2)
    np.testing.assert_array_equal(found.images[..., 0], [[[2, 8]], [[1, 3]]])
    np.testing.assert_array_equal(found.low, [2, 1])
    np.testing.assert_array_equal(found.high, [8, 3])
    assert found.downsampling == 2 and found.inside is sections.inside
    assert resolution.downsample_sections(sections, 1) is sections


def test_the_median_structure_is_as_wide_as_the_network_likes_it():
    side = np.array([900.0, 30, 42, 60])  # of squares; the first is background
    assert resolution.suited_downsampling(side**2, 4 * side) == 3
    small = np.array([900.0, 3, 4, 60])  # no image is made larger
    assert resolution.suited_downsampling(small**2, 4 * small) == 1
    unlabelled = np.where([True, False, False, True], side, 0)
    assert resolution.suited_downsampling(unlabelled**2, 4 * unlabelled) == round(60 / 14)
    assert resolution.suited_downsampling(0 * side, 0 * side) == 1


def test_a_network_learns_from_labels_that_lie_where_its_image_does():
    """Ramps: a block's mean is the ramp at its middle, and its label that of a pixel beside it."""

    def two(section):
        return np.stack([section, section])

    ramp = np.broadcast_to(np.arange(20.0)[:, None], (20, 13)).astype(np.float32)
    whole = make_sections(make_images(two(ramp), ("background", "a"), two(ramp > 5)))
    labels = two(np.where(ramp > 17, 1, ramp > 8).astype(np.int16))
    labels[0, 0, 0] = 2  # too small to be seen
    seen = np.array([[True, True, True], [True, True, False]])
    partial = PartialLabels(labels, seen, np.zeros((2, 3), bool), seen)
    assert resolution.at_network_resolution(whole, partial) == (whole, partial)
    sections, left = resolution.at_network_resolution(
        resolution.downsample_sections(whole, 3), partial
    )
    assert sections.images.shape == (2, 7, 5, 1) and sections.downsampling == 1
    assert left.labels.shape == sections.inside.shape == (2, 7, 5)
    middles = np.array([1, 4, 7, 10, 13, 16, 19])  # the last block has two rows
    np.testing.assert_allclose(sections.images[0, :6, 0, 0], middles[:6])
    np.testing.assert_array_equal(left.labels[0, :, 1], labels[0, middles, 4])
    np.testing.assert_array_equal(sections.inside[0, :, 1], middles > 5)
    np.testing.assert_array_equal(left.seen, [[True, True, False]] * 2)


def test_the_extent_of_what_is_labelled_by_hand():
    labels = np.array([[1, 1, -1, 2], [1, 1, -1, 2], [-1, -1, -1, 2]], np.int16)
    areas, outlines = resolution.labelled_extent(labels[None], 4)
    np.testing.assert_array_equal(areas, [0, 4, 3, 0])
    np.testing.assert_array_equal(outlines, [0, 8, 8, 0])  # where the section ends too
