"""What a worker of the tests loads beside `experiments.sweeps.units`: real runs of a tiny network.

It compiles at once, so that a sweep on a real cluster takes seconds.
"""

import tiny

from al_jax.simulation import loop
from experiments.sweeps.units import dask_setup

__all__ = ["dask_setup"]

loop.make_network = lambda _, num_classes: tiny.make("pixelwise", num_classes)
