"""Pictures of curves, of what had been traced (Figs. 3 to 5), and of the tables."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from al_jax.core.stack import InputError, Stack
from al_jax.files.stacks import read_stack
from al_jax.plotting import figures, plots
from experiments.report.cells import number
from experiments.report.read import ABLATIONS, COMPETING, PROPOSED, methods
from experiments.report.values import TARGETS, first_reached

SHOWN = (PROPOSED, "H", "Rand", "Uniform")  # of Figs. 4 and 5
GRID = 400  # efforts of a mean curve


def curve_bands(
    runs: pd.DataFrame, read: Callable[[Any], np.ndarray], by: str = "method"
) -> dict[str, plots.Band]:
    """Median and quartiles over pairs of stack and seed; a run that ended keeps its last Dice.

    `read` gives the Dice of a run, [T + 1] fractions; `by` is what a line is of.
    """
    start = max(float(effort[0]) for effort in runs.effort)
    found = {}
    for name, mine in runs.groupby(by, sort=False):
        last = [float(effort[-1]) for effort in mine.effort]
        grid = np.linspace(start, max(start, *last), GRID)
        curves = [
            100 * read(run)[np.searchsorted(run.effort, grid, side="right") - 1]
            for run in mine.itertuples()
        ]
        low, middle, high = np.nanquantile(curves, [0.25, 0.5, 0.75], axis=0)
        ends = [end for end, dice in zip(last, mine.dice, strict=True) if dice[-1] < 1]
        found[str(name)] = grid, middle, low, high, min(ends, default=np.inf)
    return found


def curves(
    runs: pd.DataFrame, reference: str, colours: dict[str, str], folder: pathlib.Path
) -> None:
    """Fig. 3; the same of the network alone, of the worst structure, and of each structure."""
    ordered = pd.concat([runs[runs.method == name] for name in methods(runs)])
    clamped = curve_bands(ordered, lambda run: run.dice)
    groups = {
        "Competing methods": {reference, *COMPETING},
        "Ablations": {reference, *ABLATIONS},
        "Beyond the paper": set(clamped) - set(COMPETING) - set(ABLATIONS),
    }
    panels = [
        (title, {name: band for name, band in clamped.items() if name in group})
        for title, group in groups.items()
    ]
    shown = [panel for panel in panels if set(panel[1]) - {reference}] or panels[:1]
    plots.bands(shown, colours, folder / "curves")
    alone = curve_bands(ordered, lambda run: run.unclamped)
    worst = curve_bands(ordered, lambda run: np.nanmin(run.class_dice[:, 1:], axis=1))
    pair = [("Network alone", alone), ("Worst structure", worst)]
    plots.bands(pair, colours, folder / "alone_and_worst")
    mine = runs[runs.method == reference] if reference in clamped else ordered[:1]
    named = mine.assign(structure=[names[1:] for names in mine.names]).explode("structure")
    lines = curve_bands(
        named, lambda run: run.class_dice[:, run.names.index(run.structure)], "structure"
    )
    title = f"{mine.method.iloc[0]}, each structure"
    plots.bands([(title, lines)], plots.method_colours((), list(lines)), folder / "each_structure")


def snapshot(run: Any, stack: Stack, step: int) -> tuple[np.ndarray, np.ndarray]:
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


def snapshots(runs: pd.DataFrame, folder: pathlib.Path) -> dict[str, Any]:
    """Figs. 4 and 5: of the first stack and seed, what had been traced at 95 and 90% Dice.

    Returns:
      Which stack and seed; 'pictures': Dice -> who never came to it; 'reason': why there are none.
    """
    found: dict[str, Any] = {"pictures": {}, "reason": ""}
    found["stack"], found["seed"] = min(zip(runs["stack"], runs.seed, strict=True))
    first = runs[(runs["stack"] == found["stack"]) & (runs.seed == found["seed"])]
    chosen = [run for name in SHOWN for run in first[first.method == name].itertuples()]
    if not chosen:
        return found | {"reason": f"None of {', '.join(SHOWN)} was run on {found['stack']}."}
    try:
        stack = read_stack(chosen[0].folder / "stack.npz")
        for target in sorted(TARGETS, reverse=True):
            rows = [(f"start ({chosen[0].effort[0]:.1f}%)", *snapshot(chosen[0], stack, 0))]
            never = []
            for run in chosen:
                reached = first_reached(run, target)
                step = len(run.asked) if reached is None else reached
                word = "end " if reached is None else ""
                title = f"{run.method} ({word}{run.effort[step]:.1f}%)"
                rows.append((title, *snapshot(run, stack, step)))
                if reached is None:
                    end = f"{100 * run.dice[-1]:.1f}% Dice"
                    never.append(f"{run.method} ended at {end} and shows its end.")
            figures.annotations(stack, rows, folder / f"traced_{target}.png")
            found["pictures"][target] = never
    except InputError as error:
        reason = str(error).replace(str(chosen[0].folder), chosen[0].folder.name)
        found["reason"] = f"No picture: {reason}"
    return found


def structures(table: pd.DataFrame, folder: pathlib.Path) -> None:
    """Dice of each structure, by method."""
    wide = table.pivot(index="structure", columns="method", values="mean_percent")
    rows, columns = list(dict.fromkeys(table.structure)), list(dict.fromkeys(table.method))
    plots.matrix(wide.loc[rows, columns].to_numpy(), rows, columns, folder / "structures")


def lengths(
    table: pd.DataFrame,
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    colours: dict[str, str],
    folder: pathlib.Path,
) -> bool:
    """Predicted against actual outline; whether there is any."""
    notes = {
        row.method: f"r = {number(row.log_correlation)}, "
        f"median error {number(100 * row.median_relative_error, 0)}%"
        for row in table.itertuples()
    }
    some = {name: pair for name, pair in points.items() if len(pair[0])}
    if some:
        plots.lengths(some, notes, colours, folder / "lengths")
    return bool(some)


def calibration(table: pd.DataFrame, colours: dict[str, str], folder: pathlib.Path) -> None:
    """Expected against actual Dice of the network, a line per method."""
    lines = {
        str(name): (mine.expected_percent.to_numpy(), mine.actual_percent.to_numpy())
        for name, mine in table.groupby("method")
    }
    if lines:
        plots.reliability(
            {name: lines[name] for name in methods(table)}, colours, folder / "reliability"
        )


def help_rows(table: pd.DataFrame, paper: pd.DataFrame, folder: pathlib.Path) -> None:
    """Effort at each Dice with each kind of help, and the paper's of the proposed method."""
    theirs = paper[(paper.method == PROPOSED) & (paper.metric == "effort_at_dice")]
    theirs = theirs.rename(columns=lambda name: name.removeprefix("paper_"))
    theirs = theirs.assign(method=f"{PROPOSED}, Atzeni et al.", at_least_runs=0)
    ours = table.sort_values("mean_percent", kind="stable")
    names = ours.method[ours.at_percent == TARGETS[1]]
    found = pd.concat([ours, theirs]).set_index(["method", "at_percent"])
    rows = []
    for name in [*names, *dict.fromkeys(theirs.method)]:
        values = [found.loc[(name, at)] for at in TARGETS]
        rows.append(
            (name, [(v.mean_percent, v.std_percent, bool(v.at_least_runs)) for v in values])
        )
    plots.efforts(rows, list(TARGETS), folder / "help")


def sensitivity(
    table: pd.DataFrame, key: str, values: list[str], colours: dict[str, str], path: pathlib.Path
) -> None:
    """Effort at each Dice over the values of a setting, a line per method of the table."""
    panels = []
    for at, part in table.groupby("at_percent"):
        wide = part.pivot(index="method", columns="value", values=["mean_percent", "std_percent"])
        means, stds = (wide[kind].reindex(columns=values) for kind in wide.columns.levels[0])
        lines = {name: (list(means.loc[name]), list(stds.loc[name])) for name in methods(table)}
        panels.append((f"Effort at {at}% Dice", lines))
    plots.settings(panels, values, key, colours, path)
