"""The scheduling of a sweep's units: their order, and what happens when one of them fails.

The engine is `dask.distributed`. What is done is known from the units' files alone, so workers,
scheduler and sweep may die at any time.
"""

import contextlib
import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeGuard

from distributed import CancelledError, Client, Future, KilledWorker

from al_jax.core.stack import InputError
from al_jax.simulation.progress import Progress
from experiments.sweeps import units
from experiments.sweeps.clusters import check_queue
from experiments.sweeps.units import NetworkUnit, RefusedUnit, RunUnit, Unit

WINDOW = 2_000  # units that the scheduler knows at a time
LOSSES = 20  # of results with their workers, before a unit fails; see also `units.DEATHS`


def carry_out(
    planned: Sequence[RunUnit | RefusedUnit],
    seconds: float,
    open_client: Callable[[int], contextlib.AbstractContextManager[Client]],
) -> dict[str, str]:
    """Does what is not done yet; returns the messages of the runs that failed, by folder.

    Initial networks come first, then the runs; of both the longest first.

    Args:
      planned: all runs.
      seconds: least time between two checkpoints of a unit.
      open_client: a cluster with at most so many workers as there are units; not called for none.

    Raises:
      InputError: the disk is full, or the cluster is gone.
    """
    failures: dict[str, str] = {}

    for run in planned:
        if isinstance(run, RefusedUnit):
            units.record_failure(run, run.line)
            failures[run.folder] = run.line
    able = [run for run in planned if isinstance(run, RunUnit)]
    missing = [run for run in able if not run.done]
    networks = {run.network.folder: run.network for run in missing}
    untrained: list[Unit] = [network for network in networks.values() if not network.done]
    waiting: list[Unit] = [
        *sorted(untrained, key=lambda unit: -unit.work),
        *sorted(missing, key=lambda unit: -unit.work),
    ]
    if not waiting:
        return failures
    for former in waiting:
        units.forget_failure(former)
    total = sum(unit.work for unit in [*untrained, *able])
    done = total - sum(unit.work for unit in waiting)
    left, work_of = len(missing), {unit.key: unit.work for unit in waiting}
    at_work: dict[str, float] = {}
    with Progress("sweep") as bar, open_client(len(waiting)) as client:
        # Workers report their unit, and the fraction of it that is done.
        def heard(event: tuple[float, tuple[str, float]]) -> None:
            key, part = event[1]
            if key in work_of:  # other sweeps may share the cluster
                at_work[key] = part

        client.subscribe_topic(units.PROGRESS, heard)

        def show() -> None:
            now = dict(at_work)
            finished = done + sum(work_of[key] * part for key, part in now.items())
            running = sum(key.startswith("run-") for key in now)
            waits = {} if now or not left or client.nthreads() else {"waiting for": "workers"}
            bar.show(
                min(finished / total, 1.0),
                done=str(len(planned) - left - len(failures)),
                running=str(running),
                failed=str(len(failures)),
                of=str(len(planned)),
                **waits,
            )

        shown = -1.0
        for unit, how, line in _outcomes(client, waiting, seconds):
            if unit is None:
                check_queue(client)
            else:
                at_work.pop(unit.key, None)
                done += unit.work
            if how == "full":
                raise InputError(line)
            if isinstance(unit, RunUnit):
                left -= 1
                if how == "failed":
                    failures[unit.folder] = line
            if time.monotonic() - shown > 0.5:
                show()
                shown = time.monotonic()
        at_work.clear()
        show()
    return failures


def _outcomes(
    client: Client, waiting: Sequence[Unit], seconds: float
) -> Iterator[tuple[Unit | None, str, str]]:
    """Units as they end, with the results of `units.work`; (None, '', '') after an idle second."""
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    needed = Counter(unit.network.folder for unit in waiting if isinstance(unit, RunUnit))
    trained: dict[str, Future] = {}
    pending: dict[str, tuple[int, Unit, int]] = {}

    def submit(number: int, unit: Unit, times: int) -> None:
        before = [trained[unit.network.folder]] if _waits(unit, trained) else []
        future = client.submit(
            units.work, units.to_data(unit), seconds, *before, key=unit.key, priority=-number
        )
        if isinstance(unit, NetworkUnit):
            trained[unit.folder] = future
        pending[unit.key] = number, unit, times
        future.add_done_callback(ended.put)

    following = iter(enumerate(waiting))
    while True:
        for number, unit in itertools.islice(following, WINDOW - len(pending)):
            submit(number, unit, 1)
        if not pending:
            return
        try:
            future = ended.get(timeout=1.0)
        except queue.Empty:
            _check(client)
            yield None, "", ""
            continue
        number, unit, times = pending.pop(str(future.key))
        how, line = _outcome(unit, future)
        if how == "lost" and times < LOSSES:
            _check(client)
            if future.status == "error":  # the scheduler knows its key, and would not run it again
                future.retry()
                pending[unit.key] = number, unit, times + 1
                future.add_done_callback(ended.put)
            else:
                submit(number, unit, times + 1)
            continue
        if isinstance(unit, RunUnit):
            needed[unit.network.folder] -= 1
            if not needed[unit.network.folder]:
                trained.pop(unit.network.folder, None)
        if how == "lost":
            how = "failed"
        if how == "failed" and units.failure(unit) is None:
            units.record_failure(unit, line)
        yield unit, how, line


def _waits(unit: Unit, trained: dict[str, Future]) -> TypeGuard[RunUnit]:
    """Whether a unit is a run whose network is among those of this sweep."""
    return isinstance(unit, RunUnit) and unit.network.folder in trained


def _outcome(unit: Unit, future: Future) -> tuple[str, str]:
    """The result for a unit; 'lost' if its worker is."""
    # From its folder, or from the worker where the disk is full or its files are not seen here yet.
    if unit.done:
        return "done", ""
    if (line := units.failure(unit)) is not None:
        return "failed", line
    try:
        return future.result(timeout=60)
    except (KilledWorker, TimeoutError, CancelledError) as error:
        return "lost", f"its worker was lost ({type(error).__name__}); run the same command again"
    except Exception as error:  # of a worker that cannot begin, as without al_jax
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _check(client: Client) -> None:
    """Raises InputError if the cluster is gone."""
    if client.status != "running":
        raise InputError("the cluster's scheduler is gone; run the same command again")
