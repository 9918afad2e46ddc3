"""A strategy with a measure of its own: the smallest margins between the two likeliest classes.

python -m experiments.simulate --plugin=experiments/plugins/margin.py --strategies=margin,HB
"""

import jax
import jax.numpy as jnp

import al_jax


def closeness(posterior: jax.Array, inside: jax.Array) -> jax.Array:
    """Per class, the mean of p times 1 - (first - second); [H, W, C], [H, W] -> [C]."""
    first, second = jnp.moveaxis(jax.lax.top_k(posterior, 2)[0], -1, 0)
    doubt = posterior * ((1 - first + second) * inside)[..., None]
    return doubt.sum((0, 1)) / jnp.maximum(inside.sum(), 1)


al_jax.STRATEGIES["margin"] = al_jax.Strategy(
    gain=lambda evidence: evidence.uncertainty,
    cost=lambda evidence: jnp.ones(evidence.seen.shape),
    reads=("uncertainty",),
    uncertainty=closeness,
)
