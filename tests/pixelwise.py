"""A plugin: the small network of the tests, for commands and workers in processes of their own.

It compiles at once, so that a sweep on a real cluster takes seconds.
"""

import tiny

from al_jax.model.networks import NETWORKS

NETWORKS["pixelwise"] = tiny.Pixelwise
