"""System calls of Python code that fail on purpose: one of them, at one place, in one way.

`failing` stands around every call by which files are opened, written, synced, renamed, linked, cut
or removed, through `os`, `open` and `pathlib`. `Disk` sees the same calls and knows what a power
cut would leave.
"""

import builtins
import contextlib
import errno
import io
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator

OF_OS = ("open", "write", "fsync", "replace", "rename", "link", "symlink", "unlink", "remove")
OF_OS += ("mkdir", "rmdir", "truncate", "ftruncate")
BEFORE = ("EIO", "ENOSPC", "EINTR", "interrupt", "EIO for good")
"""What a call does in place of its work; 'for good': and every call after it."""

AFTER = ("EIO", "interrupt")
"""What it does once its work is done, of those that write, sync, rename or cut."""

LASTING = ("write", "fsync", "replace", "rename", "link", "truncate", "ftruncate")

Seen = Callable[[str, tuple, bool], None]
"""Is told of a call: its name, its arguments, whether it is done."""


def ways(name: str) -> list[tuple[str, bool]]:
    """How a call of that name may fail: what happens, and whether after its work."""
    found = [(how, False) for how in BEFORE]
    found += [(how, True) for how in AFTER] if name in LASTING else []
    return found + ([("short", False)] if name == "write" else [])


@contextlib.contextmanager
def failing(
    at: int = -1, how: str = "", after: bool = False, seen: Seen | None = None
) -> Iterator[list[str]]:
    """The names of the calls so far; the one of number `at` fails."""
    made: list[str] = []

    def call(name, real, *given, **more):
        number, short = len(made), False
        made.append(name)
        if seen:
            seen(name, given, False)
        if number == at or (number > at >= 0 and how.endswith("for good")):
            short = how == "short" and name == "write"
            if not (short or after):
                raise _failure("ENOSPC" if how == "short" else how)
            if short:
                given = (given[0], given[1][: len(given[1]) // 2])
        found = real(*given, **more)
        if number == at and after:
            raise _failure(how)
        if seen:
            seen(name, given, True)
        return found

    def opened(*given, **more):
        return _File(call("open", real_open, *given, **more), call)

    with contextlib.ExitStack() as stack:
        real_open = io.open
        for name in OF_OS:
            real = getattr(os, name)
            stack.callback(setattr, os, name, real)
            setattr(os, name, lambda *a, n=name, r=real, **m: call(n, r, *a, **m))
        for module in (builtins, io):
            stack.callback(setattr, module, "open", real_open)
            module.open = opened
        yield made


class _File:
    """An open file whose writes are seen."""

    def __init__(self, file, call):
        self._file, self._call = file, call

    def write(self, data):
        def real(_, data):
            done = self._file.write(data)
            if done < whole and not isinstance(self._file, io.RawIOBase):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as its buffer finds out
            return done

        whole = len(data)
        return self._call("write", real, self._file, data)

    def truncate(self, size=None):
        return self._call("truncate", lambda _, size: self._file.truncate(size), self._file, size)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __iter__(self):
        return iter(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def _failure(how: str) -> BaseException:
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # until it is there
    if how == "interrupt":
        return KeyboardInterrupt()
    number = getattr(errno, how.split()[0])
    return OSError(number, os.strerror(number))


class Disk:
    """What is on the disk of a folder: synced bytes of files, and synced names of folders."""

    def __init__(self) -> None:
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}

    def __call__(self, name: str, given: tuple, done: bool) -> None:
        if name != "fsync" or not done:
            return
        about = os.fstat(given[0])
        place = pathlib.Path(f"/proc/self/fd/{given[0]}").resolve()
        if place.is_dir():
            own = {path.name: path.stat().st_ino for path in place.iterdir()}
            self._names[about.st_ino] = own
        else:
            self._bytes[about.st_ino] = place.read_bytes()

    def after_a_power_cut(self, folder: pathlib.Path, to: pathlib.Path) -> None:
        """Makes `to` what would be left of `folder`; what was never synced is empty or missing."""
        self._left(folder.stat().st_ino, to)

    def _left(self, inode: int, to: pathlib.Path) -> None:
        to.mkdir()
        for name, own in self._names.get(inode, {}).items():
            if own in self._names:
                self._left(own, to / name)
            else:
                (to / name).write_bytes(self._bytes.get(own, b""))


def copies(folder: pathlib.Path, into: pathlib.Path) -> Seen:
    """Copies a folder before and after each call: what a kill at that moment leaves."""
    into.mkdir()

    def seen(name: str, given: tuple, done: bool) -> None:
        if folder.exists() and not (done and name not in LASTING):
            busy.append(None)
            if len(busy) == 1:  # the copying calls the same functions
                shutil.copytree(folder, into / f"{len(os.listdir(into)):04}")
            busy.pop()

    busy: list[None] = []
    return seen
