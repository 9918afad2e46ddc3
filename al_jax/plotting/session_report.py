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
from al_jax.plotting.page import Block, Heading, Lines, Picture, Table, as_html
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
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        blocks = [
            Heading("What was traced, and what the network makes of it", 1),
            Lines(_summary(images, export, left), bullets=True),
            *_dice(export.answers, place),
            *_lengths(export.answers, place),
            *_structures(images, export.answers),
            *_sheet(images, export, place),
        ]
        page = as_html(blocks, place)
    write_atomic(path, page.encode())


def _summary(images: Images, export: Export, left: float | None) -> list[str]:
    answers = export.answers
    if not answers:
        return ["Nothing has been answered yet."]
    kinds = Counter(answer.kind for answer in answers)
    sections = len({answer.section for answer in answers})
    told = ", ".join(f"{many} {kind}" for kind, many in kinds.most_common())
    lines = [f"{len(answers)} answers on {sections} of {images.num_sections} sections: {told}."]
    outline = f"{answers[-1].effort:,.0f} px of outline were traced"
    if left is None:
        lines.append(f"{outline}.")
    else:
        share = 100 * answers[-1].effort / max(answers[-1].effort + left, 1)
        lines.append(
            f"{outline}; the outlines known so far predict that {left:,.0f} px are left, so "
            f"about {share:.0f}% are done."
        )
    seconds = _known(answers, "seconds")
    if seconds.size:
        lines.append(
            f"An answer took {np.median(seconds):.0f} s (median); all that were timed, "
            f"{seconds.sum() / 60:.0f} min."
        )
    kept = _kept(answers)
    if kept.size:
        lines.append(
            f"Of the {len(kept)} proposals that were taken as a start, {100 * kept.mean():.0f}% of "
            "the outline was kept (mean)."
        )
    dice = _known(answers, "dice")
    if dice.size:
        lines.append(f"The network's estimate of its mean Dice is {100 * dice[-1]:.0f}%.")
    return lines


def _dice(answers: Sequence[Answered], folder: pathlib.Path) -> list[Block]:
    heading = Heading("Estimated Dice against outline traced")
    if not _known(answers, "dice").size:
        return [heading, Lines(["No network has been trained yet."])]
    effort = np.array([answer.effort for answer in answers])
    dice = np.array([np.nan if answer.dice is None else answer.dice for answer in answers])
    plots.progress(effort, 100 * dice, folder / "dice.png")
    text = (
        "No truth is known. The network's Dice is estimated on what was traced, mean over "
        "structures, at each answer; it is no measurement of the rest."
    )
    return [heading, Picture("dice.png", text)]


def _lengths(answers: Sequence[Answered], folder: pathlib.Path) -> list[Block]:
    heading = Heading("Predicted and actual outline of each answer")
    pairs = [(a.predicted, a.actual) for a in answers if a.predicted is not None]
    predicted, actual = np.array(pairs, float).reshape(-1, 2).T
    counted = (predicted > 0) & (actual > 0)  # others have no logarithm
    if not counted.any():
        return [heading, Lines(["No answer with an outline had a prediction."])]
    x, y = predicted[counted], actual[counted]
    note = f"median error {100 * np.median(abs(x - y) / y):.0f}%, {len(x)} answers"
    plots.lengths({ALL: (x, y)}, {ALL: note}, {ALL: LINES[0]}, folder / "lengths.png")
    missing = f" {(~counted).sum()} that cost nothing are left out." if (~counted).any() else ""
    text = "Pixels of outline that the structures traced before predicted, and that were traced."
    return [heading, Picture("lengths.png", text + missing)]


def _structures(images: Images, answers: Sequence[Answered]) -> list[Block]:
    rows = []
    for c, name in enumerate(images.names):
        own = [answer for answer in answers if answer.structure == c]
        if not own:
            rows.append([name, "0", "0", "-", "-", "-"])
            continue
        kept, seconds = _kept(own), _known(own, "seconds")
        rows.append(
            [
                name,
                str(sum(answer.kind != "absent" for answer in own)),
                str(sum(answer.kind == "absent" for answer in own)),
                f"{sum(answer.actual for answer in own):,.0f}",
                f"{100 * kept.mean():.0f}" if kept.size else "-",
                f"{seconds.sum() / 60:.1f}" if seconds.size else "-",
            ]
        )
    header = ["structure", "traced", "absent", "outline (px)", "kept (%)", "minutes"]
    return [
        Heading("Structures"),
        Table(
            "On how many sections, and at what cost. Kept: of the outlines of proposals that were "
            "taken as a start.",
            header,
            rows,
        ),
    ]


def _sheet(images: Images, export: Export, folder: pathlib.Path) -> list[Block]:
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
    figures.labelled_sections(images, rows, folder / "sections.png")
    text = (
        "Sections at equal distances in the stack: the image, what was traced (B: the background, "
        "too), and that with the network's part."
    )
    return [Heading("Sections"), Picture("sections.png", text)]


def _kept(answers: Sequence[Answered]) -> np.ndarray:
    """Shares of the proposals that were taken as a start: others were only looked at."""
    return _known([a for a in answers if a.kind in ("accepted", "corrected")], "kept")


def _known(answers: Sequence[Answered], field: str) -> np.ndarray:
    """The values of a field where there is one."""
    return np.array([v for a in answers if (v := getattr(a, field)) is not None], float)
