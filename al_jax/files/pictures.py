"""Pictures: one file, one section."""

import pathlib

import numpy as np
import tifffile
from PIL import Image

from al_jax.files.reading import reading
from al_jax.stack import InputError


def read_picture(path: pathlib.Path) -> np.ndarray:
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


def _open_picture(path: pathlib.Path) -> Image.Image:
    picture = Image.open(path, formats=("PNG", "TIFF"))
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{path}: holds {frames} images; give one file a section")
    return picture


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


def read_ids(path: pathlib.Path) -> np.ndarray:
    """One label image as [H, W] int64."""
    with reading(path, "an image of labels"), _open_picture(path) as picture:
        if len(picture.getbands()) > 1 or picture.mode == "F":
            raise InputError(
                f"{path}: has pixels of type {picture.mode}; labels are one channel of ids"
            )
        return np.asarray(picture).astype(np.int64)
