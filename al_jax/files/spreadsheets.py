"""Tables for people: CSV that spreadsheets open as what it is, text in cells never as formulas."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_QUOTED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


def table(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows of cells as CSV in UTF-8; see `as_text`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([as_text(cell) for cell in row] for row in rows)
    return file.getvalue().encode()


def as_text(cell: Any) -> Any:
    """A cell as it is written: what a spreadsheet would take for a formula begins with `'`.

    Numbers stay, as text too.

    Example:
      >>> as_text("=1+1"), as_text("-1.5"), as_text("a=1")
      ("'=1+1", '-1.5', 'a=1')
    """
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def as_name(cell: str) -> str:
    """What `as_text` was given, of what a table holds.

    Example:
      >>> as_name("'=1+1"), as_name("'t Hart")
      ('=1+1', "'t Hart")
    """
    return cell[1:] if _QUOTED.match(cell) else cell
