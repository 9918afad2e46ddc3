"""Random crops for training (paper, section 2.4.2 and Table 1).

Only the crop's own grid is sampled: one set of source points for image, labels and domain.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.settings import check_settings, setting

# Non-linear fields: spacing of the control points and their standard deviation in pixels, and the
# interpolation between them.
FIELDS = {
    "smooth": (32, 4.0, "cubic"),
    "paper": (5, 4.0, "linear"),  # as printed; folds a quarter of all pixels
}


Augmentation = Callable[
    [jax.Array, jax.Array, int], tuple[jax.Array, Callable[[jax.Array], jax.Array]]
]
"""(key, middle [2] of a crop, its side) -> source points, and a function of the intensities.

The points [side, side, 2] (y, x) are those of the section that the crop's pixels come from. The
function maps the crop's intensities [side, side, K] in [0, 1] to others in [0, 1].
"""


@dataclasses.dataclass(frozen=True)
class Table1:
    """Ranges of Table 1; each is drawn uniformly, the scale uniformly in its logarithm.

    Attributes:
      rotation, shear: degrees, +-.
      translation: pixels, +-.
      scale: factors.
      brightness: on the 0-255 scale, +-.
      contrast: factors.
      field: a key of `FIELDS`.
    """

    rotation: float = 10.0
    translation: float = 10.0
    scale: tuple[float, float] = (0.8, 1.2)
    shear: float = 10.0
    brightness: float = 20.0
    contrast: tuple[float, float] = (0.8, 1.25)
    field: str = setting("smooth", "Non-linear field.", choices=tuple(FIELDS))

    def __post_init__(self) -> None:
        """Refuses an unknown field."""
        check_settings(self)

    def __call__(
        self, key: jax.Array, middle: jax.Array, crop: int
    ) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        """See `Augmentation`."""
        key_points, key_intensity = jax.random.split(key)
        points = random_points(key_points, middle, crop, self)
        return points, lambda image: random_intensity(key_intensity, image, self)


TABLE1 = Table1()
AUGMENTATIONS: dict[str, Augmentation] = {"table1": TABLE1}
"""Augmentations by name; a plugin adds its own here."""


def affine(rotation: jax.Array, scale: jax.Array, shear: jax.Array) -> jax.Array:
    """The matrix [2, 2] that takes (y, x) on a crop to its source; angles in radians."""
    cos, sin = jnp.cos(rotation), jnp.sin(rotation)
    turn = jnp.array([[cos, sin], [-sin, cos]])
    slant = jnp.array([[1.0, 0.0], [jnp.tan(shear), 1.0]])
    return turn @ slant / scale


def interpolation_weights(size: int, spacing: int, kind: str) -> np.ndarray:
    """Weights [size, K] of control points every `spacing` pixels, the first one at -`spacing`.

    'linear', or 'cubic' (Catmull-Rom; Keys, 1981). Rows sum to 1.
    """
    place = np.arange(size) / spacing + 1
    distance = np.abs(place[:, None] - np.arange(math.ceil((size - 1) / spacing) + 3))
    if kind == "linear":
        return np.maximum(1 - distance, 0).astype(np.float32)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype(np.float32)


def random_displacement(
    key: jax.Array, height: int, width: int, field: str = "smooth"
) -> jax.Array:
    """A non-linear field: shifts in pixels, [height, width, 2] as (y, x)."""
    spacing, sigma, kind = FIELDS[field]
    rows = interpolation_weights(height, spacing, kind)
    columns = interpolation_weights(width, spacing, kind)
    knots = sigma * jax.random.normal(key, (rows.shape[1], columns.shape[1], 2))
    return jnp.einsum("yk,kld,xl->yxd", rows, knots, columns)


def source_points(matrix: jax.Array, centre: jax.Array, field: jax.Array) -> jax.Array:
    """Where each pixel of a new grid comes from, [h, w, 2] as (y, x).

    Args:
      matrix: [2, 2] from `affine`, about the middle of the new grid.
      centre: [2] (y, x), the source of that middle.
      field: [h, w, 2], shifts in pixels added to it.
    """
    rows, columns = (jnp.arange(size) - (size - 1) / 2 for size in field.shape[:2])
    grid = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1)
    return grid @ matrix.T + centre + field


def random_points(key: jax.Array, middle: jax.Array, crop: int, augmentation: Table1) -> jax.Array:
    """Source points of a random crop about `middle` [2], [crop, crop, 2] as (y, x)."""
    key_affine, key_field = jax.random.split(key)
    unit = jax.random.uniform(key_affine, (5,))  # one draw: each costs seconds of compilation
    low, high = (math.log(factor) for factor in augmentation.scale)
    matrix = affine(
        jnp.deg2rad(augmentation.rotation) * (2 * unit[0] - 1),
        jnp.exp(low + (high - low) * unit[1]),
        jnp.deg2rad(augmentation.shear) * (2 * unit[2] - 1),
    )
    centre = middle + augmentation.translation * (2 * unit[3:5] - 1)
    field = random_displacement(key_field, crop, crop, augmentation.field)
    return source_points(matrix, centre, field)


def sample_bilinear(image: jax.Array, points: jax.Array) -> jax.Array:
    """`image` [H, W, K] at `points` [..., 2] (y, x), clamped to the border -> [..., K] float32."""
    height, width = image.shape[:2]
    points = jnp.clip(points, 0.0, jnp.array([height - 1.0, width - 1.0]))
    low = jnp.floor(points)
    part = points - low
    y, x = low[..., 0].astype(jnp.int32), low[..., 1].astype(jnp.int32)
    below, right = jnp.minimum(y + 1, height - 1), jnp.minimum(x + 1, width - 1)
    flat = image.reshape(height * width, -1)
    wy, wx = part[..., :1], part[..., 1:]

    def at(rows: jax.Array, columns: jax.Array) -> jax.Array:
        return flat[rows * width + columns].astype(jnp.float32)

    upper = at(y, x) * (1 - wx) + at(y, right) * wx
    lower = at(below, x) * (1 - wx) + at(below, right) * wx
    return upper * (1 - wy) + lower * wy


def sample_nearest(values: jax.Array, points: jax.Array, fill: int | bool) -> jax.Array:
    """`values` [H, W] at `points` [..., 2] (y, x), `fill` beyond the border -> [...]."""
    height, width = values.shape
    nearest = jnp.round(points).astype(jnp.int32)
    y, x = nearest[..., 0], nearest[..., 1]
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flat = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
    return jnp.where(within, values.ravel()[flat], jnp.asarray(fill, values.dtype))


def random_intensity(key: jax.Array, image: jax.Array, augmentation: Table1) -> jax.Array:
    """Contrast about mid-grey, then brightness, of an image in [0, 1]; the result is in [0, 1]."""
    unit = jax.random.uniform(key, (2,))
    low, high = augmentation.contrast
    contrast = low + (high - low) * unit[0]
    brightness = augmentation.brightness / 255 * (2 * unit[1] - 1)
    return jnp.clip((image - 0.5) * contrast + 0.5 + brightness, 0.0, 1.0)
