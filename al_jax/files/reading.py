"""Errors of readers: whatever a decoder raises becomes one line about the file."""

import contextlib
import os
from collections.abc import Iterable, Iterator

from al_jax.stack import InputError


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns whatever a decoder raises into one line about the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the path") from error
    # Decoders of damaged files raise nearly anything (struct.error, zlib.error, EOFError,
    # SyntaxError, MemoryError, ...); none of it is a fault of this program.
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read as {kind}, it may be damaged ({type(error).__name__}: "
            f"{str(error)[:200]}); write or copy it again"
        ) from error


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Puts the file in front of what `make_stack` finds wrong with its content."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def listed(names: Iterable[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def by(shape: Iterable[int]) -> str:
    """A shape in words: 3 by 4."""
    return " by ".join(str(n) for n in shape)
