"""Any input: sections with labels for a simulation, or without them for a person to annotate."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from al_jax.core.stack import Images, InputError, Stack, make_images, make_stack
from al_jax.files.begun import begin_with
from al_jax.files.masks import Labelled, drop_unused
from al_jax.files.placeholders import check_here
from al_jax.files.reading import full_path, naming
from al_jax.files.registry import STACKS, VOLUMES, find
from al_jax.files.sections import read_section_images, read_sections
from al_jax.files.slicing import Cut, read_volume, read_volume_images
from al_jax.files.stacks import read_stack_images
from al_jax.files.tables import LabelTable, read_table


def is_volume(images: str | os.PathLike) -> bool:
    """Whether sections are cut out of this, rather than a folder, a stack of pictures or an npz."""
    path = full_path(images)
    if find(STACKS, path) is not None:
        return False
    return find(VOLUMES, path) is not None or not (path.is_dir() or _is_npz(images))


def read_labelled(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    *,
    grouping: str | None = None,
    cut: Cut | None = None,
    outside_id: int | None = None,
    channels: Sequence[int] | None = None,
    label_suffix: str | None = None,
) -> Stack:
    """Reads sections and their labels. What is read of which format: README.md in this folder.

    In folders, sections are in the order of `folders.in_order`, and labels have the names of their
    images, or these with one of the usual endings (`folders.LABEL_ENDINGS`). Of TIFFs with several
    pages, page n of the labels belongs to page n of the images. Sizes may differ: each section is
    placed at the top left of the largest height and width, and the rest is not `inside`.

    Volumes are turned to the closest RAS order. Their sections are shown upright, superior (for
    axial sections anterior) up, columns from the patient's left to right (for sagittal sections
    posterior to anterior), and are not resampled. Border that is empty on all chosen sections is
    trimmed to `slicing.MARGIN` pixels, then height and width are padded with air to multiples of
    `slicing.MULTIPLE`.

    Args:
      images: folder of PNG, TIFF, JPEG or BMP files of one depth, one TIFF, or a volume of
        intensities or of three colours a voxel. If some pictures are grey and some RGB, all become
        RGB. 8 bits are kept; others are scaled over the whole stack or volume so that the minimum
        is 0 and the 99.9th percentile 255.
      labels: the same of ids, whole numbers of any type in one channel; not JPEG. A volume is on
        the grid of the images; a `.seg.nrrd` may be a part of that grid.
      names: table of the ids, see `tables.read_table`. Every id that occurs must be listed; classes
        that no section shows are left out, with an `InputNote`.
      grouping: the column of the table that gives the class of an id; None is `name`.
      cut: which sections of a volume; None is `Cut()`.
      outside_id: pixels with this id are not `inside`; the id need not be listed.
      channels: which channels of images without known colours are taken, one or three, from 0.
      label_suffix: what the names of label files in folders have after the names of their images.

    Returns:
      A stack with 1 or 3 channels. Its sections have the names of the image files, or the numbers
      of their pages or slices (in RAS order); of a volume they have a place.

    Raises:
      InputError: one line that names the file and how to fix it.
    """
    _check_here(images, labels, names)
    table = read_table(names, grouping, outside_id)
    found = _labelled(images, labels, table, cut, channels, label_suffix)
    truth, left, colours = drop_unused(found.truth, table, labels)
    with naming(images):
        return make_stack(
            found.images,
            truth,
            left,
            found.inside,
            sections=found.sections,
            colours=colours,
            place=found.place,
        )


def read_begun(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    *,
    grouping: str | None = None,
    cut: Cut | None = None,
    outside_id: int | None = None,
    channels: Sequence[int] | None = None,
    label_suffix: str | None = None,
) -> tuple[Images, np.ndarray]:
    """Reads sections and what was labelled of some of them, for a person to go on.

    Labels are those of `read_labelled`, or the `traced` of an export, in any of its formats that
    are label maps; see `begun.begin_with` for which ids say nothing.

    Args:
      images, labels, names, grouping, cut, outside_id, channels, label_suffix: see `read_labelled`.

    Returns:
      The images, with all classes of the table, and their labels [N, H, W] int16, `UNLABELLED`
      where nothing is known.

    Raises:
      InputError: one line that names the file and how to fix it.
    """
    _check_here(images, labels, names)
    table = read_table(names, grouping, outside_id)
    begun = begin_with(table, labels)
    cut = cut._replace(partial=True) if cut is not None else None
    found = _labelled(
        images,
        labels,
        begun.table,
        cut,
        channels,
        label_suffix,
        begun=True,
        exported=begun.exported,
        order=begun.sections,
    )
    known = begun.classes(found.truth)
    if (known < 0).all():
        raise InputError(f"{labels}: shows no structure; give labels of at least one, or none")
    with naming(images):
        made = make_images(
            found.images,
            table.names,
            found.inside,
            sections=found.sections,
            colours=table.colours,
            place=found.place,
        )
    return made, known


def _labelled(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    table: LabelTable,
    cut: Cut | None,
    channels: Sequence[int] | None,
    label_suffix: str | None,
    **begun: Any,
) -> Labelled:
    if not is_volume(images):
        _refuse_cut(images, cut)
        return read_sections(images, labels, table, channels, label_suffix, **begun)
    if label_suffix is not None:
        raise InputError(f"{images}: is a volume, whose labels have no suffix; leave it out")
    path = full_path(labels)
    if path.is_dir() and find(VOLUMES, path) is None:
        raise InputError(
            f"{labels}: is a folder, not a volume; give labels on the grid of {images} (of a "
            "session: export --formats=nifti)"
        )
    background = len(table.names) - 1 if begun else 0  # see `begun.begin_with`
    cut = cut or Cut(partial=bool(begun))
    return read_volume(images, labels, table, cut, channels, background=background)


def read_images(
    images: str | os.PathLike,
    names: str | os.PathLike | LabelTable | None = None,
    *,
    grouping: str | None = None,
    cut: Cut | None = None,
    channels: Sequence[int] | None = None,
) -> Images:
    """Reads sections without labels, for a person to annotate.

    Args:
      images: what `read_labelled` and `read_stack` take. Of a volume, slices that show more than
        one intensity are taken.
      names: table of the classes that will be annotated, or the path of one; an npz has its own.
      grouping, cut, channels: see `read_labelled`.

    Raises:
      InputError: one line that names the file and how to fix it.
    """
    typed = isinstance(names, LabelTable)
    named = names.path if isinstance(names, LabelTable) else names
    _check_here(images, *([] if typed or named is None else [named]))
    if _is_npz(images):
        _refuse_cut(images, cut)
        if names is not None:
            raise InputError(f"{images}: has names of its own; leave {named} out")
        return read_stack_images(images)
    if names is None:
        raise InputError(f"{images}: has no names of classes; give a table of them")
    table = names if isinstance(names, LabelTable) else read_table(names, grouping)
    if is_volume(images):
        return read_volume_images(images, table, cut or Cut(), channels)
    _refuse_cut(images, cut)
    return read_section_images(images, table, channels)


def _check_here(*paths: str | os.PathLike) -> None:
    for path in paths:
        check_here(full_path(path))


def _is_npz(images: str | os.PathLike) -> bool:
    return full_path(images).suffix.lower() == ".npz"


def _refuse_cut(images: str | os.PathLike, cut: Cut | None) -> None:
    if cut is not None:
        raise InputError(f"{images}: is not a volume out of which sections are cut; give no cut")
