"""Folders that belong to one process at a time.

Who holds a folder has a lease on it: the file `.lease` names its owner, who counts up a number in
it every few seconds. On one machine the owner's process shows whether a lease is still good;
elsewhere the number does: if it stands still for a minute, the owner is taken for dead. An owner
that only slept, or was cut off, finds that the lease is another's and ends at once.

So nothing depends on `flock`, which not every shared file system passes on between machines, nor on
clocks that agree or are never set: a machine is known by the number of its boot, a process by when
it began after that. Equal host names are no equal machines. A lease also names its folder: a copy
of the folder has a copy of the lease, which holds nothing.
"""

import contextlib
import datetime
import json
import os
import pathlib
import platform
import secrets
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import psutil

from al_jax.core.stack import InputError
from al_jax.files.atomic import FULL, TEMPORARY, temporary_beside

LEASE = ".lease"
BEAT = 5.0  # seconds between two signs of life
EXPIRY = 60.0  # seconds without one after which an owner on another machine is taken for dead
UNREADABLE = 10.0  # seconds after which a lease that names nobody is nobody's
LOOKS = 3  # at a lease that is not there: one of a dead owner may just be taken away
PROC = pathlib.Path("/proc")

Owner = dict[str, Any]


@contextlib.contextmanager
def hold(path: str | os.PathLike, patience: float = 0.0) -> Iterator[pathlib.Path]:
    """A folder that belongs to this process until the end of the block; it is made if missing.

    A process that loses its lease to another (it was stopped for more than a minute) ends on the
    spot with exit status 3. Who has to wait says for whom, on standard error.

    Args:
      path: of the folder.
      patience: seconds to wait for an owner that is at work.

    Raises:
      InputError: it is in use, or cannot be written.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = _this_process(folder)
        other = _take(folder / LEASE, owner, patience)
    except OSError as error:
        what = "make room" if error.errno in FULL else "choose another --workdir"
        raise InputError(f"{path}: {error.strerror or error}; {what}") from error
    if other is not None:
        raise InputError(
            f"{path}: another process is at work in it ({_who(other)}); wait for it, or end it"
        )
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder / LEASE, owner, released), daemon=True)
    beating.start()
    try:
        remove_leftovers(folder)
        yield folder
    finally:
        released.set()
        beating.join()
        with _noted(folder / LEASE):
            held = _read(folder / LEASE)
            if held is not None and _is_of(held, owner):
                (folder / LEASE).unlink(missing_ok=True)
            elif held:  # it woke so late that the block ended before the next sign of life was due
                _end(folder)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what writers that were killed left in a folder of this process, as far as it can."""
    with _noted(folder):
        for leftover in folder.glob(TEMPORARY):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _noted(path: pathlib.Path) -> Iterator[None]:
    """A block that removes what is not needed: that it cannot is a note, and no failure."""
    try:
        yield
    except OSError as error:
        what = error.filename or path
        _say(f"note: {what}: cannot be removed ({error.strerror or error}); remove it yourself")


def _take(lease: pathlib.Path, owner: Owner, patience: float) -> Owner | None:
    """Makes the lease, once there is none or its owner is dead; the other owner if that lives."""
    begun = since = time.monotonic()
    first = seen = _read(lease)
    told = False
    while True:
        if _make(lease, owner):
            return None
        now, held = time.monotonic(), _read(lease)
        if held is None:
            continue
        if held != seen:
            seen, since = held, now
        other = _parsed(held)
        lives = None if other is None else _lives(other, lease.parent)
        limit = UNREADABLE if other is None else EXPIRY
        if lives is False or (lives is None and now - since >= limit):
            _discard(lease, held)
        elif other is not None and now - begun >= patience and (lives or held != first):
            return other
        else:
            if not told:
                _say(_why_it_waits(lease, other, lives))
                told = True
            time.sleep(min(0.05 + (now - begun) / 20, 0.5))


def _make(lease: pathlib.Path, owner: Owner) -> bool:
    """Makes the lease in one step, so that nobody sees it half written; False if there is one."""
    if os.path.lexists(lease):
        return False
    aside, content = temporary_beside(lease), _content(owner, 0)
    try:
        aside.write_bytes(content)
        _place(aside, content, lease)
    finally:
        aside.unlink(missing_ok=True)
    held = _read(lease)
    return held is not None and _is_of(held, owner)


