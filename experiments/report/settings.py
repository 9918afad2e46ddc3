"""How effort depends on each setting that varies."""

import pathlib
from functools import partial

import numpy as np

from al_jax.plotting import plots
from al_jax.plotting.page import Block, Heading, Lines, Picture, Table
from experiments.report.details import varied
from experiments.report.runs import FinishedRun, Setting, methods
from experiments.report.values import TARGETS, Record, average, comparable, effort_of, summarise
from experiments.report.words import label, mean_std, plain


def sensitivity(
    runs: list[FinishedRun],
    main: Setting,
    colours: dict[str, str],
    tables: dict[str, list[Record]],
    folder: pathlib.Path,
) -> list[Block]:
    """Effort at 90 and 95% Dice over the values of every setting that varies."""
    settings = {run.setting for run in runs}
    blocks: list[Block] = [Heading("Other settings")]
    if len(settings) == 1:
        return [*blocks, Lines(["All runs share one setting."])]
    for key, values in varied(settings, main).items():
        records = []
        pool = comparable(runs, set(values.values()))
        for value, setting in values.items():
            mine = [run for run in pool if run.setting == setting]
            for at in TARGETS:
                averages = average(mine, partial(effort_of, target=at))
                for method, stacks in averages.items():
                    named = {"key": key, "value": plain(value), "main": int(setting == main)}
                    record = {"metric": "effort_at_dice", "at_percent": at, "method": method}
                    records.append({**named, **record, **summarise(stacks)})
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
        tables[f"sensitivity_{key}"] = records
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
