"""Colours that tell classes apart."""

import colorsys

import numpy as np

# Of areas over a grey image, kept apart as those of `canvas.LINES`, the most different first.
AREAS = (
    "#e69f00",
    "#56b4e9",
    "#d55e00",
    "#009e73",
    "#f0e442",
    "#cc79a7",
    "#3a6fd8",
    "#b2df5a",
    "#8f3fa8",
    "#fb9a99",
    "#7fe0d0",
    "#a0622d",
)


def class_colours(num_classes: int) -> np.ndarray:
    """A colour for each class, [C, 3] uint8; background (0) is black and never drawn.

    The colour-blind can distinguish the first twelve; the rest walk round the hues in steps of
    the golden ratio, at changing lightness.
    """
    chosen = [np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in AREAS]
    for i in range(len(AREAS), num_classes - 1):
        hue = (0.1 + i * 0.6180339887) % 1
        lightness, saturation = ((0.62, 0.85), (0.42, 0.75), (0.75, 0.6))[i % 3]
        chosen.append(255 * np.array(colorsys.hls_to_rgb(hue, lightness, saturation)))
    return np.round([np.zeros(3), *chosen][:num_classes]).astype(np.uint8)
