"""Stacks of pictures: a folder with a file a section, or one file with a page a section.

Sections are decoded one at a time, into arrays that are made once.
"""

import contextlib
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import UNLABELLED, Images, InputError, make_images
from al_jax.files.claims import check_claim
from al_jax.files.folders import label_files, list_pictures, pair_pictures
from al_jax.files.intensities import Scale, check_finite, find_scale, to_uint8
from al_jax.files.masks import Labelled, empty_truth, to_classes
from al_jax.files.pictures import (
    Picture,
    ids_of,
    image_channels,
    image_of,
    orientations,
    palette_of,
    turned_shape,
)
from al_jax.files.reading import by, full_path, listed, naming, note
from al_jax.files.registry import PICTURES, STACKS, find, open_picture
from al_jax.files.tables import LabelTable


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
    table: LabelTable,
    channels: Sequence[int] | None = None,
    label_suffix: str | None = None,
    *,
    begun: bool = False,
    exported: bool = False,
    order: Sequence[str] = (),
) -> Labelled:
    """Reads pictures and their labels.

    Args:
      images, labels, channels, label_suffix: see `inputs.read_labelled`.
      table: of all ids.
      begun: labels of some sections are enough, others are of class 0; see `inputs.read_begun`.
      exported: labels lie as an export writes them.
      order: names of the sections that pages of labels are of, where somebody knows them.
    """
    with _opened(
        images, labels, label_suffix, begun=begun, exported=exported, order=order
    ) as sections:
        pixels, inside = _images(sections, channels, images)
        truth = empty_truth(inside.shape, table)
        seen: dict[int, tuple[tuple, Picture]] = {}
        for n, section in enumerate(sections):
            if section.label is None:
                truth[n][inside[n]] = 0
                continue
            ids = ids_of(section.label, section.turns[1])
            _check_palette(section.label, ids, seen)
            path = _named(section.label, section.name)
            classes = to_classes(ids, table, path, _hint(section.label))
            if (classes == UNLABELLED).all():
                raise InputError(
                    f"{section.label.path}: every pixel has the outside id {table.outside_id}; "
                    "leave the section out"
                )
            height, width = turned_shape(section.image, section.turns[0])
            if (classes[height:] > 0).any() or (classes[:, width:] > 0).any():
                raise InputError(
                    f"{path}: labels what is beyond {section.image.path}; make them equal in size"
                )
            corner = (n, slice(height), slice(width))
            truth[corner] = classes[:height, :width]
            inside[corner] = truth[corner] != UNLABELLED
        called = [section.name for section in sections]
    return Labelled(pixels, truth, inside, called)


def read_section_images(
    images: str | os.PathLike, table: LabelTable, channels: Sequence[int] | None = None
) -> Images:
    """Reads pictures without labels; arguments: see `inputs.read_images`."""
    with _opened(images, None, None) as sections:
        pixels, inside = _images(sections, channels, images)
        called = [section.name for section in sections]
    with naming(images):
        return make_images(pixels, table.names, inside, sections=called, colours=table.colours)


@contextlib.contextmanager
def _opened(
    images: str | os.PathLike,
    labels: str | os.PathLike | None,
    suffix: str | None,
    *,
    begun: bool = False,
    exported: bool = False,
    order: Sequence[str] = (),
) -> Iterator[list[Section]]:
    """The sections of a folder or of one file, which can be decoded while the context is open."""
    path, label_path = full_path(images), None if labels is None else full_path(labels)
    with contextlib.ExitStack() as stack:
        found: Sequence[Picture | None]
        pages: Sequence[Picture] | None
        if (open_stack := find(STACKS, path)) is not None:
            pictures = stack.enter_context(open_stack(path))
            names = [str(number) for number in range(len(pictures))]
            found = [None] * len(pictures)
            if label_path is not None:
                open_labels = find(STACKS, label_path)
                if open_labels is not None:
                    pages = stack.enter_context(open_labels(label_path))
                    found = _by_name(pages, order, names, labels)
                elif begun and label_path.is_dir():
                    of = label_files(label_path, names)
                    found = [_open(of[name]) if name in of else None for name in names]
                else:
                    raise InputError(
                        f"{labels}: is not a stack of pages but {images} is; give both as TIFF"
                    )
        else:
            pairs: Sequence[tuple[pathlib.Path, pathlib.Path | None]]
            pages = None
            if label_path is None:
                pairs = [(file, None) for file in list_pictures(path)]
            elif label_path.is_file():
                open_labels = find(STACKS, label_path) if begun else None
                if open_labels is None:
                    raise InputError(
                        f"{labels}: is not a folder but {images} is; give both as folders"
                    )
                pairs = [(file, None) for file in list_pictures(path)]
                pages = stack.enter_context(open_labels(label_path))
            else:
                pairs = pair_pictures(path, label_path, suffix, begun=begun)
            names = [image.name for image, _ in pairs]
            pictures = [_open(image) for image, _ in pairs]
            found = [None if label is None else _open(label) for _, label in pairs]
            found = found if pages is None else _by_name(pages, order, names, labels)
        if len(found) != len(pictures):
            raise InputError(
                f"{labels}: has {len(found)} pages but {images} has {len(pictures)}; give "
                "one page for each section"
            )
        largest = [max(lengths) for lengths in zip(*map(_upright, pictures), strict=True)]
        yield [
            Section(name, image, label, _turns(image, label, largest if exported else None))
            for name, image, label in zip(names, pictures, found, strict=True)
        ]


