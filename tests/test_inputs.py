"""What a network is shown: intensity ranges, and the conventions of published weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.core.stack import make_images
from al_jax.model import inputs


def test_input_of_the_networks_own_convention():
    grey = np.random.default_rng(9).random((3, 4, 1)).astype(np.float32)
    found = inputs.network_input(grey, "plain")
    assert found.shape == (3, 4, 3)
    for channel in range(3):
        np.testing.assert_allclose(found[..., channel], 2 * grey[..., 0] - 1, atol=1e-6)


def test_input_of_the_published_weights():
    # Red, green, blue in; blue, green, red out, minus the mean of ImageNet in that order.
    image = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    expected = [0 - 103.939, 127.5 - 116.779, 255 - 123.68]
    np.testing.assert_allclose(inputs.network_input(image, "caffe")[0, 0], expected, rtol=1e-5)
    grey = inputs.network_input(np.full((1, 1, 1), 0.2, np.float32), "caffe")
    np.testing.assert_allclose(grey[0, 0], 51 - np.array([103.939, 116.779, 123.68]), rtol=1e-5)


def test_input_of_torchvision():
    image = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    expected = [0.515 / 0.229, 0.044 / 0.224, -0.406 / 0.225]
    found = inputs.network_input(image, "torchvision")
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)
    grey = inputs.network_input(np.full((1, 1, 1), 0.485, np.float32), "torchvision")
    np.testing.assert_allclose(grey[0, 0], [0, 0.029 / 0.224, 0.079 / 0.225], atol=1e-6)


def test_unknown_convention():
    with pytest.raises(ValueError, match="'bgr' is not one of plain, caffe, torchvision"):
        inputs.network_input(np.zeros((1, 1, 1)), "bgr")


def test_normalisation_looks_at_the_inside_only():
    image = np.array([[[10], [30]], [[50], [255]]], np.uint8)
    inside = np.array([[True, True], [True, False]])
    low, high = inputs.intensity_range(image, inside)
    assert (low, high) == (10, 50)
    found = inputs.normalise(image, low, high)
    np.testing.assert_allclose(found[..., 0], [[0, 0.5], [1, 1]], atol=1e-6)
    # A section of one grey, and one without an inside, are finite.
    for section, domain in ((np.full_like(image, 7), inside), (image, np.zeros_like(inside))):
        bounds = inputs.intensity_range(section, domain)
        found = inputs.normalise(section, *bounds)
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_the_intensity_range_is_over_all_channels_of_the_inside_pixels():
    # The darkest and the brightest pixel lie outside.
    image = np.array([[[0, 1, 2], [40, 30, 60]], [[50, 70, 20], [253, 254, 255]]], np.uint8)
    inside = np.array([[False, True], [True, False]])
    assert inputs.intensity_range(image, inside) == (20, 70)
    assert inputs.intensity_range(image, ~inside) == (0, 255)
    # Nothing inside: as if the pixels were normalised already.
    assert inputs.intensity_range(image, np.zeros_like(inside)) == (0, 1)
    # Signed floats, nothing above zero.
    assert inputs.intensity_range(np.float32([[[-3], [-2]]]), np.ones((1, 2), bool)) == (-3, -2)


def test_normalise_by_hand():
    image = np.array([[[-5.0], [0.0]], [[2.5], [30.0]]], np.float32)
    found = inputs.normalise(image, jnp.float32(-2.5), jnp.float32(7.5))
    np.testing.assert_allclose(found[..., 0], [[0, 0.25], [0.5, 1]], rtol=1e-6)
    assert found.dtype == jnp.float32
    # Integers are not subtracted as integers, and a range below 1 is a range.
    found = inputs.normalise(np.uint8([[[3]]]), jnp.float32(5), jnp.float32(6))
    np.testing.assert_array_equal(found, [[[0]]])
    found = inputs.normalise(np.float32([[[0.25]]]), jnp.float32(0.2), jnp.float32(0.4))
    np.testing.assert_allclose(found, [[[0.25]]], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-3, 1.0, 1e9, 1e30])
def test_min_max_does_not_depend_on_the_unit(scale):
    image = np.array([[[0.0], [1.0]], [[2.0], [4.0]]], np.float32) * np.float32(scale)
    inside = np.ones((2, 2), bool)
    found = inputs.normalise(image, *inputs.intensity_range(image, inside))
    np.testing.assert_allclose(found[..., 0], [[0, 0.25], [0.5, 1]], rtol=1e-5)


def test_min_max_of_the_widest_range_and_of_none():
    image = np.array([[[-3e38], [0.0], [3e38]]], np.float32)
    found = inputs.normalise(image, *inputs.intensity_range(image, np.ones((1, 3), bool)))
    np.testing.assert_allclose(found[..., 0], [[0, 0.5, 1]], rtol=1e-6)
    flat = np.full((2, 2, 1), 7.0, np.float32)
    found = inputs.normalise(flat, *inputs.intensity_range(flat, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(found, 0)


def test_the_intensity_range_is_that_of_the_inside():
    image = np.array([[[5.0], [9.0]], [[-100.0], [700.0]]], np.float32)
    inside = np.array([[True, True], [False, False]])
    assert tuple(map(float, inputs.intensity_range(image, inside))) == (5.0, 9.0)


def test_each_section_has_the_range_of_its_own_inside():
    # Darkest and brightest lie outside, by turns in the other section.
    images = np.array([[[[0], [20], [40]]], [[[200], [250], [90]]]], np.uint8)
    inside = np.array([[[False, True, True]], [[True, False, True]]])
    sections = inputs.make_sections(make_images(images, ("background", "a"), inside))
    np.testing.assert_array_equal(sections.low, [20, 90])
    np.testing.assert_array_equal(sections.high, [40, 200])
    np.testing.assert_array_equal(sections.images, images)
    np.testing.assert_array_equal(sections.inside, inside)
