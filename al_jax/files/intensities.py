"""Intensities of any depth as 8 bits: one scale for all sections, found section by section."""

import math
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import InputError

SHARE = 0.999
"""The quantile that becomes 255: a few bright pixels do not darken the rest."""


class Scale(NamedTuple):
    """The intensities that become 0 and 255."""

    low: float
    high: float


def find_scale(sections: Iterable[np.ndarray], count: int, path: str | os.PathLike) -> Scale:
    """Minimum and 99.9th percentile of sections that hold `count` values in all.

    The percentile is that of `np.percentile`, which would hold all of them at once; here the
    largest thousandth is enough.

    Raises:
      InputError: all values are equal.
    """
    at = SHARE * (count - 1)  # the percentile's place among the sorted values
    keep = count - math.floor(at)
    low, largest = math.inf, np.empty(0)
    for section in sections:
        values = section.ravel()
        low = min(low, float(values.min()))
        if values.size > keep:
            values = np.partition(values, values.size - keep)[-keep:]
        largest = np.concatenate([largest, values.astype(np.float64)])
        if largest.size > keep:
            largest = np.partition(largest, largest.size - keep)[-keep:]
    high = float(np.percentile(np.sort(largest)[:2], 100 * (at % 1)))
    if high <= low:  # all but a few values are empty
        high = float(largest.max())
    if not 0 < high - low < np.inf:
        raise InputError(
            f"{path}: all intensities are {low:.6g}; give an image that shows something"
        )
    return Scale(low, high)


def to_uint8(section: np.ndarray, scale: Scale | None) -> np.ndarray:
    """Scales a section; without a scale it is uint8 already."""
    if scale is None:
        return section
    values = (section.astype(np.float64) - scale.low).clip(0, scale.high - scale.low)
    return np.rint(values * (255 / (scale.high - scale.low))).astype(np.uint8)


def check_finite(section: np.ndarray, path: str | os.PathLike) -> None:
    """Raises InputError for NaN and infinity, with the place of the first such pixel."""
    if section.dtype.kind == "f" and not np.isfinite(section).all():
        row, column = np.argwhere(~np.isfinite(section))[0][:2]
        raise InputError(
            f"{path}: the pixel in row {row}, column {column} is not finite; replace NaN and "
            "infinity, for example with np.nan_to_num"
        )
