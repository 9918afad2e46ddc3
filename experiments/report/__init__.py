"""What a sweep found: the paper's tables and figures of it, in one folder and one HTML page.

    python -m experiments.report --sweep=results/sweep --paper=mri

Reads the finished runs of a sweep and writes tables (CSV), pictures (PNG, and plots as SVG and PDF
too), `report.md` and `report.html`, which holds all of them and needs nothing else, into `report`
in the sweep's folder.
"""

import json
import pathlib
from functools import partial
from typing import Any

from absl import flags

from al_jax.commands.command import extra
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import InputError
from al_jax.files.atomic import write_atomic
from al_jax.files.spreadsheets import as_text
from al_jax.plotting import plots
from al_jax.plotting.page import render

with extra("report"):
    import pandas as pd

    from experiments.report import cells, pictures, settings, tables
    from experiments.report.cells import count, times
    from experiments.report.read import ORDER, PROPOSED, main_setting, methods, read_sweep
    from experiments.report.values import TARGETS, over_stacks, per_stack, windows_of

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_string("sweep", None, "Folder of the sweep.")
    flags.DEFINE_enum(
        "paper", "mri", ["mri", "histology", "none"], "Whose budgets, and figures beside ours."
    )
    flags.DEFINE_string("reference", PROPOSED, "The method that all others are compared with.")
    flags.DEFINE_float("until", None, "Effort (%) to which areas go; default: the shortest run.", 0)
    flags.DEFINE_list("plugin", [], "Modules or files that the sweep had.")
    flags.DEFINE_string("out", None, "Where the report goes; default: 'report' in --sweep.")


def report(
    every: pd.DataFrame,
    problems: pd.DataFrame,
    dataset: str,
    until: float | None,
    out: pathlib.Path,
    reference: str = PROPOSED,
) -> None:
    """Computes everything of what `read_sweep` gave, then writes it into `out`."""
    paper = tables.read_paper(dataset)
    budgets = tables.BUDGETS.get(dataset, tables.BUDGETS["mri"])
    main = main_setting(every)
    runs = every[every.setting == main]
    kinds = {"effort_at_dice": "effort", "effort_once_at_dice": "effort_once"}
    efforts, dices = tables.efforts(runs, TARGETS, kinds), tables.dices(runs, budgets)
    windows = windows_of(runs, until, reference)
    areas = tables.areas(runs, windows)
    compared = {
        metric: tables.compare(mine, paper, reference)
        for metric, mine in pd.concat([efforts, dices]).groupby("metric")
    }
    numbers_of = pd.concat([efforts, dices, areas], ignore_index=True)
    stacks, pairs = per_stack(numbers_of), tables.by_pairs(numbers_of, reference)
    at_dice = compared["effort_at_dice"]
    area = over_stacks(per_stack(areas))
    order, agreement = tables.rank(at_dice[at_dice.at_percent == 90], area)
    latest = max(float(effort[0]) for effort in runs.effort)
    budget = next((b for b in budgets if b >= latest), latest)
    lengths, points = tables.lengths(runs)
    calibration = tables.calibration(runs)
    helped = settings.helped(every, main)
    if set(helped.method) - set(every.method):
        values = tables.efforts(helped, (80, *TARGETS))
        compared["help"] = tables.compare(values, paper, reference)
    varied = settings.varied(every, main)
    found = compared | {
        "runs": tables.of_runs(every, main, budgets),
        "stacks": stacks,
        "area": area,
        "order": order,
        "agreement": agreement,
        "pairs": pairs,
        "ratios": tables.ratios(efforts[efforts.metric == "effort_at_dice"], at_dice, reference),
        "structures": tables.structures(runs, budget),
        "lengths": lengths,
        "calibration": calibration,
        "initial_effort": tables.starts(runs),
        "ends": tables.ends(runs),
        "costs": tables.costs(runs),
        "problems": settings.of_problems(problems, main),
        **{
            f"sensitivity_{key}": settings.sensitivity(every, key, varied[key], main)
            for key in varied
        },
    }

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; choose another --out") from error
    colours = plots.method_colours(ORDER, methods(every))
    pictures.curves(runs, reference, colours, out)
    pictures.structures(found["structures"], out)
    pictures.calibration(calibration, colours, out)
    if "help" in found:
        pictures.help_rows(found["help"], paper, out)
    sensitive = sensitivities(found, varied, main, colours, out)
    write_tables(found, out)
    numbers = {"mri": (" (Table 2)", " (Table 4)"), "histology": (" (Table 3)", " (Table 5)")}
    page = partial(
        render,
        pathlib.Path(__file__).with_name("report.jinja"),
        out,
        title="Sweep report",
        every=len(every),
        runs=runs,
        stacks=sorted(set(runs["stack"])),
        seeds=sorted(set(runs.groupby(["method", "stack"]).size())),
        mean_std=cells.mean_std,
        reference=reference,
        by_pairs={metric: cells.pair_table(own) for metric, own in pairs.groupby("metric")},
        beside=dataset != "none",
        numbers=numbers.get(dataset, ("", "")),
        windows=windows,
        found=found,
        others=settings.other_settings(every, main),
        snapshots=pictures.snapshots(runs, out),
        budget=budget,
        drawn_lengths=pictures.lengths(lengths, points, colours, out),
        worst=settings.worst(helped),
        sensitivity=sensitive,
        main=", ".join(f"{k}={settings.plain(v)}" for k, v in json.loads(main).items()),
        papers={
            metric: cells.paper_table(table, helped if metric == "help" else runs)
            for metric, table in compared.items()
        },
        structures=cells.worst_table(found["structures"]),
        ends=cells.ends_table(found["ends"]),
        listed=cells.listed,
        count=count,
        times=times,
    )
    write_atomic(out / "report.md", page(html=False).encode())
    write_atomic(out / "report.html", page().encode())


