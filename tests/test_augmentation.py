"""Random deformations and intensities: against SciPy, by hand and by their distributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from al_jax.model import augmentation
from al_jax.model.augmentation import Table1
from al_jax.model.crops import random_middle

CROP = 24

# Compilation is most of the time, and no fast code is needed.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture
def rigid(monkeypatch):
    """The name of a field that shifts nothing, here."""
    monkeypatch.setitem(augmentation.FIELDS, "paper", (32, 0.0, "linear"))
    return "paper"


@functools.cache
def _draw_points(crop, table):
    draw = functools.partial(augmentation.random_points, crop=crop, augmentation=table)

    def one(key, size):
        key_middle, key_points = jax.random.split(key)
        return draw(key_points, random_middle(key_middle, size, crop))

    return quick(jax.vmap(one, in_axes=(0, None)))


def _points(height, width, table):
    """Source points of 3,000 crops."""
    keys = jax.random.split(jax.random.key(0), 3000)
    return np.asarray(_draw_points(CROP, table)(keys, jnp.array([height, width])))


def _matrices(points):
    """The matrix that takes crop offsets (y, x) to source offsets, of each crop [K, 2, 2]."""
    span = points.shape[1] - 1
    down = (points[:, -1, 0] - points[:, 0, 0]) / span
    right = (points[:, 0, -1] - points[:, 0, 0]) / span
    return np.stack([down, right], -1)


def _centres(points):
    return (points[:, 0, 0] + points[:, -1, -1]) / 2


def test_affine_by_hand():
    def matrix(rotation=0.0, scale=1.0, shear=0.0):
        return augmentation.affine(*map(jnp.float32, (rotation, scale, shear)))

    np.testing.assert_allclose(matrix(), np.eye(2), atol=1e-7)
    # A quarter turn: a step down on the crop is a step left on the section, right is down.
    quarter = matrix(rotation=np.pi / 2)
    np.testing.assert_allclose(quarter @ np.array([1, 0]), [0, -1], atol=1e-6)
    np.testing.assert_allclose(quarter @ np.array([0, 1]), [1, 0], atol=1e-6)
    # Twice as large: half a pixel of the section per pixel of the crop.
    np.testing.assert_allclose(matrix(scale=2.0), np.eye(2) / 2, atol=1e-7)
    # Sheared by 45 degrees: rows slide by as much as they are lower, and stay rows.
    slanted = matrix(shear=np.pi / 4)
    np.testing.assert_allclose(slanted @ np.array([1, 0]), [1, 1], atol=1e-6)
    np.testing.assert_allclose(slanted @ np.array([0, 1]), [0, 1], atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(matrix(0.3, 1.2, 0.1)), 1 / 1.2**2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "cubic"])
@pytest.mark.parametrize(("size", "spacing"), [(1, 5), (5, 5), (6, 5), (33, 32), (96, 32), (97, 7)])
def test_interpolation_weights(kind, size, spacing):
    weights = augmentation.interpolation_weights(size, spacing, kind)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    knots = np.arange(weights.shape[1]) * spacing - spacing
    np.testing.assert_allclose(weights @ (3.0 * knots - 2), 3.0 * np.arange(size) - 2, atol=2e-4)
    on_knot = weights[::spacing]
    np.testing.assert_array_equal(on_knot, np.eye(len(knots))[1 : len(on_knot) + 1])


@pytest.mark.parametrize("field", list(augmentation.FIELDS))
def test_displacement_at_the_control_points(field):
    spacing, sigma, _ = augmentation.FIELDS[field]
    draw = functools.partial(augmentation.random_displacement, height=65, width=97, field=field)
    shifts = quick(jax.vmap(draw))(jax.random.split(jax.random.key(1), 200))
    assert shifts.shape == (200, 65, 97, 2)
    knots = np.asarray(shifts[:, ::spacing, ::spacing])
    count = knots.size
    assert abs(knots.mean()) < 4 * sigma / np.sqrt(count)
    assert abs(knots.std() / sigma - 1) < 4 / np.sqrt(2 * count)
    # Neighbouring control points, and the two components, know nothing of each other.
    assert abs(np.corrcoef(knots[:, :-1].ravel(), knots[:, 1:].ravel())[0, 1]) < 0.08
    assert abs(np.corrcoef(knots[..., 0].ravel(), knots[..., 1].ravel())[0, 1]) < 0.08


@pytest.mark.parametrize(("field", "least", "most"), [("smooth", 0, 1e-3), ("paper", 0.22, 0.35)])
def test_how_much_a_field_folds(field, least, most):
    draw = functools.partial(augmentation.random_displacement, height=96, width=96, field=field)
    shifts = np.asarray(quick(jax.vmap(draw))(jax.random.split(jax.random.key(2), 50)))
    down = np.diff(shifts, axis=1)[:, :, :-1] + [1, 0]
    right = np.diff(shifts, axis=2)[:, :-1] + [0, 1]
    determinant = down[..., 0] * right[..., 1] - down[..., 1] * right[..., 0]
    assert least <= (determinant <= 0).mean() <= most


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sampling_is_scipys(dtype):
    rng = np.random.default_rng(3)
    image = (255 * rng.random((17, 23, 3))).astype(dtype)
    points = rng.uniform(-6, 30, (40, 31, 2)).astype(np.float32)
    places = np.moveaxis(points, -1, 0)
    found = quick(augmentation.sample_bilinear)(image, points)
    assert found.shape == (40, 31, 3) and found.dtype == jnp.float32
    for channel in range(3):
        expected = ndimage.map_coordinates(
            image[..., channel].astype(np.float64), places, order=1, mode="nearest"
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-3)

    values = rng.integers(-1, 5, (17, 23)).astype(np.int16)
    found = augmentation.sample_nearest(values, points, -1)
    assert found.dtype == jnp.int16
    # 'grid-constant': a pixel reaches half a pixel beyond its centre, at the border too.
    expected = ndimage.map_coordinates(values, places, order=0, mode="grid-constant", cval=-1)
    np.testing.assert_array_equal(found, expected)
    inside = augmentation.sample_nearest(values > 2, points, False)
    assert inside.dtype == bool
    np.testing.assert_array_equal(
        inside, ndimage.map_coordinates(values > 2, places, order=0, mode="grid-constant", cval=0)
    )


def test_sampling_on_the_pixels_is_the_image():
    image = np.random.default_rng(4).random((9, 8, 1)).astype(np.float32)
    points = np.stack(np.mgrid[:9, :8], -1).astype(np.float32)
    np.testing.assert_array_equal(augmentation.sample_bilinear(image, points), image)
    np.testing.assert_array_equal(
        augmentation.sample_nearest(image[..., 0], points, 0), image[..., 0]
    )


def test_a_label_map_and_its_image_stay_aligned():
    rng = np.random.default_rng(6)
    labels = np.kron(rng.integers(0, 5, (8, 8)), np.ones((10, 10))).astype(np.int16)
    points = _points(80, 80, Table1())[:30]
    image = np.asarray(augmentation.sample_bilinear(labels[..., None].astype(np.float32), points))[
        ..., 0
    ]
    nearest = np.asarray(augmentation.sample_nearest(labels, points, -1))
    within = nearest >= 0
    # Inside a block of one class the interpolated value is that class.
    low, high = ndimage.minimum_filter(labels, 3), ndimage.maximum_filter(labels, 3)
    flat = np.asarray(augmentation.sample_nearest(low == high, points, False)) & within
    assert flat.sum() > 0.3 * flat.size
    np.testing.assert_allclose(image[flat], nearest[flat], atol=1e-5)


def test_ranges_of_table_1(rigid):
    points = _points(120, 200, Table1(field=rigid))
    matrix = _matrices(points)
    scale = 1 / np.sqrt(np.linalg.det(matrix))
    rotation = np.rad2deg(np.arctan2(matrix[:, 0, 1], matrix[:, 1, 1]))
    angle = np.deg2rad(rotation)
    turn = np.stack(
        [
            np.stack([np.cos(angle), np.sin(angle)], -1),
            np.stack([-np.sin(angle), np.cos(angle)], -1),
        ],
        1,
    )
    slant = scale[:, None, None] * np.swapaxes(turn, 1, 2) @ matrix
    np.testing.assert_allclose(slant[:, 0], np.broadcast_to([1, 0], (3000, 2)), atol=1e-4)
    np.testing.assert_allclose(slant[:, 1, 1], 1, atol=1e-4)
    shear = np.rad2deg(np.arctan(slant[:, 1, 0]))
    log_low, log_high = np.log(0.8), np.log(1.2)
    for values, low, high in (
        (rotation, -10, 10),
        (shear, -10, 10),
        (np.log(scale), log_low, log_high),
    ):
        assert values.min() > low - 2e-3 and values.max() < high + 2e-3
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
    # The crop lies anywhere within the section and is then shifted by up to 10 pixels.
    centres = _centres(points)
    for axis, size in enumerate((120, 200)):
        where = centres[:, axis] - (CROP - 1) / 2
        assert where.min() > -10 and where.max() < size - CROP + 10
        assert where.min() < 0 and where.max() > size - CROP
        assert abs(where.mean() - (size - CROP) / 2) < 4 * where.std() / np.sqrt(len(where))
    drawn = np.stack([rotation, shear, np.log(scale), *centres.T])
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.07


def test_no_ranges_is_a_plain_crop(rigid):
    still = Table1(0.0, 0.0, (1.0, 1.0), 0.0, 0.0, (1.0, 1.0), rigid)
    points = _points(CROP, CROP, still)
    expected = np.stack(np.mgrid[:CROP, :CROP], -1)
    np.testing.assert_allclose(points, np.broadcast_to(expected, points.shape), atol=1e-4)


def test_translation_is_within_its_range(rigid):
    points = _points(CROP, CROP, Table1(field=rigid))
    shift = _centres(points) - (CROP - 1) / 2
    for axis in range(2):
        assert stats.kstest(shift[:, axis], "uniform", (-10, 20)).pvalue > 1e-3


def test_intensity():
    rng = np.random.default_rng(10)
    image = rng.random((8, 9, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(11), 3000)
    jitter = quick(
        jax.vmap(augmentation.random_intensity, in_axes=(0, None, None)), static_argnums=2
    )
    found = np.asarray(jitter(keys, image, Table1()))
    assert found.min() >= 0 and found.max() <= 1
    # Two greys near the middle are never clipped: their distance is the contrast, their mean the
    # brightness.
    pair = np.asarray(jitter(keys, np.float32([[[0.45], [0.55]]]), Table1()))[:, 0, :, 0]
    contrast, brightness = (pair[:, 1] - pair[:, 0]) / 0.1, 255 * (pair.mean(1) - 0.5)
    for values, low, high in ((contrast, 0.8, 1.25), (brightness, -20, 20)):
        assert values.min() > low - 1e-3 and values.max() < high + 1e-3
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
    # And every pixel gets the same two.
    expected = (image - 0.5) * contrast[:, None, None, None] + 0.5
    expected = np.clip(expected + brightness[:, None, None, None] / 255, 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_intensity_by_hand():
    setting = Table1(brightness=0.0, contrast=(2.0, 2.0))
    found = augmentation.random_intensity(
        jax.random.key(0), np.float32([[[0.0], [0.4], [0.5], [0.6], [1.0]]]), setting
    )
    np.testing.assert_allclose(found[0, :, 0], [0, 0.3, 0.5, 0.7, 1], atol=1e-6)
