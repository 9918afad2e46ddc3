"""A strategy: the most room for improvement among the structures with the shortest outlines.

python -m experiments.simulate --plugin=experiments/plugins/shortest.py --strategies=short,BDa
"""

import jax
import jax.numpy as jnp

import al_jax


def shortness(evidence: al_jax.Evidence) -> jax.Array:
    """One over the whole outline that B tells of each structure, [N, C]."""
    outlines = jnp.maximum(jnp.diagonal(evidence.boundary), 1)
    return (1 - evidence.dice) / outlines * jnp.ones(evidence.seen.shape)


def one(evidence: al_jax.Evidence) -> jax.Array:
    """Every answer costs the same, [N, C]."""
    return jnp.ones(evidence.seen.shape)


al_jax.STRATEGIES["short"] = al_jax.Strategy(shortness, one, reads=("dice", "boundary"))
