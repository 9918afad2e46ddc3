"""Tables of label names: which id is which class."""

import csv
import os
import re

import numpy as np

from al_jax.files.reading import listed, reading
from al_jax.stack import InputError


def table_entries(path: str | os.PathLike) -> dict[str, list[int]]:
    """All entries of a table of label names, whatever their column, with the ids that have them.

    Raises:
      InputError: the table is missing, damaged, or lacks the column `id` or `name`.
    """
    found: dict[str, list[int]] = {}
    for label, row in read_table(path, "name").items():
        for entry in {cell for column, cell in row.items() if column != "id"}:
            found.setdefault(entry, []).append(label)
    return found


def read_table(path: str | os.PathLike, needed: str) -> dict[int, dict[str, str]]:
    """The rows of a table of label names by id; the column `needed` is there and filled in."""
    with reading(path, "a CSV table"), open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        header = [column.strip() for column in next(rows, [])]
        body = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    for column in ("id", "name", needed):
        if column not in header:
            raise InputError(
                f"{path}: has no column '{column}'; its columns are {listed(header) or 'none'}"
            )
        if header.count(column) > 1:
            raise InputError(f"{path}: has two columns '{column}'; rename one")

    table: dict[int, dict[str, str]] = {}
    for line, row in body:
        if not any(row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line} has {len(row)} fields, the header has {len(header)}; "
                "quote names that contain commas"
            )
        cells = dict(zip(header, row, strict=True))
        text = cells["id"]
        # int() alone would take '1_000' and digits of other scripts.
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise InputError(f"{path}: line {line} has the id '{text[:40]}'; give a whole number")
        if int(text) in table:
            raise InputError(f"{path}: line {line} repeats the id {int(text)}; keep one")
        if not cells[needed] or not cells[needed].isprintable():
            raise InputError(f"{path}: line {line} has no printable '{needed}'; fill it in")
        table[int(text)] = cells
    return table


def read_names(
    path: str | os.PathLike, grouping: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads a table of label names.

    Returns:
      ids [I] int64 ascending, the class of each id [I] int64, and the C class names.
    """
    column = "name" if grouping is None else grouping
    class_of = {label: row[column] for label, row in read_table(path, column).items()}
    class_of = {k: "background" if v.lower() == "background" else v for k, v in class_of.items()}
    names = tuple(dict.fromkeys(["background", *class_of.values()]))
    if len(names) < 2:
        raise InputError(f"{path}: lists no class but background in '{column}'; add one")
    ids = np.array(sorted(class_of), np.int64)
    return ids, np.array([names.index(class_of[i]) for i in ids.tolist()], np.int64), names


def without_id(
    ids: np.ndarray, classes: np.ndarray, names: tuple[str, ...], outside_id: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Takes the outside id out of the table, with its class if no other id has it."""
    keep = ids != outside_id
    ids, classes = ids[keep], classes[keep]
    used = [index for index in range(len(names)) if index == 0 or index in classes]
    return ids, np.searchsorted(used, classes), tuple(names[index] for index in used)
