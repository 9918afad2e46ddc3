"""An opponent: fewer sections, each traced whole, with the learner and the neighbours of SEr.

python -m experiments.simulate --plugin=experiments/plugins/whole_sections.py \
    --strategies=sections --start=together
"""

import dataclasses

import jax

import al_jax
from al_jax.core.scores import uniform_priority


def background_last(key: jax.Array, num_sections: int, num_classes: int) -> jax.Array:
    """Uniform's order, in which gaps stay short, but each section's background is left over."""
    priority = uniform_priority(key, num_sections, num_classes)
    return priority.at[:, 0].set(priority.min(1) - 0.5)


al_jax.STRATEGIES["sections"] = dataclasses.replace(
    al_jax.STRATEGIES["Uniform"], draw=background_last, neighbours=True
)
