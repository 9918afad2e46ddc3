"""Tables of label names: which id is which class."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.names import clean, number_of
from al_jax.core.stack import Colour, InputError
from al_jax.files.reading import note
from al_jax.files.table_rows import Row, read_rows

BACKGROUND = (
    "background",
    "clear label",
    "exterior",
    "unknown",
    "unlabeled",
    "unlabelled",
)
"""Names of id 0 that mean the class background; of other ids only the first does."""


class LabelTable(NamedTuple):
    """The classes of a stack, and which ids of its label files they are.

    Attributes:
      path: of the table, for messages.
      ids: [I] int64, ascending.
      classes: [I] int32, the class of each id.
      names: C class names; 'background' is the first.
      colours: C colours, or None where the table has none.
      outside_id: of pixels that are not in the image; None: there are none.
    """

    path: str | os.PathLike
    ids: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None
    outside_id: int | None = None


def table_entries(path: str | os.PathLike) -> dict[str, list[int]]:
    """All entries of a table of label names, whatever their column, with the ids that have them.

    Raises:
      InputError: see `read_rows`.
    """
    found: dict[str, list[int]] = {}
    for row in read_rows(path):
        for entry in set(row.cells.values()):
            found.setdefault(entry, []).append(row.id)
    return found


def read_table(
    path: str | os.PathLike, grouping: str | None = None, outside_id: int | None = None
) -> LabelTable:
    """Reads which ids are which class.

    Ids with equal entries make one class. 'background' is class 0, the others follow in the order
    of their first rows. Id 0 is background under the names that tools give it (`BACKGROUND`), and
    where the table lists neither it nor a background. A class has the colour of its first row.

    Args:
      path: a table that `read_rows` takes.
      grouping: the column that gives the class; None is `name`.
      outside_id: an id that is not a class, whether it is listed or not.

    Raises:
      InputError: see `read_rows`; the column is missing or has empty cells, id 0 has a name and
        there is no background, or there is no class but background.
    """
    column = "name" if grouping is None else clean(grouping).lower()
    class_of: dict[int, str] = {}
    colour_of: dict[str, Colour | None] = {}
    for row in read_rows(path):
        if row.id == outside_id:
            continue
        name = _class_name(path, row, column, grouping)
        class_of[row.id] = name
        colour_of.setdefault(name, row.colour)
    names = tuple(dict.fromkeys(["background", *class_of.values()]))
    if len(names) < 2:
        raise InputError(f"{path}: lists no class but background in '{column}'; add one")
    if "background" not in class_of.values() and outside_id != 0:
        if 0 in class_of:
            raise InputError(
                f"{path}: names id 0 '{class_of[0]}' and has no background; name id 0 background, "
                "or list the id that background has"
            )
        class_of[0] = "background"
        note(
            f"{path}: lists no background; pixels with id 0 are taken for it (--outside_id=0 if "
            "they are outside the image)"
        )
    ids = np.array(sorted(class_of), np.int64)
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers[class_of[label]] for label in ids.tolist()], np.int32)
    colour_of.setdefault("background", (0, 0, 0))
    colours = [colour for name in names if (colour := colour_of[name]) is not None]
    known = tuple(colours) if len(colours) == len(names) else None
    return LabelTable(path, ids, classes, names, known, outside_id)


def table_of(names: Sequence[str]) -> LabelTable:
    """The table of classes that somebody typed, ids from 0; 'background' need not be among them.

    Raises:
      InputError: there is none but background, or one is named twice.
    """
    wanted = [name for name in map(clean, names) if name]
    others = [name for name in wanted if name.lower() != BACKGROUND[0]]
    for place, name in enumerate(others):
        if number_of(name, others[:place]) is not None:
            raise InputError(f"the class '{name}' is named twice; name it once")
    if not others:
        raise InputError("no class is named; name each structure to trace, one a line")
    every = (BACKGROUND[0], *others)
    numbers = np.arange(len(every))
    return LabelTable("the classes", numbers, numbers.astype(np.int32), every, None)


def _class_name(path: str | os.PathLike, row: Row, column: str, grouping: str | None) -> str:
    if column not in row.cells:
        has = ", ".join(["id", *row.cells])
        raise InputError(f"{path}: has no column '{grouping}'; its columns are {has}")
    name = row.cells[column]
    for character in name:
        if not character.isprintable():
            raise InputError(
                f"{path}: line {row.line} has the character U+{ord(character):04X} in '{column}', "
                "which cannot be seen; take it out"
            )
    if not name:
        raise InputError(f"{path}: line {row.line} has no '{column}'; fill it in")
    if name.lower() in (BACKGROUND if row.id == 0 else BACKGROUND[:1]):
        return "background"
    return name
