"""What a sweep found: the paper's tables and figures of it, in one folder and one HTML page.

    python -m experiments.report --sweep=results/sweep --paper=mri

Reads the finished runs of a sweep and writes tables (CSV), pictures (PNG), `report.md` and
`report.html`, which holds all of them and needs nothing else, into `report` in the sweep's folder.
"""

import pathlib
from functools import partial

from absl import flags

from al_jax.core.stack import InputError
from al_jax.files.atomic import write_atomic
from al_jax.plotting import plots
from al_jax.plotting.page import Block, Heading, as_html, as_markdown
from experiments.report import comparisons, details, files
from experiments.report.comparison_tables import area_section, order_section, paper_table
from experiments.report.comparisons import BUDGETS, DAGGER
from experiments.report.detail_sections import (
    length_section,
    runs_section,
    start_section,
    structure_section,
)
from experiments.report.help import help_section
from experiments.report.pictures import curves, snapshots
from experiments.report.runs import (
    ORDER,
    PROPOSED,
    FinishedRun,
    Problem,
    main_setting,
    methods,
    read_sweep,
)
from experiments.report.sentences import summary
from experiments.report.settings import sensitivity
from experiments.report.values import (
    TARGETS,
    area_of,
    average,
    dice_of,
    effort_of,
    effort_once_of,
    windows_of,
)
from experiments.report.words import count, label

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_string("sweep", None, "Folder of the sweep.")
    flags.DEFINE_enum(
        "paper", "mri", ["mri", "histology", "none"], "Whose budgets, and figures beside ours."
    )
    flags.DEFINE_float("until", None, "Effort (%) to which areas go; default: the shortest run.", 0)
    flags.DEFINE_string("out", None, "Where the report goes; default: 'report' in --sweep.")


def report(
    every: list[FinishedRun],
    problems: list[Problem],
    dataset: str,
    until: float | None,
    out: pathlib.Path,
) -> None:
    """Computes everything, then writes it into `out`."""
    paper = comparisons.read_paper(dataset)
    budgets = BUDGETS.get(dataset, BUDGETS["mri"])
    main = main_setting(every)
    runs = [run for run in every if run.setting == main]
    settings = {run.setting: label(run.setting, main) for run in every}

    effort_averages = {at: average(runs, partial(effort_of, target=at)) for at in TARGETS}
    once = {at: average(runs, partial(effort_once_of, target=at)) for at in TARGETS}
    dice_averages = {at: average(runs, partial(dice_of, budget=at)) for at in budgets}
    efforts = comparisons.columns("effort_at_dice", TARGETS, effort_averages, paper)
    efforts_once = comparisons.columns("effort_once_at_dice", TARGETS, once, {})
    dices = comparisons.columns("dice_at_effort", budgets, dice_averages, paper)
    windows = windows_of(runs, until)
    within = [run for run in runs if (run.stack, run.seed) in windows]
    area_averages = average(within, lambda run: area_of(run, windows[run.stack, run.seed]))
    areas = comparisons.summarise_areas(area_averages)
    ranked, agreement = comparisons.rank([r for r in efforts if r["at_percent"] == 90], areas)
    ratios = comparisons.ratios_of(effort_averages, paper)
    latest = max(float(run.effort[0]) for run in runs)
    budget = next((b for b in budgets if b >= latest), latest)
    structures = details.structures(runs, budget)
    lengths, points = details.lengths(runs)
    initial = details.starts(runs)
    per_stack = {
        **{("effort_at_dice", str(at)): found for at, found in effort_averages.items()},
        **{("effort_once_at_dice", str(at)): found for at, found in once.items()},
        **{("dice_at_effort", str(at)): found for at, found in dice_averages.items()},
        ("area", ""): area_averages,
    }
    tables = {
        "runs": files.run_records(every, settings, budgets),
        "stacks": files.stack_records(per_stack),
        "effort_at_dice": efforts,
        "effort_once_at_dice": efforts_once,
        "dice_at_effort": dices,
        "order": ranked,
        "agreement": agreement,
        "structures": structures,
        "initial_effort": initial,
    }
    optional = {
        "area": areas,
        "ratios": ratios,
        "lengths": lengths,
        "problems": files.problem_records(problems, main),
    }
    tables |= {name: records for name, records in optional.items() if records}

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; choose another --out") from error
    colours = plots.method_colours(ORDER, methods(every))
    beside = "" if dataset == "none" else "; below, the paper's"
    numbers = {"mri": ("2", "4"), "histology": ("3", "5")}.get(dataset)
    heads = [f" (Table {n})" for n in numbers] if numbers else ["", ""]
    n = f"n = {count(len({run.stack for run in runs}), 'stack')}"
    dagger = f" †: p > {DAGGER} against {PROPOSED}." if any(r["pairs"] for r in efforts) else ""
    unit = f"mean ± standard deviation over stacks, {n}, seeds averaged first{beside}.{dagger}"
    blocks: list[Block] = [
        Heading("Sweep report", 1),
        summary(runs, len(every), problems, efforts, ratios, areas),
        *curves(runs, colours, out),
        Heading(f"Dice that a budget buys{heads[0]}"),
        *paper_table(
            dices,
            f"Dice (%) at five budgets (% of whole outlines), {unit} ≥: runs had stopped before at "
            "their last Dice; ≤: the initial annotations cost more than the budget.",
            budgets,
            runs,
        ),
        Heading(f"Effort that a Dice needs{heads[1]}"),
        *paper_table(
            efforts,
            "Effort to reach 90 and 95% Dice, in % of whole outlines (those of the structures "
            f"traced over those of all), {unit} ≥: runs ended without reaching it, their last "
            "effort counts.",
            TARGETS,
            runs,
        ),
        *paper_table(
            efforts_once,
            "The same in % of all outlines, each once: what two structures share is drawn once.",
            TARGETS,
            runs,
        ),
        *area_section(areas, windows),
        *order_section(ranked, agreement, ratios),
        *snapshots(runs, out),
        *structure_section(structures, runs, budget, out),
        *length_section(lengths, points, colours, out),
        *start_section(initial),
        *help_section(every, main, dataset, tables, out),
        *sensitivity(every, main, colours, tables, out),
        *runs_section(problems, main),
    ]
    for name, records in tables.items():
        write_atomic(out / f"{name}.csv", files.as_csv(records))
    write_atomic(out / "report.md", as_markdown(blocks).encode())
    write_atomic(out / "report.html", as_html(blocks, out).encode())


def main() -> None:
    """Reads the sweep and writes the report."""
    if FLAGS.sweep is None:
        raise InputError("--sweep is missing; name the folder of a sweep")
    runs, problems = read_sweep(FLAGS.sweep)
    out = pathlib.Path(FLAGS.out or pathlib.Path(FLAGS.sweep) / "report")
    report(runs, problems, FLAGS.paper, FLAGS.until, out)
    print(f"{count(len(runs), 'run')}, {len(problems)} not reported; {out / 'report.html'}")
