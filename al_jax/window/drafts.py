"""Answers that are not finished, kept so that a killed window loses no stroke.

One file for each pair that somebody has begun to trace; it goes when the pair is answered.
"""

import contextlib
import math
import os
import pathlib
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import InputError
from al_jax.files.atomic import write_npz
from al_jax.files.reading import reading

FOLDER = "drafts"
FORM = 1
"""Number of a draft's form, which stands in it; a later one is not read by this version."""

DAMAGED = ".damaged"
AUTOSAVE = 0.5  # seconds between two drafts of the stroke under way
_NAME = re.compile(r"(\d+)_(\d+)\.npz")


Move = Callable[[np.ndarray, str], np.ndarray]


class Draft(NamedTuple):
    """What has been traced of a pair.

    Attributes:
      mask: [H, W] bool.
      from_proposal: whether it began as the network's proposal.
      seconds: that the person has spent on it.
      corners: [K, 2] float, rows and columns, of a polygon that is not finished.
      clicks: [K, 2] int, corners of pixels, of an outline of the scissors that is not finished.
    """

    mask: np.ndarray
    from_proposal: bool
    seconds: float
    corners: np.ndarray = np.zeros((0, 2))
    clicks: np.ndarray = np.zeros((0, 2), int)

    def any(self) -> bool:
        """Whether anything is traced."""
        return bool(self.mask.any()) or len(self.corners) > 0 or len(self.clicks) > 0

    def moved(self, move: Move, back: Move, turns: str) -> "Draft":
        """After `move`, which `back` undoes: `turns.turned` and `turned_back`, by `turns`."""
        if not turns:
            return self
        height, width = self.mask.shape
        rows, columns = np.floor(self.corners).astype(int).T
        down, across = self.clicks.T  # between pixels, of which there is one more
        return self._replace(
            mask=move(self.mask, turns),
            corners=back(_grid(height, width), turns)[rows, columns] + 0.5,
            clicks=back(_grid(height + 1, width + 1), turns)[down, across],
        )

    def same(self, other: "Draft") -> bool:
        """Whether the same is traced."""
        own, others = ((d.mask, d.corners, d.clicks) for d in (self, other))
        return all(map(np.array_equal, own, others))


def _grid(height: int, width: int) -> np.ndarray:
    """[H, W, 2], where each place is."""
    return np.moveaxis(np.indices((height, width)), 0, -1)


NOTHING = Draft(np.zeros((0, 0), bool), False, 0.0)


class DraftWriter:
    """Keeps the drafts of a session on a thread of its own, as disks may be slow."""

    def __init__(self, folder: pathlib.Path, now: Callable[[], float]) -> None:
        """Nothing is kept yet; `now` tells seconds."""
        self._folder, self._now, self._saved = folder, now, now()
        self._kept = NOTHING
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drafts")
        self._writing: Future[None] | None = None

    def begin(self, draft: Draft) -> None:
        """Another question, whose draft on the disk is `draft`."""
        self._kept = draft

    def keep(self, section: int, structure: int, draft: Draft, *, at_once: bool = False) -> str:
        """Writes what is traced, if it changed and it is time; what failed before, one line."""
        if draft.same(self._kept):
            return ""
        due = self._now() - self._saved >= AUTOSAVE
        if not at_once and not (due and (self._writing is None or self._writing.done())):
            return ""
        failure = self.finish()
        place = (self._folder, section, structure)
        if draft.any():
            self._writing = self._thread.submit(write_draft, *place, draft)
        else:
            self._writing = self._thread.submit(drop_draft, *place)
        self._kept, self._saved = draft, self._now()
        return failure

    def finish(self) -> str:
        """Waits for the draft that is being written; why a disk refused it, one line, or ''."""
        error = None if self._writing is None else self._writing.exception()
        self._writing = None
        return "" if error is None else str(error)

    def drop(self, section: int, structure: int, answered: Draft) -> str:
        """Forgets the draft of a pair that was answered so; as `finish`."""
        failure = self.finish()
        drop_draft(self._folder, section, structure)
        self._kept = answered
        return failure

    def close(self) -> None:
        """Waits until all is written."""
        self._thread.shutdown()


def write_draft(folder: pathlib.Path, section: int, structure: int, draft: Draft) -> None:
    """Keeps the draft of a pair in a session's folder, atomically, in place of the one before.

    Raises:
      InputError: it cannot be written.
    """
    path = _path(folder, section, structure)
    path.parent.mkdir(exist_ok=True)
    write_npz(path, {**draft._asdict(), "pair": (section, structure), "form": FORM})


def read_draft(
    folder: pathlib.Path, section: int, structure: int, shape: tuple[int, ...]
) -> tuple[Draft | None, str]:
    """The draft of a pair, if there is one that can be gone on with.

    One that is damaged, of another pair or not of sections [H, W] of `shape` is moved aside.

    Returns:
      The draft or None, and what was moved, one line, or ''.
    """
    path = _path(folder, section, structure)
    if not path.exists():
        return None, ""
    try:
        return _read(path, (section, structure), shape), ""
    except InputError as error:
        aside = path.with_suffix(DAMAGED)
        with contextlib.suppress(OSError):  # of a disk that only can be read
            os.replace(path, aside)
            return None, f"{error}; it is {aside.name} now, trace the pair anew"
        return None, str(error)


def _read(path: pathlib.Path, pair: tuple[int, int], shape: tuple[int, ...]) -> Draft:
    with reading(path, "a draft"), np.load(path, allow_pickle=False) as found:
        if found.get("form", FORM) > FORM:
            raise InputError(f"{path}: is of a newer version; use that one")
        mask, seconds = found["mask"], float(found["seconds"])
        of = tuple(found["pair"].tolist()) if "pair" in found else pair  # older drafts do not say
        if of != pair:
            raise InputError(f"{path}: is the draft of another pair")
        corners = found.get("corners", np.zeros((0, 2)))  # nor have they polygons
        clicks = found.get("clicks", np.zeros((0, 2), int))
        good = mask.shape == shape and mask.dtype == bool and 0 <= seconds < math.inf
        good = good and corners.shape[1:] == (2,) and bool(np.isfinite(corners).all())
        good = good and clicks.shape[1:] == (2,) and clicks.dtype.kind == "i"
        if not (good and ((clicks >= 0) & (clicks <= shape)).all()):
            raise InputError(f"{path}: is no draft of this session")
        return Draft(mask, bool(found["from_proposal"]), seconds, corners, clicks)


def drop_draft(folder: pathlib.Path, section: int, structure: int) -> None:
    """Forgets the draft of a pair, if there is one."""
    _path(folder, section, structure).unlink(missing_ok=True)


def latest_draft(folder: pathlib.Path) -> tuple[int, int] | None:
    """Section and structure of the draft that was written last, or None."""
    found = [path for path in (folder / FOLDER).glob("*.npz") if _NAME.fullmatch(path.name)]
    if not found:
        return None
    newest = max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))
    section, structure = newest.stem.split("_")
    return int(section), int(structure)


def _path(folder: pathlib.Path, section: int, structure: int) -> pathlib.Path:
    return folder / FOLDER / f"{section}_{structure}.npz"
