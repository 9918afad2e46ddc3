"""Stacks of parallel sections cut out of a volume, with its labels or without."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.names import called
from al_jax.core.stack import UNLABELLED, Images, InputError, Place, make_images
from al_jax.files.intensities import find_scale, to_uint8
from al_jax.files.masks import Labelled, empty_truth, to_classes, to_ids
from al_jax.files.pictures import check_channels
from al_jax.files.reading import by, listed, naming, note
from al_jax.files.tables import LabelTable, table_entries
from al_jax.files.volumes import Volume, load_volume, without_shear

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Position, in an array in RAS order, of the axis that sections of each kind are stacked along."""

MARGIN = 8
"""Pixels of empty border that are kept around what the sections show."""

AROUND = UNLABELLED - 1
"""What padding is until it is known what it is of."""

MULTIPLE = 16
"""Height and width are padded up to a multiple of this: few shapes, few compilations."""


class Cut(NamedTuple):
    """Which sections are cut out of a volume.

    Attributes:
      axis: 'coronal', 'sagittal' or 'axial'.
      sections: how many, evenly spaced over the eligible ones; all of them if they are fewer.
        Ignored if `spacing` is given.
      spacing: distance in mm between sections instead, counted from the first eligible one.
      within: entries of the table of names, in whichever column; sections that show an id with at
        least one of them are eligible. Empty: sections that show any class but background.
      partial: the labels are of a part of the structures. Sections without any are eligible too, as
        in `read_volume_images`, and those that have some are all taken.
    """

    axis: str = "coronal"
    sections: int = 24
    spacing: float | None = None
    within: tuple[str, ...] = ()
    partial: bool = False


def read_volume(
    image: str | os.PathLike,
    labels: str | os.PathLike,
    table: LabelTable,
    cut: Cut,
    channels: Sequence[int] | None = None,
    *,
    background: int = 0,
) -> Labelled:
    """Cuts sections out of a labelled volume.

    Args:
      image, labels, channels: see `inputs.read_labelled`.
      table: of all ids.
      cut: which sections.
      background: the class of it, see `trim`.
    """
    _check_axis(cut)
    wanted = _wanted_ids(table, cut)
    volume = _image(load_volume(image), channels)
    slices = _upright(_on_grid(load_volume(labels), volume), cut.axis)
    shown = np.zeros(len(slices), bool)
    for n in range(len(slices)):  # every id is looked up: on other sections, too, it must be listed
        ids, classes = _classes(slices, n, table, labels)
        shown[n] = (np.isin(ids, wanted) if cut.within else classes > 0).any()
    if cut.partial:
        labelled, eligible = np.flatnonzero(shown), np.flatnonzero(shown | _drawn(volume, cut))
        chosen = np.union1d(_choose(eligible, cut, volume, labels), labelled)
    else:
        chosen = _choose(np.flatnonzero(shown), cut, volume, labels)
    truth = empty_truth((len(chosen), *slices.shape[1:]), table)
    for row, n in zip(truth, chosen, strict=True):
        row[...] = _classes(slices, n, table, labels)[1]
    images = _cut(volume, cut, chosen)
    air = 0 if table.outside_id is None else UNLABELLED
    images, truth, corner = trim(images, truth, AROUND if background else air, background)
    for own in truth if background else ():  # air is background where somebody labelled that
        own[own == AROUND] = background if air == 0 and (own == background).any() else air
    called, place = _named(chosen), _place(volume, cut.axis, chosen, corner)
    return Labelled(images, truth, truth != UNLABELLED, called, place)


def read_volume_images(
    image: str | os.PathLike, table: LabelTable, cut: Cut, channels: Sequence[int] | None = None
) -> Images:
    """Cuts out sections that show more than one intensity; arguments: see `inputs.read_images`."""
    _check_axis(cut)
    volume = _image(load_volume(image), channels)
    chosen = _choose(np.flatnonzero(_drawn(volume, cut)), cut, volume, image)
    images = _cut(volume, cut, chosen)
    images, _, corner = trim(images, np.zeros(images.shape[:3], np.int16))
    called, place = _named(chosen), _place(volume, cut.axis, chosen, corner)
    with naming(image):
        return make_images(images, table.names, sections=called, colours=table.colours, place=place)


