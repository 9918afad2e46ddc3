"""The events of a session on disk: one line an event, appended and never rewritten.

The ledger is the truth of a session; all else is derived from it. A line counts once it ends: what
a killed or failed writer left behind the last end of a line is no event, and the next one is
written over it. Masks are files of their own, named by their pixels, and there before the line that
names them.
"""

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from al_jax.core.stack import InputError
from al_jax.files.atomic import write_atomic
from al_jax.files.reading import reading
from al_jax.session.events import KINDS, Event

LEDGER = "ledger.jsonl"
MASKS = "masks"


def read_ledger(folder: pathlib.Path) -> list[Event]:
    """All events, in their order.

    Raises:
      InputError: a line is no event, or not the one that must come next.
    """
    path = folder / LEDGER
    with reading(path, "the ledger of a session"):
        data = path.read_bytes()
    events: list[Event] = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            event = json.loads(line)
            good = event["number"] == number and event["event"] in KINDS
        except (ValueError, TypeError, KeyError):
            good = False
        if not good:
            raise InputError(
                f"{path}: line {number} is not event {number}; the ledger was changed, take it "
                "from a copy"
            )
        events.append(event)
    return events


def append(folder: pathlib.Path, events: Sequence[Event]) -> None:
    """Adds events: on the disk when this returns, and none of them if it fails.

    Raises:
      InputError: there is no room, or the ledger cannot be written.
    """
    path = folder / LEDGER
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events).encode()
    try:
        with open(path, "r+b", buffering=0) as file:
            end = file.read().rfind(b"\n") + 1
            try:
                file.truncate(end)
                file.seek(end)
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}), nothing was stored; make room "
            "or repair it, and answer again"
        ) from error


def store_mask(folder: pathlib.Path, mask: np.ndarray) -> str:
    """Writes a mask [H, W] bool as PNG of one bit, atomically; the name of its pixels.

    Raises:
      InputError: it cannot be written.
    """
    name = digest(mask)
    path = _mask_path(folder, name)
    if not path.exists():
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        write_atomic(path, buffer.getvalue())
    return name


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
