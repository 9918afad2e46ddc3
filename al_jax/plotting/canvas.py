"""What all pictures share: figures, fonts, colours, legends, and how they are saved.

Nothing here touches matplotlib's global state (no pyplot): figures are drawn by their own Agg
canvas, and equal inputs give equal bytes. Text is drawn literally, whatever it holds.
"""

import functools
import io
import os
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from al_jax.files.atomic import write_atomic

DPI = 150
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"metadata": {"Software": None}, "pil_kwargs": {"optimize": True}},
    ".svg": {"metadata": {"Date": None, "Creator": None}},
    ".pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
"""Of the files of a figure, without dates and versions, so that equal inputs give equal bytes."""

FONT = "DejaVu Sans"  # ships with matplotlib, so that a figure is the same anywhere
# For names in other scripts, where they are installed.
WIDER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)
INK, PALE = "#333333", "#9a9a9a"

# Kept apart by the common colour blindnesses (Okabe and Ito; Tol's muted set), dark on white.
LINES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#332288",
    "#56b4e9",
    "#882255",
    "#7a7a20",
    "#000000",
)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def legend(
    owner: Axes | Figure, entries: Mapping[str, Artist], size: float, **options: Any
) -> Legend:
    """A legend of `owner` that lists artists by name, in the font size `size`."""
    # Matplotlib leaves out names that begin with an underscore, so they are put in afterwards.
    made = owner.legend(
        list(entries.values()), ["-"] * len(entries), prop={"size": size}, labelcolor=INK, **options
    )
    for text, name in zip(made.get_texts(), entries, strict=True):
        text.set_text(literal(name))
    return made


def label_axes(axes: Axes, x: str, y: str, size: float = 10) -> None:
    """Titles of the axes, and the frame of every chart."""
    axes.set_xlabel(literal(x), fontsize=size, color=INK)
    axes.set_ylabel(literal(y), fontsize=size, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=9)


def literal(text: str) -> str:
    """Text as the fonts can show it: a character that none of them has stands as its code.

    Example:
      >>> literal("a$_$b")
      'a$_$b'
    """
    known = _characters()
    return "".join(c if c == "\n" or ord(c) in known else f"U+{ord(c):04X}" for c in text)


def columns(text: str) -> int:
    """How wide a line is, in columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in literal(text))


def save(figure: Figure, path: str | os.PathLike) -> None:
    """The figure as a PNG without dates or versions, written whole; its text in our fonts.

    A path without a suffix gets one: `.png`, and likewise `.svg` and `.pdf`.
    """
    for text in figure.findobj(Text):
        text.set_fontfamily(list(_families()))
        text.set_parse_math(False)
    path = pathlib.Path(path)
    formats = FORMATS if not path.suffix else {".png": FORMATS[".png"]}
    for suffix, options in formats.items():
        file = io.BytesIO()
        with rc_context({"svg.hashsalt": path.name}):
            FigureCanvasAgg(figure).print_figure(file, format=suffix[1:], dpi=DPI, **options)
        write_atomic(path.with_suffix(suffix), file.getvalue())


@functools.cache
def _families() -> tuple[str, ...]:
    installed = set(font_manager.get_font_names())
    return (FONT, *(name for name in WIDER_FONTS if name in installed))


@functools.cache
def _characters() -> frozenset[int]:
    """The characters that some font of ours has."""
    paths = map(font_manager.findfont, _families())
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))
