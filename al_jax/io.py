"""Readers and writers of stacks: the shipped example, npz, NIfTI volumes, folders of images.

Every reader returns a checked `Stack` or raises `InputError` with one line that names the file and
the mend; no traceback of nibabel, Pillow or zipfile reaches the user.
"""

import contextlib
import csv
import gzip
import importlib.resources
import io
import os
import pathlib
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import nibabel
import numpy as np
import safetensors
import tifffile
from nibabel import orientations
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import SpatialImage
from PIL import Image

from al_jax.stack import InputError, Stack, drop_absent, make_stack

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Position, in an array in RAS order, of the axis that sections of each kind are stacked along."""

MARGIN = 8
"""Pixels of empty border that `read_nifti` keeps around the structures."""

MULTIPLE = 16
"""`read_nifti` pads height and width up to a multiple of this: few shapes, few compilations."""

TORCHVISION = {
    f"block{block}_conv{index}": first + 2 * (index - 1)
    for block, (first, layers) in enumerate(((0, 2), (5, 2), (10, 3), (17, 3), (24, 3)), 1)
    for index in range(1, layers + 1)
}
"""The number that torchvision gives each convolution of VGG-16 in `features`."""

_EXTENSIONS = (".png", ".tif", ".tiff")


def load_default() -> Stack:
    """The shipped stack: 24 coronal sections of Colin27, nine classes (see data/PROVENANCE.md)."""
    resource = importlib.resources.files("al_jax").joinpath("data", "colin27.npz")
    with importlib.resources.as_file(resource) as path:
        return read_stack(path)


def read_stack(path: str | os.PathLike) -> Stack:
    """Reads a stack that `write_stack` wrote.

    Args:
      path: npz with `images`, `inside`, `truth` and `names` as in `Stack`; `inside` may be left out
        (every pixel is inside).

    Raises:
      InputError: the file is missing, damaged, no npz, lacks an array, or `make_stack` refuses it.
    """
    with reading(path, "an npz file"), np.load(path, allow_pickle=False) as archive:
        found = {k: archive[k] for k in ("images", "inside", "truth", "names") if k in archive}
    for key in ("images", "truth", "names"):
        if key not in found:
            raise InputError(f"{path}: has no array '{key}'; write the stack with write_stack")
    if found["names"].ndim != 1 or found["names"].dtype.kind != "U":
        raise InputError(f"{path}: 'names' is no list of strings; write it with write_stack")
    with _naming(path):
        return make_stack(
            found["images"], found["truth"], found["names"].tolist(), found.get("inside")
        )


def write_stack(path: str | os.PathLike, stack: Stack) -> None:
    """Writes a stack as a compressed npz, whole; equal stacks give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=np.asarray(stack.images),
        inside=np.asarray(stack.inside),
        truth=np.asarray(stack.truth),
        names=np.array(stack.names),
    )
    write_whole(path, buffer.getvalue())


class Weights(NamedTuple):
    """Weights of VGG-16, for `networks.with_weights`, and the input they expect.

    Attributes:
      arrays: `block<b>_conv<c>_kernel` [h, w, I, O] and `block<b>_conv<c>_bias` [O].
      convention: of `networks.network_input`.
    """

    arrays: dict[str, np.ndarray]
    convention: str


def read_weights(path: str | os.PathLike) -> Weights:
    """Reads published weights of VGG-16; what else is in the file is left alone.

    Args:
      path: .safetensors in torchvision's layout (`features.0.weight` [O, I, h, w], ...), for its
        input; anything else is an npz with the names of `Weights`, for Caffe's.

    Raises:
      InputError: the file is missing, damaged or of another kind, a layer of torchvision's is
        missing or is no convolution, or a value is not finite.
    """
    if pathlib.Path(path).suffix == ".safetensors":
        weights = Weights(_read_torchvision(path), "torchvision")
    else:
        with reading(path, "an npz file"), np.load(path, allow_pickle=False) as archive:
            weights = Weights({key: archive[key] for key in archive}, "caffe")
    for key, value in weights.arrays.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise InputError(f"{path}: '{key}' holds no finite numbers; take the published file")
    return weights


