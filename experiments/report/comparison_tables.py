"""The paper's Tables 2 to 5, areas and the order of the methods, as sections of the page."""

import numpy as np

from al_jax.plotting.page import Block, Heading, Lines, Table
from experiments.report.runs import PROPOSED, FinishedRun, methods
from experiments.report.values import Record
from experiments.report.words import cell, count, interval, mean_std, number, splits, times


def paper_table(
    records: list[Record], caption: str, ats: tuple[int, ...], runs: list[FinishedRun]
) -> list[Block]:
    """Tables 2 to 5 as the paper prints them, and the tests behind their daggers."""
    names = methods(runs)
    starts = {n: max(float(r.effort[0]) for r in runs if r.strategy == n) for n in names}
    found = {(r["method"], r["at_percent"]): r for r in records}
    heads = [f"{at}%" for at in ats]
    stacks = len({run.stack for run in runs})
    rows = [[name, *(cell(found[name, at], starts, stacks) for at in ats)] for name in names]
    blocks: list[Block] = [Table(caption, ["method", *heads], rows, splits(names))]
    tested = [n for n in names if any(not np.isnan(found[n, at]["p"]) for at in ats)]
    if tested:

        def p_values(record: Record) -> str:
            if np.isnan(record["p"]):
                return "-"
            return f"{record['p']:.3g}\nHolm {record['p_holm']:.3g}"

        pairs = sorted({found[name, at]["pairs"] for name in tested for at in ats})
        least = min(found[name, at]["p_least"] for name in tested for at in ats)
        text = (
            f"p of Wilcoxon's signed-rank test against {PROPOSED}, paired by stack "
            f"(n = {', '.join(map(str, pairs))}; the smallest p possible is {least:.3g}), "
            "and corrected by Holm within its column. Stacks without a difference are dropped, "
            "and so are pairs of which both are bounds; other bounds count as they are."
        )
        rows = [[name, *(p_values(found[name, at]) for at in ats)] for name in tested]
        blocks.append(Table(text, ["method", *heads], rows, splits(tested)))
    return blocks


def area_section(
    records: list[Record], windows: dict[tuple[str, int], tuple[float, float]]
) -> list[Block]:
    """Mean Dice over effort with its intervals."""
    heading = Heading("Mean Dice over effort (area under the curves)")
    if not records:
        return [heading, Lines(["No stack and seed has a finished run of every kind needed."])]
    starts, stops = zip(*windows.values(), strict=True)
    text = (
        f"Mean Dice (%) from the initial effort ({min(starts):.1f}-{max(starts):.1f}%) to "
        f"{min(stops):.1f}-{max(stops):.1f}% effort, for each stack and seed the smallest last "
        f"effort of its methods or what --until says; {count(len(windows), 'pair')} of stack and "
        "seed. Below: 95% bootstrap intervals over stacks (percentiles of 10,000 resamples), "
        "rough where stacks are few; none with one stack."
    )
    names = [record["method"] for record in records]
    rows = [
        [
            record["method"],
            mean_std(record) + interval(record, ""),
            number(record["difference_percent"]) + interval(record, "difference_"),
            str(record["stacks"]),
        ]
        for record in records
    ]
    header = ["method", "mean Dice", f"difference to {PROPOSED}", "stacks"]
    return [heading, Table(text, header, rows, splits(names))]


def order_section(
    ranked: list[Record], agreement: list[Record], ratios: list[Record]
) -> list[Block]:
    """Our order of the methods beside the paper's."""
    blocks: list[Block] = [Heading("Order of the methods")]
    shown = {
        "effort_at_90_percent": "effort at 90%",
        "rank_by_effort": "rank",
        "area_percent": "area",
        "rank_by_area": "rank",
        "paper_effort_at_90_percent": "paper: effort at 90%",
        "paper_rank": "rank",
    }
    if all(np.isnan(record["paper_rank"]) for record in ranked):
        shown = {key: head for key, head in shown.items() if not key.startswith("paper")}
    rows = []
    for record in sorted(ranked, key=lambda record: record["rank_by_effort"]):
        cells = [number(record[key], 1 if "rank" in key else 2) for key in shown]
        texts = [text.removesuffix(".0") for text in cells]
        rows.append([record["method"], *texts, str(record["stacks"])])
    text = (
        "Ranks: 1 needs least effort, or has the largest area. Bounds count as they are; compare "
        "methods that were run on the same stacks."
    )
    blocks.append(Table(text, ["method", *shown.values(), "stacks"], rows))
    known = [record for record in agreement if not np.isnan(record["value"])]
    titles = {"effort_at_90": "effort at 90%", "area": "area (largest first)"}
    lines = [
        f"{record['statistic'].capitalize()}'s rank correlation of our {titles[record['ours']]} "
        f"with the paper's effort at 90%: {record['value']:.2f} ({record['methods']} methods)."
        for record in known
    ]
    for record in ratios:
        beside = record["paper_ratio"]
        theirs = "" if np.isnan(beside) else f"; paper: {beside:.2f}"
        lines.append(
            f"Rand / {PROPOSED}, effort at {record['at_percent']}% Dice: {times(record)}{theirs}."
        )
    return [*blocks, Lines(lines)] if lines else blocks
