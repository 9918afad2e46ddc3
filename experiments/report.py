"""What a sweep found: the paper's tables and figures of it, in one folder and one HTML page.

    python -m experiments.report --sweep=results/sweep --paper=mri

Reads the finished runs of a sweep and writes tables (CSV), pictures (PNG), `report.md` and
`report.html`, which holds all of them and needs nothing else, into `report` in the sweep's folder.
"""

import pathlib
from functools import partial

from absl import flags

from al_jax import plots
from al_jax.files.whole import write_whole
from al_jax.stack import InputError
from experiments import command
from experiments import report_sections as sections
from experiments import report_tables as tables
from experiments.report_page import Block, Heading, as_html, as_markdown
from experiments.report_runs import ORDER, PROPOSED, Problem, Run, main_setting, methods, read_sweep
from experiments.report_sections import count, label
from experiments.report_tables import BUDGETS, DAGGER, TARGETS

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
    every: list[Run], problems: list[Problem], dataset: str, until: float | None, out: pathlib.Path
) -> None:
    """Computes everything, then writes it into `out`."""
    paper = tables.read_paper(dataset)
    budgets = BUDGETS.get(dataset, BUDGETS["mri"])
    main = main_setting(every)
    runs = [run for run in every if run.setting == main]
    settings = {run.setting: label(run.setting, main) for run in every}

    effort_averages = {
        at: tables.average(runs, partial(tables.effort_of, target=at)) for at in TARGETS
    }
    dice_averages = {at: tables.average(runs, partial(tables.dice_of, budget=at)) for at in budgets}
    efforts = tables.columns("effort_at_dice", TARGETS, effort_averages, paper)
    dices = tables.columns("dice_at_effort", budgets, dice_averages, paper)
    windows = tables.windows(runs, until)
    within = [run for run in runs if (run.stack, run.seed) in windows]
    area_averages = tables.average(
        within, lambda run: tables.area_of(run, windows[run.stack, run.seed])
    )
    area_records = tables.summarise_areas(area_averages)
    ranked, agreement = tables.rank(
        [record for record in efforts if record["at_percent"] == 90], area_records
    )
    ratios = tables.ratios_of(effort_averages, paper)
    latest = max(float(run.effort[0]) for run in runs)
    budget = next((b for b in budgets if b >= latest), latest)
    structures = tables.structures(runs, budget)
    lengths, points = tables.lengths(runs)
    initial = tables.starts(runs)
    per_stack = {
        **{("effort_at_dice", str(at)): found for at, found in effort_averages.items()},
        **{("dice_at_effort", str(at)): found for at, found in dice_averages.items()},
        ("area", ""): area_averages,
    }
    files = {
        "runs.csv": tables.as_csv(tables.run_records(every, settings, budgets)),
        "stacks.csv": tables.as_csv(tables.stack_records(per_stack)),
        "effort_at_dice.csv": tables.as_csv(efforts),
        "dice_at_effort.csv": tables.as_csv(dices),
        "order.csv": tables.as_csv(ranked),
        "agreement.csv": tables.as_csv(agreement),
        "structures.csv": tables.as_csv(structures),
        "initial_effort.csv": tables.as_csv(initial),
    }
    optional = {"area.csv": area_records, "ratios.csv": ratios, "lengths.csv": lengths}
    files |= {name: tables.as_csv(records) for name, records in optional.items() if records}
    if problems:
        listed = [
            {
                "kind": p.kind, "method": p.strategy, "stack": p.stack, "seed": p.seed,
                "setting": label(p.setting, main) if p.setting else "", "run": p.run, "why": p.text,
            }
            for p in problems
        ]  # fmt: skip
        files["problems.csv"] = tables.as_csv(listed)

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
        sections.summary(runs, len(every), problems, efforts, ratios, area_records),
        *sections.curves(runs, colours, out),
        Heading(f"Dice that a budget buys{heads[0]}"),
        *sections.paper_table(
            dices,
            f"Dice (%) at five budgets (% of all outlines), {unit} ≥: runs had stopped before at "
            "their last Dice; ≤: the initial annotations cost more than the budget.",
            budgets,
            runs,
        ),
        Heading(f"Effort that a Dice needs{heads[1]}"),
        *sections.paper_table(
            efforts,
            f"Effort (% of all outlines) to reach 90 and 95% Dice, {unit} ≥: runs ended without "
            "reaching it, their last effort counts.",
            TARGETS,
            runs,
        ),
        *sections.area_section(area_records, windows),
        *sections.order_section(ranked, agreement, ratios),
        *sections.snapshots(runs, out),
        *sections.structure_section(structures, runs, budget, out),
        *sections.length_section(lengths, points, colours, out),
        *sections.start_section(initial),
        *sections.sensitivity(every, main, colours, files, out),
        *sections.runs_section(problems, main),
    ]
    for name, content in files.items():
        write_whole(out / name, content)
    write_whole(out / "report.md", as_markdown(blocks).encode())
    write_whole(out / "report.html", as_html(blocks, out).encode())


def main() -> None:
    """Reads the sweep and writes the report."""
    if FLAGS.sweep is None:
        raise InputError("--sweep is missing; name the folder of a sweep")
    runs, problems = read_sweep(FLAGS.sweep)
    out = pathlib.Path(FLAGS.out or pathlib.Path(FLAGS.sweep) / "report")
    report(runs, problems, FLAGS.paper, FLAGS.until, out)
    print(f"{count(len(runs), 'run')}, {len(problems)} not reported; {out / 'report.html'}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