def _read_torchvision(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The 13 convolutions of torchvision's VGG-16 as `Weights.arrays`, float32."""
    arrays = {}
    with (
        reading(path, "a safetensors file"),
        safetensors.safe_open(path, framework="numpy") as file,
    ):
        held = set(file.keys())
        for layer, index in TORCHVISION.items():
            for part, kind, axes in (("bias", "bias", 1), ("weight", "kernel", 4)):
                key = f"features.{index}.{part}"
                if key not in held:
                    raise InputError(f"{path}: has no '{key}'; take torchvision's VGG-16")
                value = file.get_tensor(key).astype(np.float32)  # half of either kind, too
                if value.ndim != axes:
                    raise InputError(
                        f"{path}: '{key}' has shape {list(value.shape)}; take torchvision's VGG-16"
                    )
                arrays[f"{layer}_{kind}"] = value.transpose(2, 3, 1, 0) if axes == 4 else value
    return arrays


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` under a temporary name in the same folder, then renames it to `path`.

    A reader sees the old file or the new one, never half of one.

    Raises:
      InputError: the folder is missing or cannot be written; nothing is left behind.
    """
    path = pathlib.Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


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
    ids, classes, class_names = _read_names(names, grouping)
    within = (within,) if isinstance(within, str) else tuple(within)
    known = table_entries(names) if within else {}
    for name in within:
        if name not in known:
            raise InputError(
                f"{names}: there is no class '{name}' to choose sections within; "
                f"the classes are {_listed(class_names)}"
            )

    volume, affine, zooms = _read_volume(image)
    truth, labels_affine, _ = _read_volume(labels)
    if volume.shape != truth.shape:
        raise InputError(
            f"{labels}: has {_by(truth.shape)} voxels but {image} has {_by(volume.shape)}; "
            "resample the labels to the image's grid"
        )
    apart = _grids_apart(affine, labels_affine, volume.shape)
    if not apart <= 0.5 * min(zooms):
        raise InputError(
            f"{labels}: lies up to {apart:.3g} mm from the grid of {image}; "
            "resample the labels to the image's grid"
        )

    volume = _upright(_to_uint8(volume, image), axis)
    truth = _upright(_to_ids(truth, labels), axis)
    wanted = {i for name in within for i in known[name]}
    shown = np.isin(truth, list(wanted))
    truth = _to_classes(truth, ids, classes, labels, names)
    shown = shown if within else truth > 0
    chosen = _choose_sections(shown, sections, spacing, zooms[AXES[axis]], labels)
    volume, truth = trim(volume[chosen], truth[chosen])
    truth, class_names = drop_absent(truth, class_names)
    with _naming(labels):
        return make_stack(volume, truth, class_names), chosen


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
    ids, classes, class_names = _read_names(names, None)
    if outside_id is not None:
        ids, classes, class_names = _without_id(ids, classes, class_names, outside_id)
    files = pair_files(images, labels)
    pictures = [_read_picture(image) for image, _ in files]
    pictures = _one_depth(pictures, [image for image, _ in files])
    maps = []
    for picture, (image, label) in zip(pictures, files, strict=True):
        found = _read_ids(label)
        if found.shape != picture.shape[:2]:
            raise InputError(
                f"{label}: has {_by(found.shape)} pixels but {image} has "
                f"{_by(picture.shape[:2])}; make them equal"
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
        truth[corner][known] = _to_classes(found[known][None], ids, classes, label, names)[0]
    with _naming(names):
        return make_stack(padded, truth, class_names, inside)


# Errors.


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns whatever a decoder raises into one line about the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the path") from error
    # Decoders of damaged files raise nearly anything (struct.error, zlib.error, EOFError,
    # SyntaxError, MemoryError, ...); none of it is a fault of this program.
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read as {kind}, it may be damaged ({type(error).__name__}: "
            f"{str(error)[:200]}); write or copy it again"
        ) from error


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Puts the file in front of what `make_stack` finds wrong with its content."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _listed(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _by(shape: Iterable[int]) -> str:
    return " by ".join(str(n) for n in shape)


# Tables of names.


def table_entries(path: str | os.PathLike) -> dict[str, list[int]]:
    """All entries of a table of label names, whatever their column, with the ids that have them.

    Raises:
      InputError: the table is missing, damaged, or lacks the column `id` or `name`.
    """
    found: dict[str, list[int]] = {}
    for label, row in _read_table(path, "name").items():
        for entry in {cell for column, cell in row.items() if column != "id"}:
            found.setdefault(entry, []).append(label)
    return found


def _read_table(path: str | os.PathLike, needed: str) -> dict[int, dict[str, str]]:
    """The rows of a table of label names by id; the column `needed` is there and filled in."""
    with reading(path, "a CSV table"), open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        header = [column.strip() for column in next(rows, [])]
        body = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    for column in ("id", "name", needed):
        if column not in header:
            raise InputError(
                f"{path}: has no column '{column}'; its columns are {_listed(header) or 'none'}"
            )
        if header.count(column) > 1:
            raise InputError(f"{path}: has two columns '{column}'; rename one")

    table: dict[int, dict[str, str]] = {}
    for line, row in body:
        if not any(row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line} has {len(row)} fields, the header has {len(header)}; "
                "quote names that contain commas"
            )
        cells = dict(zip(header, row, strict=True))
        text = cells["id"]
        # int() alone would take '1_000' and digits of other scripts.
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise InputError(f"{path}: line {line} has the id '{text[:40]}'; give a whole number")
        if int(text) in table:
            raise InputError(f"{path}: line {line} repeats the id {int(text)}; keep one")
        if not cells[needed] or not cells[needed].isprintable():
            raise InputError(f"{path}: line {line} has no printable '{needed}'; fill it in")
        table[int(text)] = cells
    return table


def _read_names(
    path: str | os.PathLike, grouping: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads a table of label names.

    Returns:
      ids [I] int64 ascending, the class of each id [I] int64, and the C class names.
    """
    column = "name" if grouping is None else grouping
    class_of = {label: row[column] for label, row in _read_table(path, column).items()}
    class_of = {k: "background" if v.lower() == "background" else v for k, v in class_of.items()}
    names = tuple(dict.fromkeys(["background", *class_of.values()]))
    if len(names) < 2:
        raise InputError(f"{path}: lists no class but background in '{column}'; add one")
    ids = np.array(sorted(class_of), np.int64)
    return ids, np.array([names.index(class_of[i]) for i in ids.tolist()], np.int64), names


def _without_id(
    ids: np.ndarray, classes: np.ndarray, names: tuple[str, ...], outside_id: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Takes the outside id out of the table, with its class if no other id has it."""
    keep = ids != outside_id
    ids, classes = ids[keep], classes[keep]
    used = [index for index in range(len(names)) if index == 0 or index in classes]
    return ids, np.searchsorted(used, classes), tuple(names[index] for index in used)


def _to_classes(
    sections: np.ndarray,
    ids: np.ndarray,
    classes: np.ndarray,
    path: str | os.PathLike,
    table: str | os.PathLike,
) -> np.ndarray:
    """Looks up the class of every pixel of [N, ...] ids; int16."""
    at = np.searchsorted(ids, sections).clip(max=len(ids) - 1)
    unknown = ids[at] != sections
    if unknown.any():
        where = tuple(np.argwhere(unknown)[0])
        section = f"section {where[0]} " if len(sections) > 1 else ""
        raise InputError(
            f"{path}: {section}has the id {sections[where]}, which {table} does not list; "
            "add it to the table or correct the labels"
        )
    return classes.astype(np.int16)[at]


# Volumes.


def _read_volume(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Reads a volume in RAS order: voxels [X, Y, Z], affine [4, 4], voxel size in mm."""
    with reading(path, "a NIfTI volume"):
        _check_gzip(path)
        loaded = nibabel.load(path)
        if not isinstance(loaded, SpatialImage):
            raise InputError(f"{path}: is a {type(loaded).__name__}; give a NIfTI volume")
        if len(loaded.shape) < 3 or any(n != 1 for n in loaded.shape[3:]) or 0 in loaded.shape:
            raise InputError(
                f"{path}: has {_by(loaded.shape)} voxels; give one volume of three axes"
            )
        affine = np.asarray(loaded.affine, np.float64)
        if affine.shape != (4, 4) or not abs(np.linalg.det(affine)) > 1e-9:  # NaN included
            raise InputError(f"{path}: the header gives no valid orientation; correct it")
        if loaded.get_data_dtype().kind not in "iuf":
            raise InputError(
                f"{path}: has voxels of type {loaded.get_data_dtype()}; give one number a voxel"
            )
        # Trailing axes of length one (a single time point) are dropped before turning.
        data = np.asanyarray(loaded.dataobj).reshape(loaded.shape[:3])
        turn = orientations.io_orientation(affine)
        affine = affine @ orientations.inv_ornt_aff(turn, data.shape)
        data = orientations.apply_orientation(data, turn)
        zooms = tuple(float(z) for z in voxel_sizes(affine))
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        where = np.argwhere(~np.isfinite(data))[0]
        raise InputError(
            f"{path}: the voxel {tuple(int(w) for w in where)} (RAS order) is not finite; "
            "replace NaN and infinity"
        )
    return data, affine, zooms


def _check_gzip(path: str | os.PathLike) -> None:
    """Reads a compressed file to its end, where the checksum is; nibabel may stop before."""
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def _grids_apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the same corner voxel of two grids."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1]), -1).reshape(-1, 4)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def _upright(volume: np.ndarray, axis: str) -> np.ndarray:
    """[X, Y, Z] in RAS order to sections [N, H, W], superior (axial: anterior) up."""
    sections = np.moveaxis(volume, AXES[axis], 0)
    return sections.swapaxes(1, 2)[:, ::-1]


def _to_uint8(volume: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Scales minimum to 0 and the 99.9th percentile to 255, all values alike; uint8 is kept."""
    if volume.dtype == np.uint8:
        return volume
    volume = volume.astype(np.float64)
    low, high = volume.min(), np.percentile(volume, 99.9)
    if high <= low:  # all but a few voxels are empty
        high = volume.max()
    if not 0 < high - low < np.inf:
        raise InputError(
            f"{path}: all intensities are {low:.6g}; give an image that shows something"
        )
    return np.rint((volume - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)


def _to_ids(volume: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Labels as int64; label volumes are often stored as floats."""
    if volume.dtype.kind == "f":
        broken = (volume != np.rint(volume)) | (abs(volume) > 2**53)
        if broken.any():
            raise InputError(
                f"{path}: has the label {volume[broken][0]:.6g}; labels are whole numbers "
                "(resample with nearest neighbour)"
            )
    elif volume.dtype == np.uint64 and volume.max() > np.iinfo(np.int64).max:
        raise InputError(f"{path}: has the label {volume.max()}; use smaller ids")
    return volume.astype(np.int64)


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


# Folders of images.


def _natural(stem: str) -> list:
    """Sort key under which section2 comes before section10; equal numbers fall back on the text."""
    parts = re.split(r"([0-9]+)", stem)
    return [[int(p) if i % 2 else p for i, p in enumerate(parts)], stem]


def _list_folder(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
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
    image_files, label_files = _list_folder(images), _list_folder(labels)
    for stem in sorted(image_files.keys() ^ label_files.keys(), key=_natural):
        has, lacks = (images, labels) if stem in image_files else (labels, images)
        raise InputError(f"{lacks}: lacks the section '{stem}' of {has}; add it, or remove both")
    return [(image_files[s], label_files[s]) for s in sorted(image_files, key=_natural)]


def _open_picture(path: pathlib.Path) -> Image.Image:
    picture = Image.open(path, formats=("PNG", "TIFF"))
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{path}: holds {frames} images; give one file a section")
    return picture


def _read_picture(path: pathlib.Path) -> np.ndarray:
    """One image as [H, W, 1 or 3], uint8 or uint16."""
    with reading(path, "an image"):
        if path.suffix.lower() != ".png" and (deep := _read_deep_tiff(path)) is not None:
            return deep
        with _open_picture(path) as picture:
            if picture.mode in ("1", "LA", "La"):
                picture = picture.convert("L")
            elif picture.mode in ("P", "PA", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB"):
                # Alpha is dropped, not blended; a palette entry is the colour it stands for.
                picture = picture.convert("RGB")
            if picture.mode not in ("L", "RGB", "I", "I;16", "I;16B", "I;16L", "I;16N"):
                raise InputError(
                    f"{path}: has pixels of type {picture.mode}; save it as 8 or 16 bit"
                )
            pixels = np.asarray(picture)
    if pixels.dtype != np.uint8:
        if pixels.min() < 0 or pixels.max() > 65535:
            raise InputError(f"{path}: has values beyond 16 bits; save it as 8 or 16 bit")
        pixels = pixels.astype(np.uint16)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _read_deep_tiff(path: pathlib.Path) -> np.ndarray | None:
    """A TIFF with 16-bit colour, which Pillow cannot read; None if it is of another kind."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            if page.bitspersample != 16 or page.samplesperpixel < 3 or len(file.pages) > 1:
                return None
            pixels = page.asarray()
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    except tifffile.TiffFileError:
        return None
    pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
    if pixels.ndim != 3 or pixels.dtype != np.uint16:
        raise InputError(f"{path}: is not one image of 16-bit colour; save it as RGB")
    return pixels[..., :3]


def _one_depth(pictures: list[np.ndarray], paths: list[pathlib.Path]) -> list[np.ndarray]:
    """Brings all images to uint8 with the same number of channels."""
    for picture, path in zip(pictures, paths, strict=True):
        if picture.dtype != pictures[0].dtype:
            raise InputError(
                f"{path}: has {8 * picture.itemsize} bits but {paths[0]} has "
                f"{8 * pictures[0].itemsize}; save all with one depth"
            )
    channels = max(picture.shape[-1] for picture in pictures)
    if pictures[0].dtype != np.uint8:
        flat = _to_uint8(np.concatenate([p.ravel() for p in pictures]), paths[0].parent)
        ends = np.cumsum([p.size for p in pictures])[:-1]
        parts = np.split(flat, ends)
        pictures = [f.reshape(p.shape) for f, p in zip(parts, pictures, strict=True)]
    return [np.broadcast_to(p, (*p.shape[:2], channels)) for p in pictures]


def _read_ids(path: pathlib.Path) -> np.ndarray:
    """One label image as [H, W] int64."""
    with reading(path, "an image of labels"), _open_picture(path) as picture:
        if len(picture.getbands()) > 1 or picture.mode == "F":
            raise InputError(
                f"{path}: has pixels of type {picture.mode}; labels are one channel of ids"
            )
        return np.asarray(picture).astype(np.int64)
