"""Ranges as a person gives them: a table, sections and classes by their names."""

import csv
import io
import os
import pathlib
import unicodedata
from collections.abc import Mapping

import numpy as np

from al_jax.core.answers import Span, given_ranges
from al_jax.core.stack import Images, InputError
from al_jax.files.folders import without_ending
from al_jax.files.reading import listed, reading
from al_jax.files.spreadsheets import as_name, table


def read_ranges(path: str | os.PathLike) -> dict[str, tuple[str, str]]:
    """First and last section of structures, of a table: name,first,last.

    An empty cell is an open end. Commas, semicolons or tabs are between the columns.

    Returns:
      First and last, by the name of the class; sections by name or number, see `in_range_of`.

    Raises:
      InputError: the file is missing, has other columns, or a name twice.
    """
    with reading(path, "a table of ranges"):
        text = pathlib.Path(path).expanduser().read_text("utf-8-sig")
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    columns = [str(name).strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    if not {"name", "first", "last"} <= set(columns):
        raise InputError(f"{path}: has the columns {', '.join(columns)}; give name,first,last")
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        name, first, last = (as_name((row[c] or "").strip()) for c in ("name", "first", "last"))
        if not (name or first or last):
            continue
        if name in found:
            raise InputError(f"{path}: line {rows.line_num} repeats '{name}'; keep one")
        found[name] = (first, last)
    return found


def in_range_of(
    spans: Mapping[str, tuple[str, str]], images: Images, margin: int = 0
) -> np.ndarray:
    """[N, C] bool from `read_ranges`, with so many sections added at both ends.

    Raises:
      InputError: see `given_ranges`; a section is unknown.
    """
    found = {name: span_of(span, images) for name, span in spans.items()}
    return given_ranges(found, images, margin)


def span_of(span: tuple[str, str], images: Images) -> Span:
    """First and last section as numbers from 0, None for an open end; see `section_number`."""
    first, last = (None if not text else section_number(text, images) for text in span)
    return first, last


def section_number(text: str, images: Images) -> int:
    """The section of that name, with the ending of its file or without.

    A number is that of a file (5.png, 05.png) where any file is called by one; where none is, it is
    the number of the section from 0.

    Raises:
      InputError: there is none.
    """
    text = unicodedata.normalize("NFC", text.strip())
    names = [unicodedata.normalize("NFC", name) for name in images.sections]
    stems = [without_ending(name) for name in names]
    number = int(text) if text.isascii() and text.isdecimal() else None
    numbers = [int(stem) if stem.isascii() and stem.isdecimal() else None for stem in stems]
    for meant, known in ((text, names), (text, stems), (number, numbers)):
        found = [n for n, other in enumerate(known) if other == meant and other is not None]
        if len(found) == 1:
            return found[0]
    numbered = any(other is not None for other in numbers)
    if number is not None and not numbered and number < images.num_sections:
        return number
    raise InputError(
        f"there is no section '{text}'; they go from {images.sections[0]} to {images.sections[-1]}"
    )


def structure_number(text: str, images: Images) -> int:
    """The class of that name.

    Raises:
      InputError: there is none.
    """
    if text in images.names:
        return images.names.index(text)
    raise InputError(f"there is no structure '{text}'; the classes are {', '.join(images.names)}")


def table_of_ranges(in_range: np.ndarray, images: Images) -> bytes:
    """A table that `read_ranges` takes, of [N, C] bool: sections by name, both ends given."""
    rows = [("name", "first", "last")]
    for name, both in zip(images.names, ends(in_range), strict=True):
        if both is not None:
            rows.append((name, images.sections[both[0]], images.sections[both[1]]))
    return table(rows)


def described(in_range: np.ndarray, images: Images) -> str:
    """Ranges [N, C] bool by name, of the classes that are not everywhere; '' if all are."""
    last, found = images.num_sections - 1, []
    for name, both in zip(images.names, ends(in_range), strict=True):
        if both is None:
            found.append(f"'{name}' nowhere")
        elif both != (0, last):
            found.append(f"'{name}' {images.sections[both[0]]} to {images.sections[both[1]]}")
    return listed(found)


def ends(in_range: np.ndarray) -> list[tuple[int, int] | None]:
    """First and last section of each class, None for one that is nowhere."""
    found = [np.flatnonzero(column) for column in np.asarray(in_range).T]
    return [(int(where[0]), int(where[-1])) if len(where) else None for where in found]