def _by_name(
    pages: Sequence[Picture],
    order: Sequence[str],
    names: Sequence[str],
    labels: str | os.PathLike | None,
) -> Sequence[Picture | None]:
    """The page of each section of `names`, or None; `order` has the names that pages are of.

    Names that are numbers alone, as those of pages, are counted in the order of `names`.
    """
    numbered = not set(order) & set(names)
    own = [str(n) for n in range(len(names))] if numbered else names
    if len(order) != len(pages) or not set(order) & set(own):
        if order:
            note(f"{labels}: its pages, {listed(list(order), 3)}, are taken in the images' order")
        return pages
    for name in order:
        if name not in own:
            raise InputError(f"{labels}: has section {name}, of which there is no image; add it")
    of = dict(zip(order, pages, strict=True))
    return [of.get(name) for name in own]


def _upright(picture: Picture) -> tuple[int, int]:
    return turned_shape(picture, picture.orientation)


def _turns(image: Picture, label: Picture | None, canvas: list[int] | None) -> tuple[int, int]:
    """How both are turned; labels as an export writes them lie upright on the whole canvas."""
    if label is None:
        return image.orientation, 1
    if canvas is not None and [label.height, label.width] == canvas and label.orientation == 1:
        return image.orientation, 1
    return orientations(image, label)


def _open(path: pathlib.Path) -> Picture:
    return (find(PICTURES, path) or open_picture)(path)


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

    _note_unlike(sections, shapes, depths, source)
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
    room = len(sections) * height * width * (max(depths) + 1)
    check_claim(source, room, room)
    images = np.zeros((len(sections), height, width, max(depths)), np.uint8)
    inside = np.zeros(images.shape[:3], bool)
    for n, (section, (h, w)) in enumerate(zip(sections, shapes, strict=True)):
        images[n, :h, :w] = to_uint8(decode(section), scale)  # grey becomes RGB by broadcasting
        inside[n, :h, :w] = True
    return images, inside


def _note_unlike(
    sections: Sequence[Section],
    shapes: Sequence[tuple[int, int]],
    depths: Sequence[int],
    source: str | os.PathLike,
) -> None:
    """Notes of sections whose size, colour or size of a pixel is not that of most."""
    sizes = [f"{by(shape)} pixels" for shape in shapes]
    _note_others(source, sections, sizes, "size", "smaller ones are placed at the top left")
    colours = ["grey" if depth == 1 else "RGB" for depth in depths]
    _note_others(source, sections, colours, "colour", "grey ones become RGB")
    apart = [section.image.spacing for section in sections]
    pixels = ["" if mm is None else f"{mm[0]:.3g} by {mm[1]:.3g} mm" for mm in apart]
    _note_others(
        source, sections, pixels, "the size of a pixel", "they are not scaled to each other"
    )


def _note_others(
    source: str | os.PathLike,
    sections: Sequence[Section],
    values: Sequence[str],
    what: str,
    then: str,
) -> None:
    """A note of the sections whose value is known and not the usual one."""
    usual = [value for value, _ in Counter(filter(None, values)).most_common()]
    if len(usual) < 2:
        return
    others = [
        f"{section.name} ({value})"
        for section, value in zip(sections, values, strict=True)
        if value and value != usual[0]
    ]
    note(f"{source}: sections differ in {what}: {usual[0]}, but {listed(others, 6)}; {then}")


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
            "sort colours write it: the index is not an id then; save the labels as grey ids"
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
