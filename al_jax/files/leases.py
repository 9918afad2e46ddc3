"""Folders that belong to one process at a time.

Who holds a folder has a lease on it: the file `.lease`, made by an exclusive open, names its owner,
who counts up a number in it every few seconds. On one machine the owner's process shows whether a
lease is still good; elsewhere the number does: if it stands still for a minute, the owner is taken
for dead. An owner that only slept, or was cut off, finds that the lease is another's and ends at
once. So nothing depends on `flock`, which not every shared file system passes on between machines,
nor on clocks that agree.
"""

import contextlib
import json
import os
import pathlib
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import psutil

from al_jax.core.stack import InputError
from al_jax.files.atomic import TEMPORARY, temporary_beside

LEASE = ".lease"
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
        held = _read(folder / LEASE)
        if _holds(held, token):
            (folder / LEASE).unlink(missing_ok=True)
        elif held:  # it woke so late that the block ended before the next sign of life was due
            _end(folder)


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
            _end(lease.parent)


def _end(folder: pathlib.Path) -> NoReturn:
    print(
        f"error: {folder}: another process has taken it over; this one ends",
        file=sys.stderr,
        flush=True,
    )
    os._exit(3)


def _content(token: str, count: int) -> bytes:
    """A lease as bytes, as many whatever the count."""
    owner = {
        "beat": f"{count:012}",
        "token": token,
        "machine": _machine(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
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
        process = psutil.Process(owner["pid"])
        same = abs(process.create_time() - owner["started"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (ValueError, KeyError, TypeError, psutil.Error):
        return None
