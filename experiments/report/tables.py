"""The tables of a report, as data: methods against each other, structures, predictions."""

import pathlib
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from al_jax.core.statistics import holm, signed_rank
from experiments.report.read import methods
from experiments.report.settings import label
from experiments.report.values import (
    COUNTS,
    TARGETS,
    Value,
    Window,
    area_of,
    dice_of,
    effort_of,
    measure,
    over_pairs,
    over_stacks,
    per_stack,
)

BUDGETS = {"mri": (15, 20, 40, 70, 90), "histology": (35, 40, 50, 70, 90)}  # %, Tables 2 and 3
STARS = (0.05, 0.01, 0.001)  # a star for each that p, corrected, is at most
ONE = ["metric", "at_percent"]  # a column of one of the paper's tables


def read_paper(dataset: str) -> pd.DataFrame:
    """Tables 2 and 4 ('mri') or 3 and 5 ('histology') of Atzeni et al. 2022; of 'none', nothing."""
    table = pd.read_csv(pathlib.Path(__file__).with_name("paper_tables.csv"))
    table = table[table.dataset == dataset].drop(columns="dataset")
    return table.rename(columns=lambda name: name if name in (*ONE, "method") else f"paper_{name}")


def efforts(
    runs: pd.DataFrame,
    targets: tuple[int, ...],
    kinds: Mapping[str, str] = MappingProxyType({"effort_at_dice": "effort"}),
) -> pd.DataFrame:
    """Effort at each Dice, for each metric of `kinds` by the effort that it reads."""
    return pd.concat(
        measure(runs, partial(effort_of, target=at, kind=kind), metric=metric, at_percent=at)
        for metric, kind in kinds.items()
        for at in targets
    )


def dices(runs: pd.DataFrame, budgets: tuple[int, ...]) -> pd.DataFrame:
    """Dice at each budget."""
    named = partial(measure, runs, metric="dice_at_effort")
    return pd.concat(named(partial(dice_of, budget=at), at_percent=at) for at in budgets)


def areas(runs: pd.DataFrame, windows: dict[tuple[str, int], Window]) -> pd.DataFrame:
    """Mean Dice over effort."""
    within = runs[[place in windows for place in zip(runs["stack"], runs.seed, strict=True)]]
    keys = {"metric": "area", "at_percent": ""}
    return measure(within, lambda run: area_of(run, windows[run.stack, run.seed]), **keys)


