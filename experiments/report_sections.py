"""The sections of a report: from records to headings, tables and pictures."""

import pathlib
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from al_jax import figures, plots
from al_jax.files.stacks import read_stack
from al_jax.stack import InputError, Stack
from experiments import report_tables as tables
from experiments.report_page import Block, Heading, Lines, Picture, Table
from experiments.report_runs import ABLATIONS, COMPETING, PROPOSED, Problem, Run, Setting, methods
from experiments.report_tables import TARGETS, Record

SHOWN = (PROPOSED, "H", "Rand", "Uniform")  # of Figs. 4 and 5
MANY = 12  # structures that fit a table
GRID = 400  # efforts of a mean curve


# How numbers are printed.


def number(value: float, digits: int = 2) -> str:
    """Rounded; '-' if there is none."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def mean_std(record: Record, prefix: str = "") -> str:
    """'94.78 ± 2.41', '≥' or '≤' before it if some of its runs gave bounds only."""
    mean, std = record[f"{prefix}mean_percent"], record[f"{prefix}std_percent"]
    bounds = "" if prefix else mark(record)
    return f"{bounds}{number(mean)}" + ("" if np.isnan(std) else f" ± {number(std)}")


def mark(record: Record) -> str:
    """What a mean is if it has bounds among its values."""
    return "≥ " * (record["at_least_runs"] > 0) + "≤ " * (record["at_most_runs"] > 0)


def cell(record: Record, starts: dict[str, float], stacks: int) -> str:
    """One cell of Tables 2 to 5: ours, the paper's, how many runs gave bounds, if stacks lack."""
    text = mean_std(record) + " †" * record["dagger"]
    if not np.isnan(record["paper_mean_percent"]):
        text += f"\npaper {mean_std(record, 'paper_')}"
    if record["at_least_runs"]:
        text += f"\n≥: {record['at_least_runs']} of {record['runs']} runs"
    if record["at_most_runs"]:
        start = starts[record["method"]]
        text += f"\n≤: {record['at_most_runs']} of {record['runs']} runs, starts at {start:.1f}%"
    if record["stacks"] < stacks:
        text += f"\n{record['stacks']} of {count(stacks, 'stack')}"
    return text


def interval(record: Record, prefix: str) -> str:
    """'(-1.20 to 0.31)'."""
    low, high = (record[f"{prefix}{end}_percent"] for end in ("low", "high"))
    return "" if np.isnan(low) else f"\n({number(low)} to {number(high)})"


def times(record: Record) -> str:
    """A ratio of efforts; '≥' if the dividend is a lower bound, 'about' if the divisor is one."""
    bound = "about " if record["ours_at_least_runs"] else "≥ " * (record["rand_at_least_runs"] > 0)
    return f"{bound}{record['ratio']:.2f}"


def label(setting: Setting, main: Setting) -> str:
    """What a setting has otherwise than the main one."""
    apart = tables.differing(setting, main)
    return ", ".join(f"{key}={plain(value)}" for key, value in apart.items()) or "main"


def plain(value: str) -> str:
    """A JSON value as one would type it."""
    return {"null": "none"}.get(value, value.strip('"'))


def count(many: int, one: str) -> str:
    """'1 run', '2 runs'."""
    return f"{many} {one}" + "s" * (many != 1)


def splits(names: list[str]) -> frozenset[int]:
    """The rows that begin a group of the paper: proposed, ablations, competing."""
    group = [0 if n == PROPOSED else 1 if n in ABLATIONS else 2 for n in names]
    return frozenset(i for i in range(1, len(names)) if group[i] != group[i - 1])


# Sections of the page; pictures are drawn into `folder`.


