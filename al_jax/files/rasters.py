"""PNG, JPEG and BMP: headers and samples, by Pillow.

Pillow keeps only the high byte of 16-bit colour in PNG, so the samples of PNG with 16 bits come
from libpng through imagecodecs.
"""

import pathlib

import imagecodecs
import numpy as np
from PIL import Image, ImageFile

from al_jax.core.stack import InputError
from al_jax.files.claims import PACKED, check_claim
from al_jax.files.pictures import MOST_PIXELS, Picture
from al_jax.files.reading import reading

FORMATS = ("PNG", "JPEG", "BMP")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM")
ORIENTATION = 0x0112  # of EXIF
TAGGED = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")  # where a PNG may have EXIF

_SAMPLES = {
    "1": ("channels", 1),
    "L": ("channels", 1),
    "LA": ("channels", 1),
    "I;16": ("channels", 1),
    "P": ("palette", 1),
    "PA": ("palette", 1),
    "RGB": ("rgb", 3),
    "RGBA": ("rgb", 3),
    "CMYK": ("cmyk", 4),
}

_DEEP = {
    0: ("channels", 1, False),
    2: ("rgb", 3, False),
    4: ("channels", 1, True),
    6: ("rgb", 3, True),
}
"""What 16-bit PNG holds, by the colour type in its header."""


def open_raster(path: pathlib.Path) -> Picture:
    """Reads the header of a PNG, JPEG or BMP.

    Raises:
      InputError: it is none of these, damaged, has several frames, or is larger than `MOST_PIXELS`.
    """
    with reading(path, "a PNG, JPEG or BMP"), _open(path) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":  # of a camera: others are previews
            raise InputError(f"{path}: holds {frames} images; give one file a section")
        if file.mode not in _SAMPLES:
            raise InputError(f"{path}: has pixels of type {file.mode}; save it as grey or RGB")
        kind, samples = _SAMPLES[file.mode]
        palette = None
        if kind == "palette":
            palette = np.array(file.getpalette("RGB"), np.uint8).reshape(-1, 3)
        depth, orientation = 1 if file.mode == "1" else 8, 1
        opacity = file.mode in ("LA", "PA", "RGBA")
        if file.format == "PNG":
            data = path.read_bytes()
            depth, colour = data[24], data[25]  # what follows the size in the header
            if depth == 16:  # whatever Pillow makes of it
                kind, samples, opacity = _DEEP[colour]
            if any(mark in data for mark in TAGGED):  # else Pillow would decode all to find none
                orientation = file.getexif().get(ORIENTATION, 1)
        else:
            orientation = file.getexif().get(ORIENTATION, 1)
        deep = depth == 16
        check_claim(path, file.height * file.width * (samples + opacity) * depth // 8, None, PACKED)
        return Picture(
            path=path,
            height=file.height,
            width=file.width,
            samples=samples,
            dtype=np.dtype(np.uint16 if deep else np.uint8),
            kind=kind,
            decode=lambda: _deep_png(path) if deep else _decode(path, depth),
            palette=palette,
            opacity=opacity,
            bits=depth,
            orientation=orientation if orientation in range(1, 9) else 1,
            lossy=file.format in ("JPEG", "MPO"),
            spacing=_spacing(file.info.get("dpi")),
        )


def _spacing(dots: tuple[float, float] | None) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, of the dots per inch along x and y."""
    if dots is None or not (dots[0] > 0 and dots[1] > 0):
        return None
    return 25.4 / float(dots[1]), 25.4 / float(dots[0])


def _open(path: pathlib.Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path}: has more than {MOST_PIXELS} pixels; scale the section down or cut it out"
        ) from error
    except Image.UnidentifiedImageError as error:
        head = path.read_bytes()[:8]
        if not head:
            line = "is empty, as a file is that a cloud has not fetched; download or copy it again"
            raise InputError(f"{path}: {line}") from error
        if head.startswith(MAGIC):
            raise  # damaged
        raise InputError(
            f"{path}: is not a PNG, TIFF, JPEG or BMP (it begins with {head!r}); save it as one"
        ) from error


def _decode(path: pathlib.Path, depth: int) -> np.ndarray:
    with _open(path) as file:
        pixels = np.array(file)
        grey = file.mode in ("1", "L")
    if pixels.dtype == bool:  # of one bit
        pixels = pixels.astype(np.uint8)
    elif grey and depth < 8:  # Pillow spreads few greys over 0 to 255
        pixels = pixels // np.uint8(255 // ((1 << depth) - 1))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _deep_png(path: pathlib.Path) -> np.ndarray:
    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    return pixels[..., None] if pixels.ndim == 2 else pixels
