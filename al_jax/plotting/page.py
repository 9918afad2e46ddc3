"""A page of headings, lines, tables and pictures, as Markdown or as one HTML file by itself."""

import base64
import dataclasses
import html
import pathlib


@dataclasses.dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Lines:
    """Paragraphs; or, with `bullets`, a list."""

    lines: list[str]
    bullets: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text below a header; what follows a line break in a cell is printed small.

    Attributes:
      caption: what it shows.
      header: [C].
      rows: [R][C]; the first cell of a row is its name.
      above: rows with a rule above them.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    above: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG beside the page, with its caption."""

    file: str
    caption: str


Block = Heading | Lines | Table | Picture

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1rem 4rem; color: #222; background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .5rem; padding-top: .8rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
ul.summary { background: #f1f6fa; border-left: 4px solid #0072b2; padding: .8rem 1rem .8rem 2rem;
  max-width: 50rem; }
figure { margin: 1rem 0 1.6rem; }
figcaption { color: #555; font-size: .9rem; max-width: 46rem; margin-bottom: .4rem; }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid #eee; }
td.text { white-space: normal; text-align: left; min-width: 12rem; }
thead th { border-bottom: 2px solid #888; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.rule > * { border-top: 2px solid #bbb; }
small { display: block; color: #666; font-size: .78rem; }
img { display: block; max-width: 100%; height: auto; }
@media (max-width: 40rem) { .wide img { max-width: none; width: 40rem; } }
"""


def as_markdown(blocks: list[Block]) -> str:
    """The page; pictures are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Lines):
        return (
            "\n".join(f"- {x}" for x in block.lines) if block.bullets else "\n\n".join(block.lines)
        )
    if isinstance(block, Picture):
        return f"![{block.file}]({block.file})\n\n*{block.caption}*"
    rows = [block.header, ["---"] * len(block.header), *block.rows]
    escaped = [[cell.replace("|", "\\|").replace("\n", "<br>") for cell in row] for row in rows]
    return "\n".join([f"{block.caption}\n", *("| " + " | ".join(row) + " |" for row in escaped)])


def as_html(blocks: list[Block], folder: pathlib.Path) -> str:
    """The page in one file: pictures from `folder` are inside it, and nothing is fetched."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    body = "\n".join(_html(block, folder) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, folder: pathlib.Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Lines):
        kind, lines = ("li" if block.bullets else "p"), map(html.escape, block.lines)
        inner = "\n".join(f"<{kind}>{line}</{kind}>" for line in lines)
        return f'<ul class="summary">\n{inner}\n</ul>' if block.bullets else inner
    caption = html.escape(block.caption)
    if isinstance(block, Picture):
        data = base64.b64encode((folder / block.file).read_bytes()).decode()
        inner = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    else:
        header = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in block.header)
        rows = "\n".join(_row(row, i in block.above) for i, row in enumerate(block.rows))
        inner = f"<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<figure><figcaption>{caption}</figcaption>\n<div class="wide">{inner}</div></figure>'


def _row(cells: list[str], rule: bool) -> str:
    first, *rest = (_small(cell) for cell in cells)
    # Sentences wrap; numbers do not.
    kinds = [' class="text"' if len(cell) > 40 and "\n" not in cell else "" for cell in cells[1:]]
    inner = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, rest, strict=True))
    return f'<tr{" class=rule" if rule else ""}><th scope="row">{first}</th>{inner}</tr>'


def _small(cell: str) -> str:
    first, *rest = map(html.escape, cell.split("\n"))
    return first + "".join(f"<small>{line}</small>" for line in rest)