def paper_table(
    records: list[Record], caption: str, ats: tuple[int, ...], runs: list[Run]
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


def curve_bands(runs: list[Run], read: Callable[[Run], np.ndarray]) -> dict[str, plots.Band]:
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


def curves(runs: list[Run], colours: dict[str, str], folder: pathlib.Path) -> list[Block]:
    """Fig. 3, and the same of the network alone."""
    clamped, alone = (curve_bands(runs, read) for read in (lambda r: r.dice, lambda r: r.unclamped))
    groups = {
        "Competing methods": {PROPOSED, *COMPETING},
        "Ablations": {PROPOSED, *ABLATIONS},
    }
    panels = [
        (title, {name: band for name, band in clamped.items() if name in group})
        for title, group in groups.items()
    ]
    plots.bands([panel for panel in panels if panel[1]], colours, folder / "curves.png")
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


def snapshot(run: Run, stack: Stack, step: int) -> tuple[np.ndarray, np.ndarray]:
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


def snapshots(runs: list[Run], folder: pathlib.Path) -> list[Block]:
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
                reached = np.flatnonzero(run.dice >= target / 100)
                step = int(reached[0]) if reached.size else len(run.asked)
                word = "" if reached.size else "end "
                title = f"{run.strategy} ({word}{run.effort[step]:.1f}%)"
                rows.append((title, *snapshot(run, stack, step)))
                if not reached.size:
                    never.append(f"{run.strategy} ended at {100 * run.dice[-1]:.1f}% Dice")
            name = f"traced_{target}.png"
            figures.annotations(
                stack.images, stack.truth, stack.inside, stack.names, rows, folder / name
            )
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
        "effort_at_90_percent": "effort at 90%", "rank_by_effort": "rank", "area_percent": "area",
        "rank_by_area": "rank", "paper_effort_at_90_percent": "paper: effort at 90%",
        "paper_rank": "rank",
    }  # fmt: skip
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


def structure_section(
    records: list[Record], runs: list[Run], budget: float, folder: pathlib.Path
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
        "Outline that B foretold (Eq. 5) against the outline traced, for the methods that go by B, "
        "all stacks and seeds. r: correlation of logarithms; error: |predicted - actual| / actual."
    )
    if some:
        plots.lengths(some, notes, colours, folder / "lengths.png")
        blocks.append(Picture("lengths.png", text))
    rows = [
        [
            r["method"], str(r["answers"]), str(r["cost_nothing"]), number(r["log_correlation"]),
            f"{number(100 * r['median_relative_error'], 1)}%",
        ]
        for r in records
    ]  # fmt: skip
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


def sensitivity(
    runs: list[Run],
    main: Setting,
    colours: dict[str, str],
    files: dict[str, bytes],
    folder: pathlib.Path,
) -> list[Block]:
    """Effort at 90 and 95% Dice over the values of every setting that varies."""
    settings = {run.setting for run in runs}
    blocks: list[Block] = [Heading("Other settings")]
    if len(settings) == 1:
        return [*blocks, Lines(["All runs share one setting."])]
    for key, values in tables.varied(settings, main).items():
        records = []
        pool = tables.comparable(runs, set(values.values()))
        for value, setting in values.items():
            mine = [run for run in pool if run.setting == setting]
            for at in TARGETS:
                averages = tables.average(mine, partial(tables.effort_of, target=at))
                for method, stacks in averages.items():
                    named = {"key": key, "value": plain(value), "main": int(setting == main)}
                    record = {"metric": "effort_at_dice", "at_percent": at, "method": method}
                    records.append({**named, **record, **tables.summarise(stacks)})
        found = {(r["at_percent"], r["method"], r["value"]): r for r in records}
        # Methods of the main setting alone say nothing about the key.
        names = [
            name
            for name in methods(runs)
            if len({r["value"] for r in records if r["method"] == name}) > 1
        ]
        shown = list(map(plain, values))
        panels = [(f"Effort at {at}% Dice", _over(found, at, names, shown)) for at in TARGETS]
        blocks.append(Heading(key, 3))
        if not names:
            blocks.append(Lines(["No method has runs of one stack and seed at all its values."]))
            continue
        files[f"sensitivity_{key}.csv"] = tables.as_csv(records)
        picture = f"sensitivity_{key}.png"
        plots.settings(panels, shown, key, colours, folder / picture)
        text = (
            f"Effort (%) over {key}, everything else as in the main setting ({key} "
            f"{plain(dict(main).get(key, 'unset'))}); mean ± std over the stacks and seeds that a "
            "method was run on at all its values, bounds as they are."
        )
        blocks.append(Picture(picture, text))
        rows, names_of_rows = [], []
        for name in names:
            for at in TARGETS:
                cells = [found.get((at, name, value)) for value in shown]
                texts = ["-" if c is None else f"{mean_std(c)}\nn = {c['stacks']}" for c in cells]
                rows.append([f"{name}, {at}%", *texts])
                names_of_rows.append(name)
        rules = frozenset(
            i for i in range(1, len(rows)) if names_of_rows[i] != names_of_rows[i - 1]
        )
        blocks.append(Table("n: stacks.", [key, *shown], rows, rules))
    listed = []
    for setting in sorted(settings - {main}):
        mine = [run for run in runs if run.setting == setting]
        texts = [str(len(mine)), ", ".join(methods(mine)), str(len({run.stack for run in mine}))]
        listed.append([label(setting, main), *texts])
    text = (
        "All settings that differ from the main one, and in what. Those that differ in more than "
        "one are in no picture above; runs.csv has their numbers."
    )
    return [*blocks, Table(text, ["setting", "runs", "methods", "stacks"], listed)]