def _place(aside: pathlib.Path, content: bytes, lease: pathlib.Path) -> None:
    """Gives a file the name of the lease, unless that is taken."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(aside, lease)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with open(lease, "xb") as file:
                file.write(content)


def _discard(lease: pathlib.Path, held: bytes) -> None:
    """Removes the lease of a dead owner, unless another process was quicker."""
    if _read(lease) != held:
        return
    aside = temporary_beside(lease)
    with contextlib.suppress(FileNotFoundError):
        os.rename(lease, aside)
        found = _read(aside)
        if found is not None and found != held:  # it is somebody's who was quicker
            _place(aside, found, lease)
        aside.unlink(missing_ok=True)


def _beat(lease: pathlib.Path, owner: Owner, released: threading.Event) -> None:
    """The sign of life of an owner; ends the process if the lease is not its own any more."""
    count, missed, last = 0, 0, time.monotonic()
    while not released.wait(BEAT / 10 if missed else BEAT):
        with contextlib.suppress(OSError):
            if _sign(lease, owner, count + 1):
                count, missed, last = count + 1, 0, time.monotonic()
                continue
            missed = missed + 1 if _parsed(_read(lease) or b"") is None else LOOKS
        if missed >= LOOKS or time.monotonic() - last >= EXPIRY:
            if released.is_set():
                return
            _end(lease.parent)


def _sign(lease: pathlib.Path, owner: Owner, count: int) -> bool:
    """Writes a sign of life into the owner's lease; False if it is not the owner's."""
    if not _is_of(_read(lease) or b"", owner):
        return False
    # In place: if another takes the lease just now, this goes into a file without name.
    with open(lease, "r+b") as file:
        if not _is_of(file.read(), owner):
            return False
        file.seek(0)
        file.write(_content(owner, count))
    return True


def _end(folder: pathlib.Path) -> NoReturn:
    _say(f"error: {folder}: another process has taken it over; this one ends")
    os._exit(3)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # whatever became of standard error
        print(line, file=sys.stderr, flush=True)


def _why_it_waits(lease: pathlib.Path, other: Owner | None, lives: bool | None) -> str:
    """For whom, and how to go on; one line."""
    if other is None:
        return f"note: {lease}: names nobody; going on in {UNREADABLE:.0f} s if that stays so"
    line = f"note: {lease.parent}: waiting for {_who(other)}"
    if lives:
        return f"{line}, which is at work in it"
    return (
        f"{line}, until it has given no sign of life for {EXPIRY:.0f} s; if it has ended, or this "
        f"is a copy of its folder, remove {lease} to go on at once"
    )


def _who(owner: Owner) -> str:
    """Process, machine and time, for a person."""
    if "start" in owner:
        host, since = owner.get("host"), str(owner.get("since")).replace("T", " ")
    else:  # of a former version
        host = str(owner.get("machine")).partition(" ")[0]
        since = "some time"
        with contextlib.suppress(ValueError, OverflowError, TypeError):
            when = datetime.datetime.fromtimestamp(owner["started"], datetime.UTC)
            since = f"{when:%Y-%m-%d %H:%M} UTC"
    line = f"process {owner['pid']} on {host}, since {since}"
    return "".join(letter for letter in line if letter.isprintable())[:200]


def _this_process(folder: pathlib.Path) -> Owner:
    """What a lease says of its owner."""
    return {
        "token": secrets.token_hex(16),
        "machine": _machine(),
        "host": platform.node(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "folder": _identity(folder),
        "path": os.path.realpath(folder),
    }


def _content(owner: Owner, count: int) -> bytes:
    """A lease as bytes, as many whatever the count."""
    return json.dumps({"beat": f"{count:012}", **owner}).encode() + b"\n"


def _identity(folder: pathlib.Path) -> str:
    """What a folder keeps when it is renamed, and a copy of it has not."""
    about = os.stat(folder)
    return f"{about.st_dev}:{about.st_ino}"


def _machine() -> str:
    """Where process numbers mean the same as here, since the machine was started."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return f"{platform.node()} {uuid.getnode():012x}"


def _start(pid: int) -> float | None:
    """When a process began, on a clock that nobody sets; None if that may not be seen.

    Raises ProcessLookupError if there is no such process any more.
    """
    if not (PROC / "self/stat").exists():
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                raise ProcessLookupError
            return process.create_time()
        except psutil.NoSuchProcess as error:
            raise ProcessLookupError from error
        except psutil.Error:
            return None
    try:
        # Its name may hold spaces and brackets; behind it are state (field 3) and start (22).
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            raise ProcessLookupError
        return int(fields[19])
    except (FileNotFoundError, PermissionError, IndexError):
        with contextlib.suppress(PermissionError):  # it is another user's, and hidden
            os.kill(pid, 0)
        return None


def _read(lease: pathlib.Path) -> bytes | None:
    """What is in it; None if there is none. A link to nothing is there, too."""
    try:
        return lease.read_bytes()
    except FileNotFoundError:
        return b"" if lease.is_symlink() else None


def _is_of(held: bytes, owner: Owner) -> bool:
    return owner["token"].encode() in held


def _parsed(held: bytes) -> Owner | None:
    """The owner that a lease names, by this version or a former one; None: it names nobody."""
    try:
        owner = json.loads(held)
        known = isinstance(owner["machine"], str) and type(owner["pid"]) is int
        own = isinstance(owner["started" if "started" in owner else "start"], float | int | None)
    except (ValueError, KeyError, TypeError):
        return None
    return owner if known and own and owner["pid"] > 0 else None


def _lives(owner: Owner, folder: pathlib.Path) -> bool | None:
    """Whether an owner is at work in a folder; None if that cannot be said from here."""
    if "start" not in owner:
        return _lives_by_clock(owner)
    if owner["machine"] != _machine():
        return None
    try:
        start = _start(owner["pid"])
    except ProcessLookupError:
        return False
    if start is None or owner["start"] is None:
        return None
    if start != owner["start"]:
        return False
    moved = owner.get("folder") != _identity(folder)
    # File systems may number folders anew; a copy is elsewhere too.
    return not (moved and owner.get("path") != os.path.realpath(folder))


def _lives_by_clock(owner: Owner) -> bool | None:
    """The same of a former version's lease, which may be of another machine of that name."""
    try:
        space = os.readlink(PROC / "self/ns/pid")
    except OSError:
        space = ""
    if owner["machine"] != f"{platform.node()} {space}":
        return None
    try:
        process = psutil.Process(owner["pid"])
        same = abs(process.create_time() - (owner["started"] or 0)) < 1
        return True if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