def sensitivities(
    found: dict[str, pd.DataFrame],
    varied: dict[str, dict[str, str]],
    main: str,
    colours: dict[str, str],
    out: pathlib.Path,
) -> dict[str, dict[str, Any]]:
    """Of each setting that varies its usual value, and a table if there is any; draws them."""
    shown: dict[str, dict[str, Any]] = {}
    for key, values in varied.items():
        table, texts = found[f"sensitivity_{key}"], [settings.plain(value) for value in values]
        usual = settings.plain(json.loads(main).get(key, "unset"))
        shown[key] = {"usual": usual, "table": None}
        if len(table):
            table = table[table.groupby("method").value.transform("nunique") > 1]
            pictures.sensitivity(table, key, texts, colours, out / f"sensitivity_{key}")
            shown[key]["table"] = cells.setting_table(table, key, texts)
    return shown


def write_tables(found: dict[str, pd.DataFrame], out: pathlib.Path) -> None:
    """Every table that has rows as a CSV, which spreadsheets take for text where it is text."""
    for name, table in found.items():
        if len(table):
            words = {key: table[key].map(as_text) for key in table.select_dtypes(exclude="number")}
            text = table.assign(**words).to_csv(index=False, lineterminator="\n")
            write_atomic(out / f"{name}.csv", text.encode())


def main() -> None:
    """Reads the sweep and writes the report."""
    if FLAGS.sweep is None:
        raise InputError("--sweep is missing; name the folder of a sweep")
    load_plugins(FLAGS.plugin)
    runs, problems = read_sweep(FLAGS.sweep)
    out = pathlib.Path(FLAGS.out or pathlib.Path(FLAGS.sweep) / "report")
    if FLAGS.reference not in methods(runs) and FLAGS["reference"].present:
        raise InputError(f"--reference={FLAGS.reference}: there is no such method; name another")
    report(runs, problems, FLAGS.paper, FLAGS.until, out, FLAGS.reference)
    print(f"{count(len(runs), 'run')}, {len(problems)} not reported; {out / 'report.html'}")