def _over(
    found: dict[tuple[int, str, str], Record], at: int, names: list[str], values: list[str]
) -> dict[str, tuple[list[float], list[float]]]:
    """Means and standard deviations of each method over the values of a setting."""
    none: Record = {"mean_percent": np.nan, "std_percent": np.nan}
    return {
        name: (
            [found.get((at, name, value), none)["mean_percent"] for value in values],
            [found.get((at, name, value), none)["std_percent"] for value in values],
        )
        for name in names
    }


def runs_section(problems: list[Problem], main: Setting) -> list[Block]:
    """What was run, and what is not in the report."""
    told = ", ".join(f"{key}={plain(value)}" for key, value in main)
    blocks: list[Block] = [Heading("Runs"), Lines([f"The main setting: {told}."])]
    if not problems:
        return [*blocks, Lines(["No run failed and none is missing."])]
    rows = [
        [
            p.kind, p.strategy, p.stack, p.seed,
            label(p.setting, main) if p.setting else "", p.run, p.text,
        ]
        for p in problems
    ]  # fmt: skip
    header = ["", "method", "stack", "seed", "setting", "run", "why"]
    return [*blocks, Table("Runs that are not in the report.", header, rows)]


def summary(
    runs: list[Run],
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
    told = ", ".join(f"{many} {kind}" for kind, many in sorted(kinds.items()))
    lines.append(f"Not in it: {told} (listed below)." if told else "No run failed or is missing.")
    n = f"n = {count(len(stacks), 'stack')}"
    for at in TARGETS:
        mine = [r for r in efforts if r["at_percent"] == at]
        # Methods that lack a stack have an easier, or a harder, mean.
        whole = [r for r in mine if r["stacks"] == len(stacks)] or mine
        best, *others = sorted(whole, key=lambda r: r["mean_percent"])
        text = f"Least effort for {at}% Dice: {best['method']}, "
        text += f"{mean_std(best)}% of all outlines (n = {count(best['stacks'], 'stack')})"
        if others:
            second = others[0]
            more = second["mean_percent"] / best["mean_percent"]
            text += f"; next {second['method']}, {mean_std(second)}%, {more:.2f} times as much"
        lines.append(text + ".")
        never = {r["method"]: r["at_least_runs"] for r in mine if r["at_least_runs"]}
        if never:
            told = ", ".join(f"{method} {many}" for method, many in never.items())
            lines.append(
                f"{sum(never.values())} of {len(runs)} runs never reached {at}% ({told}): each "
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
