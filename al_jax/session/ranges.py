"""Ranges as a person gives them: a table, sections and classes by their names."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from al_jax.core.answers import Span, given_ranges
from al_jax.core.names import number_of
from al_jax.core.stack import Images, InputError
from al_jax.files.folders import without_ending
from al_jax.files.reading import listed, reading
from al_jax.files.spreadsheets import table
from al_jax.files.texts import delimited, read_text


def read_ranges(path: str | os.PathLike) -> dict[str, tuple[str, str]]:
    """First and last section of structures, of a table: name,first,last.

    An empty cell is an open end. Commas, semicolons or tabs are between the columns.

    Returns:
      First and last, by the name of the class; sections by name or number, see `in_range_of`.

    Raises:
      InputError: see `read_text`; the file has other columns, or a name twice.
    """
    text = read_text(path, "a table of ranges")
    with reading(path, "a table of ranges"):
        lines = list(delimited(text))
    columns = [cell.lower() for cell in lines[0][1]] if lines else []
    if not {"name", "first", "last"} <= set(columns):
        raise InputError(
            f"{path}: has the columns {listed(columns) or 'none'}; give name,first,last"
        )
    found: dict[str, tuple[str, str]] = {}
    for line, cells in lines[1:]:
        row = dict(zip(columns, cells, strict=False))
        name, first, last = (row.get(column, "") for column in ("name", "first", "last"))
        if not (name or first or last):
            continue
        if name in found:
            raise InputError(f"{path}: line {line} repeats '{name}'; keep one")
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
    found: dict[str, Span] = {}
    for name, span in read_ranges(path).items():
        try:
            found[name] = span_of(span, images)
        except InputError as error:
            raise InputError(f"{path}: row '{name}': {error}") from error
    try:
        return given_ranges(found, images, margin)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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
    if (named := section_named(text, images.sections)) is not None:
        return named
    number = _number(text)
    numbered = any(_number(without_ending(name)) is not None for name in images.sections)
    if number is not None and not numbered and number < images.num_sections:
        return number
    raise InputError(
        f"there is no section '{text.strip()}'; they go from {images.sections[0]} to "
        f"{images.sections[-1]}"
    )


def section_named(text: str, sections: Sequence[str]) -> int | None:
    """Which section a name is, without the ending of its file or with it, 5 for 05.png, too."""
    text, stems = text.strip(), [without_ending(name) for name in sections]
    for names in (sections, stems):
        if names.count(text) < 2 and (named := number_of(text, names)) is not None:
            return named
    number, numbers = _number(text), [_number(stem) for stem in stems]
    return numbers.index(number) if number is not None and numbers.count(number) == 1 else None


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def structure_number(text: str, images: Images) -> int:
    """The class of that name (`number_of`).

    Raises:
      InputError: there is none.
    """
    if (named := number_of(text, images.names)) is not None:
        return named
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
