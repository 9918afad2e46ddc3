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

from al_jax.core.names import called
from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes
from al_jax.exchange.placement import ALONE, LPS, Grid, InStack, affine_on, onto_section, reach
from al_jax.exchange.polygons import read_geojson, to_geojson
from al_jax.exchange.rois import read_rois
from al_jax.exchange.segments import read_seg_nrrd, to_seg_nrrd
from al_jax.files.masks import to_ids
from al_jax.files.pictures import Picture
from al_jax.files.pictures import ids_of as picture_ids
from al_jax.files.reading import by, full_path
from al_jax.files.registry import PICTURES, VOLUMES, Key, find
from al_jax.files.tiffs import is_tiff, open_pages
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


class Wanted(NamedTuple):
    """What a file is read for: one structure on one section.

    Attributes:
      classes: names of the ids.
      grid: where the section is.
      shape: (H, W).
      asked: the class that is asked for.
      traced: [H, W] int16, what had been labelled when it was asked; None: nothing.
      stack: where the section is in files of all.
    """

    classes: Classes
    grid: Grid
    shape: tuple[int, int]
    asked: int
    traced: np.ndarray | None = None
    stack: InStack = ALONE

    @property
    def name(self) -> str:
        """Of the class that is asked for."""
        return self.classes.names[self.asked]


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


def _read_segments(path: pathlib.Path, wanted: Wanted) -> Layers:
    found = read_seg_nrrd(path, wanted.grid.affine, wanted.shape)
    if not wanted.stack.kept:
        _check_slices(nrrd.read_header(str(path))["sizes"][-3:], wanted, path)
    return [(called(name, wanted.classes.names), mask) for name, mask in found]


def _drawn(read: Callable[..., dict[str, np.ndarray]]) -> Callable[[pathlib.Path, Wanted], Layers]:
    def read_drawn(path: pathlib.Path, wanted: Wanted) -> Layers:
        found = read(
            path,
            wanted.shape,
            wanted.grid.downsample,
            names=wanted.classes.names,
            asked=wanted.name,
            stack=wanted.stack,
        )
        return list(found.items())

    return read_drawn


FORMATS: dict[str, Format] = {
    "nifti": Format(".nii.gz", _ids(nifti), ".nii.gz", nifti, volume=True),
    "seg.nrrd": Format(".seg.nrrd", _segments, ".nrrd", nrrd_image, volume=True),
    "geojson": Format(".geojson", _polygons, ".png", png, single=True),
    "tiff": Format(".tif", _ids(tiff), ".tif", tiff),
    "png": Format(".png", _ids(png), ".png", png, single=True),
}
"""What is written, by the names that commands know."""

DRAWN: dict[Key, Callable[[pathlib.Path, Wanted], Layers]] = {
    **dict.fromkeys((".geojson", ".json", ".geojson.gz", ".json.gz"), _drawn(read_geojson)),
    **dict.fromkeys((".roi", ".zip"), _drawn(read_rois)),
}
"""What is read as outlines, in pixels of the image that was drawn on: nothing says its size."""

MASKS: dict[Key, Callable[[pathlib.Path, Wanted], Layers]] = {".seg.nrrd": _read_segments, **DRAWN}
"""What is read as a mask a class. Label maps are read as `registry` says: volumes and pictures."""

MARKS = (1, 255)
"""What masks have where the structure is, whatever class has that id: of one bit, and of eight."""


