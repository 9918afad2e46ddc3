"""What earlier stacks and corrections save: runs with such help beside those without."""

import dataclasses
import json
import pathlib
from functools import partial

import numpy as np

from al_jax.plotting import plots
from al_jax.plotting.page import Block, Heading, Lines, Picture
from experiments.report import comparisons
from experiments.report.comparison_tables import paper_table
from experiments.report.details import differing
from experiments.report.runs import PROPOSED, FinishedRun, Setting, methods
from experiments.report.values import TARGETS, Record, Value, average, effort_of, first_reached

ATS = (80, *TARGETS)
CARRIED = {"from", "initial_steps", "query_learning_rate", "start"}  # what `--from` changes
HELP = {"correct", "tolerance", "tremor"}  # of the person
ENDS = {"target_dice", "max_effort"}


def helped(runs: list[FinishedRun], main: Setting) -> list[FinishedRun]:
    """The runs that differ from the main setting in their help alone; each is called by its help.

    A method without help keeps its name; others are 'BDr, carried over' or 'KBDr, both, 0 px'.
    """
    chosen = []
    for run in runs:
        carried = CARRIED if dict(run.setting).get("from", "null") != "null" else set()
        if differing(run.setting, main).keys() <= carried | HELP | ENDS:
            chosen.append(dataclasses.replace(run, strategy=_name(run)))
    return chosen


def _name(run: FinishedRun) -> str:
    setting = {key: json.loads(value) for key, value in run.setting}
    corrected = setting.get("correct", False)
    carried = setting.get("from") is not None
    words = [
        {(1, 0): "carried over", (0, 1): "corrected", (1, 1): "both"}.get((carried, corrected))
    ]
    if corrected:
        words.append(f"{setting['tolerance']} px")
    if setting.get("tremor"):
        words.append(f"hand {setting['tremor']:g} px off")
    return ", ".join([run.strategy, *filter(None, words)])


def help_section(
    every: list[FinishedRun],
    main: Setting,
    dataset: str,
    tables: dict[str, list[Record]],
    folder: pathlib.Path,
) -> list[Block]:
    """Own effort at 80, 90 and 95% Dice with each kind of help, tested against BDa without any."""
    runs = helped(every, main)
    if set(methods(runs)) <= set(methods(every)):
        return []  # nobody had help
    paper = comparisons.read_paper(dataset)
    averages = {at: average(runs, partial(effort_of, target=at)) for at in ATS}
    records = comparisons.columns("effort_at_dice", ATS, averages, paper)
    worst = average(runs, _worst)
    tables["help"] = records
    rows = [
        (name, [_found(records, name, at) for at in TARGETS])
        for name in sorted(methods(runs), key=lambda n: _found(records, n, 95)[0])
    ]
    theirs = [paper.get(("effort_at_dice", at, PROPOSED), (np.nan, np.nan)) for at in TARGETS]
    if not np.isnan(theirs[0][0]):
        rows.append((f"{PROPOSED}, Atzeni et al.", [(*value, False) for value in theirs]))
    plots.efforts(rows, list(TARGETS), folder / "help.png")
    text = (
        "Effort to reach 80, 90 and 95% Dice in % of whole outlines (of corrections, what was "
        "drawn); mean ± standard deviation over stacks. ≥: runs ended without reaching it."
    )
    lines = [
        f"{name}: its worst structure is at {np.mean([a.value for a in found.values()]):.1f}% Dice "
        "when the mean comes to 90%."
        for name, found in worst.items()
    ]
    return [
        Heading("What earlier stacks and corrections save"),
        Picture(
            "help.png", "Effort at 90 (filled) and 95% Dice (open), with one standard deviation."
        ),
        *paper_table(records, text, ATS, runs),
        Lines(lines),
    ]


def _found(records: list[Record], name: str, at: int) -> tuple[float, float, bool]:
    """Mean, standard deviation, and whether the mean is a lower bound."""
    record = next(r for r in records if (r["method"], r["at_percent"]) == (name, at))
    return record["mean_percent"], record["std_percent"], record["at_least_runs"] > 0


def _worst(run: FinishedRun) -> Value:
    """Dice of the worst structure where the mean first comes to 90%, or at the end."""
    row = first_reached(run, TARGETS[0])
    return Value(100 * float(np.nanmin(run.class_dice[-1 if row is None else row, 1:])))
