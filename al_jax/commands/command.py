"""What all commands share: one-line errors, working directories, the compilation cache."""

import contextlib
import functools
import io
import math
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

import al_jax
from al_jax.core.stack import InputError
from al_jax.xla import use_compilation_cache

FLAGS = flags.FLAGS


def refuse(names: tuple[str, ...], where: str) -> None:
    """Raises InputError if one of these flags was given."""
    for name in names:
        if FLAGS[name].present:
            raise InputError(f"--{name} has no effect {where}; leave it out")


def program() -> str:
    """The command that the user typed, with which messages begin the command to type next.

    `al-jax annotate`, `python -m experiments.annotate` or `python al_jax/__main__.py annotate`.
    """
    spec = sys.modules["__main__"].__spec__
    if not sys.argv[0].endswith(".py"):
        return os.path.basename(sys.argv[0])
    return (
        f"python {sys.argv[0]}"
        if spec is None
        else f"python -m {spec.name.removesuffix('.__main__')}"
    )


def how_to_install(extra: str) -> str:
    """The command that installs an extra of al_jax, in a clone or without one."""
    clone = (pathlib.Path(al_jax.__file__).parents[1] / "pyproject.toml").exists()
    return f"python -m pip install {'-e ' if clone else ''}'{'.' if clone else 'al_jax'}[{extra}]'"


class Output(io.TextIOWrapper):
    """Standard output or error that never ends the work: what cannot be written is lost.

    Attributes:
      lost: what came between, or None; a reader who has had enough (`| head`) is nothing lost.
      before: what it stands for, which would close the file once nobody holds it.
    """

    lost: OSError | None = None
    before: io.TextIOWrapper | None = None

    def write(self, text: str) -> int:
        """All of the text, or nothing of it and of what follows."""
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """What was written, or nothing of it."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError) or self.lost is not None:
            return
        self.lost = error
        if self is not sys.stderr:
            print(f"note: the output cannot be written ({error.strerror})", file=sys.stderr)


def guard_output() -> None:
    """Nothing that is printed ends the work: no odd character, no full disk, no closed pipe."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed: else the next file would get its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:  # not what a test or a notebook put there
            setattr(sys, name, _guarded(stream))


def _guarded(stream: io.TextIOWrapper) -> Output:
    found = Output(
        stream.buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    found.before = stream
    return found


def output_status() -> int:
    """The exit status of a command that does nothing but print: 1 if that was lost."""
    return int(getattr(sys.stdout, "lost", None) is not None)


def show(page: str) -> None:
    """Prints a page."""
    guard_output()
    print(page, flush=True)


def _help(main: Callable[..., int | None]) -> str:
    """The page of the module that `main` is in, and its flags."""
    module = main.__module__
    page = (sys.modules[module].__doc__ or "").strip()
    page = page.replace(f"al-jax {module.rpartition('.')[2]}", program())
    listed = FLAGS.module_help(sys.argv[0] if module == "__main__" else module)
    return f"{page}\n\nflags:\n{listed.partition(':')[2]}"


def _parse(
    arguments: list[str], main: Callable[..., int | None], subcommands: Sequence[str]
) -> list[str]:
    if {"-h", "--help"} & set(arguments[1:]):
        show(_help(main))
        raise SystemExit(output_status())
    try:
        rest = FLAGS([home(argument) for argument in arguments])
        check_finite(FLAGS)
    except (flags.Error, InputError) as error:
        raise SystemExit(complain(str(error))) from None
    except SystemExit:  # --helpfull, which absl ends with 1
        raise SystemExit(0) from None
    if subcommands and len(rest) > 1 and rest[1] not in subcommands:
        line = f"'{rest[1]}' is not one of {', '.join(subcommands)}; see --help"
        raise SystemExit(complain(line))
    if len(rest) > (2 if subcommands else 1):
        raise SystemExit(complain(f"'{rest[-1]}' is not a flag; see --help"))
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


def stop(line: str = "run the same command again", status: int = 130) -> NoReturn:
    """Ends the process at once: runs can be resumed, and libraries may swallow exceptions."""
    begin = "\n" if sys.stderr.isatty() else ""
    print(f"{begin}stopped; {line}", file=sys.stderr, flush=True)
    os._exit(status)


def complain(message: str) -> int:
    """Prints bad input as one line; the exit status."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def prepare() -> None:
    """Guards the output, silences libraries, chooses the compilation cache: before all else."""
    guard_output()
    logging.set_verbosity(logging.ERROR)
    use_compilation_cache()


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """A block of imports; where a package is missing, the command ends with one line.

    Args:
      name: the extra of al_jax that installs what is imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        line = f"{error.name} is not installed; run: {how_to_install(name)}"
        raise SystemExit(complain(line)) from None


def run(main: Callable[..., int | None], subcommands: Sequence[str] = ()) -> None:
    """Runs a command: bad input ends it with one line and exit status 2.

    Args:
      main: returns another exit status, if any. --help prints the docstring of its module.
      subcommands: words that may come before the flags; `main` is called with the one given, or
        None.
    """
    prepare()

    def guarded(rest: list[str]) -> int:
        before = signal.signal(signal.SIGINT, lambda *_: stop())
        try:
            given = [rest[1] if rest[1:] else None] if subcommands else []
            return main(*given) or 0
        except InputError as error:
            return complain(str(error))
        finally:
            signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=functools.partial(_parse, main=main, subcommands=subcommands))


def typed(subcommand: str, folder: pathlib.Path) -> str:
    """What to type next."""
    return f"{program()} {subcommand} --workdir={shlex.quote(str(folder))}"
