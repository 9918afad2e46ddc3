"""Random crops: one grid for image, labels and domain, and what balanced ones show."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy import stats

from al_jax.core.state import PartialLabels
from al_jax.model import augmentation, crops
from al_jax.model.augmentation import Table1
from al_jax.model.config import Training
from al_jax.model.inputs import Sections

CROP = 24
COUNT = 5  # sections: batches of 2 do not fit evenly

# Compilation is most of the time, and no fast code is needed.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _plain(field="smooth"):
    """A setting that moves pixels but leaves their intensities."""
    steady = Table1(brightness=0.0, contrast=(1.0, 1.0), field=field)
    return Training(crop=CROP, augmentation=steady)


@functools.cache
def _crop(setting):
    def one(key, images, labels, inside, low, high):
        section = Sections(images, inside, low, high)
        key_middle, key_crop = jax.random.split(key)
        middle = crops.random_middle(key_middle, labels.shape, setting.crop)
        return crops.random_crop(key_crop, section, labels, middle, setting)

    crop = quick(jax.vmap(one, in_axes=(0, None, None, None, None, None)))
    keys = jax.random.split(jax.random.key(5), 50)
    return lambda *section: jax.tree.map(np.asarray, crop(keys, *section))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("field", list(augmentation.FIELDS))
def test_image_labels_and_inside_share_one_grid(axis, field):
    # On a ramp, bilinear and nearest can differ by half a pixel's step at most, wherever they look.
    ramp = np.broadcast_to(np.arange(64.0) if axis else np.arange(64.0)[:, None], (64, 64))
    image, labels, inside = _crop(_plain(field))(
        ramp[..., None].astype(np.float32),
        ramp.astype(np.int16),
        ramp > 20,
        np.float32(0),
        np.float32(63),
    )
    assert image.shape == (50, CROP, CROP, 3)
    assert labels.shape == inside.shape == (50, CROP, CROP)
    value = (image + 1) / 2 * 63
    within = labels >= 0
    assert within.mean() > 0.9
    assert np.abs(value - labels[..., None])[within].max() < 0.5 + 1e-3
    np.testing.assert_array_equal(inside, within & (labels > 20))


def test_the_same_key_gives_the_same_crop():
    rng = np.random.default_rng(7)
    image = rng.random((64, 64, 1)).astype(np.float32)
    labels = rng.integers(-1, 4, (64, 64)).astype(np.int16)
    args = image, labels, labels > 0, np.float32(0), np.float32(1)
    first, again = _crop(_plain())(*args), _crop(_plain())(*args)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0][0], first[0][1])


def test_a_section_smaller_than_the_crop():
    image = np.full((10, 14, 1), 200, np.uint8)
    labels = np.full((10, 14), 2, np.int16)
    image, labels, inside = _crop(_plain())(
        image, labels, np.ones((10, 14), bool), np.float32(0), np.float32(255)
    )
    np.testing.assert_allclose(image, 400 / 255 - 1, atol=1e-5)  # the border goes on outside
    np.testing.assert_array_equal(labels, np.where(inside, 2, -1))
    area = inside.sum((1, 2))
    assert area.max() < 1.2**2 * 10 * 14 * 1.5 and area.mean() > 10 * 14 / 2


@functools.cache
def _stack():
    """What the network sees of five sections, and the labels of the two outer classes on three."""
    return tiny.partly_labelled(COUNT)[:2]


def test_balanced_crops_show_every_labelled_class_as_often():
    # Class 1 has 1 pixel, class 0 has 40 on one section and 1 on another; class 2 is not labelled.
    labels = np.full((4, 9, 9), -1, np.int16)
    labels[0, :4], labels[0, 4, :4], labels[2, 8, 8], labels[3, 0, 5] = 0, 0, 0, 1
    seen = np.zeros((4, 3), bool)
    seen[[0, 2, 3], [0, 0, 1]] = True
    partial = PartialLabels(jnp.asarray(labels), jnp.asarray(seen), None, None)
    draw = jax.jit(jax.vmap(lambda key: crops.random_labelled(key, partial, 1)))
    section, middle = (np.asarray(x) for x in draw(jax.random.split(jax.random.key(0), 4000)))
    place = middle.astype(int)
    shown = labels[section, place[:, 0], place[:, 1]]
    np.testing.assert_allclose(np.bincount(shown) / 4000, [0.5, 0.5], atol=0.03)
    np.testing.assert_allclose(
        np.bincount(section, minlength=4) / 4000, [0.25, 0, 0.25, 0.5], atol=0.03
    )
    pixels = place[section == 0] @ [9, 1]
    counts = np.bincount(pixels, minlength=81)[:40]
    assert stats.chisquare(counts).pvalue > 1e-3 and counts.sum() == len(pixels)


def test_a_balanced_crop_does_not_leave_the_section():
    labels = np.full((2, 20, 30), -1, np.int16)
    labels[1, 0, 29] = labels[1, 10, 15] = 1
    seen = np.array([[False, False], [False, True]])
    partial = PartialLabels(jnp.asarray(labels), jnp.asarray(seen), None, None)
    keys = jax.random.split(jax.random.key(0), 50)

    def middles(crop):
        draw = jax.jit(jax.vmap(lambda key: crops.random_labelled(key, partial, crop)))
        section, middle = draw(keys)
        assert (np.asarray(section) == 1).all()
        return {tuple(m) for m in np.asarray(middle).tolist()}

    assert middles(9) == {(4.0, 25.0), (10.0, 15.0)}
    assert middles(40) == {(9.5, 14.5)}  # a section smaller than the crop lies in its middle


def test_balanced_crops_of_nothing_labelled_are_crops():
    sections, partial = _stack()
    nothing = partial.replace(
        labels=jnp.full_like(partial.labels, -1), seen=jnp.zeros_like(partial.seen)
    )
    setting = Training(crop=32, batch=4, balanced=1.0)
    batch = quick(lambda key: crops.random_batch(key, sections, nothing, jnp.arange(4), setting))(
        jax.random.key(0)
    )
    assert np.isfinite(batch.inputs).all() and (np.asarray(batch.labels) == -1).all()
    # They lie anywhere, on the sections that were asked for.
    nowhere_balanced = dataclasses.replace(setting, balanced=0.0)
    usual = quick(
        lambda key: crops.random_batch(key, sections, nothing, jnp.arange(4), nowhere_balanced)
    )(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, batch, usual)


@pytest.mark.parametrize("balanced", [0.0, pytest.param(0.5, marks=pytest.mark.slow), 1.0])
def test_the_share_of_balanced_crops(balanced):
    # Asked for section 4, where nothing is labelled; a balanced crop is of another one.
    sections, partial = _stack()
    setting = Training(crop=32, batch=4, balanced=balanced)
    chosen = jnp.full(400, 4)
    crop = quick(lambda key: crops.random_batch(key, sections, partial, chosen, setting))
    batch = crop(jax.random.key(0))
    shown = (np.asarray(batch.labels) >= 0).any((1, 2))
    assert abs(shown.mean() - balanced) < 0.08
    # The classes that an unlabelled pixel may be are those of the section that is shown.
    assert (np.asarray(batch.compatible)[shown] == [0, 0, 1, 1]).all()
