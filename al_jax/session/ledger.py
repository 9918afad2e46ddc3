"""The events of a session on disk: one line an event, appended and never rewritten.

The ledger is the truth of a session; all else is derived from it. Who appends to it says where it
ended when it was read: if another writer was there since, or a write failed and could not be taken
back, nothing more is stored until the session is opened again. Masks are files of their own, named
by their pixels, and on the disk before the line that names them.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from PIL import Image

from al_jax.core.stack import InputError
from al_jax.files.atomic import to_disk, write_atomic
from al_jax.files.reading import listed, reading
from al_jax.session.events import KINDS, Event

LEDGER = "ledger.jsonl"
MASKS = "masks"

FORM = 1
"""Number of a line's form, which stands in it; a later one is not read by this version."""


class End(NamedTuple):
    """Where a ledger ends, for who appends to it.

    Attributes:
      size: bytes of its events.
      last: the line of the last event, as it is in the file.
      half: what is behind it: of a writer that was stopped in the middle of a line.
    """

    size: int = 0
    last: bytes = b""
    half: bytes = b""


def read_ledger(folder: pathlib.Path) -> tuple[list[Event], End]:
    """All events, in their order, and where the ledger ends.

    A last line that lacks its end but is whole is an event; blank lines are none.

    Raises:
      InputError: a line is no event, or not the one that must come next.
    """
    path = folder / LEDGER
    with reading(path, "the ledger of a session"):
        if not path.exists() and (copies := _copies(folder)):
            raise InputError(
                f"{path}: is missing, but there is {listed(copy.name for copy in copies)}; rename "
                f"the one that goes on to {LEDGER}"
            )
        data = path.read_bytes()
    events: list[Event] = []
    end, size, ends = End(), 0, list[End]()
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        size += len(line)
        if not line.strip():
            continue
        event = _parsed(line)
        if event is None and size == len(data) and not line.endswith(b"\n"):
            return _whole(events, ends, data, end._replace(half=data[end.size :]))
        expected, event = len(events) + 1, event or {}
        form = event.pop("form", FORM)
        if isinstance(form, int) and form > FORM:
            raise InputError(f"{path}: line {number} is of a newer version; use that one")
        if event.get("number") != expected or event.get("event") not in KINDS:
            raise InputError(
                f"{path}: line {number} is not event {expected}; the ledger was changed, take it "
                "from a copy"
            )
        events.append(cast(Event, event))
        end = End(size, line)
        ends.append(end)
    return _whole(events, ends, data, End(len(data), data[end.size - len(end.last) :]))


def _whole(events: list[Event], ends: list[End], data: bytes, end: End) -> tuple[list[Event], End]:
    """Without what made room for an answer that is not there: its writer was stopped before."""
    for number, event in enumerate(events):
        if event.get("given_to", 0) > len(events):
            last = ends[number - 1] if number else End()
            return events[:number], last._replace(half=data[last.size :])
    return events, end


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None if it is half of one, an empty event if it is of something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else {}


def append(folder: pathlib.Path, events: Sequence[Event], end: End) -> End:
    """Adds events: on the disk when this returns, and none of them if it fails.

    Args:
      folder: of the session.
      events: numbered; what is still half a line is written over.
      end: of the ledger, as it was read or as the last call left it.

    Returns:
      Where it ends now.

    Raises:
      InputError: there is no room, the ledger cannot be written, or it does not end there.
    """
    path = folder / LEDGER
    lines = [_line(event) for event in events]
    data = b"".join(lines)
    if end.last and not end.last.endswith(b"\n"):
        data = b"\n" + data
    as_before = True
    try:
        with open(path, "r+b", buffering=0) as file:
            file.seek(end.size - len(end.last))
            if file.read() not in (end.last + end.half, end.last):
                raise InputError(
                    f"{path}: has changed since this session was opened: another program wrote to "
                    "it, or a write could not be taken back; nothing was stored, open the session "
                    "again"
                )
            try:
                file.truncate(end.size)
                file.seek(end.size)
                left = data
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:  # an interrupt, too
                as_before = False
                with contextlib.suppress(OSError):
                    file.truncate(end.size)
                    as_before = True
                raise
    except OSError as error:
        what = "nothing was stored; make room or repair it, and answer again"
        if not as_before:
            what = "what was stored shows when the session is opened again; repair it first"
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}), {what}"
        ) from error
    return End(end.size + len(data), lines[-1] if lines else end.last)


