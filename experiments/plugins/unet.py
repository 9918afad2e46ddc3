"""A network: a U-Net of two levels with group norm (Ronneberger et al., MICCAI 2015).

python -m experiments.simulate --plugin=experiments/plugins/unet.py --network=unet
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

import al_jax


class UNet(nn.Module):
    """[B, H, W, 3] -> logits [B, H, W, C] of any size; it has no dropout."""

    num_classes: int
    class_layers = ("score",)

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Half the resolution below, whatever the size."""
        fine = nn.relu(nn.GroupNorm(4)(nn.Conv(16, (3, 3))(x)))
        coarse = nn.relu(nn.GroupNorm(4)(nn.Conv(32, (3, 3))(nn.avg_pool(fine, (2, 2), (2, 2)))))
        up = jax.image.resize(coarse, (*fine.shape[:3], 32), "nearest")
        both = nn.relu(nn.Conv(16, (3, 3))(jnp.concatenate([fine, up], -1)))
        return nn.Dense(self.num_classes, name="score")(both)


al_jax.NETWORKS["unet"] = UNet
