"""Folders of pictures: one file a section, in their natural order."""

import os
import pathlib
import re

import numpy as np

from al_jax.files.intensities import to_uint8
from al_jax.files.masks import to_classes
from al_jax.files.pictures import read_ids, read_picture
from al_jax.files.reading import by, naming
from al_jax.files.tables import read_names, without_id
from al_jax.stack import InputError, Stack, make_stack

_EXTENSIONS = (".png", ".tif", ".tiff")


def read_folder(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    outside_id: int | None = None,
) -> Stack:
    """Reads a stack from two folders of PNG or TIFF files, one file a section, with equal stems.

    Sections are in natural order of their stems (2 before 10). Sizes may differ: each section is
    placed at the top left of the largest height and width, and the rest is not `inside`.

    Args:
      images: folder of images: grey, RGB or palette, 8 or 16 bits; alpha is dropped. If some are
        grey and some RGB, all become RGB. 16 bits are scaled over the whole stack so that the
        minimum is 0 and the 99.9th percentile 255.
      labels: folder of one-channel images of ids (in a palette image the index is the id).
      names: CSV with the columns `id` and `name`. Every id must be listed, every listed class but
        background must occur.
      outside_id: pixels with this id are not `inside`; the id need not be listed.

    Returns:
      A stack with 1 or 3 channels.

    Raises:
      InputError: see the module's docstring.
    """
    ids, classes, class_names = read_names(names, None)
    if outside_id is not None:
        ids, classes, class_names = without_id(ids, classes, class_names, outside_id)
    files = pair_files(images, labels)
    pictures = [read_picture(image) for image, _ in files]
    pictures = one_depth(pictures, [image for image, _ in files])
    maps = []
    for picture, (image, label) in zip(pictures, files, strict=True):
        found = read_ids(label)
        if found.shape != picture.shape[:2]:
            raise InputError(
                f"{label}: has {by(found.shape)} pixels but {image} has "
                f"{by(picture.shape[:2])}; make them equal"
            )
        maps.append(found)

    height, width = (max(m.shape[i] for m in maps) for i in (0, 1))
    shape = (len(files), height, width)
    padded = np.zeros((*shape, pictures[0].shape[-1]), np.uint8)
    inside = np.zeros(shape, bool)
    truth = np.zeros(shape, np.int64)
    for n, (picture, found, (_, label)) in enumerate(zip(pictures, maps, files, strict=True)):
        corner = (n, slice(found.shape[0]), slice(found.shape[1]))
        known = np.ones(found.shape, bool) if outside_id is None else found != outside_id
        if not known.any():
            raise InputError(
                f"{label}: every pixel has the outside id {outside_id}; leave the section out"
            )
        padded[corner] = picture
        inside[corner] = known
        truth[corner][known] = to_classes(found[known][None], ids, classes, label, names)[0]
    with naming(names):
        return make_stack(padded, truth, class_names, inside)


def _natural(stem: str) -> list:
    """Sort key under which section2 comes before section10; equal numbers fall back on the text."""
    parts = re.split(r"([0-9]+)", stem)
    return [[int(p) if i % 2 else p for i, p in enumerate(parts)], stem]


def list_folder(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
    """The pictures of a folder by their stems."""
    try:
        found = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: is no folder that can be read ({error.strerror}); check the path"
        ) from error
    files: dict[str, pathlib.Path] = {}
    for path in found:
        if path.suffix.lower() not in _EXTENSIONS or path.name.startswith("."):
            continue
        if path.stem in files:
            raise InputError(f"{path}: {files[path.stem].name} is the same section; keep one")
        files[path.stem] = path
    if not files:
        raise InputError(f"{folder}: holds no PNG or TIFF files; check the path")
    return files


def pair_files(
    images: str | os.PathLike, labels: str | os.PathLike
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """The files of each section of two folders, in the order of `read_folder`.

    Raises:
      InputError: a folder is missing or empty, or a section is in one of them only.
    """
    image_files, label_files = list_folder(images), list_folder(labels)
    for stem in sorted(image_files.keys() ^ label_files.keys(), key=_natural):
        has, lacks = (images, labels) if stem in image_files else (labels, images)
        raise InputError(f"{lacks}: lacks the section '{stem}' of {has}; add it, or remove both")
    return [(image_files[s], label_files[s]) for s in sorted(image_files, key=_natural)]


def one_depth(pictures: list[np.ndarray], paths: list[pathlib.Path]) -> list[np.ndarray]:
    """Brings all images to uint8 with the same number of channels."""
    for picture, path in zip(pictures, paths, strict=True):
        if picture.dtype != pictures[0].dtype:
            raise InputError(
                f"{path}: has {8 * picture.itemsize} bits but {paths[0]} has "
                f"{8 * pictures[0].itemsize}; save all with one depth"
            )
    channels = max(picture.shape[-1] for picture in pictures)
    if pictures[0].dtype != np.uint8:
        flat = to_uint8(np.concatenate([p.ravel() for p in pictures]), paths[0].parent)
        ends = np.cumsum([p.size for p in pictures])[:-1]
        parts = np.split(flat, ends)
        pictures = [f.reshape(p.shape) for f, p in zip(parts, pictures, strict=True)]
    return [np.broadcast_to(p, (*p.shape[:2], channels)) for p in pictures]
