"""Ranges as a person gives them: a table, sections and classes by their names."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from al_jax.core.answers import Span, given_ranges
from al_jax.core.stack import Images, InputError
from al_jax.files.reading import reading


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
        name, first, last = ((row[c] or "").strip() for c in ("name", "first", "last"))
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


def read_in_range(path: str | os.PathLike, images: Images, margin: int = 0) -> np.ndarray:
    """As `in_range_of`, of the table itself; what is wrong with it names the file and the row."""
    spans = read_ranges(path)
    for name, span in spans.items():
        try:
            in_range_of({name: span}, images)
        except InputError as error:
            raise InputError(f"{path}: row '{name}': {error}") from error
    try:
        return in_range_of(spans, images, margin)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def span_of(span: tuple[str, str], images: Images) -> Span:
    """First and last section as numbers from 0, None for an open end; see `section_number`."""
    first, last = (None if not text else section_number(text, images) for text in span)
    return first, last


def section_number(text: str, images: Images) -> int:
    """The section of that name; where names are no numbers, also of that number from 0.

    Raises:
      InputError: there is none.
    """
    if text in images.sections:
        return images.sections.index(text)
    numbered = any(name.isdecimal() for name in images.sections)
    if text.isascii() and text.isdecimal() and not numbered and int(text) < images.num_sections:
        return int(text)
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
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("name", "first", "last"))
    for name, both in zip(images.names, ends(in_range), strict=True):
        if both is not None:
            writer.writerow((name, *(images.sections[end] for end in both)))
    return file.getvalue().encode()


def ends(in_range: np.ndarray) -> list[tuple[int, int] | None]:
    """First and last section of each class, None for one that is nowhere."""
    found = [np.flatnonzero(column) for column in np.asarray(in_range).T]
    return [(int(where[0]), int(where[-1])) if len(where) else None for where in found]