def paired(
    values: pd.DataFrame, method: str, reference: str, by: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of a method and of the reference that agree `by` these columns, in one order."""
    mine, ours = (values[values.method == m].set_index(by) for m in (method, reference))
    both = [place for place in mine.index if place in ours.index]
    return mine.loc[both], ours.loc[both]


def apart(mine: pd.DataFrame, ours: pd.DataFrame) -> pd.Series:
    """By how much the first of `paired` exceeds the second.

    Where both of a pair are bounds in one direction nobody knows which is larger: no difference.
    """
    least = (mine.at_least_runs == mine.runs) & (ours.at_least_runs == ours.runs)
    most = (mine.at_most_runs == mine.runs) & (ours.at_most_runs == ours.runs)
    return (mine.value_percent - ours.value_percent).where(~(least | most), 0.0)


def compare(values: pd.DataFrame, paper: pd.DataFrame, reference: str) -> pd.DataFrame:
    """The paper's tables: a row per column and method, tested against the reference by stacks.

    `p_least` is the smallest p that so many pairs can give; Holm's family is all of the table.
    """
    stacks, keys = per_stack(values), [*ONE, "method"]
    table = over_stacks(stacks).merge(paper, how="left", on=keys)
    columns = {at: column for at, column in stacks.groupby(ONE)}
    places = table[keys].itertuples(index=False)
    tests = [_test(columns[metric, at], name, reference) for metric, at, name in places]
    table[["pairs", "p", "p_least"]] = pd.DataFrame(tests, index=table.index, dtype=object)
    table[["p", "p_least"]] = table[["p", "p_least"]].astype(float)
    table["p_holm"] = holm(table.p.to_numpy())
    return table.assign(stars=sum((table.p_holm <= level).astype(int) for level in STARS))


def _test(column: pd.DataFrame, method: str, reference: str) -> tuple[Any, float, float]:
    """Number of pairs, p and the least p."""
    mine, ours = paired(column, method, reference, ["stack"])
    if method == reference or mine.empty:
        return "", np.nan, np.nan
    difference = apart(mine, ours).to_numpy()
    return len(mine), signed_rank(difference, np.zeros_like(difference)), 0.5 ** (len(mine) - 1)


def by_pairs(values: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Each column of each method over pairs of stack and seed, and against the reference's.

    `less` counts the pairs in which it is below the reference. See `over_pairs`.
    """
    rows = []
    for (metric, at), column in values.groupby(ONE, sort=False):
        for method in dict.fromkeys(column.method):
            own = column[column.method == method]
            row: dict[str, Any] = {"metric": metric, "at_percent": at, "method": method}
            row |= {"n": len(own), "stacks": own["stack"].nunique()}
            row |= {name: own[name].sum() for name in COUNTS[1:]}
            row |= over_pairs(own.value_percent, own["stack"])
            mine, ours = paired(column, method, reference, ["stack", "seed"])
            more = apart(mine, ours)[: len(mine) * (method != reference)]
            found = over_pairs(more, more.index.to_frame()["stack"])
            row |= {"pairs": len(more), "less": int((more < 0).sum())}
            rows.append(row | {f"difference_{name}": value for name, value in found.items()})
    return pd.DataFrame(rows)


def rank(at_90: pd.DataFrame, by_area: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The order of the methods by effort at 90% Dice and by area, beside the paper's.

    Args:
      at_90: of `compare`, the column of effort at 90% Dice.
      by_area: of `compare`, the areas, perhaps of fewer methods.

    Returns:
      A row per method with its ranks (1 is best), and one per measure of agreement.
    """
    area = at_90.method.map(dict(zip(by_area.method, by_area.mean_percent, strict=True)))
    area, theirs = area.astype(float), at_90.paper_mean_percent
    ranked = pd.DataFrame(
        {
            "method": at_90.method,
            "stacks": at_90.stacks,
            "effort_at_90_percent": at_90.mean_percent,
            "rank_by_effort": at_90.mean_percent.rank(),
            "area_percent": area,
            "rank_by_area": area.rank(ascending=False),
            "paper_effort_at_90_percent": theirs,
            "paper_rank": theirs.rank(),
        }
    )
    agreement = [
        {
            "ours": name,
            "statistic": statistic,
            "methods": int((ours.notna() & theirs.notna()).sum()),
            "value": ours.corr(theirs, method=statistic, min_periods=3),
        }
        for name, ours in (("effort_at_90", at_90.mean_percent), ("area", -area))
        for statistic in ("spearman", "kendall")
    ]
    return ranked, pd.DataFrame(agreement)


def ratios(values: pd.DataFrame, compared: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Effort of Rand over that of the reference on the stacks that have both.

    There is none where both are bounds.
    """
    rows = []
    found = compared.set_index(["at_percent", "method"])
    for at, column in per_stack(values).groupby("at_percent"):
        rand, ours = paired(column, "Rand", reference, ["stack"])
        if rand.empty or reference == "Rand":
            continue
        mine, proposed = found.loc[(at, "Rand")], found.loc[(at, reference)]
        bounds = {"rand": mine.at_least_runs, "ours": proposed.at_least_runs}
        row = {"at_percent": at, "stacks": len(rand)}
        row |= {"ratio": rand.value_percent.mean() / ours.value_percent.mean()}
        row |= {f"{name}_at_least_runs": count for name, count in bounds.items()}
        row["paper_ratio"] = mine.paper_mean_percent / proposed.paper_mean_percent
        if not all(bounds.values()):
            rows.append(row)
    return pd.DataFrame(rows)


def structures(runs: pd.DataFrame, budget: float) -> pd.DataFrame:
    """Dice of each structure (background left out) at an effort: seeds, then stacks averaged.

    A structure counts on the stacks that have it; `worst` marks the lowest of each method.
    """

    def read(run: Any, name: str) -> Value:
        return dice_of(run, budget, run.class_dice[:, run.names.index(name)])

    parts = []
    for method in methods(runs):
        mine = runs[runs.method == method]
        for name in dict.fromkeys(name for names in mine.names for name in names[1:]):
            having = mine[[name in names for names in mine.names]]
            parts.append(measure(having, partial(read, name=name), structure=name))
    values = pd.concat(parts).dropna(subset="value_percent")
    table = over_stacks(per_stack(values[["method", *values.columns.drop("method")]]))
    table.insert(2, "at_percent", budget)
    lowest = table.groupby("method").mean_percent.transform("min")
    return table.assign(worst=(table.mean_percent == lowest).astype(int))


def lengths(
    runs: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """How well B predicted the outline of each answer, for the methods that go by it.

    Answers that cost nothing have no logarithm and no relative error: they are counted apart.

    Returns:
      A row per method, and method -> predicted, actual outline in pixels of the others.
    """
    rows, points = [], {}
    going = runs[runs.by_outlines]
    for method in methods(going):
        mine = going[going.method == method]
        predicted, actual = np.concatenate([*mine.predicted]), np.concatenate([*mine.actual])
        if not predicted.size:
            continue
        counted = (actual > 0) & (predicted > 0)
        x, y = points[method] = predicted[counted], actual[counted]
        spread = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        row = {"method": method, "answers": len(actual), "cost_nothing": int((~counted).sum())}
        row["log_correlation"] = np.corrcoef(np.log(x), np.log(y))[0, 1] if spread else np.nan
        row["median_relative_error"] = np.median(abs(x - y) / y) if len(x) else np.nan
        rows.append(row)
    return pd.DataFrame(rows), points


def calibration(runs: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """The Dice that D expected of the network before each answer, and the one it had, in bins."""
    parts = [
        pd.DataFrame({"method": run.method, "expected": run.expected, "actual": run.alone})
        for run in runs.itertuples()
    ]
    answers = pd.concat(parts).dropna()
    answers["bin"] = np.minimum((bins * answers.expected).astype(int), bins - 1)
    found = answers.groupby(["method", "bin"], sort=False).agg(
        answers=("actual", "size"),
        expected_percent=("expected", lambda dice: 100 * dice.mean()),
        actual_percent=("actual", lambda dice: 100 * dice.mean()),
    )
    return found.reset_index().sort_values(["method", "bin"], ignore_index=True)


def starts(runs: pd.DataFrame) -> pd.DataFrame:
    """What the initial annotations cost on each stack: mean and range over its seeds."""
    first = runs.assign(effort=[float(effort[0]) for effort in runs.effort])
    first = first.drop_duplicates(["stack", "seed"], keep="last")
    return first.groupby("stack", as_index=False).agg(
        seeds=("effort", "size"),
        mean_percent=("effort", pd.Series.mean),
        least_percent=("effort", "min"),
        most_percent=("effort", "max"),
    )


def ends(runs: pd.DataFrame) -> pd.DataFrame:
    """Where each method ended: Dice and surface distances, seeds averaged first, over stacks."""
    last = [{"dice_percent": 100 * run.dice[-1], **run.surfaces} for run in runs.itertuples()]
    numbers = pd.DataFrame(last, index=runs.index)
    # A method whose runs do not all say their distances would be a mean of others.
    numbers = numbers.where(numbers.notna().groupby(runs.method).transform("all"))
    stacks = numbers.groupby([runs.method, runs["stack"]]).mean()
    over = stacks.groupby("method").agg(["mean", "std"]).loc[methods(runs)]
    over.columns = [f"{name}_{how}" for name, how in over.columns]
    counts = stacks.groupby("method").size().rename("stacks")
    return pd.concat([counts, over], axis=1).rename_axis("method").reset_index()


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What a question costs: medians over runs of their means, in seconds and pixels of outline.

    Seconds are those of a run, its compilation and what it waited for included, since it last went
    on; NaN if not said.
    """
    rows = []
    for method in methods(runs):
        mine = runs[runs.method == method]
        asked = np.array([len(run) for run in mine.asked])
        seconds = pd.to_numeric(pd.Series([made["seconds"] for made in mine.made]), "coerce")
        outline = [own.mean() for own in mine.actual if own.size]
        row = {"method": method, "runs": len(mine), "questions": np.median(asked)}
        row["seconds"] = seconds.median()
        row["seconds_per_question"] = (seconds / np.maximum(asked, 1)).median()
        row["outline_px"] = np.median(outline) if outline else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def of_runs(runs: pd.DataFrame, main: str, budgets: tuple[int, ...]) -> pd.DataFrame:
    """A row per run of all settings, with the numbers that everything else is made of."""
    rows = []
    for run in runs.itertuples():
        row: dict[str, Any] = {"setting": label(run.setting, main), "stack": run.stack}
        row |= {"seed": run.seed, "method": run.method, **run.made, "queries": len(run.asked)}
        row["initial_effort_percent"], row["final_effort_percent"] = run.effort[[0, -1]]
        row["final_dice_percent"] = 100 * run.dice[-1]
        row |= {f"final_{name}": value for name, value in run.surfaces.items()}
        for at in TARGETS:
            name = f"effort_at_dice_{at}"
            row[name], row[f"{name}_bound"] = effort_of(run, at)
            row[f"effort_once_at_dice_{at}"] = effort_of(run, at, "effort_once").value
        off = (run.expected - run.alone)[~np.isnan(run.expected - run.alone)]
        row["expected_dice_bias"] = off.mean() if off.size else np.nan
        row["expected_dice_error"] = abs(off).mean() if off.size else np.nan
        for at in budgets:
            name = f"dice_at_effort_{at}"
            row[name], row[f"{name}_bound"] = dice_of(run, at)
        rows.append(row)
    return pd.DataFrame(rows)
