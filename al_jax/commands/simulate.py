"""Simulates suggestive annotation of a stack and shows how little tracing reaches a given Dice.

    python -m experiments.simulate

On the shipped stack: BDa and Rand from one start and one initial network. It writes `queries.csv`,
`result.json`, `curve.png` and `annotations.png` into --workdir, and goes on where it was stopped.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from al_jax.commands import processes, runs, stack_flags
from al_jax.commands.earlier import beginning, known_of, misfit, read_earlier, true_ranges
from al_jax.commands.runs import TARGETS
from al_jax.core.boundary import DIRECTIONS
from al_jax.core.stack import Images, InputError, Stack
from al_jax.core.strategies import STRATEGIES
from al_jax.files.atomic import write_atomic
from al_jax.files.weights import read_weights
from al_jax.learner.config import DICE_OVER, PRESETS, STARTS, Config, Person, preset
from al_jax.learner.learner import ESTIMATES, SCHEDULES
from al_jax.learner.transfer import (
    EXPERIENCE,
    Experience,
    experience_of,
    write_experience,
)
from al_jax.model.augmentation import FIELDS
from al_jax.model.networks import NETWORKS, init_params, make_network, with_weights
from al_jax.model.training import OPTIMISERS, TrainState
from al_jax.plotting import figures
from al_jax.simulation import runner
from al_jax.simulation.loop import Record
from al_jax.simulation.runner import Checkpointing, Prepared, Progress

FLAGS = flags.FLAGS
CARRIED_RATE = 3e-5
"""After each answer, of a network that was carried over: a higher one forgets what it knew."""
PERSON = tuple(field.name for field in dataclasses.fields(Person))
"""Flags of who answers."""
OF_CARRIED = ("start", "initial_steps", "query_learning_rate")
"""Settings that have other values where a network was carried over."""


def define_flags() -> None:
    """All flags of the command; those that shape the run are its configuration."""
    stack_flags.define_flags()
    flags.adopt_module_key_flags(stack_flags)  # so that --help shows them
    define_config_flags()
    flags.DEFINE_list("strategies", ["BDa", "Rand"], f"Any of {', '.join(STRATEGIES)}.")
    flags.DEFINE_float("target_dice", 0.95, "Stop at this Dice; a fraction.", 0, 1)
    flags.DEFINE_float("max_effort", 1.0, "Stop at this effort; a fraction.", 0, 1)
    flags.DEFINE_string("workdir", "results/simulate", "Where the results go.")
    flags.DEFINE_float("checkpoint_seconds", 10.0, "Least time between two checkpoints.", 0)
    flags.DEFINE_integer("devices", 1, "Devices that share the sections of a run.", 1)
    processes.define_flags()
    flags.adopt_module_key_flags(processes)


def define_config_flags() -> None:
    """The flags that `read_config` reads, and those of its randomness and weights."""
    flags.DEFINE_integer("seed", 0, "Seed of all randomness.", 0, 2**32 - 1)
    flags.DEFINE_string("weights", None, "VGG-16: npz, or safetensors of torchvision.")
    flags.DEFINE_list("from", None, "What earlier stacks taught: folders of runs, or files.")
    flags.DEFINE_enum("preset", "default", PRESETS, "Gives the values of the flags below.")
    flags.DEFINE_enum("network", None, list(NETWORKS), "FCN-8s, or part of it.")
    flags.DEFINE_integer(
        "initial_steps",
        None,
        "Training steps before the first query; with --from none, unless --start=central.",
        0,
    )
    flags.DEFINE_integer("query_steps", None, "Training steps after each answer.", 1)
    flags.DEFINE_float("learning_rate", None, "Learning rate at the start.", 0)
    flags.DEFINE_float("query_learning_rate", None, "The same after each answer.", 0)
    flags.DEFINE_enum("schedule", None, SCHEDULES, "How the learning rate at the start changes.")
    flags.DEFINE_enum("optimiser", None, OPTIMISERS, "What makes steps of gradients.")
    flags.DEFINE_float(
        "balanced", None, "Share of crops that show a class drawn among the traced ones.", 0, 1
    )
    flags.DEFINE_integer(
        "reduction", None, "The network sees sections reduced by so much; 0: by what is traced.", 0
    )
    flags.DEFINE_integer("crop", None, "Side of a training crop, pixels.", 16, 2048)
    flags.DEFINE_integer("batch", None, "Crops in a training step.", 1)
    flags.DEFINE_float("clip", None, "Largest global norm of a gradient.", 1e-6)
    flags.DEFINE_enum("field", None, list(FIELDS), "Non-linear field.")
    flags.DEFINE_float("alpha", None, "Weight of D(T-1) in Eq. 6.", 0, 1)
    flags.DEFINE_enum("dice_estimate", None, ESTIMATES, "D of Eq. 6.")
    flags.DEFINE_float("min_effort", None, "Least predicted effort, pixels.", 1e-3)
    flags.DEFINE_enum("length", None, list(DIRECTIONS), "How outlines are measured.")
    flags.DEFINE_integer("margin", None, "Sections added to a structure's range.", 0)
    flags.DEFINE_integer("dropout_samples", None, "S of Eq. 9.", 1)
    flags.DEFINE_enum("dice_over", None, DICE_OVER, "Reported Dice.")
    flags.DEFINE_bool("count_background", None, "Background in reported Dice.")
    flags.DEFINE_enum(
        "start", None, STARTS, "What is traced before the first query; default: with --from needed."
    )
    flags.DEFINE_bool("correct", None, "Proposals are corrected where that is less to draw.")
    flags.DEFINE_integer("tolerance", None, "Outline as near to a proposal's is kept, pixels.", 0)
    flags.DEFINE_float("glance", None, "Cost of looking at a proposal, pixels of outline.", 0)
    flags.DEFINE_float("tremor", None, "How far outlines are off, standard deviation in pixels.", 0)
    flags.DEFINE_float("skips", None, "Share of questions that are put off.", 0, 1)
    flags.DEFINE_float("range_errors", None, "Share of ranges' ends a section off.", 0, 1)


def read_config(
    convention: str,
    num_sections: int,
    values: flags.FlagValues = FLAGS,
    *,
    carried: bool = False,
) -> Config:
    """The preset with what the flags change of it.

    Args:
      convention: of the network's input, which comes with its weights.
      num_sections: of the stack.
      values: the flags.
      carried: the network comes from earlier stacks. Where the flags name some that do not fit,
        what they say of a network that has learnt counts for nothing.
    """
    usual = preset(values.preset, num_sections)
    if carried and values.start != "central":  # the network has learnt
        usual = dataclasses.replace(usual, initial_steps=0, start="needed")
        if (values.optimiser or usual.training.optimiser) == "adamw":
            usual = dataclasses.replace(usual, query_learning_rate=CARRIED_RATE)

    misfits = values["from"].value and not carried

    def changed(settings: Any) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(settings)} & set(values)
        names -= set(OF_CARRIED) if misfits else set()
        return {n: values[n].value for n in names if values[n].value is not None}

    augmentation = usual.training.augmentation
    augmentation = dataclasses.replace(augmentation, **changed(augmentation))
    training = dataclasses.replace(
        usual.training,
        **changed(usual.training) | {"convention": convention, "augmentation": augmentation},
    )
    try:
        person = dataclasses.replace(usual.person, **changed(usual.person))
        nested = {"training": training, "person": person}
        config = dataclasses.replace(usual, **changed(usual) | nested)
    except ValueError as error:
        raise InputError(str(error)) from error
    if carried and config.length != "crack":
        raise InputError("--from tells outlines in cracks; leave --length out")
    if not config.initial_steps and not carried:
        raise InputError("--initial_steps=0 leaves the network untrained; give --from as well")
    return config


def read_setting(
    stack: Images, in_range: Callable[[int], np.ndarray]
) -> tuple[dict[str, np.ndarray] | None, Experience | None, Config]:
    """Weights and what earlier stacks taught, as the flags name them, and the settings.

    Earlier stacks that the new one does not fit are said, and left out.

    Args:
      stack: to begin with.
      in_range: the ranges [N, C] with a margin of so many sections.

    Raises:
      InputError: they do not fit.
    """
    weights, convention = None, "plain"
    if FLAGS.weights is not None:
        weights, convention = read_weights(FLAGS.weights)
    earlier = read_earlier(FLAGS["from"].value)
    if earlier is not None and weights is not None:
        raise InputError("--weights and --from both name a network's weights; leave one out")
    config = read_config(convention, stack.num_sections)
    if earlier is not None:
        carried = read_config(earlier.convention, stack.num_sections, carried=True)
        if earlier.network != carried.network:
            raise InputError(
                f"--from is of the network '{earlier.network}'; add --network={earlier.network}"
            )
        if (line := misfit(earlier, stack, in_range(carried.margin), carried)) is None:
            config = carried
        else:
            earlier = None
            print(line, file=sys.stderr)
    if weights is not None:
        network = make_network(config.network, stack.num_classes)
        shapes = jax.eval_shape(lambda key: init_params(key, network), jax.random.key(0))
        with_weights(shapes, weights)  # refuses other shapes
    return weights, earlier, config


def check_strategies(names: list[str]) -> None:
    """Raises InputError for unknown and repeated names."""
    for index, name in enumerate(names):
        if name not in STRATEGIES:
            raise InputError(f"strategy '{name}' is unknown; use {', '.join(STRATEGIES)}")
        if name in names[:index]:
            raise InputError(f"strategy '{name}' is named twice; name it once")
    if not names:
        raise InputError(f"--strategies is empty; use {', '.join(STRATEGIES)}")


def make_mesh(count: int) -> Mesh | None:
    """The first `count` devices, None for one; InputError if there are not so many."""
    devices = jax.devices()
    if count > len(devices):
        raise InputError(f"--devices={count}: JAX finds {len(devices)}; ask for no more")
    if count < len(devices) and jax.process_count() > 1:
        raise InputError(f"--devices={count}: several processes share all {len(devices)}")
    return None if count == 1 else Mesh(np.array(devices[:count]), ("sections",))


def print_table(summary: dict[str, dict]) -> None:
    """Effort at 80, 90 and 95% Dice for each strategy, of both kinds."""
    for kind, of in (("effort", "all outlines, each once"), ("effort_own", "whole outlines")):
        print(f"\n{kind} (% of {of}) to reach a Dice of")
        print(f"{'strategy':>10} {'start':>7} {'80%':>7} {'90%':>7} {'95%':>7} {'queries':>8}")
        for strategy, row in summary.items():
            cells = [row[f"initial_{kind}"], *(row[f"{kind}_at_{100 * t:.0f}"] for t in TARGETS)]
            shown = " ".join(f"{'-' if c is None else f'{c:.1f}':>7}" for c in cells)
            print(f"{strategy:>10} {shown} {row['queries']:>8}")


def main() -> None:
    """Simulates every strategy on one stack."""
    check_strategies(FLAGS.strategies)
    processes.join()
    mesh = make_mesh(FLAGS.devices)
    stack = stack_flags.load_stack()
    in_range = functools.partial(true_ranges, stack, stack.truth)
    weights, earlier, config = read_setting(stack, in_range)
    chosen = {k: FLAGS[k].value for k in ("strategies", "seed", "target_dice", "max_effort")}
    if earlier is not None:
        chosen["from"] = runs.digest_experience(earlier)
    configuration = runs.describe(
        runs.digest_stack(stack), runs.digest_weights(weights), chosen, config
    )
    known = known_of(earlier, stack.names)
    prepared = runner.prepare(stack, config, FLAGS.seed, mesh, known)
    adapt = beginning(weights, earlier, stack.names)
    with processes.open_workdir(FLAGS.workdir, configuration) as workdir:
        simulate_into(workdir, stack, prepared, adapt, config, configuration)


def simulate_into(
    workdir: pathlib.Path,
    stack: Stack,
    prepared: Prepared,
    adapt: runner.Adapt | None,
    config: Config,
    configuration: dict,
) -> None:
    """The run itself; everything it writes goes into `workdir`."""
    state, total = prepared.state, float(prepared.task.total)
    # Of several processes all read the checkpoints.
    keep = Checkpointing(pathlib.Path(FLAGS.workdir, "checkpoints"), FLAGS.checkpoint_seconds)
    print(
        f"{stack.num_sections} sections of {stack.images.shape[1]}x{stack.images.shape[2]}, "
        f"{stack.num_classes} classes, {total:.0f} px of outline; results in {workdir}",
        flush=True,
    )
    ceiling = runner.ceiling(prepared, config)
    if config.person.tremor:
        print(f"outlines as this person draws them have a Dice of {ceiling:.1%}", flush=True)
    traces: dict[str, Record] = {}

    def report(strategy: str, records: Record) -> None:
        traces[strategy] = records
        write_atomic(workdir / "queries.csv", runs.table_of_queries(traces, stack))

    networks: dict[str, TrainState] = {}
    initial = float(state.traced.sum()) / total
    rows = [(f"start ({initial:.1%})", np.asarray(state.labels), np.asarray(state.annotated))]
    for strategy in FLAGS.strategies:
        loss = STRATEGIES[strategy].loss
        if loss not in networks:
            with Progress("network") as bar:
                networks[loss] = runner.train_network(
                    prepared,
                    config,
                    loss,
                    keep=keep.at(f"initial_{loss}"),
                    adapt=adapt,
                    show=bar.show,
                )
        with Progress(strategy) as bar:
            run, records = runner.run_strategy(
                strategy,
                prepared,
                networks[loss],
                config,
                target_dice=FLAGS.target_dice,
                max_effort=FLAGS.max_effort,
                keep=keep.at(strategy),
                report=report,
                show=bar.show,
            )
        traces[strategy] = records
        labels, annotated = np.asarray(run.state.labels), np.asarray(run.state.annotated)
        rows.append((f"{strategy} ({float(records.effort[-1]):.1%})", labels, annotated))
        if strategy == FLAGS.strategies[0] and config.length == "crack":  # as others count
            learnt = experience_of(
                run.state,
                run.learner,
                stack.names,
                config.network,
                config.training.convention,
                prepared.task.sections.reduction,
            )
            write_experience(workdir / EXPERIENCE, learnt)

    write_atomic(workdir / "queries.csv", runs.table_of_queries(traces, stack))
    summary = {strategy: runs.summarise(records) for strategy, records in traces.items()}
    figures.curve(
        {
            name: {
                "effort_percent": 100 * records.effort,
                "effort_own_percent": 100 * records.effort_own,
                "dice": records.dice,
                "dice_unclamped": records.dice_unclamped,
            }
            for name, records in traces.items()
        },
        workdir / "curve.png",
        TARGETS,
        ceiling,
    )
    picture = workdir / "annotations.png"
    figures.annotations(stack, rows, picture)
    result = {
        "input": stack_flags.describe(stack),
        "configuration": configuration,
        "versions": runs.versions(),
        "ceiling": round(100 * ceiling, 3),
        "summary": summary,
    }
    write_atomic(workdir / "result.json", (json.dumps(result, indent=2) + "\n").encode())
    print_table(summary)
    print(f"\n{workdir}: queries.csv, result.json, curve.png, annotations.png")
