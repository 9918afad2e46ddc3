"""Random sections of a few classes: holes, diagonals, single pixels, areas at the border."""

import numpy as np
from scipy.ndimage import gaussian_filter

NAMES = ("background", "outer", "Pütamen, left", "inner: x", "第四")
CLASSES = len(NAMES)


def partition(seed: int) -> np.ndarray:
    """[H, W] int16, from -1 to CLASSES - 1; every fourth is noise, the others are smoother."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 24, 2))
    if min(shape) < 4:
        shape = (shape[0] + 3, shape[1] + 3)
    scores = rng.normal(size=(CLASSES + 1, *shape))
    scores = gaussian_filter(scores, (0, *(2 * [seed % 4 * 0.7])))
    labels = scores.argmax(0) - 1
    speckled = rng.random(shape) < 0.05
    return np.where(speckled, rng.integers(-1, CLASSES, shape), labels).astype(np.int16)
