"""Pictures: what one PNG, TIFF, JPEG or BMP file holds of one section, as image or as ids.

`open_picture` reads a header; the samples, as they are stored, are decoded when they are asked for.
All that makes an image or ids of samples is here, for every format alike: which library decodes a
file makes no difference.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np

from al_jax.core.stack import InputError
from al_jax.files.masks import to_ids
from al_jax.files.reading import by, reading

MOST_PIXELS = 2 * 89_478_485
"""Largest picture, as in Pillow: a header that claims more is damaged, or of a whole slide."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """The header of one section's picture, and how to decode its samples.

    Attributes:
      path: its file, for messages.
      height, width: as stored, before `orientation`.
      samples: numbers a pixel, without opacity.
      dtype: of the numbers.
      kind: 'palette', 'rgb', 'cmyk' or 'channels' (any number, of no known colour; grey is one).
      decode: gives the samples [height, width, S], S at least `samples`; opacity comes last.
      palette: [P, 3] colours that the numbers stand for, if `kind` is 'palette'.
      opacity: whether the decoded samples end with it.
      white_is_zero: whether small numbers are bright.
      bits: that a sample uses; `dtype` may have room for more.
      orientation: of TIFF and EXIF, 1 to 8: how the stored rows and columns are to be turned.
      lossy: whether the compression may have changed numbers.
      spacing: height and width of a pixel in mm, or None; only compared, never used.
    """

    path: str | os.PathLike
    height: int
    width: int
    samples: int
    dtype: np.dtype
    kind: str
    bits: int
    decode: Callable[[], np.ndarray]
    palette: np.ndarray | None = None
    opacity: bool = False
    white_is_zero: bool = False
    orientation: int = 1
    lossy: bool = False
    spacing: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuses what is too large to be decoded."""
        if self.height * self.width > MOST_PIXELS:
            raise InputError(
                f"{self.path}: has {self.height} by {self.width} pixels, more than {MOST_PIXELS}; "
                "scale the section down or cut it out"
            )


def array_pages(path: str | os.PathLike, sections: np.ndarray) -> list[Picture]:
    """Pictures of an array [N, H, W] or [N, H, W, K] of numbers, which a file holds.

    Raises:
      InputError: it has other axes, or no numbers.
    """
    if sections.ndim not in (3, 4) or 0 in sections.shape or sections.dtype.kind not in "buif":
        raise InputError(
            f"{path}: holds {by(sections.shape)} values of type {sections.dtype}; give numbers of "
            "sections, rows and columns, and of channels where there are several"
        )
    kind = np.uint8 if sections.dtype.kind == "b" else sections.dtype.newbyteorder("=")
    sections = sections.reshape(*sections.shape[:3], -1).astype(kind, copy=False)

    def decoder(n: int) -> Callable[[], np.ndarray]:
        return lambda: sections[n]

    return [
        Picture(
            path=path,
            height=sections.shape[1],
            width=sections.shape[2],
            samples=sections.shape[3],
            dtype=sections.dtype,
            kind="channels",
            bits=8 * sections.dtype.itemsize,
            decode=decoder(n),
        )
        for n in range(len(sections))
    ]


def turned_shape(picture: Picture, orientation: int) -> tuple[int, int]:
    """Height and width after `turn`."""
    shape = picture.height, picture.width
    return shape[::-1] if orientation >= 5 else shape


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored rows and columns [h, w, ...] as an orientation tag (1 to 8) says.

    By hand, because Pillow turns only pictures of its own.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def orientations(image: Picture, label: Picture) -> tuple[int, int]:
    """How an image and its labels are to be turned so that they lie on each other.

    Each as its own tag says. Some tools ignore tags and give labels none: those are turned like
    the image if only then their sizes agree.

    Raises:
      InputError: the sizes differ; or the tags do, and the sizes do not tell what is meant.
    """
    own = (image.orientation, label.orientation)
    alike = (own[0] if own[0] != 1 else own[1],) * 2
    fits = [
        pair
        for pair in dict.fromkeys([own, alike])
        if turned_shape(image, pair[0]) == turned_shape(label, pair[1])
    ]
    if not fits:
        raise InputError(
            f"{label.path}: has {by(turned_shape(label, own[1]))} pixels but {image.path} has "
            f"{by(turned_shape(image, own[0]))}; make them equal"
        )
    if len(fits) > 1:
        raise InputError(
            f"{label.path}: has the orientation tag {own[1]} but {image.path} has {own[0]}, and "
            "their sizes do not tell whether both are to be turned; save both without the tag"
        )
    return fits[0]


def image_channels(picture: Picture, channels: Sequence[int] | None) -> int:
    """How many channels `image_of` gives: 1 or 3.

    Raises:
      InputError: there are others, and `channels` chooses none.
    """
    count = picture.samples
    if picture.kind in ("palette", "rgb", "cmyk"):
        count = 1 if _is_grey(picture) else 3
    return check_channels(count, channels, picture.path)


