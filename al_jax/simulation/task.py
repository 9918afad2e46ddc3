"""A stack prepared for simulation: what is computed from its truth once."""

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from al_jax import xla
from al_jax.core.boundary import total_length
from al_jax.core.metrics import presence
from al_jax.core.stack import Stack
from al_jax.learner.config import Config
from al_jax.learner.transfer import Prior
from al_jax.model.inputs import Sections, make_sections


class Task(struct.PyTreeNode):
    """A stack prepared for simulation: all that stays the same during a run.

    Attributes:
      sections: what the network sees.
      truth: [N, H, W] int16.
      present: [N, C] bool, the class has a pixel on the section.
      total: [] float32, the stack's outlines, each crack once, pixels.
      outlined: [N, H, W] int16, the classes as the person draws them; None: the truth.
      late: [N, C] bool, pairs that the person skips until nothing else is left, or None.
      prior: from prior stacks, or None.
      mesh: devices that share the work on the sections, or None.
    """

    sections: Sections
    truth: chex.Array
    present: jax.Array
    total: jax.Array
    outlined: chex.Array | None = None
    late: jax.Array | None = None
    prior: Prior | None = None
    mesh: Mesh | None = struct.field(pytree_node=False, default=None)


def make_task(stack: Stack, config: Config, mesh: Mesh | None = None) -> Task:
    """Presence and lengths of a stack's truth, section by section.

    Args:
      stack, config: the simulation.
      mesh: devices that share the sections; the numbers agree to rounding.
    """
    stack = jax.tree.map(jnp.asarray, stack)  # scans cannot index NumPy arrays
    lengths = jax.lax.map(
        lambda x: total_length(x[0], x[1], config.query.length), (stack.truth, stack.inside)
    )
    return Task(
        sections=make_sections(stack),
        truth=stack.truth,
        present=presence(stack.truth, stack.inside, len(stack.names)),
        total=lengths.sum(),
        mesh=xla.without_axes_types(mesh),
    )
