"""What questions, answers and exports may be written as, and read from: one table of formats.

Label maps give one id a pixel; `.seg.nrrd` and GeoJSON a mask a class, and only of those that were
saved.
"""

import gzip
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import nibabel
import nrrd
import numpy as np
import tifffile
from PIL import Image

from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes
from al_jax.exchange.placement import LPS, Grid, onto_section, reach
from al_jax.exchange.polygons import read_geojson, to_geojson
from al_jax.exchange.segments import read_seg_nrrd, to_seg_nrrd
from al_jax.files.masks import to_ids
from al_jax.files.pictures import ids_of as picture_ids
from al_jax.files.reading import by, full_path
from al_jax.files.registry import PICTURES, VOLUMES, Key, find
from al_jax.files.volumes import load_volume

Layers = list[tuple[str, np.ndarray]]
Labels = Callable[[np.ndarray, Classes, Grid, Sequence[int]], bytes]


class Format(NamedTuple):
    """How sections are written.

    Attributes:
      suffix: of files with classes.
      labels: ids [N, H, W], classes, grid, classes that are to be drawn -> bytes; N is 1 if
        `single`. Segments list these even if they are empty; polygons leave them unlocked.
      pixels_suffix: of files with intensities or confidences.
      pixels: [N, H, W] or [N, H, W, 3], grid -> bytes.
      single: whether a file holds one section alone.
      volume: whether a file has a place, as `grid` says.
    """

    suffix: str
    labels: Labels
    pixels_suffix: str
    pixels: Callable[[np.ndarray, Grid], bytes]
    single: bool = False
    volume: bool = False


class Saved(NamedTuple):
    """What a file shows of a section.

    Attributes:
      layers: name and mask [H, W] bool of each class in it, in its order.
      known: [H, W] bool, the pixels of a label map, which says of each what it is, or that nobody
        annotated it. None for masks, which say nothing of classes that were not saved.
    """

    layers: Layers
    known: np.ndarray | None


