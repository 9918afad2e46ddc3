"""Folders that belong to one configuration, and to one process at a time (`files.leases`)."""

import contextlib
import fnmatch
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from al_jax.core.stack import InputError
from al_jax.files.atomic import TEMPORARY, write_atomic
from al_jax.files.leases import LEASE, hold
from al_jax.learner.config import flatten

OURS = (LEASE, ".lock", TEMPORARY)  # hidden files that a killed run may leave


@contextlib.contextmanager
def open_workdir(
    path: str | os.PathLike,
    configuration: dict[str, Any],
    patience: float = 0.0,
    counts: Callable[[dict[str, Any]], dict[str, Any]] = lambda configuration: configuration,
) -> Iterator[pathlib.Path]:
    """A folder that belongs to one configuration, and that this process alone holds.

    It is made if missing; `config.json` in it names the configuration.

    Args:
      path, patience: see `hold`.
      configuration: as plain JSON.
      counts: the part of a configuration that must agree.

    Raises:
      InputError: it holds another configuration (the message names what differs) or other files, is
        in use, or cannot be written.
    """
    _check(pathlib.Path(path), configuration, counts)
    with hold(path, patience) as folder:
        # Another process may have come first.
        if not _check(folder, configuration, counts):
            text = json.dumps(configuration, indent=2) + "\n"
            write_atomic(folder / "config.json", text.encode())
        yield folder


def _check(folder: pathlib.Path, configuration: dict, counts: Callable[[dict], dict]) -> bool:
    """Whether the folder holds this configuration already; InputError if it holds another."""
    if "config.json" not in (held := foreign(folder)):
        if held:
            raise InputError(
                f"{folder}: holds files of something else ({held[0]}); choose another --workdir"
            )
        return False
    try:
        was = as_flags(counts(json.loads((folder / "config.json").read_text())))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: its config.json is unreadable; choose another --workdir"
        ) from error
    now = as_flags(counts(configuration))
    differing = [key for key in sorted(was | now) if was.get(key) != now.get(key)]
    if differing:
        lines = [f"{k} was {was.get(k, 'unset')}, is {now.get(k, 'unset')}" for k in differing[:6]]
        lines += [f"{len(differing) - 6} more"] if len(differing) > 6 else []
        raise InputError(
            f"{folder}: holds another run ({'; '.join(lines)}); choose another --workdir"
        )
    return True


def foreign(folder: pathlib.Path) -> list[str]:
    """The names in a folder, sorted, without the hidden files that a killed run may leave.

    Raises:
      InputError: it is not a folder, or cannot be read.
    """
    try:
        held = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --workdir") from error
    return [name for name in held if not any(fnmatch.fnmatchcase(name, own) for own in OURS)]


def as_flags(configuration: dict) -> dict[str, Any]:
    """Settings under their own names, lists as on the command line."""
    flat = flatten(configuration)
    return {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in flat.items()}
