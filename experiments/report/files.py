"""The tables of a report as CSV, among them those that its other numbers are made of."""

import csv
import io
from typing import Any

import numpy as np

from experiments.report.runs import FinishedRun, Problem, Setting
from experiments.report.values import TARGETS, Averages, Record, dice_of, effort_of, effort_once_of
from experiments.report.words import label


def run_records(
    runs: list[FinishedRun], names: dict[Setting, str], budgets: tuple[int, ...]
) -> list[Record]:
    """A record per run of all settings, with the numbers that everything else is made of."""
    records = []
    for run in runs:
        record: dict[str, Any] = {
            "setting": names[run.setting],
            "stack": run.stack,
            "seed": run.seed,
            "method": run.strategy,
            "queries": len(run.asked),
            "initial_effort_percent": float(run.effort[0]),
            "final_effort_percent": float(run.effort[-1]),
            "final_dice_percent": 100 * float(run.dice[-1]),
        }
        for at in TARGETS:
            value, bound = effort_of(run, at)
            record |= {f"effort_at_dice_{at}": value, f"effort_at_dice_{at}_bound": bound}
            once = effort_once_of(run, at).value
            record |= {f"effort_once_at_dice_{at}": once}
        off = run.expected - run.alone
        known = ~np.isnan(off)
        record["expected_dice_bias"] = float(off[known].mean()) if known.any() else np.nan
        record["expected_dice_error"] = float(abs(off[known]).mean()) if known.any() else np.nan
        for at in budgets:
            value, bound = dice_of(run, at)
            record |= {f"dice_at_effort_{at}": value, f"dice_at_effort_{at}_bound": bound}
        records.append(record)
    return records


def stack_records(averages: dict[tuple[str, str], Averages]) -> list[Record]:
    """A record per (metric, %, method, stack): what the tests and intervals are made of."""
    return [
        {
            "metric": metric,
            "at_percent": at,
            "method": method,
            "stack": stack,
            "runs": a.runs,
            "value_percent": a.value,
            "at_least_runs": a.at_least,
            "at_most_runs": a.at_most,
        }
        for (metric, at), found in averages.items()
        for method, stacks in found.items()
        for stack, a in stacks.items()
    ]


def problem_records(problems: list[Problem], main: Setting) -> list[Record]:
    """A record per run that is not in the report."""
    return [
        {
            "kind": p.kind,
            "method": p.strategy,
            "stack": p.stack,
            "seed": p.seed,
            "setting": label(p.setting, main) if p.setting else "",
            "run": p.run,
            "why": p.text,
        }
        for p in problems
    ]


def as_csv(records: list[Record]) -> bytes:
    """A table with a row per record: floats in full, NaN as nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records[0])
    for record in records:
        assert list(record) == list(records[0])
        writer.writerow(_cell(value) for value in record.values())
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, float):  # np.float64 is one, and prints otherwise
        return "" if np.isnan(value) else repr(float(value))
    return value
