"""What a worker of the tests loads beside `experiments.jobs`: real runs of a tiny network.

It compiles at once, so that a sweep on a real cluster takes seconds.
"""

import tiny

from al_jax import simulation
from experiments.jobs import dask_setup

__all__ = ["dask_setup"]

simulation.make_network = lambda _, num_classes: tiny.make("pixelwise", num_classes)
