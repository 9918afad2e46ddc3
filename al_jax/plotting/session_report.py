"""The report of a session: one page that opens from disk, with its pictures inside."""

import os
import pathlib
import tempfile
from collections import Counter
from collections.abc import Sequence

import numpy as np

from al_jax.core.stack import UNLABELLED, Images
from al_jax.files.atomic import write_atomic
from al_jax.plotting import figures, plots
from al_jax.plotting.canvas import LINES
from al_jax.plotting.page import Table, render
from al_jax.session.results import Answered, Export

ALL = "all answers"


def write_report(
    path: str | os.PathLike, images: Images, export: Export, *, left: float | None = None
) -> None:
    """Writes a page: effort, estimated Dice, predicted lengths, structures, sections.

    Args:
      path: of the HTML file, written whole.
      images: the sections.
      export: what was traced, the segmentation if there is one, and the answers.
      left: pixels of outline that B predicts to be left.

    Raises:
      InputError: it cannot be written.
    """
    answers = export.answers
    dice, kept = _known(answers, "dice"), _kept(answers)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if dice.size:
            estimated = np.array([np.nan if a.dice is None else a.dice for a in answers])
            outline = np.array([answer.effort for answer in answers])
            plots.progress(outline, 100 * estimated, folder / "dice.png")
        _draw_sections(images, export, folder / "sections.png")
        page = render(
            pathlib.Path(__file__).with_name("session_report.jinja"),
            folder,
            title="What was traced, and what the network makes of it",
            answers=answers,
            kinds=Counter(answer.kind for answer in answers).most_common(),
            answered=len({answer.section for answer in answers}),
            sections=images.num_sections,
            left=left,
            seconds=_known(answers, "seconds"),
            kept=kept,
            dice=dice,
            median=np.median,
            missing=_draw_lengths(answers, folder / "lengths.png"),
            structures=_structures(images, answers),
        )
    write_atomic(path, page.encode())


def _draw_lengths(answers: Sequence[Answered], path: pathlib.Path) -> int | None:
    """How many answers with a prediction are not in the picture; None: there is no picture."""
    pairs = [(a.predicted, a.actual) for a in answers if a.predicted is not None]
    predicted, actual = np.array(pairs, float).reshape(-1, 2).T
    counted = (predicted > 0) & (actual > 0)  # others have no logarithm
    if not counted.any():
        return None
    x, y = predicted[counted], actual[counted]
    note = f"median error {100 * np.median(abs(x - y) / y):.0f}%, {len(x)} answers"
    plots.lengths({ALL: (x, y)}, {ALL: note}, {ALL: LINES[0]}, path)
    return int((~counted).sum())


def _structures(images: Images, answers: Sequence[Answered]) -> Table:
    rows = []
    for c, name in enumerate(images.names):
        own = [answer for answer in answers if answer.structure == c]
        absent = sum(answer.kind == "absent" for answer in own)
        kept, seconds = _kept(own), _known(own, "seconds")
        cells = [
            f"{sum(answer.actual for answer in own):,.0f}" if own else "-",
            f"{100 * kept.mean():.0f}" if kept.size else "-",
            f"{seconds.sum() / 60:.1f}" if seconds.size else "-",
        ]
        rows.append([name, str(len(own) - absent), str(absent), *cells])
    return Table(["structure", "traced", "absent", "outline (px)", "kept (%)", "minutes"], rows)


def _draw_sections(images: Images, export: Export, path: pathlib.Path) -> None:
    annotated = np.zeros((images.num_sections, images.num_classes), bool)
    for answer in export.answers:
        annotated[answer.section, answer.structure] = True
    nothing = np.full((images.num_sections, 1, 1), UNLABELLED, np.int16)
    rows: list[tuple[str, np.ndarray, np.ndarray | None]] = [
        ("image", np.broadcast_to(nothing, export.traced.shape), None),
        ("traced", export.traced, annotated),
    ]
    if export.segmentation is not None:
        rows.append(("with the\nnetwork", export.segmentation, None))
    figures.labelled_sections(images, rows, path)


def _kept(answers: Sequence[Answered]) -> np.ndarray:
    """Shares of the proposals that were taken as a start: others were only looked at."""
    return _known([a for a in answers if a.kind in ("accepted", "corrected")], "kept")


def _known(answers: Sequence[Answered], field: str) -> np.ndarray:
    """The values of a field where there is one."""
    return np.array([v for a in answers if (v := getattr(a, field)) is not None], float)
