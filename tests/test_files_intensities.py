"""One scale for all sections, found section by section: the percentile is numpy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import refused

from al_jax.files.intensities import Scale, check_finite, find_scale, to_uint8


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, 99), st.integers(1, 3000), st.sampled_from(["u2", "i2", "i4", "f4", "f8"]))
def test_the_percentile_of_all_sections_is_numpys(seed, size, dtype):
    rng = np.random.default_rng(seed)
    sections = [(1000 * rng.normal(size=size)).astype(dtype) for _ in range(3)]
    everything = np.concatenate(sections)
    if len(np.unique(everything)) < 2:
        return
    scale = find_scale(sections, everything.size, "x")
    assert scale.low == everything.min()
    high = np.percentile(everything.astype(np.float64), 99.9)
    assert scale.high == pytest.approx(high if high > scale.low else everything.max(), rel=1e-12)


def test_sections_of_different_sizes_and_a_few_bright_pixels():
    dark, bright = np.zeros((60, 60), np.int32), np.full((10, 5), 10**6)
    mid = np.full((40, 100), 200)
    assert find_scale([dark, mid], 7600, "x") == Scale(0, 200)
    assert find_scale([dark, mid, bright[:1]], 7605, "x") == Scale(0, 200)
    # Only a few values are not the least one: all of the range is shown.
    assert find_scale([dark, bright[:1, :1]], 3601, "x") == Scale(0, 10**6)
    refused("x: all intensities are 3; give", find_scale, [np.full((2, 2), 3)], 4, "x")


def test_to_uint8():
    values = np.array([[-5.0, 0, 40, 80, 1e6]])
    assert to_uint8(values, Scale(0, 80)).tolist() == [[0, 0, 128, 255, 255]]
    assert to_uint8(np.array([[0, 250]], np.uint8), None).tolist() == [[0, 250]]
    assert to_uint8(np.array([[-128, 127]], np.int8), Scale(-128, 127)).tolist() == [[0, 255]]


def test_check_finite():
    section = np.ones((3, 4), np.float32)
    check_finite(section, "x")
    check_finite(section.astype(int), "x")
    section[2, 1] = np.inf
    refused("x: the pixel in row 2, column 1 is not finite", check_finite, section, "x")
