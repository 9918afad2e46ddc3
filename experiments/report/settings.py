"""How settings differ, and what runs of a report's other settings found."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from experiments.report.read import PROBLEM, differing, methods
from experiments.report.values import (
    TARGETS,
    Value,
    effort_of,
    first_reached,
    measure,
    over_stacks,
    per_stack,
)

CARRIED = {"from", "initial_steps", "query_learning_rate", "start"}  # what `--from` changes
HELP = {"correct", "tolerance", "outline_noise"}  # of the person
ENDS = {"target_dice", "max_effort"}


def other_settings(runs: pd.DataFrame, main: str) -> pd.DataFrame:
    """All settings that differ from the main one, and who was run under them."""
    parts = runs[runs.setting != main].groupby("setting")
    rows = [
        (label(s, main), len(mine), ", ".join(methods(mine)), mine["stack"].nunique())
        for s, mine in parts
    ]
    return pd.DataFrame(rows, columns=["setting", "runs", "methods", "stacks"])


def of_problems(problems: pd.DataFrame, main: str) -> pd.DataFrame:
    """A row per run that is not in the report; '' where its setting is not known."""
    labels = [label(setting, main) if setting != "{}" else "" for setting in problems.setting]
    return problems.assign(setting=labels)[[*PROBLEM[:4], "setting", *PROBLEM[4:6]]]


def label(setting: str, main: str) -> str:
    """What a setting has otherwise than the main one."""
    apart = differing(setting, main)
    return ", ".join(f"{key}={plain(value)}" for key, value in apart.items()) or "main"


def plain(value: str) -> str:
    """A JSON value as one would type it."""
    return {"null": "none"}.get(value, value.strip('"'))


def varied(runs: pd.DataFrame, main: str) -> dict[str, dict[str, str]]:
    """Key -> value -> setting that differs from the main one in that key alone; `alpha` first.

    The main setting is among the values of every key. Settings that differ in more are not here.
    """
    found: dict[str, dict[str, str]] = {}
    for setting in sorted(set(runs.setting)):
        apart = differing(setting, main)
        if len(apart) == 1:
            (key,) = apart
            usual = {json.loads(main).get(key, "unset"): main}
            found.setdefault(key, usual)[apart[key]] = setting
    return {
        key: dict(sorted(found[key].items(), key=lambda item: _in_order(item[0])))
        for key in sorted(found, key=lambda key: (key != "alpha", key))
    }


def _in_order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def sensitivity(runs: pd.DataFrame, key: str, settings: dict[str, str], main: str) -> pd.DataFrame:
    """Effort at 90 and 95% Dice over the values of a setting that varies.

    Of the stacks and seeds that a method has under all of the settings that it has at all.
    """
    mine = runs[runs.setting.isin(settings.values())]
    many = mine.groupby("method").setting.transform("nunique")
    pool = mine[mine.groupby(["method", "stack", "seed"]).setting.transform("nunique") == many]
    parts = [
        measure(
            pool[pool.setting == setting],
            partial(effort_of, target=at),
            key=key,
            value=plain(value),
            main=int(setting == main),
            metric="effort_at_dice",
            at_percent=at,
        )
        for value, setting in settings.items()
        if (pool.setting == setting).any()
        for at in TARGETS
    ]
    table = (
        over_stacks(per_stack(pd.concat(parts)))
        if parts
        else pd.DataFrame(columns=["method", "value"])
    )
    # Methods of one value alone say nothing about the key.
    return table if (table.groupby("method").value.nunique() > 1).any() else pd.DataFrame()


def helped(runs: pd.DataFrame, main: str) -> pd.DataFrame:
    """The runs that differ from the main setting in their help alone; each is called by its help.

    A method without help keeps its name; others are 'BDr, carried over' or 'KBDr, both, 0 px'.
    """

    def alone(setting: str) -> bool:
        carried = CARRIED if json.loads(setting).get("from", "null") != "null" else set()
        return differing(setting, main).keys() <= carried | HELP | ENDS

    chosen = runs[runs.setting.map(alone)]
    return chosen.assign(method=chosen.method + chosen.setting.map(_help))


def _help(setting: str) -> str:
    values = {key: json.loads(value) for key, value in json.loads(setting).items()}
    corrected, carried = values.get("correct", False), values.get("from") is not None
    words = {(1, 0): ", carried over", (0, 1): ", corrected", (1, 1): ", both"}
    text = words.get((carried, corrected), "")
    text += f", {values['tolerance']} px" if corrected else ""
    return text + (
        f", hand {values['outline_noise']:g} px off" if values.get("outline_noise") else ""
    )


def worst(runs: pd.DataFrame) -> pd.DataFrame:
    """Dice of each method's worst structure where the mean first comes to 90%, or at the end."""

    def read(run: Any) -> Value:
        row = first_reached(run, TARGETS[0])
        return Value(100 * float(np.nanmin(run.class_dice[-1 if row is None else row, 1:])))

    return over_stacks(per_stack(measure(runs, read)))
