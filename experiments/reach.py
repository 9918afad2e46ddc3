"""How much tracing reaches 80, 90 and 95% Dice: BDa and Rand on several stacks and seeds.

    python -m experiments.reach --scans=../shared/data/mri

Runs `experiments.simulate` on the shipped stack and on three MRI scans, three seeds each, every
pair of strategies in a folder of its own under --workdir (what is there already is not run again),
and prints one Markdown table of means over seeds.
"""

import json
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags

from al_jax import io
from al_jax.stack import InputError
from experiments import command
from experiments.runs import TARGETS

FLAGS = flags.FLAGS
DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens")
STRATEGIES = ("BDa", "Rand")


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_string("scans", None, "Folder of <id>_t1.nii.gz, <id>_labels.nii.gz, labels.csv.")
    flags.DEFINE_list("ids", ["1000", "1006", "1010"], "Which scans.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Which seeds.")
    flags.DEFINE_integer("jobs", 1, "Runs at a time, each on its share of the cores.", 1)
    flags.DEFINE_string("workdir", "results/reach", "Where the runs go.")


def stacks() -> dict[str, list[str]]:
    """The flags of `experiments.simulate` that name each stack."""
    named: dict[str, list[str]] = {"Colin27": []}
    for scan in FLAGS.ids if FLAGS.scans else []:
        folder = pathlib.Path(FLAGS.scans)
        if not (folder / f"{scan}_t1.nii.gz").is_file():
            raise InputError(f"{folder}: has no {scan}_t1.nii.gz; correct --scans or --ids")
        named[f"MRI {scan}"] = [
            f"--images={folder / f'{scan}_t1.nii.gz'}",
            f"--labels={folder / f'{scan}_labels.nii.gz'}",
            f"--names={folder / 'labels.csv'}",
            "--grouping=nine",
            f"--within={','.join(DEEP)}",
        ]
    return named


def simulate(folder: pathlib.Path, arguments: list[str]) -> dict[str, dict]:
    """One pair of runs in its folder; its summary per strategy.

    Raises:
      InputError: the run failed; the line is its own.
    """
    program = [sys.executable, "-m", "experiments.simulate", f"--workdir={folder}", *arguments]
    done = subprocess.run(program, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        raise InputError(f"{folder}: {said[-1]}")
    return json.loads((folder / "result.json").read_text())["summary"]


def table(summaries: dict[str, list[dict[str, dict]]]) -> str:
    """Markdown: a row per stack, means over seeds (range); a run that stopped short is counted."""
    keys = ["initial_effort", *(f"effort_at_{t:.0%}"[:-1] for t in TARGETS)]
    heads = ["stack", "start"]
    heads += [f"{strategy} {t:.0%}" for strategy in STRATEGIES for t in TARGETS]
    lines = ["| " + " | ".join([*heads, "Rand / BDa at 90%"]) + " |"]
    lines.append("|---" * (len(heads) + 1) + "|")

    def cell(values: list[float | None]) -> str:
        reached = [value for value in values if value is not None]
        if len(reached) < len(values):
            return f"not reached in {len(values) - len(reached)} of {len(values)}"
        return f"{np.mean(reached):.1f} ({min(reached):.1f}-{max(reached):.1f})"

    for stack, runs in summaries.items():
        row = [stack, cell([run[STRATEGIES[0]][keys[0]] for run in runs])]
        row += [cell([run[s][key] for run in runs]) for s in STRATEGIES for key in keys[1:]]
        at_90 = {s: [run[s]["effort_at_90"] for run in runs] for s in STRATEGIES}
        known = all(value is not None for values in at_90.values() for value in values)
        ratio = np.mean(at_90["Rand"]) / np.mean(at_90["BDa"]) if known else np.nan
        lines.append("| " + " | ".join([*row, f"{ratio:.2f}" if known else "-"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints the table."""
    if not FLAGS.seeds or not all(seed.isdecimal() for seed in FLAGS.seeds):
        raise InputError("--seeds takes whole numbers, such as 0,1,2")
    workdir, named = pathlib.Path(FLAGS.workdir), stacks()
    cores = sorted(os.sched_getaffinity(0))
    shares = [set(cores[job :: FLAGS.jobs]) or set(cores) for job in range(FLAGS.jobs)]
    units = [(stack, seed) for stack in named for seed in FLAGS.seeds]

    def run(job: int) -> dict[tuple[str, str], dict]:
        found = {}
        os.sched_setaffinity(0, shares[job])  # of this thread and the programs it starts
        for stack, seed in units[job :: FLAGS.jobs]:
            folder = workdir / f"{stack.replace(' ', '_')}_seed{seed}"
            arguments = [f"--seed={seed}", f"--strategies={','.join(STRATEGIES)}", *named[stack]]
            found[stack, seed] = simulate(folder, arguments)
            print(f"{stack}, seed {seed}: {json.dumps(found[stack, seed])}", flush=True)
        return found

    results: dict[tuple[str, str], dict] = {}
    with ThreadPoolExecutor(FLAGS.jobs) as pool:
        for found in pool.map(run, range(FLAGS.jobs)):
            results |= found
    text = table({stack: [results[stack, seed] for seed in FLAGS.seeds] for stack in named})
    io.write_whole(workdir / "table.md", (text + "\n").encode())
    print(f"\neffort, % of all outlines, mean over seeds {FLAGS.seeds} (lowest-highest)\n\n{text}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
