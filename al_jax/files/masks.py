"""Label maps: from the numbers of a file to ids, and from ids to classes."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from skimage.util import map_array

from al_jax.core.stack import UNLABELLED, Colour, InputError, Place, drop_absent
from al_jax.files.reading import listed, note
from al_jax.files.tables import LabelTable

NOISE = 1e-3
"""Farthest that a float label may be from a whole number; resampled ones are farther."""


class Labelled(NamedTuple):
    """Sections as a reader finds them, before classes that none shows are left out.

    Attributes:
      images: [N, H, W, K] uint8.
      truth: [N, H, W] classes of the table, `UNLABELLED` where not `inside`.
      inside: [N, H, W] bool.
      sections: N names.
      place: where they lie, or None.
    """

    images: np.ndarray
    truth: np.ndarray
    inside: np.ndarray
    sections: Sequence[str]
    place: Place | None = None


def to_ids(labels: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Labels of any type as int64; what arithmetic left beside a whole number is rounded.

    Raises:
      InputError: a value is not a whole number, or the type cannot tell its ids apart.
    """
    if labels.dtype.kind == "f":
        whole = np.rint(labels)
        broken = ~(abs(labels - whole) <= NOISE)  # NaN included
        if broken.any():
            raise InputError(
                f"{path}: has the label {labels[broken][0]!s}; labels are whole numbers (resample "
                "with nearest neighbour, or save the labels rather than probabilities)"
            )
        most = 2 ** (np.finfo(labels.dtype).nmant + 1)
        if abs(whole).max(initial=0) > most:
            raise InputError(
                f"{path}: has the label {abs(whole).max():.0f} as {labels.dtype}, which cannot "
                f"tell ids above {most} apart; save the labels as whole numbers"
            )
        return whole.astype(np.int64)
    if labels.dtype == np.uint64 and labels.max(initial=0) > np.iinfo(np.int64).max:
        raise InputError(f"{path}: has the label {labels.max()}; use smaller ids")
    return labels.astype(np.int64)


def to_classes(
    ids: np.ndarray, table: LabelTable, path: str | os.PathLike, hint: str = ""
) -> np.ndarray:
    """The class of every pixel of one section's ids, int32 of the same shape.

    `UNLABELLED` where they are the outside id.

    Raises:
      InputError: the table does not list an id; `hint` says more of it.
    """
    number = map_array(ids, table.ids, table.classes + 1) - 1  # `UNLABELLED` if it is not listed
    unknown = number < 0
    if table.outside_id is not None:
        unknown &= ids != table.outside_id
    if unknown.any():
        found = ids[unknown].ravel()[0]
        raise InputError(
            f"{path}: has the id {found}, which {table.path} does not list{hint}; add it to the "
            f"table, correct the labels, or give --outside_id={found} if such pixels are outside "
            "the image"
        )
    return number


def empty_truth(shape: tuple[int, ...], table: LabelTable) -> np.ndarray:
    """Room for classes of `table`: `UNLABELLED`, in the smallest type that holds them all."""
    wide = len(table.names) > np.iinfo(np.int16).max
    return np.full(shape, UNLABELLED, np.int32 if wide else np.int16)


def drop_unused(
    truth: np.ndarray, table: LabelTable, path: str | os.PathLike
) -> tuple[np.ndarray, tuple[str, ...], tuple[Colour, ...] | None]:
    """`stack.drop_absent` in the memory of `truth`, with a note of the classes left out.

    Raises:
      InputError: the labels, from `path`, show no class but background.
    """
    own = truth if truth.dtype == np.int16 else None
    left, names, colours = drop_absent(truth, table.names, table.colours, out=own)
    if len(names) < 2:
        raise InputError(f"{path}: shows background alone; give labels of at least one structure")
    shown = set(names)
    absent = [f"'{name}'" for name in table.names if name not in shown]
    if absent:
        note(f"{table.path}: no section shows {listed(absent)}; left out")
    return left, names, colours
