"""None that no library can use up, on Pythons before 3.12."""

import ctypes
import sys

MANY = 2**40


def keep_none() -> None:
    """Makes None last, whatever is counted wrongly of it; from Python 3.12 on it does by itself.

    PySide6 6.12.0 is built by headers of Python 3.12, by which returning None takes no reference,
    and drops one each time, some at each event of a window. On Python 3.11 none were left after a
    few thousand strokes or a dozen windows, and the process was aborted ("deallocating None").
    """
    if sys.version_info < (3, 12) and sys.implementation.name == "cpython":
        count = ctypes.c_ssize_t.from_address(id(None))
        if count.value < MANY // 2:
            count.value += MANY
