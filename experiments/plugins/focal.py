"""A loss: Eq. 2 where easy pixels count less (the focal loss of Lin et al., ICCV 2017).

python -m experiments.simulate --plugin=experiments/plugins/focal.py --strategies=BDa_focal,BDa
"""

import dataclasses

import jax
import jax.numpy as jnp

import al_jax


def partial_focal(
    logits: jax.Array, labels: jax.Array, compatible: jax.Array, inside: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The sum over inside pixels of (1 - p)^2 times their term in Eq. 2, and their number."""
    known = labels[..., None] == jnp.arange(logits.shape[-1])
    allowed = jnp.where((labels < 0)[..., None], compatible, known)
    likelihood = jnp.sum(jax.nn.softmax(logits) * allowed, -1)
    terms = -((1 - likelihood) ** 2) * jnp.log(jnp.maximum(likelihood, 1e-6))
    return jnp.sum(terms * inside), inside.sum()


al_jax.STRATEGIES["BDa_focal"] = dataclasses.replace(al_jax.STRATEGIES["BDa"], loss=partial_focal)
