"""Rows of label tables, as the usual tools write them.

Read are tables with a header (comma, semicolon or tab between fields: spreadsheets, BIDS,
BrainGlobe's `structures.csv`), FreeSurfer's and 3D Slicer's colour tables, ITK-SNAP's label
descriptions, and BrainGlobe's `structures.json`.
"""

import json
import os
import re
from typing import NamedTuple

from al_jax.core.names import clean
from al_jax.core.stack import Colour, InputError
from al_jax.files.reading import listed, reading
from al_jax.files.texts import delimited, read_text

_FREESURFER = re.compile(r"(?P<id>[+-]?\d+)\s+(?P<name>\S.*?)((?:\s+\d{1,3}){4})")
_ITKSNAP = re.compile(
    r"(?P<id>[+-]?\d+)((?:\s+\d{1,3}){3})\s+[\d.eE+-]+\s+[01]\s+[01]\s+\"(?P<name>.*)\""
)


class Row(NamedTuple):
    """One label.

    Attributes:
      line: number of its line in the file, from 1.
      id: the value of its pixels.
      cells: its other columns, by their names in lower case; 'name' is one of them.
      colour: what the table says to draw it in, or None.
    """

    line: int
    id: int
    cells: dict[str, str]
    colour: Colour | None


def read_rows(path: str | os.PathLike) -> list[Row]:
    """Reads the labels of a table, in its order.

    Cells are without spaces at their ends; spaces of any kind are plain ones, and accents are
    composed (NFC), so that names that look alike are alike.

    Raises:
      InputError: see `read_text`; the form is none of those that are read, an id is not a whole
        number, or there twice.
    """
    text = read_text(path, "a table of labels")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    filled = [(number, line) for number, line in lines if line and not line.startswith("#")]
    first = filled[0][1] if filled else ""
    with reading(path, "a table of labels"):
        if text.lstrip().startswith("["):
            rows = _json_rows(path, text)
        elif _ITKSNAP.fullmatch(first):
            rows = _matched(path, filled, _ITKSNAP, "ITK-SNAP's label descriptions")
        elif _FREESURFER.fullmatch(first):
            rows = _matched(path, filled, _FREESURFER, "FreeSurfer's colour table")
        else:
            rows = _delimited_rows(path, text)
    seen: dict[int, int] = {}
    for row in rows:
        if row.id in seen:
            raise InputError(f"{path}: line {row.line} repeats the id {row.id}; keep one")
        seen[row.id] = row.line
    return rows


def _matched(
    path: str | os.PathLike, lines: list[tuple[int, str]], pattern: re.Pattern, kind: str
) -> list[Row]:
    rows = []
    for number, line in lines:
        match = pattern.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: line {number} is not a line of {kind}: '{line[:60]}'")
        numbers = next(group for group in match.groups() if group[:1].isspace())
        red, green, blue = (int(value) for value in numbers.split()[:3])
        colour = _colour(path, number, (red, green, blue))
        label = _whole(path, number, match["id"])
        rows.append(Row(number, label, {"name": clean(match["name"])}, colour))
    return rows


def _json_rows(path: str | os.PathLike, text: str) -> list[Row]:
    rows = []
    for number, entry in enumerate(json.loads(text), 1):
        if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys():
            raise InputError(f"{path}: entry {number} has no 'id' and 'name'; give both")
        cells = {k.lower(): clean(v) for k, v in entry.items() if isinstance(v, str)}
        triplet = entry.get("rgb_triplet")
        colour = None if triplet is None else _colour(path, number, tuple(map(int, triplet)))
        rows.append(Row(number, _whole(path, number, str(entry["id"])), cells, colour))
    return rows


def _delimited_rows(path: str | os.PathLike, text: str) -> list[Row]:
    header: list[str] = []
    rows = []
    for line, cells in delimited(text):
        if not header:
            comment = "#" in cells[0]
            cells[0] = cells[0].removeprefix("#").strip()
            if not comment or "name" in map(str.lower, cells):
                header = _header(path, cells)
            continue
        while len(cells) > len(header) and not cells[-1]:  # trailing delimiters of spreadsheets
            cells.pop()
        if len(cells) > len(header):
            raise InputError(
                f"{path}: line {line} has {len(cells)} fields, the header has {len(header)}; "
                "quote names that contain commas"
            )
        cells += [""] * (len(header) - len(cells))
        found = dict(zip(header, cells, strict=True))
        label = _whole(path, line, found.pop("id"))
        rows.append(Row(line, label, found, _hexadecimal(found)))
    if not header:
        _header(path, [])
    return rows


def _header(path: str | os.PathLike, cells: list[str]) -> list[str]:
    """Names of the columns in lower case; BIDS calls the column of ids `index`."""
    header = [cell.lower() for cell in cells]
    while header and not header[-1]:
        header.pop()
    if "id" not in header and "index" in header:
        header[header.index("index")] = "id"
    for column in ("id", "name"):
        if column not in header:
            raise InputError(
                f"{path}: has no column '{column}'; its columns are {listed(header) or 'none'} "
                "(the first line names them, with commas: id,name)"
            )
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{path}: has two columns '{column}'; rename one")
    return header


def _whole(path: str | os.PathLike, line: int, text: str) -> int:
    # int() alone would take '1_000' and digits of other scripts; spreadsheets write 3 as 3.0.
    match = re.fullmatch(r"([+-]?[0-9]{1,18})(\.0*)?", text)
    if match is None:
        raise InputError(f"{path}: line {line} has the id '{text[:40]}'; give a whole number")
    return int(match[1])


def _hexadecimal(cells: dict[str, str]) -> Colour | None:
    """The colour of a BIDS table or of the Allen Institute's, such as #ff53bb."""
    text = cells.get("color") or cells.get("color_hex_triplet") or ""
    text = text.removeprefix("#")
    if not re.fullmatch(r"[0-9a-fA-F]{6}", text):
        return None
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


def _colour(path: str | os.PathLike, line: int, values: tuple[int, ...]) -> Colour:
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise InputError(f"{path}: line {line} has the colour {values}; give three of 0 to 255")
    return values[0], values[1], values[2]