def check_formats(formats: Sequence[str]) -> None:
    """Refuses unknown formats, and none."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"unknown format '{name}'; choose from {', '.join(FORMATS)}")
    if not formats:
        raise InputError(f"no format was named; choose from {', '.join(FORMATS)}")


def is_drawn(path: str | os.PathLike) -> bool:
    """Whether a file holds outlines, whose scale it does not tell."""
    return find(DRAWN, full_path(path)) is not None


def read_saved(path: str | os.PathLike, wanted: Wanted) -> Saved:
    """What a file shows of one section, whatever tool saved it.

    A label map of one id alone is a mask of the structure that is asked for, unless it shows
    another class: as it had been labelled, or by an id that no mask has.

    Args:
      path: of the file.
      wanted: what it is read for.

    Raises:
      InputError: one line: the file is not of such a format, damaged, of another size or place, or
        has an id that is not a class.
    """
    file, shape = full_path(path), wanted.shape
    if (read_masks := find(MASKS, file)) is not None:
        return Saved(read_masks(file, wanted), known=None)
    known, mask = np.ones(shape, bool), False
    if find(VOLUMES, file) is not None:
        ids, known = _read_volume(path, wanted)
    elif (open_one := find(PICTURES, file)) is not None:
        ids, mask = _read_picture(path, file, open_one, wanted)
        if ids.shape != shape:
            raise InputError(
                f"{path}: has {by(ids.shape)} px (height by width) but the section has {by(shape)};"
                " save it in the size of the question's image"
            )
    else:
        raise InputError(
            f"{path}: is not of a format that is read; save it as .nii.gz, .nrrd, .seg.nrrd, "
            ".geojson, ImageJ's .zip or .roi, .tif or .png"
        )
    return Saved(_layers(path, _unmasked(ids, wanted, mask), wanted.classes), known)


def _unmasked(ids: np.ndarray, wanted: Wanted, mask: bool) -> np.ndarray:
    """Ids of a file; those of a mask, which shows one value, become that of the class asked for."""
    values = np.unique(ids[ids != 0]).tolist()
    if len(values) != 1:
        return ids
    (value,), shown = values, ids != 0
    if 0 < value <= len(wanted.classes.names) and not mask:
        traced = np.zeros_like(shown) if wanted.traced is None else wanted.traced == value - 1
        if value not in MARKS or np.array_equal(shown, traced):
            return ids
    return np.where(shown, wanted.asked + 1, 0)


def _read_picture(
    path: str | os.PathLike,
    file: pathlib.Path,
    open_one: Callable[[pathlib.Path], Picture],
    wanted: Wanted,
) -> tuple[np.ndarray, bool]:
    """Ids of a section, and whether they have one bit: of its picture, or its page in a stack."""
    if find({".tif": True, ".tiff": True}, file) and is_tiff(file):
        with open_pages(file) as pages:
            number = wanted.stack.page(len(pages), path) if len(pages) > 1 else None
            if number is not None:
                page = pages[number]
                return picture_ids(page, page.orientation), page.bits == 1
            if len(pages) > 1:
                count = wanted.stack.total
                stack = f", or all {count} of the stack" if count else ""
                raise InputError(
                    f"{path}: has {len(pages)} pages; save that of the section alone{stack}"
                )
    picture = open_one(file)
    return picture_ids(picture, picture.orientation), picture.bits == 1


def _check_slices(size: Sequence[int], wanted: Wanted, path: str | os.PathLike) -> None:
    """Refuses several slices where a section has no place but its number, which is another now."""
    placed = not np.array_equal(wanted.grid.affine, affine_on(None, wanted.stack.number))
    if 1 not in size and not placed and not wanted.stack.kept:
        wanted.stack.refuse(path)


def _read_volume(path: str | os.PathLike, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Ids of a section and `Saved.known`, from a file of it alone or a volume with other slices."""
    volume, grid, shape = load_volume(path), wanted.grid, wanted.shape
    if volume.voxels.ndim != 3:
        raise InputError(
            f"{path}: has {volume.voxels.shape[-1]} numbers a voxel; save labels, one id a voxel"
        )
    size, known = volume.voxels.shape, np.ones(shape, bool)
    _check_slices(size, wanted, path)
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
                f"the ids of the {len(classes.names)} classes are in classes.csv, 0 is not "
                "labelled; a mask has 0 and 255"
            )
    return [(classes.names[number - 1], ids == number) for number in found]
