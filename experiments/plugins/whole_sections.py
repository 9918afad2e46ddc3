"""An opponent: fewer sections, each traced whole, with the learner and the neighbours of SEr.

python -m experiments.simulate --plugin=experiments/plugins/whole_sections.py --strategies=sections
"""

import dataclasses

import al_jax

# The next section is the middle of the longest run of sections that nobody has begun.
al_jax.STRATEGIES["sections"] = dataclasses.replace(al_jax.STRATEGIES["Uniform"], neighbours=True)
