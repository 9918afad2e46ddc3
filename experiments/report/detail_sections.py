"""Structures, lengths, starts and what is not in the report, as sections of the page."""

import pathlib

import numpy as np

from al_jax.plotting import plots
from al_jax.plotting.page import Block, Heading, Lines, Picture, Table
from experiments.report.runs import FinishedRun, Problem, Setting, methods
from experiments.report.values import Record
from experiments.report.words import label, mark, mean_std, number, plain, splits

MANY = 12  # structures that fit a table


def structure_section(
    records: list[Record], runs: list[FinishedRun], budget: float, folder: pathlib.Path
) -> list[Block]:
    """Dice of each structure at a budget."""
    names = methods(runs)
    structures = list(dict.fromkeys(record["structure"] for record in records))
    found = {(r["method"], r["structure"]): r for r in records}
    values = [
        [found[n, s]["mean_percent"] if (n, s) in found else np.nan for n in names]
        for s in structures
    ]
    plots.matrix(np.array(values), structures, names, folder / "structures.png")
    rows = []
    for name in names:
        mine = [record for record in records if record["method"] == name]
        worst = min(mine, key=lambda record: record["mean_percent"])
        said = f"{worst['structure'].replace('_', ' ')}\n{mark(worst)}{worst['mean_percent']:.2f}"
        cells = [found.get((name, s)) for s in structures] if len(structures) <= MANY else []
        rows.append([name, said, *("-" if c is None else mean_std(c) for c in cells)])
    heads = [s.replace("_", " ") for s in structures] if len(structures) <= MANY else []
    text = (
        f"Dice (%) of each structure when {budget:g}% of the outline is traced, the first budget "
        "that no run starts beyond: equal cost shows what a method neglects. Means over the stacks "
        "that have the structure; ≥ where runs had reached their target before."
    )
    again = "The same, with the worst structure of each method."
    return [
        Heading("Structures"),
        Picture("structures.png", text),
        Table(again, ["method", "worst", *heads], rows, splits(names)),
    ]


def length_section(
    records: list[Record],
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    colours: dict[str, str],
    folder: pathlib.Path,
) -> list[Block]:
    """Predicted against actual outline."""
    blocks: list[Block] = [Heading("Predicted and actual outline of each answer")]
    if not records:
        return [*blocks, Lines(["No method that goes by B has asked anything."])]
    notes = {
        r["method"]: f"r = {number(r['log_correlation'])}, "
        f"median error {number(100 * r['median_relative_error'], 0)}%"
        for r in records
    }
    some = {name: pair for name, pair in points.items() if len(pair[0])}
    text = (
        "Outline that B predicts (Eq. 5) against the outline traced, for the methods that go by B, "
        "all stacks and seeds. r: correlation of logarithms; error: |predicted - actual| / actual."
    )
    if some:
        plots.lengths(some, notes, colours, folder / "lengths.png")
        blocks.append(Picture("lengths.png", text))
    rows = [
        [
            r["method"],
            str(r["answers"]),
            str(r["cost_nothing"]),
            number(r["log_correlation"]),
            f"{number(100 * r['median_relative_error'], 1)}%",
        ]
        for r in records
    ]
    header = ["method", "answers", "of no cost (left out)", "r", "median error"]
    return [*blocks, Table("In figures.", header, rows)]


def start_section(records: list[Record]) -> list[Block]:
    """What the initial annotations cost."""
    rows = [
        [
            r["stack"],
            number(r["mean_percent"]),
            f"{number(r['least_percent'])} - {number(r['most_percent'])}",
            str(r["seeds"]),
        ]
        for r in records
    ]
    text = "Effort (%) of the initial annotations, one section for each class; over seeds."
    return [
        Heading("Initial effort"),
        Table(text, ["stack", "mean", "least - most", "seeds"], rows),
    ]


def runs_section(problems: list[Problem], main: Setting) -> list[Block]:
    """What was run, and what is not in the report."""
    listed = ", ".join(f"{key}={plain(value)}" for key, value in main)
    blocks: list[Block] = [Heading("Runs"), Lines([f"The main setting: {listed}."])]
    if not problems:
        return [*blocks, Lines(["No run failed and none is missing."])]
    rows = [
        [
            p.kind,
            p.strategy,
            p.stack,
            p.seed,
            label(p.setting, main) if p.setting else "",
            p.run,
            p.text,
        ]
        for p in problems
    ]
    header = ["", "method", "stack", "seed", "setting", "run", "why"]
    return [*blocks, Table("Runs that are not in the report.", header, rows)]
