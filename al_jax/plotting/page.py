"""A page from a template: one HTML file that holds its pictures, or Markdown beside them.

A template puts together the macros of `page.html.jinja` and `page.md.jinja`, which it knows as
`page`: heading, paragraph, bullets, picture and table (of a `Table`).
"""

import base64
import pathlib
import re
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup


class Table(NamedTuple):
    """Rows of text below a header; what follows a line break in a cell is printed small.

    Attributes:
      header: [C].
      rows: [R][C]; the first cell of a row is its name.
      above: rows with a rule above them.
    """

    header: list[str]
    rows: list[list[str]]
    above: frozenset[int] = frozenset()


def render(
    template: pathlib.Path, folder: pathlib.Path, *, title: str, html: bool = True, **values: Any
) -> str:
    """The page that a template makes of `values`.

    Args:
      template: a file.
      folder: where its pictures are, PNG.
      title: of the window.
      html: or else Markdown.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, pathlib.Path(__file__).parent]),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda file: base64.b64encode(
        (folder / file).read_bytes()
    ).decode()
    page: Any = environment.get_template(f"page.{'html' if html else 'md'}.jinja").module
    body = environment.get_template(template.name).render(page=page, **values)
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    return str(page.layout(title, Markup(body) if html else body)).strip() + "\n"
