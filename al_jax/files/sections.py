"""Stacks of pictures: a folder with a file a section, or a TIFF with a page a section.

Sections are decoded one at a time, into arrays that are made once.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import Images, InputError, Stack, make_images, make_stack
from al_jax.files.folders import list_pictures, open_picture, pair_pictures
from al_jax.files.intensities import Scale, check_finite, find_scale, to_uint8
from al_jax.files.masks import drop_unused, empty_truth, to_classes
from al_jax.files.pictures import (
    Picture,
    ids_of,
    image_channels,
    image_of,
    orientations,
    palette_of,
    turned_shape,
)
from al_jax.files.reading import full_path, naming, reading
from al_jax.files.tables import read_table
from al_jax.files.tiffs import is_tiff, open_pages


class Section(NamedTuple):
    """One section: its name, its image, its labels where it has any, and how these are turned.

    `turns` are the orientations of image and labels, 1 to 8, that `pictures.turn` takes.
    """

    name: str
    image: Picture
    label: Picture | None
    turns: tuple[int, int]


def read_sections(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    *,
    grouping: str | None = None,
    outside_id: int | None = None,
    channels: Sequence[int] | None = None,
    label_suffix: str | None = None,
) -> Stack:
    """Reads a stack of pictures and their labels.

    In folders, sections are in the order of `folders.in_order`, and labels have the names of their
    images, or these with one of the usual endings (`folders.LABEL_ENDINGS`). Of TIFFs with several
    pages, page n of the labels belongs to page n of the images. What is read of which format:
    README.md in this folder. Sizes may differ: each section is placed at the top left of the
    largest height and width, and the rest is not `inside`.

    Args:
      images: folder of PNG, TIFF, JPEG or BMP files of one depth, or one TIFF. If some are grey and
        some RGB, all become RGB. 8 bits are kept; others are scaled over the whole stack so that
        the minimum is 0 and the 99.9th percentile 255.
      labels: the same of ids, whole numbers of any type in one channel; not JPEG.
      names: table of the ids, as of `tables.read_table`. Classes that no section shows are left
        out, with an `InputNote`.
      grouping: the column of the table that gives the class of an id; None is `name`.
      outside_id: pixels with this id are not `inside`; the id need not be listed.
      channels: which channels of images without known colours are taken, one or three, from 0.
      label_suffix: what the names of label files have after the names of their images.

    Returns:
      A stack with 1 or 3 channels; its sections have the names of the image files.

    Raises:
      InputError: one line that names the file and the mend.
    """
    table = read_table(names, grouping, outside_id)
    with _opened(images, labels, label_suffix) as sections:
        pixels, inside = _images(sections, channels, images)
        truth = empty_truth(inside.shape, table)
        seen: dict[int, tuple[tuple, Picture]] = {}
        for n, section in enumerate(sections):
            assert section.label is not None
            ids = ids_of(section.label, section.turns[1])
            _check_palette(section.label, ids, seen)
            corner = (n, slice(ids.shape[0]), slice(ids.shape[1]))
            known = inside[corner] if outside_id is None else ids != outside_id
            if not known.any():
                raise InputError(
                    f"{section.label.path}: every pixel has the outside id {outside_id}; leave the "
                    "section out"
                )
            inside[corner] = known
            path = _named(section.label, section.name)
            truth[corner][known] = to_classes(ids[known], table, path, _hint(section.label))
        called = [section.name for section in sections]
    truth, left, colours = drop_unused(truth, table, labels)
    with naming(images):
        return make_stack(pixels, truth, left, inside, sections=called, colours=colours)


def read_section_images(
    images: str | os.PathLike,
    names: str | os.PathLike,
    *,
    grouping: str | None = None,
    channels: Sequence[int] | None = None,
) -> Images:
    """Reads pictures without labels, for a person to trace; arguments as of `read_sections`."""
    table = read_table(names, grouping)
    with _opened(images, None, None) as sections:
        pixels, inside = _images(sections, channels, images)
        called = [section.name for section in sections]
    with naming(images):
        return make_images(pixels, table.names, inside, sections=called, colours=table.colours)


def is_pages(path: pathlib.Path) -> bool:
    """Whether this is a TIFF, whose pages are sections, rather than a folder or another file."""
    if path.is_dir():
        return False
    with reading(path, "an image"):
        return is_tiff(path)


@contextlib.contextmanager
def _opened(
    images: str | os.PathLike, labels: str | os.PathLike | None, suffix: str | None
) -> Iterator[list[Section]]:
    """The sections of a folder or of a TIFF, which can be decoded while the context is open."""
    path, label_path = full_path(images), None if labels is None else full_path(labels)
    with contextlib.ExitStack() as stack:
        if is_pages(path):
            pictures = stack.enter_context(open_pages(path))
            names = [str(number) for number in range(len(pictures))]
            found: Sequence[Picture | None] = [None] * len(pictures)
            if label_path is not None:
                if not is_pages(label_path):
                    raise InputError(f"{labels}: is no TIFF but {images} is; give both as TIFF")
                found = stack.enter_context(open_pages(label_path))
                if len(found) != len(pictures):
                    raise InputError(
                        f"{labels}: has {len(found)} pages but {images} has {len(pictures)}; give "
                        "one page for each section"
                    )
        elif label_path is None:
            files = list_pictures(path)
            names = [file.name for file in files]
            pictures, found = [open_picture(file) for file in files], [None] * len(files)
        else:
            if label_path.is_file():
                raise InputError(f"{labels}: is no folder but {images} is; give both as folders")
            pairs = pair_pictures(path, label_path, suffix)
            names = [image.name for image, _ in pairs]
            pictures = [open_picture(image) for image, _ in pairs]
            found = [open_picture(label) for _, label in pairs]
        yield [
            Section(
                name,
                image,
                label,
                (image.orientation, 1) if label is None else orientations(image, label),
            )
            for name, image, label in zip(names, pictures, found, strict=True)
        ]


def _images(
    sections: Sequence[Section], channels: Sequence[int] | None, source: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """All images [N, H, W, K] uint8, each at the top left, and which pixels they fill."""
    first = sections[0].image
    for section in sections:
        if section.image.dtype != first.dtype:
            raise InputError(
                f"{section.image.path}: has pixels of type {section.image.dtype} but {first.path} "
                f"of type {first.dtype}; save all with one depth"
            )
    shapes = [turned_shape(section.image, section.turns[0]) for section in sections]
    depths = [image_channels(section.image, channels) for section in sections]

    def decode(section: Section) -> np.ndarray:
        return image_of(section.image, section.turns[0], channels)

    scale: Scale | None = None
    if first.dtype != np.uint8 and first.kind != "palette":

        def finite() -> Iterator[np.ndarray]:
            for section in sections:
                pixels = decode(section)
                check_finite(pixels, _named(section.image, section.name))
                yield pixels

        count = sum(h * w * k for (h, w), k in zip(shapes, depths, strict=True))
        scale = find_scale(finite(), count, source)

    height, width = (max(lengths) for lengths in zip(*shapes, strict=True))
    images = np.zeros((len(sections), height, width, max(depths)), np.uint8)
    inside = np.zeros(images.shape[:3], bool)
    for n, (section, (h, w)) in enumerate(zip(sections, shapes, strict=True)):
        images[n, :h, :w] = to_uint8(decode(section), scale)  # grey becomes RGB by broadcasting
        inside[n, :h, :w] = True
    return images, inside


def _named(picture: Picture, section: str) -> str:
    """A file, and its page where it has several."""
    return f"{picture.path}" + (f": page {section}" if section.isdecimal() else "")


def _check_palette(label: Picture, ids: np.ndarray, seen: dict[int, tuple[tuple, Picture]]) -> None:
    """Raises InputError if indices cannot be ids: colours were sorted, or differ between files."""
    palette = palette_of(label)
    if palette is None:
        return
    used = np.unique(ids).tolist()
    black = [index for index in used if not palette[index].any()]
    if black and palette[0].any():
        raise InputError(
            f"{label.path}: its palette has black at index {black[0]}, not at 0, as programs that "
            "sort colours write it: the index is no id then; save the labels as grey ids"
        )
    for index in used:
        colour = tuple(palette[index].tolist())
        before, where = seen.setdefault(index, (colour, label))
        if before != colour:
            raise InputError(
                f"{label.path}: the colour of index {index} is {colour} but in {where.path} it is "
                f"{before}; save the labels as grey ids, or with one palette"
            )


def _hint(label: Picture) -> str:
    """What a surprised user should know of the ids of such a file."""
    if label.bits < 8 and label.palette is None:
        bits = f"{label.bits} bit{'s' * (label.bits > 1)}"
        return f" (a pixel has {bits}: white is stored as {(1 << label.bits) - 1})"
    return " (the index in its palette)" if palette_of(label) is not None else ""
