"""Regions of ImageJ and Fiji: a `.roi`, or a `.zip` of them as the ROI Manager saves it."""

import os
from collections.abc import Sequence

import numpy as np

from al_jax.core.names import called
from al_jax.core.stack import InputError
from al_jax.exchange.extras import needed
from al_jax.exchange.placement import ALONE, InStack
from al_jax.exchange.polygons import check_place, rasterise, take_plane
from al_jax.files.reading import full_path, reading

PURPOSE = "a file of ImageJ regions"


def read_rois(
    path: str | os.PathLike,
    shape: tuple[int, int],
    downsample: float = 1.0,
    *,
    names: Sequence[str],
    asked: str,
    stack: InStack = ALONE,
) -> dict[str, np.ndarray]:
    """The masks [H, W] bool of the classes in a file, by their names.

    A region is of the class of its name, or else of the one that is asked for: most have numbers
    for names. Of regions on several slices of a stack, those of the section are taken.

    Args:
      path: of the file.
      shape: (H, W) of the section.
      downsample: pixels of the image that was drawn on along a pixel of the section.
      names: of all classes.
      asked: of the class that is asked for.
      stack: where the section is in it.

    Raises:
      InputError: the file holds no regions; one has no area, or reaches more than a pixel beyond
        the section; all are on slices of other sections.
    """
    roifile = needed("roifile", PURPOSE)
    with reading(path, PURPOSE):
        found = roifile.roiread(str(full_path(path)))
        regions = found if isinstance(found, list) else [found]
    if not regions:
        raise InputError(f"{path}: holds no regions; save those of the ROI Manager (More > Save)")
    # Slices count from 1; 0 is a region that shows on all of them.
    slices = [max(one.position, one.z_position, one.t_position) - 1 for one in regions]
    bound = [number for number in slices if number >= 0]
    own = take_plane(bound, stack, path) if bound else 0
    areas = {getattr(roifile.ROI_TYPE, kind) for kind in ("POLYGON", "FREEHAND", "TRACED")}
    areas |= {roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL}
    masks: dict[str, np.ndarray] = {}
    for region, number in zip(regions, slices, strict=True):
        if number not in (-1, own):
            continue
        where = f"{path}: region '{region.name}'"
        composite = region.multi_coordinates is not None
        if region.roitype not in areas and not composite:
            raise InputError(
                f"{where} is a {region.roitype.name.lower()}, which has no area; draw a closed "
                "outline, or leave it out"
            )
        name = called(region.name or "", names)
        name = name if name in names else asked
        mask = _mask(region.coordinates(multi=True), shape, downsample, where)
        masks[name] = masks[name] | mask if name in masks else mask
    return masks


def _mask(
    rings: Sequence[np.ndarray], shape: tuple[int, int], downsample: float, where: str
) -> np.ndarray:
    """The pixels within an odd number of rings: holes are rings too."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        points = np.asarray(ring, float)[:, :2]
        if len(points) < 3:
            raise InputError(f"{where} has fewer than three points; draw a closed outline")
        closed = [[[*map(float, point)] for point in (*points, points[0])]]
        check_place([closed], shape, downsample, where)
        inside ^= rasterise([closed], shape, downsample)
    return inside
