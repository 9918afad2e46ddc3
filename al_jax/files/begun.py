"""Labels that a session begins with: which ids are classes, and which say nothing yet."""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import UNLABELLED, InputError
from al_jax.files.reading import full_path, note
from al_jax.files.tables import LabelTable, read_table

ROLES = ("traced", "labels")
"""How names of what an export writes begin: what a person labelled, and what the network adds."""


class Begun(NamedTuple):
    """Which ids a session begins with.

    Attributes:
      table: for readers; its class 0 says nothing, and the background is its last class.
      exported: labels lie as an export writes them, each upright on the size of all sections.
    """

    table: LabelTable
    exported: bool

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
      InputError: `table` lacks a class of the export, or 0 of it would be outside the image.
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
    return Begun(table._replace(ids=ids, classes=classes, names=names), exported)


def _table_beside(labels: str | os.PathLike) -> pathlib.Path | None:
    """The table of classes that an export wrote beside labels, if these are of one."""
    path = full_path(labels)
    table = path.parent / "classes.csv"
    ours = path.name.startswith(ROLES) and (path.parent / "answers.csv").is_file()
    return table if ours and table.is_file() else None
