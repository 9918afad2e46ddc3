"""TIFF, with one picture or a stack of them, of any depth: headers and samples, by tifffile."""

import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TIFF, TiffFile, TiffPage, TiffPageSeries

from al_jax.core.stack import InputError
from al_jax.files.claims import PACKED, check_claim
from al_jax.files.ome import own_channels, physical_size
from al_jax.files.pictures import Picture
from al_jax.files.reading import by, listed, reading

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What TIFF and BigTIFF begin with."""

ORIENTATION = 274
MILLIMETRES = {
    "2": 25.4,
    "3": 10.0,
    "inch": 25.4,
    "cm": 10.0,
    "mm": 1.0,
    **dict.fromkeys(("micron", "um", "µm", "μm", "\\u00B5m", "microns", "micrometer"), 1e-3),
    "nm": 1e-6,
}
"""Units of a pixel's size: numbers of the tag, and names as ImageJ and OME write them."""

_OPACITY = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY)
_KINDS: dict[int, str] = {
    PHOTOMETRIC.MINISWHITE: "channels",
    PHOTOMETRIC.MINISBLACK: "channels",
    PHOTOMETRIC.MASK: "channels",
    PHOTOMETRIC.RGB: "rgb",
    PHOTOMETRIC.PALETTE: "palette",
    PHOTOMETRIC.SEPARATED: "cmyk",
}


def is_tiff(path: pathlib.Path) -> bool:
    """Whether a file begins as a TIFF does; a folder does not."""
    if path.is_dir():
        return False
    with reading(path, "an image"), open(path, "rb") as file:
        head = file.read(4)
    return head in MAGIC


def open_tiff(path: pathlib.Path) -> Picture:
    """Reads the header of a TIFF with one section, in one page or a page a channel.

    Raises:
      InputError: it is none, damaged, holds several sections, or what is not read: its compression,
        its colours, or more than `MOST_PIXELS`.
    """
    with _opened(path, stacked=False) as pages:
        if len(pages) > 1:
            raise InputError(
                f"{path}: holds {len(pages)} images; give the file itself as --images, or one file "
                "a section"
            )

    def decode() -> np.ndarray:
        with _opened(path, stacked=False) as again:
            return again[0].decode()

    return dataclasses.replace(pages[0], decode=decode)


def open_pages(path: pathlib.Path) -> contextlib.AbstractContextManager[list[Picture]]:
    """The sections of a TIFF in their order; they can be decoded while the context is open.

    Raises:
      InputError: see `open_tiff`; or sections differ in more than one way (in depth and time).
    """
    return _opened(path, stacked=True)


