"""What a worker of the tests loads instead of `experiments.sweeps.units`: its units take no time.

A network or a result is there at once; H kills its worker, HB fails, HDa finds the disk full, HBDa
kills its worker four times but gets further each time, BDa_CE makes 100 steps, each of
PRETEND_STEP seconds; of seed 9 the network fails.
"""

import os
import pathlib
import signal
import time

from al_jax.core.stack import InputError
from experiments.sweeps import units
from experiments.sweeps.units import dask_setup

__all__ = ["dask_setup"]


def train(network, seconds, show):
    """Leaves the last checkpoint of a network."""
    if network.configuration["seed"] == 9:
        raise InputError("the loss is not finite")
    assert not network.done
    steps = network.configuration["training"]["initial_steps"]
    (network.checkpoints / str(steps)).mkdir(parents=True)


def perform(run, seconds, show):
    """Leaves a result that says which process wrote it."""
    with units.own(run) as folder:
        assert run.network.done
        show(0.5)
        time.sleep(0.5)  # a nanny does not replace a worker that dies before it knows it
        strategy, step = run.configuration["strategy"], units.latest(run.checkpoints)
        if strategy == "BDa_CE":
            for now in range(step + 1, 100):
                time.sleep(float(os.environ.get("PRETEND_STEP", "0.1")))
                (run.checkpoints / str(now)).mkdir(parents=True)
                with open(folder / "steps", "a") as file:
                    file.write(f"{now} {os.getpid()}\n")
                show(now / 100)
        if strategy == "HBDa" and step < 3:
            (run.checkpoints / str(step + 1)).mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if strategy == "H":
            with open(pathlib.Path(run.folder, "attempts"), "a") as file:
                file.write("1")
            os.kill(os.getpid(), signal.SIGKILL)
        if strategy == "HB":
            raise InputError("not today")
        if strategy == "HDa":
            raise OSError(28, "No space left on device")
        (folder / "result.json").write_text(str(os.getpid()))


units.train, units.perform = train, perform
