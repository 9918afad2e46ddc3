"""Stacks that are made up: how long something takes does not hang on what the sections show."""

import numpy as np

from al_jax.core.stack import InputError, Stack, make_stack

SHOWN = 70  # structures on a section of an atlas with many more (paper, 3.1.2)


def bands(sections: int, size: int, classes: int) -> Stack:
    """Square sections of grey noise; every class is a band of rows on each.

    Raises:
      InputError: there are more classes than rows.
    """
    if classes > size:
        raise InputError(f"--classes {classes} do not fit --size {size}; give fewer")
    rows = np.arange(size) * classes // size
    truth = np.broadcast_to(rows[:, None], (sections, size, size))
    return make_stack(_noise(sections, size, size), truth, _names(classes))


def atlas(sections: int, height: int, width: int, classes: int, channels: int = 1) -> Stack:
    """Noise with a grid of structures, of which each section shows the next ones on."""
    shown = min(SHOWN, classes - 1)
    across = int(np.ceil(np.sqrt(shown + 1)))  # a cell at least for the background
    rows, columns = (np.arange(size) * across // size for size in (height, width))
    cells = rows[:, None] * across + columns + 1
    truth = np.empty((sections, height, width), np.int16)
    for section in range(sections):
        first = (classes - 1 - shown) * section // (sections - 1)
        truth[section] = np.where(cells <= shown, cells + first, 0)
    return make_stack(_noise(sections, height, width, channels), truth, _names(classes))


def _noise(sections: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    size = (sections, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def _names(classes: int) -> list[str]:
    return ["background", *(f"class {c}" for c in range(1, classes))]
