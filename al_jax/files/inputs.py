"""Any input: sections with labels for a simulation, or without them for a person to trace."""

import os
from collections.abc import Sequence

from al_jax.core.stack import Images, InputError, Stack
from al_jax.files.reading import full_path
from al_jax.files.sections import is_pages, read_section_images, read_sections
from al_jax.files.slicing import Cut, read_volume, read_volume_images
from al_jax.files.stacks import read_stack_images


def is_volume(images: str | os.PathLike) -> bool:
    """Whether sections are cut out of this, rather than a folder, a TIFF or an npz."""
    path = full_path(images)
    return not (path.is_dir() or path.suffix.lower() == ".npz" or is_pages(path))


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
    """Reads sections and their labels: `read_volume` or `read_sections`, whatever `images` is.

    Raises:
      InputError: as of these; an argument is of the other one.
    """
    if is_volume(images):
        if label_suffix is not None:
            raise InputError(f"{images}: is a volume, whose labels have no suffix; leave it out")
        return read_volume(
            images,
            labels,
            names,
            grouping=grouping,
            cut=cut,
            outside_id=outside_id,
            channels=channels,
        )
    _refuse_cut(images, cut)
    return read_sections(
        images,
        labels,
        names,
        grouping=grouping,
        outside_id=outside_id,
        channels=channels,
        label_suffix=label_suffix,
    )


def read_images(
    images: str | os.PathLike,
    names: str | os.PathLike | None = None,
    *,
    grouping: str | None = None,
    cut: Cut | None = None,
    channels: Sequence[int] | None = None,
) -> Images:
    """Reads sections without labels: a volume, a folder or a TIFF of sections, or an npz.

    Args:
      images: what `read_volume`, `read_sections` or `read_stack` take.
      names: table of the classes that a person will trace; an npz has its own.
      grouping, cut, channels: as of `read_volume` and `read_sections`.

    Raises:
      InputError: as of these; an argument is of another one.
    """
    if full_path(images).suffix.lower() == ".npz":
        _refuse_cut(images, cut)
        if names is not None:
            raise InputError(f"{images}: has names of its own; leave {names} out")
        return read_stack_images(images)
    if names is None:
        raise InputError(f"{images}: has no names of classes; give a table of them")
    if is_volume(images):
        return read_volume_images(images, names, grouping=grouping, cut=cut, channels=channels)
    _refuse_cut(images, cut)
    return read_section_images(images, names, grouping=grouping, channels=channels)


def _refuse_cut(images: str | os.PathLike, cut: Cut | None) -> None:
    if cut is not None:
        raise InputError(f"{images}: is no volume out of which sections are cut; give no cut")
