"""What all commands share: one-line errors, working directories, the compilation cache."""

import contextlib
import fcntl
import json
import math
import os
import pathlib
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import app, flags, logging

from al_jax.files.whole import write_whole
from al_jax.stack import InputError

FLAGS = flags.FLAGS


def refuse(names: tuple[str, ...], where: str) -> None:
    """Raises InputError if one of these flags was given."""
    for name in names:
        if FLAGS[name].present:
            raise InputError(f"--{name} has no effect {where}; leave it out")


@contextlib.contextmanager
def hold(path: str | os.PathLike, patience: float = 0.0) -> Iterator[pathlib.Path]:
    """A directory that belongs to one process at a time; it is made if missing.

    Args:
      path: of the directory.
      patience: seconds to wait for a process that has it.

    Raises:
      InputError: it is in use, or cannot be written.
    """
    folder, begun = pathlib.Path(path), time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(folder / ".lock", "w"))
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() - begun >= patience:
                        raise
                    time.sleep(0.05)
        except BlockingIOError:
            raise InputError(f"{path}: another process is at work in it; wait for it") from None
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{path}: {reason}; choose another --workdir") from error
        for leftover in folder.glob(".*.tmp"):  # of a writer that was killed
            leftover.unlink(missing_ok=True)
        yield folder


@contextlib.contextmanager
def open_workdir(
    path: str | os.PathLike, configuration: dict, patience: float = 0.0
) -> Iterator[pathlib.Path]:
    """A directory that belongs to one configuration, and that this process alone holds.

    It is made if missing; `config.json` in it names the configuration.

    Raises:
      InputError: it holds another configuration (the line says what differs) or other files, is in
        use, or cannot be written.
    """
    _check_workdir(pathlib.Path(path), configuration)
    with hold(path, patience) as folder:
        # Another process may have come first.
        if not _check_workdir(folder, configuration):
            text = json.dumps(configuration, indent=2) + "\n"
            write_whole(folder / "config.json", text.encode())
        yield folder


def _check_workdir(folder: pathlib.Path, configuration: dict) -> bool:
    """Whether the folder holds this configuration already; InputError if it holds another."""
    try:
        held = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --workdir") from error
    if "config.json" not in held:
        # A run that was killed before its first file leaves a lock and temporary names at most.
        strangers = [name for name in held if not name.startswith(".")]
        if strangers:
            raise InputError(
                f"{folder}: holds files of something else ({strangers[0]}); "
                "choose another --workdir"
            )
        return False
    try:
        was = flatten(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: its config.json is unreadable; choose another --workdir"
        ) from error
    now = flatten(configuration)
    differing = [key for key in sorted(was | now) if was.get(key) != now.get(key)]
    if differing:
        told = [f"{k} was {was.get(k, 'unset')}, is {now.get(k, 'unset')}" for k in differing[:6]]
        told += [f"{len(differing) - 6} more"] if len(differing) > 6 else []
        raise InputError(
            f"{folder}: holds another run ({'; '.join(told)}); choose another --workdir"
        )
    return True


def flatten(configuration: dict) -> dict[str, Any]:
    """Nested settings under their own names, lists as they are typed on the command line."""
    flat: dict[str, Any] = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            flat |= flatten(value)
        else:
            flat[key] = ",".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _parse(arguments: list[str]) -> list[str]:
    try:
        rest = FLAGS(arguments)
    except flags.Error as error:
        raise SystemExit(_complain(str(error))) from None
    except SystemExit:  # --help, which absl ends with 1
        raise SystemExit(0) from None
    if len(rest) > 1:
        raise SystemExit(_complain(f"'{rest[1]}' is no flag; see --help"))
    try:
        check_finite(FLAGS)
    except InputError as error:
        raise SystemExit(_complain(str(error))) from None
    return rest


def check_finite(values: flags.FlagValues) -> None:
    """Raises InputError for a flag that is no finite number; absl takes nan and inf."""
    for name, value in values.flag_values_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"flag --{name}={value}: give a finite number")


def _stop(*_: object) -> None:
    """Ends the process on the spot: runs survive any stop, and libraries may swallow exceptions."""
    line = "\n" if sys.stderr.isatty() else ""
    print(f"{line}stopped; run the same command again", file=sys.stderr, flush=True)
    os._exit(130)


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def prepare() -> None:
    """Silences libraries and chooses the compilation cache: the first thing a process does."""
    logging.set_verbosity(logging.ERROR)
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if chosen is None:  # not by JAX_COMPILATION_CACHE_DIR
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "al_jax"))
    # Where the cache cannot be written, everything works but for its speed.
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache")


def run(main: Callable[[], int | None]) -> None:
    """Runs a command: bad input ends it with one line and exit status 2.

    `main` returns another exit status, if any.
    """
    prepare()

    def guarded(_: list[str]) -> int:
        before = signal.signal(signal.SIGINT, _stop)
        try:
            return main() or 0
        except InputError as error:
            return _complain(str(error))
        finally:
            signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=_parse)
