"""Text files as people's programs save them."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator

from al_jax.core.names import clean
from al_jax.core.stack import InputError
from al_jax.files.reading import full_path, reading
from al_jax.files.spreadsheets import as_name

REMEDY = "save it as UTF-8 (in Excel: 'CSV UTF-8')"


def read_text(path: str | os.PathLike, kind: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 that says so (Excel's 'Unicode text').

    Other encodings do not tell which one they are.

    Args:
      path: of the file.
      kind: what it should be, for messages.

    Raises:
      InputError: the file is missing, or no such text.
    """
    with reading(path, kind):
        data = full_path(path).read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not utf16 and b"\0" in data[:100]:
        raise InputError(f"{path}: is UTF-16, or no text; {REMEDY}")
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise InputError(f"{path}: is UTF-16, or no text; {REMEDY}") from error
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: line {line} has the byte {data[error.start]:#04x}, which is not UTF-8; "
            f"{REMEDY}"
        ) from error
    if "\0" in text:
        raise InputError(f"{path}: is UTF-16, or no text; {REMEDY}")
    return text


def delimited(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a table with commas, semicolons or tabs: their numbers from 1, and clean cells.

    Lines without a filled cell are left out; so is Excel's own first line, `sep=;`.

    Raises:
      csv.Error: a quotation mark is not closed.
    """
    skipped = 0
    if re.match(r"sep=.\r?\n", text):
        text, skipped = text.split("\n", 1)[1], 1
    head = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for fields in reader:
        cells = [as_name(clean(field)) for field in fields]
        if any(cells):
            yield reader.line_num + skipped, cells