def check_channels(count: int, channels: Sequence[int] | None, path: str | os.PathLike) -> int:
    """How many of `count` channels are taken: 1 or 3.

    Raises:
      InputError: there are others, and `channels` chooses none; or it chooses what is not there.
    """
    if channels is None:
        if count not in (1, 3):
            raise InputError(
                f"{path}: has {count} channels, not one or three; choose some, numbered from 0, "
                "such as --channels=0 or --channels=0,1,0"
            )
        return count
    chosen = ",".join(map(str, channels))
    if len(channels) not in (1, 3):
        raise InputError(f"--channels={chosen} chooses {len(channels)}; choose one or three")
    if min(channels) < 0 or max(channels) >= count:
        raise InputError(
            f"{path}: has {count} channels, numbered from 0; --channels={chosen} asks for others"
        )
    return len(channels)


def image_of(
    picture: Picture, orientation: int, channels: Sequence[int] | None = None
) -> np.ndarray:
    """Decodes an image [h, w, 1 or 3]: white is bright, opacity is dropped, not blended."""
    with reading(picture.path, "an image"):
        pixels = picture.decode()[..., : picture.samples]
        if picture.palette is not None:
            entries = picture.palette[:, :1] if _is_grey(picture) else picture.palette
            pixels = entries[_indices(picture, pixels)]
        elif picture.kind == "cmyk":
            most = np.iinfo(pixels.dtype).max
            ink = most - pixels.astype(np.int64)
            pixels = (ink[..., :3] * ink[..., 3:] // most).astype(pixels.dtype)
        if picture.white_is_zero:
            pixels = _inverted(pixels, picture.bits)
        if picture.bits < 8 and picture.palette is None:  # few greys, over all that 8 bits have
            pixels = pixels * np.uint8(255 // ((1 << picture.bits) - 1))
    return turn(pixels if channels is None else pixels[..., list(channels)], orientation)


def ids_of(picture: Picture, orientation: int) -> np.ndarray:
    """Decodes labels [h, w] int64: the numbers as they are stored.

    Of a palette that is the index, or the grey value where all its entries are greys: programs
    that make small files store a grey mask so. An inverting table of ImageJ, which shows masks
    black on white, is one of colours: its index is the number.

    Raises:
      InputError: the numbers are of colours, lossy or not whole.
    """
    path = picture.path
    if picture.lossy:
        raise InputError(
            f"{path}: is compressed as JPEG, which changes ids; save the labels as PNG or TIFF"
        )
    with reading(path, "an image of labels"):
        pixels = picture.decode()
        numbers, opacity = pixels[..., : picture.samples], pixels[..., picture.samples :]
        if picture.opacity and (opacity != _opaque(pixels.dtype)).any():
            raise InputError(
                f"{path}: has pixels that are not opaque; save the labels as one channel of ids"
            )
        single = picture.samples == 1 or (numbers == numbers[..., :1]).all()
        if picture.kind == "cmyk" or not single:
            raise InputError(
                f"{path}: is a picture of {picture.samples} channels; labels are one channel of "
                "ids, not colours"
            )
        if picture.palette is not None and _is_grey(picture) and not _inverts(picture.palette):
            numbers = picture.palette[_indices(picture, numbers)][..., :1]
        ids = to_ids(numbers[..., 0], path)
    return turn(ids, orientation)


def palette_of(picture: Picture) -> np.ndarray | None:
    """The colours [P, 3] that ids stand for, or None if they are numbers."""
    return None if picture.palette is None or _is_grey(picture) else picture.palette


def _is_grey(picture: Picture) -> bool:
    palette = picture.palette
    return palette is not None and bool((palette == palette[:, :1]).all())


def _inverts(palette: np.ndarray) -> bool:
    """Whether a palette is all greys, from white to black."""
    return len(palette) == 256 and bool((palette == np.arange(256)[::-1, None]).all())


def _indices(picture: Picture, pixels: np.ndarray) -> np.ndarray:
    assert picture.palette is not None
    if pixels.max(initial=0) >= len(picture.palette):
        raise InputError(
            f"{picture.path}: has the index {pixels.max()} but {len(picture.palette)} colours; "
            "write it again"
        )
    return pixels[..., 0]


def _opaque(dtype: np.dtype) -> int:
    return np.iinfo(dtype).max if dtype.kind in "ui" else 1


def _inverted(pixels: np.ndarray, bits: int) -> np.ndarray:
    if pixels.dtype.kind == "f":
        return -pixels
    return ((1 << bits) - 1 - pixels).astype(pixels.dtype) if pixels.dtype.kind == "u" else ~pixels
