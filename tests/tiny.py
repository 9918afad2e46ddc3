"""What several tests share: a small stack, a network that compiles at once, cheap weights."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.stack import Stack, make_images, make_stack
from al_jax.core.state import PartialLabels
from al_jax.learner.config import Config, changed
from al_jax.model.augmentation import AUGMENTATIONS
from al_jax.model.inputs import Sections, make_sections
from al_jax.model.networks import NETWORKS

SHAPE, CLASSES = (6, 40, 48), 4


def stack(seed: int = 0) -> Stack:
    """Four nested discs with noise on sections of 40 x 48; two corners are outside the image."""
    rng = np.random.default_rng(seed)
    count, height, width = SHAPE
    y, x = np.mgrid[:height, :width]
    truth = np.zeros(SHAPE, int)
    for section in range(count):
        centre = np.array([height / 2, width / 2]) + rng.normal(0, 1, 2)
        radius = np.hypot(y - centre[0], x - centre[1]) + 2 * abs(section - 2.5)
        for structure, reach in enumerate((17, 12, 8), 1):
            truth[section][radius < reach] = structure
    images = (truth * 60 + 30 + rng.normal(0, 12, SHAPE)).clip(0, 255).astype(np.uint8)
    inside = np.ones(SHAPE, bool)
    inside[:, :4, :6] = inside[:, -3:, -5:] = False
    return make_stack(images, truth, ("background", "outer", "middle", "inner"), inside)


def partly_labelled(count: int) -> tuple[Sections, PartialLabels, np.ndarray]:
    """The first sections with the two outer classes labelled on three of them, and their truth."""
    whole = stack()
    truth, inside = whole.truth[:count], whole.inside[:count]
    labelled = (truth < 2) & (np.arange(count) < 3)[:, None, None]
    compatible = np.ones((count, CLASSES), bool)
    compatible[:3, :2] = False
    in_range = np.ones((count, CLASSES), bool)
    in_range[-1, 3] = compatible[-1, 3] = False
    partial = PartialLabels(
        labels=jnp.asarray(np.where(labelled, truth, -1).astype(np.int16)),
        seen=jnp.asarray((np.arange(count) < 3)[:, None] & (np.arange(CLASSES) < 2)),
        compatible=jnp.asarray(compatible),
        in_range=jnp.asarray(in_range),
    )
    return make_sections(make_images(whole.images[:count], whole.names, inside)), partial, truth


def weights(network: nn.Module, seed: int = 0, heads: bool = False):
    """He-normal weights from NumPy (drawing them under jit takes seconds to compile).

    The score layers are zero, as the network's own are, unless `heads`.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        fan_in = np.prod(leaf.shape[:-1])
        scale = np.sqrt(2 / fan_in) if len(leaf.shape) > 1 else 0.1 * heads
        if path[0].key.startswith("score") and not heads:
            scale = 0.0
        return jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def direct_convolution(x, kernel):
    """JAX's own, stride 1, SAME padding, in the layout of `al_jax.xla.convolution`."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Pixelwise(nn.Module):
    """Two dense layers on every pixel, with the methods of `networks.FCN`: compiles in no time."""

    class_layers: ClassVar[tuple[str, ...]] = ("score",)

    num_classes: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        """Hidden and output layer."""
        self.hidden = nn.Dense(8)
        self.score = nn.Dense(self.num_classes)

    def encode(self, x):
        """[B, H, W, 3] -> one hidden layer."""
        return (nn.relu(self.hidden(x)),)

    def decode(self, pools, size, key=None, *, downsampling=1):
        """Logits [B, H, W, C]; `key` switches dropout on."""
        x = jnp.repeat(jnp.repeat(pools[-1], downsampling, 1), downsampling, 2)
        x = x[:, : size[0], : size[1]]
        assert x.shape[1:3] == size
        if key is not None:
            x = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)
        return self.score(x)

    def __call__(self, x, key=None):
        """[B, H, W, 3] -> logits."""
        return self.decode(self.encode(x), x.shape[1:3], key)


def still(key, middle, crop):
    """No augmentation: a program that trains with it compiles in half the time."""
    grid = jnp.arange(crop) - (crop - 1) / 2
    points = jnp.meshgrid(middle[0] + grid, middle[1] + grid, indexing="ij")
    return jnp.stack(points, -1), lambda image: image


NETWORKS["pixelwise"] = Pixelwise  # as a plugin would
AUGMENTATIONS["still"] = still


def config(**settings) -> Config:
    """The default settings with both, without neighbours, and with others of some fields."""
    return changed(
        Config(network=Pixelwise), {"augmentation": still, "neighbours": False, **settings}
    )
