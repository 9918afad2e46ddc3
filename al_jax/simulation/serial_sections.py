"""Serial sections of an animal that never was: organs in a body, cut, stained and put on slides.

As in a series that was cut by hand, each section lies a little turned and shifted, is torn out of
shape by a smooth field of its own, and takes up more or less of the stain.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from al_jax.core.stack import Colour, Stack, make_stack

SHAPE = (24, 144, 192)  # sections, rows, columns
TURN, SHIFT = 2.5, 1.5  # degrees and pixels, standard deviations of a section's place
TEAR, REACH = 1.6, 14.0  # pixels that a section is out of shape, and over which that is smooth
GRAIN = 5.0  # of 255, of the stain from pixel to pixel
TEXTURE = 7.0  # and from spot to spot


class Organ(NamedTuple):
    """An ellipsoid in shares of the stack's sizes: along the series, rows, columns.

    Attributes:
      name: several of one name are one class.
      centre, radii: of it.
      stain: its colour on a slide.
    """

    name: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    stain: Colour


ORGANS = (
    Organ("body", (0.5, 0.5, 0.5), (0.62, 0.36, 0.4), (226, 160, 186)),
    Organ("spine", (0.52, 0.27, 0.5), (0.46, 0.055, 0.045), (244, 226, 214)),
    Organ("brain", (0.12, 0.3, 0.5), (0.16, 0.1, 0.12), (204, 168, 214)),
    Organ("eye", (0.12, 0.36, 0.28), (0.09, 0.08, 0.06), (104, 84, 128)),
    Organ("eye", (0.12, 0.36, 0.72), (0.09, 0.08, 0.06), (104, 84, 128)),
    Organ("lung", (0.45, 0.38, 0.34), (0.17, 0.08, 0.07), (238, 204, 220)),
    Organ("lung", (0.45, 0.38, 0.66), (0.17, 0.08, 0.07), (238, 204, 220)),
    Organ("heart", (0.4, 0.58, 0.5), (0.12, 0.09, 0.07), (188, 78, 110)),
    Organ("liver", (0.55, 0.62, 0.36), (0.2, 0.12, 0.12), (170, 96, 138)),
    Organ("stomach", (0.62, 0.6, 0.64), (0.16, 0.09, 0.09), (214, 132, 150)),
    Organ("kidney", (0.78, 0.36, 0.36), (0.13, 0.06, 0.05), (150, 92, 164)),
    Organ("kidney", (0.78, 0.36, 0.64), (0.13, 0.06, 0.05), (150, 92, 164)),
    Organ("intestine", (0.82, 0.58, 0.5), (0.17, 0.1, 0.18), (232, 150, 128)),
)
SLIDE: Colour = (246, 244, 247)


def make_serial_sections(seed: int = 0) -> Stack:
    """The stack: equal seeds give equal pixels."""
    rng = np.random.default_rng(seed)
    names = ("background", *dict.fromkeys(organ.name for organ in ORGANS))
    stains = dict.fromkeys(names, SLIDE) | {organ.name: organ.stain for organ in ORGANS}
    truth = np.stack([_section(rng, section, names) for section in range(SHAPE[0])])
    colours = np.array([stains[name] for name in names], float)
    images = np.stack([_stained(rng, labels, colours) for labels in truth])
    sections = [f"slide_{number + 1:02d}" for number in range(len(truth))]
    return make_stack(images, truth, names, sections=sections)


def _section(rng: np.random.Generator, section: int, names: tuple[str, ...]) -> np.ndarray:
    """[H, W] int16, the classes on a section where it came to lie."""
    height, width = SHAPE[1:]
    rows, columns = _places(rng)
    along = (section + 0.5) / SHAPE[0]
    labels = np.zeros((height, width), np.int16)
    for organ in ORGANS:  # the later ones lie in the earlier ones
        (z, y, x), (rz, ry, rx) = organ.centre, organ.radii
        across = ((rows / height - y) / ry) ** 2 + ((columns / width - x) / rx) ** 2
        labels[across < 1 - ((along - z) / rz) ** 2] = names.index(organ.name)
    return labels


def _places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What of the animal is at each pixel of a section, rows and columns [H, W]."""
    middle = (np.array(SHAPE[1:]) - 1).reshape(2, 1, 1) / 2
    angle = np.deg2rad(TURN) * rng.standard_normal()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = np.indices(SHAPE[1:]) - middle
    places = np.tensordot(turn, grid, 1) + middle + SHIFT * rng.standard_normal((2, 1, 1))
    noise = [ndimage.gaussian_filter(rng.standard_normal(SHAPE[1:]), REACH) for _ in range(2)]
    field = np.stack([TEAR * each / each.std() for each in noise])
    rows, columns = places + field
    return rows, columns


def _stained(rng: np.random.Generator, labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8, a section under the microscope."""
    size = labels.shape
    blurred = ndimage.gaussian_filter(colours[labels], (0.7, 0.7, 0))
    spots = ndimage.gaussian_filter(rng.standard_normal(size), 1.5)
    spots = TEXTURE * spots / spots.std() * (labels > 0)
    light = ndimage.gaussian_filter(rng.standard_normal(size), 40)
    light = 4 * light / np.abs(light).max()
    strength = 1 + 0.05 * rng.standard_normal()
    grey = 255 - strength * (255 - blurred) + (spots + light)[..., None]
    grain = GRAIN * rng.standard_normal((*size, 1))
    return np.rint(np.clip(grey + grain, 0, 255)).astype(np.uint8)