def _line(event: Event) -> bytes:
    try:
        return json.dumps({"form": FORM, **event}, ensure_ascii=False).encode() + b"\n"
    except (TypeError, UnicodeEncodeError) as error:
        raise InputError(
            f"an event holds what is no text ({error}); give it as text, in UTF-8"
        ) from error


def notices(folder: pathlib.Path, events: Sequence[Event], end: End) -> list[str]:
    """What a person should know of a ledger, one line each: half a line, copies beside it."""
    found = []
    if end.half:
        found.append(
            f"{folder / LEDGER}: {len(end.half)} bytes of a line that was not finished are left "
            f"out; the last event is {len(events)}, give again what came after it"
        )
    return found + [_about_copy(path, events) for path in _copies(folder)]


def _copies(folder: pathlib.Path) -> list[pathlib.Path]:
    """Other files that are called like a ledger; where capitals are one, no other name of it."""
    own, found = folder / LEDGER, []
    for path in sorted(folder.iterdir()):
        name = path.name.casefold()
        if name.startswith(".") or "ledger" not in name or "jsonl" not in name:
            continue
        if path.is_file() and not (own.exists() and path.samefile(own)):
            found.append(path)
    return found


def _about_copy(path: pathlib.Path, events: Sequence[Event]) -> str:
    """What a copy of the ledger beside it has that the ledger has not."""
    try:
        parsed = [_parsed(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        return f"{path}: another ledger, which cannot be read ({error.strerror}); move it away"
    own = {json.dumps({"form": FORM, **event}, sort_keys=True) for event in events}
    others = (json.dumps({"form": FORM, **line}, sort_keys=True) for line in parsed if line)
    more = sum(line not in own for line in others)
    if more:
        return (
            f"{path}: another ledger, a copy in conflict with this one, with {more} events that "
            f"{LEDGER} lacks; decide which of both goes on, and move the other one away"
        )
    return f"{path}: another ledger, without any event that {LEDGER} lacks; move it away"


def store_mask(folder: pathlib.Path, mask: np.ndarray) -> str:
    """Writes a mask [H, W] bool as PNG of one bit, atomically; the name of its pixels.

    Raises:
      InputError: it cannot be written.
    """
    name = digest(mask)
    path = _mask_path(folder, name)
    try:
        read_mask(folder, name)
    except InputError:  # there is none, or it is damaged
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        write_within(folder, path, buffer.getvalue())
        return name
    with _writing(path):
        to_disk(path.parent)  # its writer may have been stopped before that
    return name


def write_within(folder: pathlib.Path, path: pathlib.Path, data: bytes) -> None:
    """As `write_atomic`, in a folder of a session, made anew: many tools carry no empty ones."""
    with _writing(path):
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            to_disk(folder)
    write_atomic(path, data)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); make room or repair the disk"
        ) from error


def read_mask(folder: pathlib.Path, name: str) -> np.ndarray:
    """The mask of that name, [H, W] bool.

    Raises:
      InputError: the file is missing, damaged, or holds other pixels.
    """
    path = _mask_path(folder, name)
    with reading(path, "a mask"), Image.open(path, formats=["PNG"]) as image:
        mask = np.asarray(image)
    if mask.dtype != bool or digest(mask) != name:
        raise InputError(f"{path}: holds another mask than its answer; take it from a copy")
    return mask


def digest(mask: np.ndarray) -> str:
    """Names a mask by its pixels."""
    total = hashlib.sha256(str(mask.shape).encode())
    total.update(np.packbits(mask).tobytes())
    return total.hexdigest()[:32]


def _mask_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / MASKS / f"{name}.png"