def trim(
    images: np.ndarray, truth: np.ndarray, air: int = 0, background: int = 0
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Cuts empty border of [N, H, W, ...] down to `MARGIN`, pads to multiples of `MULTIPLE`.

    Padding has the class `air`. Pixels that are `UNLABELLED`, outside the image, are empty, as are
    those of class 0 and of `background` where the image is black.

    Returns:
      Both trimmed, and which row and column the first ones were; below 0 if these are padding.
    """
    full = np.zeros(truth.shape[1:], bool)
    for image, classes in zip(images, truth, strict=True):
        seen = (image != 0).reshape(*classes.shape, -1).any(-1)
        shown = (classes != 0) & (classes != background)
        full |= (shown | seen) & (classes != UNLABELLED)
    window, pad, corner = [slice(None)], [(0, 0)], []
    for axis in (0, 1):
        used = np.flatnonzero(full.any(1 - axis))
        start = max(used[0] - MARGIN, 0)
        stop = min(used[-1] + 1 + MARGIN, full.shape[axis])
        extra = -(stop - start) % MULTIPLE
        window.append(slice(start, stop))
        pad.append((extra // 2, extra - extra // 2))
        corner.append(int(start) - extra // 2)
    box = tuple(window)
    return (
        np.pad(images[box], pad + [(0, 0)] * (images.ndim - 3)),
        np.pad(truth[box], pad, constant_values=air),
        (corner[0], corner[1]),
    )


def _check_axis(cut: Cut) -> None:
    if cut.axis not in AXES:
        raise InputError(f"unknown axis '{cut.axis}'; choose one of {', '.join(AXES)}")


def _wanted_ids(table: LabelTable, cut: Cut) -> list[int]:
    """The ids that `cut.within` names."""
    known = table_entries(table.path) if cut.within else {}
    wanted: list[int] = []
    for name in cut.within:
        entry = called(name, tuple(known))
        if entry not in known:
            raise InputError(
                f"{table.path}: there is no class '{name}' to choose sections within; the "
                f"classes are {listed(table.names)}"
            )
        wanted += known[entry]
    return wanted


def _image(volume: Volume, channels: Sequence[int] | None) -> Volume:
    """One or three numbers a voxel."""
    voxels = volume.voxels if volume.voxels.ndim == 4 else volume.voxels[..., None]
    if volume.times and channels is None:
        count, channels = voxels.shape[-1], (0,)
        colours = ", or --channels=0,1,2 three of them as colours" if count > 2 else ""
        note(
            f"{volume.path}: holds {count} volumes along time, of which the first is taken; "
            f"--channels=1 takes the next{colours}"
        )
    check_channels(voxels.shape[-1], channels, volume.path)
    return volume._replace(voxels=voxels if channels is None else voxels[..., list(channels)])


def _on_grid(labels: Volume, image: Volume) -> np.ndarray:
    """The labels [X, Y, Z] on the grid of the image, which is theirs or contains it."""
    voxels, shape = labels.voxels, image.voxels.shape[:3]
    if voxels.ndim > 3:
        count = voxels.shape[-1]
        one_hot = bool((voxels.astype(bool).sum(-1) == 1).all())
        what = f"a one-hot label map of {count} classes" if one_hot else f"{count} numbers a voxel"
        raise InputError(
            f"{labels.path}: is 4D ({by(voxels.shape)}), {what}; labels are one id a voxel: save "
            "np.argmax(labels, axis=-1)"
        )
    if str(labels.path).lower().endswith(".seg.nrrd"):  # 3D Slicer keeps what segments fill
        return _placed(labels, image)
    apart = min(_grids_apart(grid, labels.affine, shape) for grid in _grids(image))
    same = apart <= 0.5 * min(image.zooms)
    if labels.stored == image.stored and not (same and voxels.shape == shape):
        raise InputError(
            f"{labels.path}: its header places it up to {apart:.3g} mm from {image.path} though "
            f"both have {by(image.stored)} voxels; if these belong together one by one, give it "
            "the image's header (nibabel.Nifti1Image(labels, image.affine), or fslcpgeom), else "
            "resample the labels to the image's grid"
        )
    if voxels.shape != shape:
        raise InputError(
            f"{labels.path}: has {by(voxels.shape)} voxels but {image.path} has {by(shape)}; "
            "resample the labels to the image's grid"
        )
    if not same:
        raise InputError(
            f"{labels.path}: lies up to {apart:.3g} mm from the grid of {image.path}; resample "
            "the labels to the image's grid"
        )
    if labels.axes != image.axes:
        note(
            f"{labels.path}: its axes run {labels.axes} but those of {image.path} {image.axes}; "
            "both were turned as their headers say: if the labels come out mirrored, give them "
            "the image's header"
        )
    return voxels


def _placed(labels: Volume, image: Volume) -> np.ndarray:
    """Labels that fill a part of the image's grid, on all of it."""
    moves = [np.linalg.inv(grid) @ labels.affine for grid in _grids(image)]
    moved = min(moves, key=lambda move: abs(move[:3, :3] - np.eye(3)).max())
    offset = np.rint(moved[:3, 3])
    drift = abs(moved[:3, :3] - np.eye(3)).max() * max(labels.voxels.shape)  # of the last voxel
    if drift > 0.5:
        raise InputError(
            f"{labels.path}: is on another grid than {image.path}; in 3D Slicer export it with "
            "the image as reference volume"
        )
    placed = np.zeros(image.voxels.shape[:3], labels.voxels.dtype)
    to, out = [], []
    spans = zip(offset.astype(int).tolist(), labels.voxels.shape, placed.shape, strict=True)
    for start, length, room in spans:
        low, high = max(start, 0), min(start + length, room)
        if low >= high:
            raise InputError(f"{labels.path}: lies outside {image.path}; check that they match")
        to.append(slice(low, high))
        out.append(slice(low - start, high - start))
    placed[tuple(to)] = labels.voxels[tuple(out)]
    return placed


def _grids(image: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Where an image lies, [4, 4] from its voxels to mm: by its header, and without any shear."""
    from_stored = np.linalg.inv(image.stored_affine) @ image.affine
    return image.affine, without_shear(image.stored_affine) @ from_stored


def _grids_apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the same corner voxel of two grids."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1]), -1).reshape(-1, 4)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def _classes(
    slices: np.ndarray, n: int, table: LabelTable, path: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """The ids and the classes of a slice [H, W]."""
    ids = to_ids(slices[n], path)
    return ids, to_classes(ids, table, f"{path}: slice {n}")


def _drawn(volume: Volume, cut: Cut) -> np.ndarray:
    """Which slices show more than one intensity, bool."""
    slices = _upright(volume.voxels, cut.axis)
    return np.array([(section != section.flat[0]).any() for section in slices])


def _upright(volume: np.ndarray, axis: str) -> np.ndarray:
    """[X, Y, Z, ...] in RAS order to sections [N, H, W, ...], superior (axial: anterior) up."""
    sections = np.moveaxis(volume, AXES[axis], 0)
    return sections.swapaxes(1, 2)[:, ::-1]


def _cut(volume: Volume, cut: Cut, chosen: np.ndarray) -> np.ndarray:
    """The chosen slices [N, H, W, 1 or 3] uint8, with a note if their pixels are not square."""
    across = [zoom for axis, zoom in enumerate(volume.zooms) if axis != AXES[cut.axis]]
    if abs(across[0] / across[1] - 1) > 0.01:
        note(
            f"{volume.path}: pixels of {cut.axis} sections are {across[0]:.3g} by {across[1]:.3g} "
            "mm; outlines are measured in pixels, as if these were square"
        )
    slices = _upright(volume.voxels, cut.axis)
    scale = None
    if slices.dtype != np.uint8:
        scale = find_scale(slices, slices.size, volume.path)
    sections = np.stack([to_uint8(slices[n], scale) for n in chosen])
    return sections.reshape(*sections.shape[:3], -1)


def _choose(eligible: np.ndarray, cut: Cut, volume: Volume, path: str | os.PathLike) -> np.ndarray:
    """Slices to take of those that are eligible."""
    sections, spacing, thickness = cut.sections, cut.spacing, volume.zooms[AXES[cut.axis]]
    if len(eligible) < 2:
        raise InputError(
            f"{path}: {len(eligible)} sections show the structures; choose others or another axis"
        )
    if spacing is not None:
        if not thickness * (1 - 1e-3) <= spacing < np.inf:
            raise InputError(
                f"spacing {spacing} mm is less than one section of {path}; "
                f"give at least {thickness:.3g} mm"
            )
        count = int((eligible[-1] - eligible[0]) * thickness / spacing * (1 + 1e-6)) + 1
        at = eligible[0] + np.rint(np.arange(count) * spacing / thickness).astype(int)
        chosen = at[np.isin(at, eligible)]
        if len(chosen) < 2:
            raise InputError(
                f"{path}: {len(chosen)} sections at {spacing} mm show the structures; "
                "give a smaller spacing"
            )
        return chosen
    if isinstance(sections, bool) or not isinstance(sections, int | np.integer) or sections < 2:
        raise InputError(f"{sections} sections were asked for; give a whole number, at least two")
    if sections > len(eligible):
        note(
            f"{path}: {sections} sections were asked for but {len(eligible)} show the structures; "
            "all of these are taken"
        )
        return eligible
    return eligible[np.rint(np.linspace(0, len(eligible) - 1, sections)).astype(int)]


def _place(volume: Volume, axis: str, chosen: np.ndarray, corner: tuple[int, int]) -> Place:
    """Where sections lie that `_upright` turned and `trim` left from a row and a column on."""
    across, up = (a for a in range(3) if a != AXES[axis])
    turned = np.zeros((4, 4))
    turned[across, [0, 3]] = 1, corner[1]
    turned[up, [1, 3]] = -1, volume.voxels.shape[up] - 1 - corner[0]  # rows run downwards
    turned[[AXES[axis], 3], [2, 3]] = 1
    cut = np.rint(np.linalg.inv(volume.stored_affine) @ volume.affine @ turned).astype(int)
    return Place(
        volume.stored,
        tuple(map(tuple, volume.stored_affine.tolist())),
        tuple(map(tuple, cut.tolist())),
        tuple(chosen.tolist()),
    )


def _named(chosen: np.ndarray) -> list[str]:
    return [str(n) for n in chosen.tolist()]
