"""How a report prints numbers, counts and tables. A row is one of a table of `tables.compare`."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from al_jax.plotting.page import Table
from experiments.report.read import ABLATIONS, PROPOSED, methods
from experiments.report.values import TARGETS


def number(value: float, digits: int = 2) -> str:
    """Rounded; '-' if there is none."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def count(many: int, one: str) -> str:
    """'1 run', '2 runs'."""
    return f"{many} {one}" if many == 1 else f"{many} {one}s"


def mark(row: Any) -> str:
    """What a mean is if it has bounds among its values."""
    return ("≥ " if row.at_least_runs else "") + ("≤ " if row.at_most_runs else "")


def mean_std(row: Any) -> str:
    """'94.78 ± 2.41', '≥' or '≤' before it if some of its runs gave bounds only."""
    return mark(row) + _mean_std(row.mean_percent, row.std_percent)


def _mean_std(mean: float, std: float) -> str:
    return number(mean) + ("" if np.isnan(std) else f" ± {number(std)}")


def times(ratio: Any) -> str:
    """A ratio of efforts; '≥' if the dividend is a lower bound, '≤' if the divisor is one."""
    bound = "≤ " * (ratio.ours_at_least_runs > 0) + "≥ " * (ratio.rand_at_least_runs > 0)
    return f"{bound}{ratio.ratio:.2f}"


def listed(table: pd.DataFrame, columns: list[tuple[str, str]], rules: bool = False) -> Table:
    """A row per row: each column has its head and its text, a format of the row and of `mean`."""

    def text(row: Any, form: str) -> str:
        cell = form.format(row, mean=mean_std(row) if "{mean}" in form else "")
        numbers = cell.replace("\n(nan to nan)", "")
        return re.sub(r"\bnan\b", "-", numbers) if ":" in form else cell

    rows = [[text(row, form) for _, form in columns] for row in table.itertuples()]
    return Table([head for head, _ in columns], rows, groups(rows) if rules else frozenset())


def groups(rows: list[list[str]]) -> frozenset[int]:
    """Of rows that begin with a method, those at which a group of the paper begins."""
    group = [0 if row[0] == PROPOSED else 1 if row[0] in ABLATIONS else 2 for row in rows]
    return frozenset(i for i in range(1, len(rows)) if group[i] != group[i - 1])


def paper_table(compared: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Tables 2 to 5 as the paper prints them, and the tests behind their stars."""
    starts = {name: max(e[0] for e in mine.effort) for name, mine in runs.groupby("method")}
    stacks = runs["stack"].nunique()

    def cell(row: Any) -> str:
        text = f"{mean_std(row)} {'*' * row.stars}".rstrip()
        if not np.isnan(row.paper_mean_percent):
            text += f"\npaper {_mean_std(row.paper_mean_percent, row.paper_std_percent)}"
        if row.at_least_runs:
            text += f"\n≥: {row.at_least_runs} of {row.runs} runs"
        if row.at_most_runs:
            start = f"starts at {starts[row.method]:.1f}%"
            text += f"\n≤: {row.at_most_runs} of {row.runs} runs, {start}"
        if row.stacks < stacks:
            text += f"\n{row.stacks} of {count(stacks, 'stack')}"
        return text

    def test(row: Any) -> str:
        return "-" if np.isnan(row.p) else f"{row.p:.3g}\nHolm {row.p_holm:.3g}"

    tested = compared[compared.method.isin(compared.method[compared.p.notna()])]
    return {
        "cells": wide(compared, cell),
        "tests": wide(tested, test) if len(tested) else None,
        "pairs": ", ".join(map(str, sorted(set(tested.pairs)))),
        "p_least": tested.p_least.min(),
    }


def pair_table(table: pd.DataFrame) -> Table:
    """Medians over pairs of stack and seed, and those of the differences to the reference."""

    def spread(row: Any, before: str = "", sign: str = "") -> str:
        names = ("median", "lower_quartile", "upper_quartile", "low", "high")
        middle, low, high, *interval = (getattr(row, before + name) for name in names)
        text = f"{middle:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"
        known = not np.isnan(interval[0])
        return text + f"\ninterval {interval[0]:{sign}.2f} to {interval[1]:{sign}.2f}" * known

    def cell(row: Any) -> str:
        text = mark(row) + spread(row)
        if row.pairs:
            more = (
                f"{mark(row)}{spread(row, 'difference_', '+')}\nless in {row.less} of {row.pairs}"
            )
            text += f"\ndifference {more}"
        return text + f"\nn = {row.n}, {count(row.stacks, 'stack')}"

    return wide(table, cell)


def wide(table: pd.DataFrame, text: Callable[[Any], str]) -> Table:
    """A row per method, a column for each Dice or budget; the text of each row of `table`."""
    cells = table.assign(cell=[text(row) for row in table.itertuples()])
    columns = cells.pivot(index="method", columns="at_percent", values="cell")
    rows = [[name, *columns.loc[name].fillna("-")] for name in methods(table)]
    return Table(["method", *(f"{at}%" if at else "" for at in columns)], rows, groups(rows))


def worst_table(table: pd.DataFrame) -> Table:
    """The worst structure of each method."""
    rows = [
        [row.method, row.structure.replace("_", " "), mean_std(row)]
        for row in table[table.worst > 0].drop_duplicates("method").itertuples()
    ]
    return Table(["method", "worst", "Dice (%)"], rows, groups(rows))


def ends_table(table: pd.DataFrame) -> Table:
    """Dice and surface distances at the end, those that some run says."""
    heads = {
        "dice_percent": "Dice (%)",
        "hd95_px": "HD95 (px)",
        "mean_px": "mean distance (px)",
        "hd95_mm": "HD95 (mm)",
        "mean_mm": "mean distance (mm)",
        "lacking_percent": "pairs without (%)",
    }
    shown = {name: head for name, head in heads.items() if table[f"{name}_mean"].notna().any()}
    rows = [
        [row["method"], *(_mean_std(row[f"{name}_mean"], row[f"{name}_std"]) for name in shown)]
        for _, row in table.iterrows()
    ]
    return Table(["method", *shown.values()], rows, groups(rows))


def setting_table(table: pd.DataFrame, key: str, values: list[str]) -> Table:
    """Effort at each Dice over the values of a setting."""
    found = table.set_index(["method", "at_percent", "value"])
    rows = []
    for name in methods(table):
        for at in TARGETS:
            places = [(name, at, value) for value in values]
            cells = [found.loc[place] if place in found.index else None for place in places]
            texts = ["-" if c is None else f"{mean_std(c)}\nn = {c.stacks}" for c in cells]
            rows.append([f"{name}, {at}%", *texts])
    above = frozenset(range(len(TARGETS), len(rows), len(TARGETS)))
    return Table([key, *values], rows, above)
