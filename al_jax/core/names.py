"""Names as people, programs and file systems write them: which of them are the same."""

import re
import unicodedata
from collections.abc import Sequence


def clean(name: str) -> str:
    """Spaces of any kind as plain ones, none at the ends; no invisible marks; accents composed."""
    name = re.sub("[\u200b\u200e\u200f\u2060\ufeff]", "", name)
    return unicodedata.normalize("NFC", re.sub(r"\s", " ", name)).strip()


def number_of(name: str, names: Sequence[str]) -> int | None:
    """Which of some names one is; None if it is none, or could be several.

    The same letters come first, then the same to the eye (`clean`), then the same but for capitals
    and the number of spaces, as far as only one of the names is.

    Example:
      >>> number_of("CAUDE\\u0301", ("background", "caud\\u00e9"))
      1
    """
    if name in names:
        return names.index(name)
    for form in (clean, _folded):
        found = [number for number, other in enumerate(names) if form(other) == form(name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def called(name: str, names: Sequence[str]) -> str:
    """The one of `names` that a name is (`number_of`); one that is none of them as it is."""
    number = number_of(name, names)
    return name if number is None else names[number]


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", clean(name).casefold()).split())
