"""Simulates a grid of stacks, strategies, seeds and settings, several runs at a time.

    python -m experiments.sweep --workdir=results/nine --stack=a.npz,b.npz --seed=0,1,2 \\
        --strategies=BDa,Da,Rand --alpha=0,0.5,1

Every flag that shapes a run of `experiments.simulate` takes a list here, and --config names a TOML
file with the same names as keys. Each run has a directory of its own under --workdir; what is
finished is not run again, and what was stopped goes on where it was. --cluster says where they run:
on this machine, as jobs of SLURM, PBS, SGE or LSF, or on any Dask cluster (see CLUSTER.md).
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.sweep")

import pathlib
import shutil
import sys
from contextlib import AbstractContextManager
from typing import Any

from absl import flags

from al_jax.commands import command, folders
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import InputError
from experiments.sweeps import grid

with command.extra("sweep"):
    import cryptography  # noqa: F401 (of TLS)
    from distributed import Client

    from experiments.sweeps import clusters, units, workers
    from experiments.sweeps.plan import plan
    from experiments.sweeps.units import RunUnit

FLAGS = flags.FLAGS
NAME = "[0-9a-f]" * 16  # of a unit's folder, as a pattern


def define_flags() -> None:
    """All flags of the command."""
    single = grid.flags_of_a_run()
    for name in grid.lists():
        flags.DEFINE_list(name, None, f"List. {single[name].help}")
    flags.DEFINE_string("config", None, "TOML: lists by the names of these flags; [[grid]] tables.")
    flags.DEFINE_integer(
        "jobs", None, "Workers; default: one an accelerator or core, or one job of a queue.", 1
    )
    flags.DEFINE_string(
        "cluster",
        "local",
        f"Where runs go: local, {', '.join(clusters.QUEUES)} (set up in Dask's jobqueue.yaml), or "
        "the address or scheduler file of a Dask cluster.",
    )
    flags.DEFINE_list("plugin", [], single["plugin"].help)
    flags.DEFINE_string("workdir", "results/sweep", "Where the results go.")
    flags.DEFINE_float("checkpoint_seconds", 10.0, single["checkpoint_seconds"].help, 0)


def check_directory(workdir: pathlib.Path) -> None:
    """Raises InputError for a directory that holds something else than a sweep."""
    held = folders.foreign(workdir)
    if held and not {"stacks", "runs"} & set(held):
        raise InputError(
            f"{workdir}: holds files of something else ({held[0]}); choose another --workdir"
        )


def tidy(workdir: pathlib.Path) -> None:
    """Removes what a killed sweep leaves, and the errors of files that could not be read."""
    for leftover in (workdir / "stacks").glob(folders.TEMPORARY):
        leftover.unlink(missing_ok=True)
    for begun in workdir.glob(f"*/{NAME}/{units.BEGUN}"):
        begun.unlink(missing_ok=True)
    for run in (workdir / "runs").glob(NAME):
        if not (run / "config.json").exists():  # somebody else's
            continue
        if (run / "error.json").exists() and not (run / "stack.npz").exists():
            shutil.rmtree(run, ignore_errors=True)
        if (run / "result.json").exists():
            shutil.rmtree(run / "checkpoints", ignore_errors=True)


def main() -> int:
    """Does what is missing; exit status 1 if anything failed."""
    load_plugins(FLAGS.plugin)
    values: dict[str, Any] = {name: FLAGS[name].value for name in grid.lists()}
    given = {name: value for name, value in values.items() if value is not None}
    grids, workdir = grid.read_grids(FLAGS.config, given), pathlib.Path(FLAGS.workdir)
    check_directory(workdir)
    with folders.hold(workdir):
        tidy(workdir)
        planned = plan(workdir, grids, FLAGS.plugin)
        there = sum(isinstance(run, RunUnit) and run.done for run in planned)

        def open_client(most: int) -> AbstractContextManager[Client]:
            return clusters.connect(FLAGS.cluster, FLAGS.jobs, workdir, most)

        failures = workers.carry_out(planned, FLAGS.checkpoint_seconds, open_client)
    for folder, line in failures.items():
        print(f"{workdir / 'runs' / pathlib.Path(folder).name}: {line}", file=sys.stderr)
    print(
        f"{workdir}: {len(planned)} runs: {len(planned) - there - len(failures)} ran, {there} were "
        f"there, {len(failures)} failed; next: python -m experiments.report --sweep={workdir}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    define_flags()
    command.run(main)
