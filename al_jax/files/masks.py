"""Label maps: from the numbers of a file to ids, and from ids to classes."""

import os

import numpy as np

from al_jax.stack import InputError


def to_ids(volume: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Labels as int64; label volumes are often stored as floats."""
    if volume.dtype.kind == "f":
        broken = (volume != np.rint(volume)) | (abs(volume) > 2**53)
        if broken.any():
            raise InputError(
                f"{path}: has the label {volume[broken][0]:.6g}; labels are whole numbers "
                "(resample with nearest neighbour)"
            )
    elif volume.dtype == np.uint64 and volume.max() > np.iinfo(np.int64).max:
        raise InputError(f"{path}: has the label {volume.max()}; use smaller ids")
    return volume.astype(np.int64)


def to_classes(
    sections: np.ndarray,
    ids: np.ndarray,
    classes: np.ndarray,
    path: str | os.PathLike,
    table: str | os.PathLike,
) -> np.ndarray:
    """Looks up the class of every pixel of [N, ...] ids; int16."""
    at = np.searchsorted(ids, sections).clip(max=len(ids) - 1)
    unknown = ids[at] != sections
    if unknown.any():
        where = tuple(np.argwhere(unknown)[0])
        section = f"section {where[0]} " if len(sections) > 1 else ""
        raise InputError(
            f"{path}: {section}has the id {sections[where]}, which {table} does not list; "
            "add it to the table or correct the labels"
        )
    return classes.astype(np.int16)[at]
