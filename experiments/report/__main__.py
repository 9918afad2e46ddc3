"""The command: see `experiments.report`."""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.report")

import sys

from absl import flags

from al_jax.commands import command
from experiments import report

report.define_flags()
flags.adopt_module_key_flags(report)
sys.modules["__main__"].__doc__ = report.__doc__  # what --help prints
command.run(report.main)
