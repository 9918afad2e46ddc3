"""Labels that a session begins with: which ids are classes, and which say nothing yet."""

import csv
import io
import os
import pathlib
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import UNLABELLED, InputError
from al_jax.files.reading import full_path, note, reading
from al_jax.files.tables import LabelTable, read_table

ROLES = ("traced", "labels")
"""How names of what an export writes begin: what a person labelled, and what the network adds."""


class Begun(NamedTuple):
    """Which ids a session begins with.

    Attributes:
      table: for readers; its class 0 says nothing, and the background is its last class.
      exported: labels lie as an export writes them, each upright on the size of all sections.
      sections: names of what its pages show, as an export lists them; (): it is no export.
    """

    table: LabelTable
    exported: bool
    sections: tuple[str, ...] = ()

    def classes(self, truth: np.ndarray) -> np.ndarray:
        """Classes of the table [...] as those of the session, int16; `UNLABELLED` says nothing."""
        count = len(self.table.names) - 1
        number = [UNLABELLED, *range(1, count), 0, UNLABELLED]  # -1 is the last
        return np.array(number, np.int16)[truth]


def begin_with(table: LabelTable, labels: str | os.PathLike) -> Begun:
    """The ids of labels, of some structures on some sections.

    The id 0 may be background or not labelled yet, so that it says nothing. Background under
    another id is an answer. Where the table does not list 0, as those of exports do not, 0 is not
    labelled; what an export wrote is read by the table that it wrote beside.

    Raises:
      InputError: `table` lacks a class of the export, 0 of it would be outside the image, or its
        sections were turned.
    """
    counted = 0 not in table.ids and table.outside_id != 0
    ids, classes = table.ids, table.classes
    beside = None if counted else _table_beside(labels)
    if beside is not None:
        if table.outside_id == 0 and full_path(labels).name.startswith("traced"):
            raise InputError(
                f"{labels}: --outside_id=0 would put all outside the image that was not traced; "
                "leave it out"
            )
        own = read_table(beside)
        for name in own.names:
            if name not in table.names:
                raise InputError(
                    f"{table.path}: does not list '{name}', which {beside} does; add it"
                )
        ids = own.ids
        classes = np.array([table.names.index(name) for name in own.names])[own.classes]
    background = (classes == 0) & (ids != 0)
    classes = np.where(background, len(table.names), classes).astype(np.int32)
    if 0 not in ids and table.outside_id != 0:
        ids, classes = np.append(0, ids), np.append(0, classes).astype(np.int32)
        order = np.argsort(ids)
        ids, classes = ids[order], classes[order]
    names = ("", *table.names[1:], table.names[0])
    exported = counted or beside is not None
    if exported:
        note(f"{labels}: 0 is what was not labelled, as {beside or table.path} does not list it")
    found = table._replace(ids=ids, classes=classes, names=names)
    return Begun(found, exported, _sections_beside(labels))


def _sections_beside(labels: str | os.PathLike) -> tuple[str, ...]:
    """The sections that an export lists beside labels, in the order of its pages, if it does."""
    path = _beside(labels, "sections.csv")
    if path is None:
        return ()
    with reading(path, "a table of sections"):
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
        names = tuple(row["section"] for row in rows)
    for row in rows:
        if row.get("turned"):
            raise InputError(
                f"{labels}: section {row['section']} of this export was {row['turned']}, which its "
                "image may not be; take that back in the session and export again, or give images "
                f"that are so, and empty the column 'turned' of {path}"
            )
    return names


def _table_beside(labels: str | os.PathLike) -> pathlib.Path | None:
    """The table of classes that an export wrote beside labels, if these are of one."""
    return _beside(labels, "classes.csv")


def _beside(labels: str | os.PathLike, name: str) -> pathlib.Path | None:
    """A file that an export wrote beside labels, if these are of one."""
    path = full_path(labels)
    ours = path.name.startswith(ROLES) and (path.parent / "answers.csv").is_file()
    return path.parent / name if ours and (path.parent / name).is_file() else None
