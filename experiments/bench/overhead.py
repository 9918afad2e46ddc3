"""What the engine of sweeps costs: units that only wait, on workers of this machine.

    python -m experiments.bench.overhead --units=1000 --seconds=1 --jobs=2

Each unit has a folder, a lease and a result like a run. The overhead is the time from the first
start of a unit to the last end, beyond what the waiting alone takes; starting workers is not in it.

Found on 2 cores of an AMD EPYC (commit 3d47e7d, 2026-11-25): 1,000 units of a second each on two
workers 505.4 s, 1.1% more than the waiting alone, in 251 MiB.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.overhead")

import pathlib
import tempfile
import time

from absl import flags

from al_jax.commands import command
from al_jax.files.atomic import write_atomic
from al_jax.simulation.runner import Show
from experiments.bench import harness

with command.extra("sweep"):
    from distributed import Worker

    from experiments.sweeps import clusters, units, workers
    from experiments.sweeps.units import NetworkUnit, RunUnit

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_integer("units", 1000, "How many units.", 1)
    flags.DEFINE_float("seconds", 1.0, "How long each of them waits.", 0)
    flags.DEFINE_integer("jobs", 2, "Workers.", 1)


def dask_setup(worker: Worker) -> None:
    """Makes a worker whose runs only wait."""
    units.dask_setup(worker)
    units.perform = wait


def wait(run: RunUnit, seconds: float, show: Show) -> None:
    """A run that waits as long as its configuration says."""
    with units.own(run) as folder:
        begun = time.time()
        time.sleep(run.configuration["wait"])
        write_atomic(folder / "result.json", f"{begun} {time.time()}".encode())


def make_units(workdir: pathlib.Path, count: int, seconds: float) -> list[RunUnit]:
    """Runs that wait, from one network that is there."""
    network = NetworkUnit(str(workdir / "network"), {"initial_steps": 1}, "", None)
    (network.checkpoints / "1").mkdir(parents=True)
    return [
        RunUnit(
            str(workdir / "runs" / str(number)),
            {"query_steps": 1, "seed": number, "wait": seconds},
            "",
            [],
            network,
        )
        for number in range(count)
    ]


def main() -> None:
    """Prints the overhead, and the memory of this process: client and scheduler."""
    clusters.PRELOAD = "experiments.bench.overhead"
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        units = make_units(workdir, FLAGS.units, FLAGS.seconds)
        workers.carry_out(
            units, 10.0, lambda most: clusters.connect("local", FLAGS.jobs, workdir, most)
        )
        times = [
            tuple(map(float, pathlib.Path(unit.folder, "result.json").read_text().split()))
            for unit in units
        ]
    spent = max(end for _, end in times) - min(begin for begin, _ in times)
    least = FLAGS.units * FLAGS.seconds / FLAGS.jobs
    print(
        f"{FLAGS.units} units of {FLAGS.seconds:g} s on {FLAGS.jobs} workers: {spent:.1f} s, "
        f"{100 * (spent / least - 1) if least else float('nan'):.1f}% more than the waiting alone; "
        f"client and scheduler: {harness.most_memory():.0f} MiB"
    )


if __name__ == "__main__":
    define_flags()
    command.run(main)
