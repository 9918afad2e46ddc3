"""A session of three sections of 8 x 8 pixels, for what is stored and read and never trained."""

import pathlib

import numpy as np

from al_jax.core.stack import make_images
from al_jax.session import Session, storage

IMAGES = make_images(np.arange(192, dtype=np.uint8).reshape(3, 8, 8), ("background", "a", "b"))
RANGES = np.ones((3, 3), bool)


def create(folder: pathlib.Path) -> pathlib.Path:
    """A new session."""
    storage.create(folder, IMAGES, RANGES)
    return folder


def opened(folder: pathlib.Path) -> Session:
    """Without a lease, whose sign of life would be among the system calls."""
    return Session(folder, storage.read(folder), held=True)


def square(row: int, size: int = 3) -> np.ndarray:
    """[8, 8] bool, a mask."""
    mask = np.zeros((8, 8), bool)
    mask[row : row + size, 1 : 1 + size] = True
    return mask
