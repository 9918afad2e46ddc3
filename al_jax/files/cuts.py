"""Stacks of parallel sections cut out of a labelled volume."""

import os
from collections.abc import Sequence

import numpy as np

from al_jax.files.intensities import to_uint8
from al_jax.files.masks import to_classes, to_ids
from al_jax.files.reading import by, listed, naming
from al_jax.files.tables import read_names, table_entries
from al_jax.files.volumes import load_volume
from al_jax.stack import InputError, Stack, drop_absent, make_stack

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Position, in an array in RAS order, of the axis that sections of each kind are stacked along."""

MARGIN = 8
"""Pixels of empty border that `read_nifti` keeps around the structures."""

MULTIPLE = 16
"""`read_nifti` pads height and width up to a multiple of this: few shapes, few compilations."""


def read_nifti(
    image: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    grouping: str | None = None,
    axis: str = "coronal",
    sections: int | None = 24,
    spacing: float | None = None,
    within: Sequence[str] = (),
) -> Stack:
    """Cuts a stack of parallel sections out of a labelled volume.

    `cut_nifti` returns as well which slices it chose.

    Both volumes are turned to the closest RAS order. Sections are shown upright, superior (for
    axial sections anterior) up, columns from the patient's left to right (for sagittal sections
    posterior to anterior), and are not resampled.

    Args:
      image: NIfTI volume of intensities. uint8 is kept; anything else is scaled over the whole
        volume so that its minimum is 0 and its 99.9th percentile 255.
      labels: NIfTI volume of integer ids on the same grid.
      names: CSV with the columns `id` and `name` and any number of grouping columns. Every id of
        the volume must be listed.
      grouping: the column that gives the class of an id; None is `name`. Ids with equal entries
        make one class. 'background' is class 0, the others follow in order of first appearance;
        classes without a pixel on the chosen sections are dropped.
      axis: 'coronal', 'sagittal' or 'axial'.
      sections: how many sections, evenly spaced over the eligible ones. Ignored if `spacing` is
        given.
      spacing: distance in mm between sections instead, counted from the first eligible one.
      within: entries of `names`, in whichever column; sections that show an id with at least one
        of them are eligible. Empty: sections that show any class but background.

    Returns:
      A stack with one channel. Border that is empty on all chosen sections is trimmed to `MARGIN`
      pixels, then height and width are padded with air to multiples of `MULTIPLE`.

    Raises:
      InputError: see the module's docstring.
    """
    return cut_nifti(image, labels, names, grouping, axis, sections, spacing, within)[0]


def cut_nifti(
    image: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    grouping: str | None,
    axis: str,
    sections: int | None,
    spacing: float | None,
    within: Sequence[str],
) -> tuple[Stack, np.ndarray]:
    """The stack of `read_nifti`, and the slice of the volume in RAS order that each section is."""
    if axis not in AXES:
        raise InputError(f"unknown axis '{axis}'; choose one of {', '.join(AXES)}")
    ids, classes, class_names = read_names(names, grouping)
    within = (within,) if isinstance(within, str) else tuple(within)
    known = table_entries(names) if within else {}
    for name in within:
        if name not in known:
            raise InputError(
                f"{names}: there is no class '{name}' to choose sections within; "
                f"the classes are {listed(class_names)}"
            )

    volume, affine, zooms = load_volume(image)
    truth, labels_affine, _ = load_volume(labels)
    if volume.shape != truth.shape:
        raise InputError(
            f"{labels}: has {by(truth.shape)} voxels but {image} has {by(volume.shape)}; "
            "resample the labels to the image's grid"
        )
    apart = _grids_apart(affine, labels_affine, volume.shape)
    if not apart <= 0.5 * min(zooms):
        raise InputError(
            f"{labels}: lies up to {apart:.3g} mm from the grid of {image}; "
            "resample the labels to the image's grid"
        )

    volume = _upright(to_uint8(volume, image), axis)
    truth = _upright(to_ids(truth, labels), axis)
    wanted = {i for name in within for i in known[name]}
    shown = np.isin(truth, list(wanted))
    truth = to_classes(truth, ids, classes, labels, names)
    shown = shown if within else truth > 0
    chosen = _choose_sections(shown, sections, spacing, zooms[AXES[axis]], labels)
    volume, truth = trim(volume[chosen], truth[chosen])
    truth, class_names = drop_absent(truth, class_names)
    with naming(labels):
        return make_stack(volume, truth, class_names), chosen


def _grids_apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the same corner voxel of two grids."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1]), -1).reshape(-1, 4)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def _upright(volume: np.ndarray, axis: str) -> np.ndarray:
    """[X, Y, Z] in RAS order to sections [N, H, W], superior (axial: anterior) up."""
    sections = np.moveaxis(volume, AXES[axis], 0)
    return sections.swapaxes(1, 2)[:, ::-1]


def _choose_sections(
    shown: np.ndarray,
    sections: int | None,
    spacing: float | None,
    thickness: float,
    path: str | os.PathLike,
) -> np.ndarray:
    """Sections to take, among those with a pixel of `shown` [N, H, W]."""
    eligible = np.flatnonzero(shown.any((1, 2)))
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
        raise InputError(
            f"{path}: {sections} sections were asked for but {len(eligible)} show the structures; "
            "ask for fewer"
        )
    return eligible[np.rint(np.linspace(0, len(eligible) - 1, sections)).astype(int)]


def trim(images: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts empty border of [N, H, W] down to `MARGIN`, pads with air to multiples of `MULTIPLE`."""
    full = ((images != 0) | (truth != 0)).any(0)
    window, pad = [slice(None)], [(0, 0)]
    for axis in (0, 1):
        used = np.flatnonzero(full.any(1 - axis))
        start = max(used[0] - MARGIN, 0)
        stop = min(used[-1] + 1 + MARGIN, full.shape[axis])
        extra = -(stop - start) % MULTIPLE
        window.append(slice(start, stop))
        pad.append((extra // 2, extra - extra // 2))
    return np.pad(images[tuple(window)], pad), np.pad(truth[tuple(window)], pad)
