"""Folders that belong to one process at a time, and to one configuration.

Who holds a folder has a lease on it: the file `.lease`, made by an exclusive open, names its owner,
who counts up a number in it every few seconds. On one machine the owner's process shows whether a
lease is still good; elsewhere the number does: if it stands still for a minute, the owner is taken
for dead. An owner that only slept, or was cut off, finds that the lease is another's and ends at
once. So nothing depends on `flock`, which not every shared file system passes on between machines,
nor on clocks that agree.
"""

import contextlib
import fnmatch
import json
import os
import pathlib
import platform
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from al_jax.files.whole import TEMPORARY, temporary_beside, write_whole
from al_jax.stack import InputError

LEASE = ".lease"
OURS = (LEASE, ".lock", TEMPORARY)  # hidden names that a killed run may leave
BEAT = 5.0  # seconds between two signs of life
EXPIRY = 60.0  # seconds without one after which an owner on another machine is taken for dead


@contextlib.contextmanager
def hold(path: str | os.PathLike, patience: float = 0.0) -> Iterator[pathlib.Path]:
    """A folder that belongs to this process until the end of the block; it is made if missing.

    A process that loses its lease to another (it was stopped for more than a minute) ends on the
    spot with exit status 3.

    Args:
      path: of the folder.
      patience: seconds to wait for an owner that is at work.

    Raises:
      InputError: it is in use, or cannot be written.
    """
    folder, token = pathlib.Path(path), secrets.token_hex(16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = _take(folder / LEASE, token, patience)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; choose another --workdir") from error
    if not taken:
        raise InputError(f"{path}: another process is at work in it; wait for it")
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder / LEASE, token, released), daemon=True)
    beating.start()
    try:
        for leftover in folder.glob(TEMPORARY):  # of a writer that was killed
            leftover.unlink(missing_ok=True)
        yield folder
    finally:
        released.set()
        beating.join()
        if _holds(_read(folder / LEASE), token):
            (folder / LEASE).unlink(missing_ok=True)


def _take(lease: pathlib.Path, token: str, patience: float) -> bool:
    """Makes the lease, once there is no other or its owner is dead; False if the owner lives."""
    begun = since = time.monotonic()
    first = seen = _read(lease)
    while True:
        with contextlib.suppress(FileExistsError), open(lease, "xb") as file:
            file.write(_content(token, 0))
            return True
        now, held = time.monotonic(), _read(lease)
        if held != seen:
            seen, since = held, now
        here = _lives_here(held)
        if here is False or (here is None and now - since >= EXPIRY):
            _discard(lease, held)
        elif now - begun >= patience and (here or held != first):
            return False
        else:
            time.sleep(min(0.05 + (now - begun) / 20, 0.5))


def _discard(lease: pathlib.Path, held: bytes) -> None:
    """Removes the lease of a dead owner, unless another process was quicker."""
    aside = temporary_beside(lease)
    with contextlib.suppress(FileNotFoundError):
        os.rename(lease, aside)
        if _read(aside) != held:  # it is somebody's who was quicker
            with contextlib.suppress(FileExistsError):
                os.link(aside, lease)
        aside.unlink(missing_ok=True)


def _beat(lease: pathlib.Path, token: str, released: threading.Event) -> None:
    """The sign of life of an owner; ends the process if the lease is not its own any more."""
    count, last = 0, time.monotonic()
    while not released.wait(BEAT):
        count += 1
        with contextlib.suppress(OSError):
            if _holds(_read(lease), token):
                # In place: if another takes the lease just now, this goes into a file without name.
                with open(lease, "r+b") as file:
                    if _holds(file.read(), token):
                        file.seek(0)
                        file.write(_content(token, count))
                        last = time.monotonic()
                        continue
            last = -EXPIRY
        if time.monotonic() - last >= EXPIRY and not released.is_set():
            line = f"error: {lease.parent}: another process has taken it over; this one ends"
            print(line, file=sys.stderr, flush=True)
            os._exit(3)


def _content(token: str, count: int) -> bytes:
    """A lease as bytes, as many whatever the count."""
    owner = {
        "beat": f"{count:012}",
        "token": token,
        "machine": _machine(),
        "pid": os.getpid(),
        "began": _state_of(os.getpid())[1],
    }
    return json.dumps(owner).encode() + b"\n"


def _machine() -> str:
    """Where process numbers mean the same as here."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()} {space}"


def _read(lease: pathlib.Path) -> bytes:
    try:
        return lease.read_bytes()
    except FileNotFoundError:
        return b""


def _holds(held: bytes, token: str) -> bool:
    return token.encode() in held


def _lives_here(held: bytes) -> bool | None:
    """Whether the owner is a process of this machine; None if that cannot be said."""
    try:
        owner = json.loads(held)
        if owner["machine"] != _machine():
            return None
        number, began = int(owner["pid"]), str(owner["began"])
        os.kill(number, 0)  # which asks, and does nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    state, found = _state_of(number)
    return found == began and state not in "ZX" if found and began else None


def _state_of(process: int) -> tuple[str, str]:
    """The state of a process and when it began, as Linux counts; empty where nothing says it.

    By hand, as this is all that a simulation would need a library of processes for.
    """
    try:
        # After the name, which may hold anything in its brackets.
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


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
      path, patience: as of `hold`.
      configuration: as plain JSON.
      counts: what of a configuration must agree.

    Raises:
      InputError: it holds another configuration (the line says what differs) or other files, is in
        use, or cannot be written.
    """
    _check(pathlib.Path(path), configuration, counts)
    with hold(path, patience) as folder:
        # Another process may have come first.
        if not _check(folder, configuration, counts):
            text = json.dumps(configuration, indent=2) + "\n"
            write_whole(folder / "config.json", text.encode())
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
        was = flatten(counts(json.loads((folder / "config.json").read_text())))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: its config.json is unreadable; choose another --workdir"
        ) from error
    now = flatten(counts(configuration))
    differing = [key for key in sorted(was | now) if was.get(key) != now.get(key)]
    if differing:
        lines = [f"{k} was {was.get(k, 'unset')}, is {now.get(k, 'unset')}" for k in differing[:6]]
        lines += [f"{len(differing) - 6} more"] if len(differing) > 6 else []
        raise InputError(
            f"{folder}: holds another run ({'; '.join(lines)}); choose another --workdir"
        )
    return True


def foreign(folder: pathlib.Path) -> list[str]:
    """What a folder holds, sorted, apart from what a run that was killed at once may leave.

    Raises:
      InputError: it is no folder, or cannot be read.
    """
    try:
        held = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --workdir") from error
    return [name for name in held if not any(fnmatch.fnmatchcase(name, own) for own in OURS)]


def flatten(configuration: dict) -> dict[str, Any]:
    """Nested settings under their own names, lists as they are typed on the command line."""
    flat: dict[str, Any] = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            flat |= flatten(value)
        else:
            flat[key] = ",".join(map(str, value)) if isinstance(value, list) else value
    return flat