def nifti(voxels: np.ndarray, grid: Grid) -> bytes:
    """Compressed NIfTI-1, of [N, H, W] or colours [N, H, W, 3]; qform and sform are equal.

    Times are left out of the compressed data, so that equal sections give equal bytes.
    """
    if voxels.ndim == 4:
        voxels = _as_bytes(voxels)
        rgb = np.dtype([(channel, np.uint8) for channel in "RGB"])
        voxels = np.ascontiguousarray(voxels).view(rgb)[..., 0]
    image = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), grid.affine)
    image.set_qform(grid.affine, code="scanner")
    image.set_sform(grid.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


def nrrd_image(voxels: np.ndarray, grid: Grid) -> bytes:
    """NRRD in LPS order, of [N, H, W] or colours [N, H, W, 3]."""
    place = LPS @ grid.affine
    kinds, directions = ["domain"] * 3, place[:3, :3].T
    if voxels.ndim == 4:
        kinds = ["RGB-color", *kinds]
        directions = np.vstack([np.full(3, np.nan), directions])
    header = {
        "space": "left-posterior-superior",
        "kinds": kinds,
        "space directions": directions,
        "space origin": place[:3, 3],
        "encoding": "gzip",
    }
    file = io.BytesIO()
    axes = (2, 1, 0) if voxels.ndim == 3 else (3, 2, 1, 0)
    nrrd.write(file, voxels.transpose(axes), header)
    return file.getvalue()


def tiff(pages: np.ndarray, grid: Grid) -> bytes:
    """A page a section."""
    file = io.BytesIO()
    colours = "rgb" if pages.ndim == 4 else "minisblack"
    tifffile.imwrite(file, pages, photometric=colours, compression="zlib", metadata=None)
    return file.getvalue()


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Fractions scaled from black to white, others as they are."""
    if pixels.dtype.kind != "f":
        return pixels
    low, high = pixels.min(), pixels.max()
    return np.rint((pixels - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)


def png(pages: np.ndarray, grid: Grid) -> bytes:
    """The one section, of 8 or 16 bits; other numbers are scaled from black to white."""
    page = _as_bytes(pages[0])
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    return file.getvalue()


def _ids(write: Callable[[np.ndarray, Grid], bytes]) -> Labels:
    return lambda ids, classes, grid, some: write(ids, grid)


def _segments(ids: np.ndarray, classes: Classes, grid: Grid, some: Sequence[int]) -> bytes:
    return to_seg_nrrd(ids, classes, grid.affine, some)


def _polygons(ids: np.ndarray, classes: Classes, grid: Grid, some: Sequence[int]) -> bytes:
    return to_geojson(ids[0], classes, grid.downsample, some)


def _read_segments(path: pathlib.Path, grid: Grid, shape: tuple[int, int]) -> Layers:
    return read_seg_nrrd(path, grid.affine, shape)


def _read_polygons(path: pathlib.Path, grid: Grid, shape: tuple[int, int]) -> Layers:
    return list(read_geojson(path, shape, grid.downsample).items())


FORMATS: dict[str, Format] = {
    "nifti": Format(".nii.gz", _ids(nifti), ".nii.gz", nifti, volume=True),
    "seg.nrrd": Format(".seg.nrrd", _segments, ".nrrd", nrrd_image, volume=True),
    "geojson": Format(".geojson", _polygons, ".png", png, single=True),
    "tiff": Format(".tif", _ids(tiff), ".tif", tiff),
    "png": Format(".png", _ids(png), ".png", png, single=True),
}
"""What is written, by the names that commands know."""

MASKS: dict[Key, Callable[[pathlib.Path, Grid, tuple[int, int]], Layers]] = {
    ".seg.nrrd": _read_segments,
    ".geojson": _read_polygons,
    ".json": _read_polygons,
}
"""What is read as a mask a class. Label maps are read as `registry` says: volumes and pictures."""

WHITE = 255
"""What masks of 8 bits have, in Fiji for one, where the structure is."""


def check_formats(formats: Sequence[str]) -> None:
    """Refuses unknown formats, and none."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"unknown format '{name}'; choose from {', '.join(FORMATS)}")
    if not formats:
        raise InputError(f"no format was named; choose from {', '.join(FORMATS)}")


def read_saved(
    path: str | os.PathLike, classes: Classes, grid: Grid, shape: tuple[int, int], asked: int
) -> Saved:
    """What a file shows of one section, whatever tool saved it.

    Args:
      path: of the file.
      classes: names of the ids.
      grid: where the section is.
      shape: (H, W).
      asked: the class that a mask of black and white, which has no ids, is of.

    Raises:
      InputError: one line: the file is not of such a format, damaged, of another size or place, or
        has an id that is not a class.
    """
    file = full_path(path)
    if (read_masks := find(MASKS, file)) is not None:
        return Saved(read_masks(file, grid, shape), known=None)
    known = np.ones(shape, bool)
    if find(VOLUMES, file) is not None:
        ids, known = _read_volume(path, grid, shape)
    elif (open_one := find(PICTURES, file)) is not None:
        picture = open_one(file)
        ids = picture_ids(picture, picture.orientation)
        if ids.shape != shape:
            raise InputError(
                f"{path}: has {by(ids.shape)} px (height by width) but the section has {by(shape)};"
                " save it in the size of the question's image"
            )
        if picture.bits == 1:
            ids = WHITE * ids.clip(0, 1)
    else:
        raise InputError(
            f"{path}: is not of a format that is read; save it as .nii.gz, .seg.nrrd, .geojson, "
            ".tif or .png"
        )
    if len(classes.names) < WHITE and not np.isin(ids, (0, WHITE), invert=True).any():
        ids = np.where(ids == WHITE, asked + 1, 0)
    return Saved(_layers(path, ids, classes), known)


def _read_volume(
    path: str | os.PathLike, grid: Grid, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of a section and `Saved.known`, from a file of it alone or a volume with other slices."""
    volume = load_volume(path)
    if volume.voxels.ndim != 3:
        raise InputError(
            f"{path}: has {volume.voxels.shape[-1]} numbers a voxel; save labels, one id a voxel"
        )
    size, known = volume.voxels.shape, np.ones(shape, bool)
    if 1 not in size:
        known = reach(size, volume.affine, grid.affine, shape, path)
    elif sorted(size) != sorted((1, *shape)):
        raise InputError(
            f"{path}: has {by(volume.stored)} voxels but the section has {by((*shape[::-1], 1))}; "
            "save all of the question's image, neither cropped nor resampled"
        )
    else:  # its empty corners, too, must lie on the section
        onto_section(np.ones(size, bool), volume.affine, grid.affine, shape, path)
    ids = to_ids(volume.voxels, path)
    return onto_section(ids, volume.affine, grid.affine, shape, path), known


def _layers(path: str | os.PathLike, ids: np.ndarray, classes: Classes) -> Layers:
    found = np.unique(ids[ids != 0]).tolist()
    for number in found:
        if not 0 < number <= len(classes.names):
            raise InputError(
                f"{path}: {(ids == number).sum()} px have the id {number}, which is not a class; "
                f"the ids of the {len(classes.names)} classes are in classes.csv, 0 is not labelled"
            )
    return [(classes.names[number - 1], ids == number) for number in found]
