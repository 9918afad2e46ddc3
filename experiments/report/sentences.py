"""A report in a few plain sentences."""

from collections import Counter

import numpy as np

from al_jax.plotting.page import Lines
from experiments.report.runs import PROPOSED, FinishedRun, Problem, methods
from experiments.report.values import TARGETS, Record
from experiments.report.words import count, mean_std, times


def summary(
    runs: list[FinishedRun],
    every: int,
    problems: list[Problem],
    efforts: list[Record],
    ratios: list[Record],
    area_records: list[Record],
) -> Lines:
    """The report in a few plain sentences."""
    names, stacks = methods(runs), sorted({run.stack for run in runs})
    seeds = sorted(set(Counter((run.strategy, run.stack) for run in runs).values()))
    each = f"{seeds[0]}-{seeds[-1]} seeds" if len(seeds) > 1 else count(seeds[0], "seed")
    text = (
        f"{count(every, 'finished run')}; this report is about the {len(runs)} of the main "
        f"setting: {count(len(names), 'method')} on {count(len(stacks), 'stack')} "
        f"({', '.join(stacks)}), {each} each."
    )
    lines = [text]
    kinds = Counter(problem.kind for problem in problems)
    listed = ", ".join(f"{many} {kind}" for kind, many in sorted(kinds.items()))
    lines.append(
        f"Not in it: {listed} (listed below)." if listed else "No run failed or is missing."
    )
    n = f"n = {count(len(stacks), 'stack')}"
    for at in TARGETS:
        mine = [r for r in efforts if r["at_percent"] == at]
        # Methods that lack a stack have an easier, or a harder, mean.
        whole = [r for r in mine if r["stacks"] == len(stacks)] or mine
        best, *others = sorted(whole, key=lambda r: r["mean_percent"])
        text = f"Least effort for {at}% Dice: {best['method']}, "
        text += f"{mean_std(best)}% of whole outlines (n = {count(best['stacks'], 'stack')})"
        if others:
            second = others[0]
            more = second["mean_percent"] / best["mean_percent"]
            text += f"; next {second['method']}, {mean_std(second)}%, {more:.2f} times as much"
        lines.append(text + ".")
        never = {r["method"]: r["at_least_runs"] for r in mine if r["at_least_runs"]}
        if never:
            listed = ", ".join(f"{method} {many}" for method, many in never.items())
            lines.append(
                f"{sum(never.values())} of {len(runs)} runs never reached {at}% ({listed}): each "
                "counts with its last effort, a lower bound (≥)."
            )
    for record in ratios:
        theirs = record["paper_ratio"]
        beside = "" if np.isnan(theirs) else f" (paper: {theirs:.2f} times)"
        lines.append(
            f"Rand needs {times(record)} times as much as {PROPOSED} for "
            f"{record['at_percent']}%{beside}."
        )
    if area_records:
        most = max(r["stacks"] for r in area_records)
        best = max(
            (r for r in area_records if r["stacks"] == most), key=lambda r: r["mean_percent"]
        )
        many = count(most, "stack")
        lines.append(
            f"Highest mean Dice over effort: {best['method']}, {mean_std(best)}% (n = {many})."
        )
    tested = [r for r in efforts if not np.isnan(r["p"])]
    if tested:
        least = min(r["p_least"] for r in tested)
        if least > 0.05:
            lines.append(
                f"With {n}, Wilcoxon's test cannot give a p below {least:.3g}: no difference here "
                "can be called significant, however large."
            )
        else:
            for at in TARGETS:
                mine = [r for r in tested if r["at_percent"] == at]
                apart = [r["method"] for r in mine if r["p_holm"] <= 0.05]
                lines.append(
                    f"At {at}% Dice {len(apart)} of {count(len(mine), 'method')} differ from "
                    f"{PROPOSED} with p <= 0.05 after Holm's correction"
                    + (f": {', '.join(apart)}." if apart else ".")
                )
    return Lines(lines, bullets=True)
