"""Messages of readers: one line for whatever a decoder raises, notes about what they took."""

import contextlib
import hashlib
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from al_jax.core.stack import InputError

Read = TypeVar("Read")
LOGGERS = ("tifffile", "nibabel.global")


class InputNote(UserWarning):
    """Input that was read, but not as it stands: a line that a user should see."""


def note(message: str) -> None:
    """Warns of a choice that a reader made; the commands print it as one line."""
    warnings.warn(InputNote(" ".join(message.split())), stacklevel=2)


def with_notes(read: Callable[[], Read]) -> tuple[Read, list[str]]:
    """What a reader reads, and what it noted, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputNote)
        found = read()
    lines = (str(one.message) for one in caught if one.category is InputNote)
    return found, list(dict.fromkeys(lines))


def full_path(path: str | os.PathLike) -> pathlib.Path:
    """A path whose leading `~` is the home directory: shells leave it alone in `--images=~/x`."""
    with contextlib.suppress(RuntimeError):  # no such user
        return pathlib.Path(path).expanduser()
    return pathlib.Path(path)


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns whatever a decoder raises into one line about the file; its own warnings are silent."""
    with _quiet():
        try:
            yield
        except InputError:
            raise
        # Decoders of damaged files raise nearly anything (struct.error, zlib.error, EOFError,
        # SyntaxError, ...); none of it is a fault of this program.
        except Exception as error:
            raise InputError(_line(error, path, kind)) from error


def _line(error: Exception, path: str | os.PathLike, kind: str) -> str:
    """What went wrong, and how to fix it."""
    reason = f"{type(error).__name__}: {str(error)[:200]}"
    match error:
        case FileNotFoundError():
            missing = pathlib.Path(error.filename or path)
            if missing == pathlib.Path(path) or not os.path.exists(path):
                return f"{path}: there is no such file; check the path"
            return f"{path}: its other half {missing.name} is missing; put both in one folder"
        case IsADirectoryError() if not os.fspath(path):
            return "an empty path: there is no such file; name one"
        case IsADirectoryError():
            return f"{path}: is a folder, not {kind}; name a file in it"
        case PermissionError():
            return f"{path}: may not be read ({error.strerror}); change its permissions"
        case ImportError():
            return (
                f"{path}: needs a package that is not installed ({error}); install it, or save "
                "the file in another format"
            )
        case MemoryError():
            return (
                f"{path}: needs more memory than there is ({str(error)[:100]}); make it smaller, "
                "or copy it again if it should be small"
            )
    if isinstance(error, NotImplementedError) or "nsupported" in reason:
        return f"{path}: is of a kind that is not read ({reason}); save it in another format"
    return f"{path}: cannot be read as {kind}, it may be damaged ({reason}); write or copy it again"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what decoders warn of and log; notes are given at the end."""
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        for logger in map(logging.getLogger, LOGGERS):
            stack.callback(setattr, logger, "disabled", logger.disabled)
            logger.disabled = True
        yield
    for warning in caught or ():
        if warning.category is InputNote:
            note(str(warning.message))


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Puts the file in front of what `make_stack` finds wrong with its content."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of what a file holds, which is never in memory as a whole."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(names: Iterable[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def by(shape: Iterable[int]) -> str:
    """A shape in words: 3 by 4."""
    return " by ".join(str(n) for n in shape)
