"""An opponent: ClaSP PE (Lüth et al., arXiv 2601.13677), adapted from 3D patches to pairs.

python -m experiments.simulate --plugin=experiments/plugins/clasp.py --strategies=clasp,BDa
"""

import dataclasses

import jax
import jax.numpy as jnp

import al_jax
from al_jax.core.scores import inverse_exponential

READS = ("uncertainty", "priority")
SHARP = 100.0  # beta once all is answered; it rises from 1, so that noise decays


def order(evidence: al_jax.Evidence) -> jax.Array:
    """Of beta log H + Gumbel noise; 2 of 3 answers go to structures with fewest answers, [N, C]."""
    answered = evidence.seen.sum()
    beta = SHARP ** (answered / jnp.maximum(evidence.possible.sum(), 1))
    entropy, gumbel = jnp.maximum(evidence.uncertainty, 1e-12), jnp.log(evidence.priority)
    ranks = (beta * jnp.log(entropy) + gumbel).ravel().argsort().argsort()
    share = ranks.reshape(entropy.shape) / entropy.size
    return share - (answered % 3 < 2) * evidence.seen.sum(0)


al_jax.STRATEGIES["clasp"] = dataclasses.replace(
    al_jax.STRATEGIES["H"], gain=order, reads=READS, draw=inverse_exponential
)
