"""Methods against each other and against the paper: tests, intervals, order, ratios."""

import csv
import pathlib

import numpy as np

from al_jax.core.statistics import bootstrap, holm, signed_rank
from experiments.report.runs import PROPOSED
from experiments.report.values import Averages, Record, paired, summarise

BUDGETS = {"mri": (15, 20, 40, 70, 90), "histology": (35, 40, 50, 70, 90)}  # %, Tables 2 and 3
DAGGER = 0.001  # above it, the paper's tables have a dagger
Paper = dict[tuple[str, int, str], tuple[float, float]]
"""(metric, %, method) -> mean, standard deviation."""


def read_paper(dataset: str) -> Paper:
    """Tables 2 and 4 ('mri') or 3 and 5 ('histology') of Atzeni et al. 2022; of 'none', nothing."""
    with open(pathlib.Path(__file__).with_name("paper_tables.csv"), newline="") as file:
        return {
            (row["metric"], int(row["at_percent"]), row["method"]): (
                float(row["mean_percent"]),
                float(row["std_percent"]),
            )
            for row in csv.DictReader(file)
            if row["dataset"] == dataset
        }


def _bounds_alone(averages: Averages, method: str) -> np.ndarray:
    """Which pairs of `paired` are bounds in one direction on both sides, [n] bool."""
    mine, ours = averages[method], averages.get(PROPOSED, {})
    pairs = [(mine[stack], ours[stack]) for stack in mine if stack in ours]
    least = [a.at_least == a.runs and b.at_least == b.runs for a, b in pairs]
    most = [a.at_most == a.runs and b.at_most == b.runs for a, b in pairs]
    return np.array(least, bool) | np.array(most, bool)


def compare(metric: str, at: int, averages: Averages, paper: Paper) -> list[Record]:
    """One column of the paper's tables: a record per method, tested against the proposed method.

    Where both of a pair are bounds in one direction nobody knows which is larger: no difference.
    `p_least` is the smallest p that so many pairs can give; Holm's family is the column.
    """
    records = []
    for method, stacks in averages.items():
        values, ours = paired(averages, method)
        bounds = _bounds_alone(averages, method)
        tested = method != PROPOSED and values.size > 0
        theirs = paper.get((metric, at, method), (np.nan, np.nan))
        records.append(
            {
                "metric": metric,
                "at_percent": at,
                "method": method,
                **summarise(stacks),
                "paper_mean_percent": theirs[0],
                "paper_std_percent": theirs[1],
                "pairs": values.size if tested else "",
                "p": signed_rank(np.where(bounds, ours, values), ours) if tested else np.nan,
                "p_least": 0.5 ** (values.size - 1) if tested else np.nan,
            }
        )
    corrected = holm(np.array([record["p"] for record in records]))
    for record, p in zip(records, corrected, strict=True):
        record["p_holm"] = float(p)
        record["dagger"] = int(record["p"] > DAGGER)
    return records


def columns(
    metric: str, ats: tuple[int, ...], averages: dict[int, Averages], paper: Paper
) -> list[Record]:
    """Records of all columns of one of the paper's"""
    return [r for at in ats for r in compare(metric, at, averages[at], paper)]


def summarise_areas(averages: Averages) -> list[Record]:
    """Area and paired difference to the proposed method, with 95% bootstrap intervals."""
    records = []
    for method, stacks in averages.items():
        values, ours = paired(averages, method)
        compared = method != PROPOSED and values.size > 0
        record = {"method": method, **summarise(stacks)}
        _add_interval(record, "", np.array([a.value for a in stacks.values()]))
        record["pairs"] = values.size if compared else ""
        record["difference_percent"] = float((values - ours).mean()) if compared else np.nan
        _add_interval(record, "difference_", values - ours if compared else np.array([]))
        records.append(record)
    return records


def _add_interval(record: Record, prefix: str, values: np.ndarray) -> None:
    # One stack says nothing about others.
    interval = bootstrap(values) if values.size > 1 else (np.nan, np.nan)
    record[f"{prefix}low_percent"], record[f"{prefix}high_percent"] = interval


def rank(efforts: list[Record], areas: list[Record]) -> tuple[list[Record], list[Record]]:
    """The order of the methods by effort at 90% Dice and by area, beside the paper's.

    Args:
      efforts: of `compare` at 90% Dice.
      areas: of `summarise_areas`, perhaps of fewer methods.

    Returns:
      A record per method with its ranks (1 is best), and one per measure of agreement.
    """
    from scipy.stats import kendalltau, rankdata, spearmanr

    names = [r["method"] for r in efforts]
    found = {r["method"]: r["mean_percent"] for r in areas}
    effort = np.array([r["mean_percent"] for r in efforts])
    by_area = np.array([found.get(name, np.nan) for name in names])
    theirs = np.array([r["paper_mean_percent"] for r in efforts])
    ranked = [
        {
            "method": name,
            "stacks": efforts[i]["stacks"],
            "effort_at_90_percent": effort[i],
            "rank_by_effort": rankdata(effort)[i],
            "area_percent": by_area[i],
            "rank_by_area": rankdata(-by_area, nan_policy="omit")[i],
            "paper_effort_at_90_percent": theirs[i],
            "paper_rank": rankdata(theirs, nan_policy="omit")[i],
        }
        for i, name in enumerate(names)
    ]
    agreement = []
    for name, ours in (("effort_at_90", effort), ("area", -by_area)):
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        for statistic, function in (("spearman", spearmanr), ("kendall", kendalltau)):
            known = both.sum() > 2
            value = float(function(ours[both], theirs[both])[0]) if known else np.nan
            agreement.append(
                {"ours": name, "statistic": statistic, "methods": int(both.sum()), "value": value}
            )
    return ranked, agreement


def ratios_of(averages: dict[int, Averages], paper: Paper) -> list[Record]:
    """Effort of Rand over that of the proposed method on the stacks that have both."""
    records = []
    for at, found in averages.items():
        values, ours = paired(found, "Rand") if "Rand" in found else (np.array([]), np.array([]))
        if not values.size:
            continue
        keys = [("effort_at_dice", at, method) for method in ("Rand", PROPOSED)]
        rand, proposed = (paper.get(key, (np.nan, np.nan))[0] for key in keys)
        records.append(
            {
                "at_percent": at,
                "stacks": values.size,
                "ratio": float(values.mean() / ours.mean()),
                "rand_at_least_runs": summarise(found["Rand"])["at_least_runs"],
                "ours_at_least_runs": summarise(found[PROPOSED])["at_least_runs"],
                "paper_ratio": rand / proposed,
            }
        )
    return records
