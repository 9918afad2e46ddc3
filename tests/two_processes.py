"""One of two processes that share a run; `test_processes.py` starts both.

    python two_processes.py FLAGS OF EXPERIMENTS.SIMULATE

The network compiles at once.
"""

import tiny

from al_jax.commands import command, simulate
from al_jax.simulation import loop

loop.make_network = lambda _, num_classes: tiny.make("pixelwise", num_classes)
simulate.define_flags()
command.run(simulate.main)
