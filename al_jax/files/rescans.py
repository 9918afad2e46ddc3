"""Another image of a section, of the frame and the type of the one before."""

import os
import pathlib

import numpy as np

from al_jax.core.stack import Images, InputError
from al_jax.files.intensities import find_scale, to_uint8
from al_jax.files.pictures import image_of
from al_jax.files.reading import by, full_path
from al_jax.files.registry import PICTURES, find, open_picture


def read_scan(path: str | os.PathLike, images: Images, section: int) -> np.ndarray:
    """Another image [H, W, K] of a section of a stack, of a picture; like others, at the top left.

    Raises:
      InputError: it is no picture, or does not fit the section.
    """
    file = full_path(pathlib.Path(path))
    picture = (find(PICTURES, file) or open_picture)(file)
    pixels = image_of(picture, picture.orientation)
    like, inside = images.images, np.asarray(images.inside[section])
    colours, wanted = pixels.shape[-1], like.shape[-1]
    if colours < wanted:
        pixels = np.repeat(pixels, wanted, -1)
    elif colours > wanted and not (pixels == pixels[..., :1]).all():
        raise InputError(f"{file}: has colours but the other sections are grey; save it as grey")
    rows, cols = (np.flatnonzero(inside.any(axis))[-1] + 1 for axis in (1, 0))
    if pixels.shape[0] < rows or pixels.shape[1] < cols:
        raise InputError(
            f"{file}: has {by(pixels.shape[:2])} pixels but the section {rows} by {cols}; bring it "
            "into the frame of the section before, as outlines stay in their pixels"
        )
    height, width = like.shape[1:3]
    if pixels.shape[0] > height or pixels.shape[1] > width:
        raise InputError(
            f"{file}: has {by(pixels.shape[:2])} pixels but sections {height} by {width}; cut it "
            "out or scale it as the section before was"
        )
    if like.dtype == np.uint8 and pixels.dtype != np.uint8:
        pixels = to_uint8(pixels, find_scale([pixels], 1, file))
    found = np.zeros(like.shape[1:], like.dtype)
    found[: pixels.shape[0], : pixels.shape[1]] = pixels[..., :wanted]
    return found
