"""Pictures of curves and of what had been traced (Figs. 3 to 5)."""

import pathlib
from collections.abc import Callable

import numpy as np

from al_jax.core.stack import InputError, Stack
from al_jax.files.stacks import read_stack
from al_jax.plotting import figures, plots
from al_jax.plotting.page import Block, Heading, Lines, Picture
from experiments.report.runs import ABLATIONS, COMPETING, PROPOSED, FinishedRun, methods
from experiments.report.values import TARGETS, first_reached

SHOWN = (PROPOSED, "H", "Rand", "Uniform")  # of Figs. 4 and 5
GRID = 400  # efforts of a mean curve


def curve_bands(
    runs: list[FinishedRun], read: Callable[[FinishedRun], np.ndarray]
) -> dict[str, plots.Band]:
    """Mean curves over stacks, seeds averaged first; a run that ended keeps its last Dice."""
    start = max(float(run.effort[0]) for run in runs)
    found = {}
    for method in methods(runs):
        mine = [run for run in runs if run.strategy == method]
        grid = np.linspace(start, max(start, *(float(run.effort[-1]) for run in mine)), GRID)
        rows = [np.searchsorted(run.effort, grid, side="right") - 1 for run in mine]
        values = [100 * read(run)[row] for run, row in zip(mine, rows, strict=True)]
        of = [run.stack for run in mine]
        stacks = [
            np.mean([v for v, s in zip(values, of, strict=True) if s == stack], axis=0)
            for stack in sorted(set(of))
        ]
        std = np.std(stacks, axis=0, ddof=1) if len(stacks) > 1 else np.full(GRID, np.nan)
        ends = [float(run.effort[-1]) for run in mine if run.dice[-1] < 1]
        found[method] = grid, np.mean(stacks, axis=0), std, min(ends, default=np.inf)
    return found


def curves(runs: list[FinishedRun], colours: dict[str, str], folder: pathlib.Path) -> list[Block]:
    """Fig. 3, and the same of the network alone."""
    clamped, alone = (curve_bands(runs, read) for read in (lambda r: r.dice, lambda r: r.unclamped))
    groups = {
        "Competing methods": {PROPOSED, *COMPETING},
        "Ablations": {PROPOSED, *ABLATIONS},
        "Beyond the paper": set(clamped) - set(COMPETING) - set(ABLATIONS),
    }
    panels = [
        (title, {name: band for name, band in clamped.items() if name in group})
        for title, group in groups.items()
    ]
    shown = [panel for panel in panels if set(panel[1]) - {PROPOSED}] or panels[:1]
    plots.bands(shown, colours, folder / "curves.png")
    pair = [("With what was traced kept (Eq. 4)", clamped), ("Network alone", alone)]
    plots.bands(pair, colours, folder / "network_alone.png")
    text = (
        "Mean Dice against the outline traced, with one standard deviation over stacks; the axis "
        "begins at the initial annotations. Dotted: runs have ended and keep their last Dice."
    )
    return [
        Heading("Dice against effort (Fig. 3)"),
        Picture("curves.png", text),
        Picture("network_alone.png", "The same lines with and without what was traced by hand."),
    ]


def snapshot(run: FinishedRun, stack: Stack, step: int) -> tuple[np.ndarray, np.ndarray]:
    """What had been traced after `step` queries: labels [N, H, W] and annotated [N, C].

    Raises:
      InputError: the run asked for what the stack does not have.
    """
    annotated = np.zeros((stack.num_sections, stack.num_classes), bool)
    for section, name in [*run.start, *run.asked[:step]]:
        if name not in stack.names or not 0 <= section < stack.num_sections:
            raise InputError(f"{run.folder.name}: its stack.npz has no '{name}' or no {section}")
        annotated[section, stack.names.index(name)] = True
    truth = np.asarray(stack.truth)
    sections = np.arange(stack.num_sections)[:, None, None]
    traced = annotated[sections, np.maximum(truth, 0)] & (truth >= 0)
    return np.where(traced, truth, -1), annotated


def snapshots(runs: list[FinishedRun], folder: pathlib.Path) -> list[Block]:
    """Figs. 4 and 5: of the first stack and seed, what had been traced at 95 and 90% Dice."""
    first = min((run.stack, run.seed) for run in runs)
    chosen = [r for r in runs if (r.stack, r.seed) == first and r.strategy in SHOWN]
    chosen = [r for name in SHOWN for r in chosen if r.strategy == name]
    blocks: list[Block] = [Heading("What had been traced (Figs. 4 and 5)")]
    if not chosen:
        return [*blocks, Lines([f"None of {', '.join(SHOWN)} was run on {first[0]}."])]
    try:
        stack = read_stack(chosen[0].folder / "stack.npz")
        for target in sorted(TARGETS, reverse=True):
            labels, annotated = snapshot(chosen[0], stack, 0)
            rows = [(f"start ({chosen[0].effort[0]:.1f}%)", labels, annotated)]
            never = []
            for run in chosen:
                reached = first_reached(run, target)
                step = len(run.asked) if reached is None else reached
                word = "end " if reached is None else ""
                title = f"{run.strategy} ({word}{run.effort[step]:.1f}%)"
                rows.append((title, *snapshot(run, stack, step)))
                if reached is None:
                    never.append(f"{run.strategy} ended at {100 * run.dice[-1]:.1f}% Dice")
            name = f"traced_{target}.png"
            figures.annotations(stack, rows, folder / name)
            text = (
                f"{first[0]}, seed {first[1]}: what each method had traced when first at {target}% "
                "Dice, effort in brackets. B: the background was traced."
            )
            blocks.append(
                Picture(name, " ".join([text, *(f"{n} and shows its end." for n in never)]))
            )
    except InputError as error:
        reason = str(error).replace(str(chosen[0].folder), chosen[0].folder.name)
        blocks.append(Lines([f"No picture: {reason}"]))
    return blocks
