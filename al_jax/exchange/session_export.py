"""What becomes of a session's answers as files: `export_stack`, with tables and a report."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from al_jax.core.stack import Images
from al_jax.exchange.export import Content, Written, export_stack
from al_jax.files.reading import full_path, listed
from al_jax.learner.transfer import EXPERIENCE, write_experience
from al_jax.session import Session
from al_jax.session.ranges import table_of_ranges
from al_jax.session.results import Export
from al_jax.session.turns import in_words

REPORT = "report.html"


class WriteReport(Protocol):
    """Writes a page about an export, see `plotting.session_report.write_report`."""

    def __call__(
        self, path: pathlib.Path, images: Images, export: Export, *, left: float | None
    ) -> None:
        """Writes it to `path`."""


class Exported(NamedTuple):
    """What an export wrote.

    Attributes:
      out: the folder.
      written: its files.
      segmented: whether there is a network's part.
    """

    out: pathlib.Path
    written: Written
    segmented: bool


def export_session(
    session: Session,
    out: str | os.PathLike | None,
    formats: Sequence[str],
    write_report: WriteReport,
) -> Exported:
    """Writes the annotations, what the network adds, and tables.

    Args:
      session: open, or to read.
      out: the folder; None is `export` in that of the session.
      formats: see `export_stack`.
      write_report: makes `REPORT`.

    Raises:
      InputError: see `export_stack`.
    """
    images = session.images
    place = session.folder / "export" if out is None else full_path(out)
    segmentation, confidence = _segmented(session)
    content = Export(
        traced=session.labels(),
        segmentation=segmentation,
        confidence=confidence,
        names=images.names,
        sections=images.sections,
        colours=images.colours,
        place=images.place,
        turned=tuple(in_words(session.first_place(n)[2]) for n in range(images.num_sections)),
        answers=session.answered(),
    )
    more: dict[str, Content] = {
        "ranges.csv": lambda: table_of_ranges(
            np.asarray(session.annotations.state.in_range), images
        ),
        REPORT: lambda: _bytes_of(
            lambda path: write_report(path, images, content, left=session.progress().left)
        ),
    }
    if segmentation is not None:
        more[EXPERIENCE] = lambda: _bytes_of(
            lambda path: write_experience(path, session.experience())
        )
    written = export_stack(place, content, formats, more)
    return Exported(place, written, segmentation is not None)


def describe(exported: Exported) -> str:
    """What was written, one line."""
    out, made, segmented = exported
    what = "traced and segmented" if segmented else "traced (no network yet)"
    line = f"{out}: {len(made.files)} files, {what}"
    if made.removed:
        line += f"; {len(made.removed)} of an earlier export removed"
    if made.kept:
        kept = listed([str(path.relative_to(out)) for path in made.kept], 4)
        line += f"; {kept} of an earlier export stay, as they were changed since"
    return f"{line}; {REPORT} tells how it went"


def _segmented(session: Session) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Segmentation [N, H, W] and its confidence; None while there is no network."""
    shape = session.images.inside.shape
    segmentation, confidence = np.empty(shape, np.int16), np.empty(shape, np.float32)
    for section in range(len(segmentation)):
        found = session.segment_section(section)
        if found is None:
            return None, None
        segmentation[section], confidence[section] = found
    return segmentation, confidence


def _bytes_of(write: Callable[[pathlib.Path], None]) -> bytes:
    """What a writer writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        write(path)
        return path.read_bytes()
