"""How a report prints numbers, settings and counts."""

import numpy as np

from experiments.report.details import differing
from experiments.report.runs import ABLATIONS, PROPOSED, Setting
from experiments.report.values import Record


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
    apart = differing(setting, main)
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