@contextlib.contextmanager
def _opened(path: pathlib.Path, stacked: bool) -> Iterator[list[Picture]]:
    with contextlib.ExitStack() as stack:
        with reading(path, "a TIFF"):
            file = stack.enter_context(TiffFile(path))
            channels, description = None, file.ome_metadata or ""
            if file.is_ome and not stacked:  # OME may describe files beside this one, too
                channels = own_channels(path, description, len(file.pages))
            if file.is_ome and (channels is not None or len(file.pages) == 1):
                file = stack.enter_context(TiffFile(path, is_ome=False))
            series = _whole_series(path, file)
            page = series.keyframe
            plain = page.compression == COMPRESSION.NONE and 0 not in page.databytecounts
            held = sum(os.path.getsize(name) for name in _files(path, series, file.is_ome))
            check_claim(path, series.size * page.bitspersample // 8, held, 2 if plain else PACKED)
            spacing = physical_size(description, MILLIMETRES) or _spacing(file, page)
            pages = _sections(path, series, stacked, channels)
            pages = [dataclasses.replace(page, spacing=spacing) for page in pages]
        yield pages


def _spacing(file: TiffFile, page: TiffPage) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, where the file says it."""
    unit = (file.imagej_metadata or {}).get("unit", page.tags.valueof("ResolutionUnit", 2))
    size = MILLIMETRES.get(str(getattr(unit, "value", unit)))
    along = [page.tags.valueof(f"{axis}Resolution") for axis in "YX"]
    if size is None or not all(isinstance(one, tuple) and all(one) for one in along):
        return None
    return size * along[0][1] / along[0][0], size * along[1][1] / along[1][0]


def _files(path: pathlib.Path, series: TiffPageSeries, ome: bool) -> set[pathlib.Path]:
    """The file, and those beside it that hold pages of the same series, as OME's may."""
    pages = series.pages if ome else ()
    others = {page.parent.filename for page in pages if page is not None}
    return {path, *(path.with_name(name) for name in others)}


def _whole_series(path: pathlib.Path, file: TiffFile) -> TiffPageSeries:
    """The images of a file without thumbnails and the smaller levels of pyramids."""
    series = [one for one in file.series if not one.keyframe.is_reduced]
    if not series:
        raise InputError(f"{path}: holds no image; write it again")
    if len(series) > 1:
        shapes = [by(one.shape) for one in series]
        raise InputError(
            f"{path}: holds images of {len(series)} kinds ({listed(shapes, 4)} pixels); save the "
            "one that is the section"
        )
    return series[0].levels[0]


def _sections(
    path: pathlib.Path, series: TiffPageSeries, stacked: bool, channels: list[int] | None
) -> list[Picture]:
    """One picture for each place along the axis that is not height, width or channel.

    `channels` are those of the pages, if these are nothing else.
    """
    page = series.keyframe
    if page.imagedepth > 1 or page.imagelength * page.imagewidth * page.samplesperpixel == 0:
        raise InputError(f"{path}: holds no plain pages of pixels; save it as plain TIFF")
    pages = {
        axis: length
        for axis, length in zip(series.axes, series.shape, strict=True)
        if axis not in "YXS"
    }
    if channels is not None:
        pages = {"C": len(channels)}
    # Fiji calls the only axis of a stack channels where nobody has said better.
    along = [axis for axis in pages if axis != "C" or (stacked and len(pages) == 1)]
    if len(along) > 1:
        shown = " and ".join(f"{pages[axis]} along {axis}" for axis in along)
        raise InputError(f"{path}: holds {shown}; sections differ along one axis: save one part")
    order = np.arange(math.prod(pages.values())).reshape(tuple(pages.values()))
    order = order if channels is None else np.argsort(channels)
    if "C" in pages and along != ["C"]:
        order = np.moveaxis(order, list(pages).index("C"), -1).reshape(-1, pages["C"])
    else:
        order = order.reshape(-1, 1)

    def decoder(indices: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: np.concatenate([_samples(path, series, i) for i in indices.tolist()], -1)

    return [_picture(path, page, len(indices), decoder(indices)) for indices in order]


def _samples(path: pathlib.Path, series: TiffPageSeries, index: int) -> np.ndarray:
    """One page as [h, w, S]."""
    page = series.keyframe
    own = series.pages[index] if index < len(series.pages) else None
    if own is None and index < len(series.pages):
        raise InputError(
            f"{path}: its description (OME) names a file that is not beside it; put all of them in "
            "one folder"
        )
    if own is not None:
        pixels = own.asarray()
    else:  # large stacks of ImageJ have one header for all pages
        pixels = tifffile.memmap(path, mode="r").reshape(-1, *page.shape)[index]
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape(page.imagelength, page.imagewidth, -1)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _picture(
    path: pathlib.Path, page: TiffPage, channels: int, decode: Callable[[], np.ndarray]
) -> Picture:
    compression, photometric = page.compression, page.photometric
    if compression not in TIFF.DECOMPRESSORS or page.predictor not in TIFF.UNPREDICTORS:
        name = getattr(compression, "name", compression)
        raise InputError(f"{path}: has the compression {name}, which is not read; save it with LZW")
    kind = _KINDS.get(photometric, "")
    if photometric == PHOTOMETRIC.YCBCR and compression in _JPEG:
        kind = "rgb"  # as the codec gives it
    opacity = bool(page.extrasamples) and page.extrasamples[-1] in _OPACITY and channels == 1
    samples = page.samplesperpixel - opacity
    dtype = page.dtype
    if not kind:
        name = getattr(photometric, "name", photometric)
        raise InputError(f"{path}: has colours of the kind {name}, which is not read; save as RGB")
    if dtype is None or dtype.kind not in "buif":
        raise InputError(
            f"{path}: has pixels of {page.bitspersample} bits ({dtype}), which are not read; save "
            "it with 8, 16 or 32"
        )
    if kind == "cmyk" and (samples != 4 or dtype.kind != "u"):
        raise InputError(f"{path}: has {samples} inks; save it as RGB")
    if (kind == "rgb" and samples != 3) or channels > 1:
        kind = "channels"
    palette = None
    if kind == "palette":
        if page.colormap is None:
            raise InputError(f"{path}: has no palette; save it as grey or RGB")
        deep = page.colormap.max() > 255  # 16 bits, as they should be
        palette = (page.colormap.T >> (8 if deep else 0)).astype(np.uint8)
    orientation = page.tags.valueof(ORIENTATION, 1)
    return Picture(
        path=path,
        height=page.imagelength,
        width=page.imagewidth,
        samples=channels * samples,
        dtype=np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("="),
        kind=kind,
        bits=page.bitspersample,
        decode=decode,
        palette=palette,
        opacity=opacity,
        white_is_zero=photometric == PHOTOMETRIC.MINISWHITE,
        orientation=orientation if orientation in range(1, 9) else 1,
        lossy=compression in _JPEG,
    )
