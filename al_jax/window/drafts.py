"""Answers that are not finished: kept beside the ledger, so that a killed window loses no stroke.

One file for each pair that somebody has begun to trace; it goes when the pair is answered.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from al_jax.files.atomic import write_npz
from al_jax.files.reading import reading

FOLDER = "drafts"
_NAME = re.compile(r"(\d+)_(\d+)\.npz")


class Draft(NamedTuple):
    """What has been traced of a pair.

    Attributes:
      mask: [H, W] bool.
      from_proposal: whether it began as the network's proposal.
      seconds: that the person has spent on it.
    """

    mask: np.ndarray
    from_proposal: bool
    seconds: float


def write_draft(folder: pathlib.Path, section: int, structure: int, draft: Draft) -> None:
    """Keeps the draft of a pair in a session's folder, whole, in place of the one before.

    Raises:
      InputError: it cannot be written.
    """
    path = _path(folder, section, structure)
    path.parent.mkdir(exist_ok=True)
    write_npz(path, draft._asdict())


def read_draft(folder: pathlib.Path, section: int, structure: int) -> Draft | None:
    """The draft of a pair, or None.

    Raises:
      InputError: the file is damaged.
    """
    path = _path(folder, section, structure)
    if not path.exists():
        return None
    with reading(path, "a draft"), np.load(path, allow_pickle=False) as found:
        return Draft(
            found["mask"].astype(bool), bool(found["from_proposal"]), float(found["seconds"])
        )


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
