"""What tests of evidence, scores and strategies share: an example to work out by hand.

Two sections, three structures, structure 1 traced on the first section.
With alpha = 1/2, D = (0.75, 0.5, 0.25). What is left to trace is

    R      structure 0    1     2
    0      8 - 4 = 4      -     32 - 26 = 6
    1      8              12    32
"""

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core import state
from al_jax.core.evidence import Hindsight

B = np.array([[8.0, 4.0, 2.0], [4.0, 12.0, 26.0], [2.0, 26.0, 32.0]], np.float32)
DICE = np.array([[0.5, 0.5, 0.5], [1.0, 0.5, 0.0]], np.float32)  # at T-1 and at T-2
ENTROPY = np.array([[0.12, 0.9, 0.02], [0.2, 0.19, 0.15]], np.float32)
PRIORITY = np.array([[0.3, 0.99, 0.1], [0.2, 0.6, 0.5]], np.float32)
HINDSIGHT = Hindsight(
    dice=np.array([[0.9, 1.0, 0.8], [0.5, 0.9, 0.7]], np.float32),
    remaining=np.array([[4.0, 0.0, 10.0], [8.0, 10.0, 30.0]], np.float32),
)


def implied(s):
    """The only class that the unlabelled pixels of a section can have, [N]; else -1."""
    left = np.asarray(state.compatible(s))
    known = (np.asarray(s.unlabelled) > 0) & (left.sum(1) == 1)
    return np.where(known, left.argmax(1), -1)


def make_state(boundary=B, annotated=((0, 1, 0), (0, 0, 0)), in_range=None):
    boundary, annotated = np.asarray(boundary, np.float32), np.asarray(annotated, bool)
    sections = len(annotated)
    labels = np.full((sections, 2, 2), -1, np.int16)
    for n, c in np.argwhere(annotated):
        labels[n, 0, 0] = c
    blank = state.init_state(
        jax.random.key(0),
        np.ones(labels.shape, bool),
        np.ones(annotated.shape, bool) if in_range is None else np.asarray(in_range, bool),
    )
    return blank.replace(
        labels=jnp.asarray(labels),
        annotated=jnp.asarray(annotated),
        seen=jnp.asarray(annotated),
        unlabelled=jnp.asarray((labels == -1).sum((1, 2)), jnp.int32),
        length_sum=jnp.asarray(2 * boundary),
        length_count=jnp.full(boundary.shape, 2.0),
    )
