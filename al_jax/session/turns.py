"""What becomes of the pixels of one section: turned, mirrored, or of another image."""

import hashlib
import io
import pathlib

import numpy as np

from al_jax.core.stack import InputError
from al_jax.files.reading import reading
from al_jax.session import ledger

RESCANS = "rescans"
"""Folder of the images that have taken the place of others."""

MIRROR, TURNS = "m", {90: "r", 180: "h", 270: "l"}
"""Letters of what is done to a section, one after the other: left to right; degrees clockwise."""


def in_words(turns: str) -> str:
    """What was done to a section, one after the other, or ''."""
    words = {MIRROR: "mirrored"} | {own: f"turned by {by}" for by, own in TURNS.items()}
    return ", ".join(words[turn] for turn in turns)


def turned(array: np.ndarray, turns: str) -> np.ndarray:
    """[H, W, ...] after the `turns` of a section; about its middle, in the same frame."""
    for turn in turns:
        if turn == MIRROR:
            array = array[:, ::-1]
        elif turn == TURNS[180]:
            array = array[::-1, ::-1]
        else:
            array = _framed(np.rot90(array, 1 if turn == TURNS[270] else -1), array.shape[:2])
    return array


def turned_back(array: np.ndarray, turns: str) -> np.ndarray:
    """[H, W, ...] before the `turns` of a section."""
    for turn in reversed(turns):
        if turn in (MIRROR, TURNS[180]):
            array = turned(array, turn)
        else:
            framed = _framed(array, array.shape[1::-1])
            array = np.rot90(framed, -1 if turn == TURNS[270] else 1)
    return array


def _framed(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """In the middle of a frame, which may be smaller; its own inverse."""
    found = np.zeros((*shape, *array.shape[2:]), array.dtype)
    own, frame = [], []
    for given, wanted in zip(array.shape, shape, strict=False):
        most, first, start = min(given, wanted), max(given - wanted, 0), max(wanted - given, 0)
        own.append(slice(first // 2, first // 2 + most))
        frame.append(slice(start // 2, start // 2 + most))
    found[tuple(frame)] = array[tuple(own)]
    return found


def read_mask(folder: pathlib.Path, name: str) -> np.ndarray:
    """The mask of that name, [H, W] bool, turned as the section is; see `ledger.read_mask`."""
    name, _, turns = name.partition("/")
    return turned(ledger.read_mask(folder, name), turns)


def store_rescan(folder: pathlib.Path, image: np.ndarray) -> str:
    """Writes an image [H, W, K], atomically; the name of its pixels.

    Raises:
      InputError: it cannot be written.
    """
    name, buffer = _digest(image), io.BytesIO()
    path = folder / RESCANS / f"{name}.npy"
    if not path.exists():
        np.save(buffer, image, allow_pickle=False)
        ledger.write_within(folder, path, buffer.getvalue())
    return name


def read_rescan(folder: pathlib.Path, name: str) -> np.ndarray:
    """The image [H, W, K] of that name.

    Raises:
      InputError: it is missing, or holds other pixels.
    """
    path = folder / RESCANS / f"{name}.npy"
    with reading(path, "the image of a section"):
        image = np.load(path, allow_pickle=False)
    if _digest(image) != name:
        raise InputError(f"{path}: holds another image than its section; take it from a copy")
    return image


def _digest(image: np.ndarray) -> str:
    known = f"{image.dtype.str} {image.shape} ".encode()
    return hashlib.sha256(known + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]
