"""What all commands share: one-line errors, working directories, the compilation cache."""

import contextlib
import functools
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import app, flags, logging

from al_jax.core.stack import InputError

FLAGS = flags.FLAGS


def refuse(names: tuple[str, ...], where: str) -> None:
    """Raises InputError if one of these flags was given."""
    for name in names:
        if FLAGS[name].present:
            raise InputError(f"--{name} has no effect {where}; leave it out")


def _parse(arguments: list[str], words: Sequence[str] = ()) -> list[str]:
    known = [home(argument) if argument != "-h" else "--help" for argument in arguments]
    try:
        rest = FLAGS(known)
    except flags.Error as error:
        raise SystemExit(_complain(str(error))) from None
    except SystemExit:  # --help, which absl ends with 1
        raise SystemExit(0) from None
    if words and len(rest) > 1 and rest[1] not in words:
        raise SystemExit(_complain(f"'{rest[1]}' is not one of {', '.join(words)}; see --help"))
    if len(rest) > (2 if words else 1):
        raise SystemExit(_complain(f"'{rest[-1]}' is no flag; see --help"))
    try:
        check_finite(FLAGS)
    except InputError as error:
        raise SystemExit(_complain(str(error))) from None
    return rest


def home(argument: str) -> str:
    """A flag whose value begins with ~, which no shell expands behind =, with the home folder."""
    name, equals, value = argument.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and value.startswith("~") else argument


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


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """A block of imports; where a package is missing, the command ends with one line.

    Args:
      name: the extra of al_jax that brings what is imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        line = f"{error.name} is not installed; run: python -m pip install -e '.[{name}]'"
        raise SystemExit(_complain(line)) from None


def run(main: Callable[..., int | None], words: Sequence[str] = ()) -> None:
    """Runs a command: bad input ends it with one line and exit status 2.

    Args:
      main: returns another exit status, if any.
      words: what may stand before the flags; `main` is called with the one that does, or None.
    """
    prepare()

    def guarded(rest: list[str]) -> int:
        before = signal.signal(signal.SIGINT, _stop)
        try:
            given = [rest[1] if rest[1:] else None] if words else []
            return main(*given) or 0
        except InputError as error:
            return _complain(str(error))
        finally:
            signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=functools.partial(_parse, words=words))
