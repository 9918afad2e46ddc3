"""One run by several processes, each with devices of its own: flags of `jax.distributed`.

All get the same command but for --process, and compute the same; the first one holds the folder of
the run and writes into it.
"""

import contextlib
import io
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from al_jax.commands import folders
from al_jax.core.stack import InputError

FLAGS = flags.FLAGS
NAMES = ("coordinator", "processes", "process")


def define_flags() -> None:
    """The flags that name the processes."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, free there.")
    flags.DEFINE_integer("processes", 1, "Processes that share a run; see CLUSTER.md.", 1)
    flags.DEFINE_integer("process", 0, "Which of them this one is.", 0)


def join() -> None:
    """Waits for the other processes, if there are any: before JAX is asked for devices.

    Raises:
      InputError: the flags contradict each other, or the others do not come.
    """
    where, count, own = FLAGS.coordinator, FLAGS.processes, FLAGS.process
    if own >= count:
        raise InputError(f"--process={own}: of {count} the last is {count - 1}; see --processes")
    if (count > 1) != (where is not None):
        raise InputError("--processes and --coordinator go together; give both or neither")
    if count == 1:
        return
    # It would take SIGTERM for a notice, and go on.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        # By default anybody who can reach this machine could join.
        bind = where if own == 0 else None
        jax.distributed.initialize(where, count, own, coordinator_bind_address=bind)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"--coordinator={where}: {error}; start all --processes") from error


@contextlib.contextmanager
def open_workdir(path: str, configuration: dict[str, Any]) -> Iterator[pathlib.Path]:
    """The folder of a run; other processes than the first get a temporary one, and print nothing.

    Raises:
      InputError: of `folders.open_workdir`, in all processes.
    """
    with contextlib.ExitStack() as stack:
        refusal: InputError | None = None
        if jax.process_index() == 0:
            try:
                folder = stack.enter_context(folders.open_workdir(path, configuration))
            except InputError as error:
                refusal = error
        if jax.process_count() > 1:  # the others would wait for one that has ended
            refused = multihost_utils.broadcast_one_to_all(np.array(refusal is not None))
            if refused and refusal is None:
                raise InputError(f"{path}: process 0 cannot have it, and says why")
        if refusal is not None:
            raise refusal
        if jax.process_index() != 0:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield folder
