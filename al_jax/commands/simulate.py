"""Simulates suggestive annotation of a stack and shows how much effort reaches a given Dice.

    al-jax simulate

On the shipped stack: BDa, SEr and Rand from one start and one initial network. It writes
`queries.csv`, `surfaces.csv`, `result.json`, `curve.png` and `annotations.png` into --workdir, and
resumes where it was stopped.
"""

import datetime
import functools
import pathlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from al_jax.commands import config_flags, processes, record, runs, stack_flags
from al_jax.commands.config_flags import read_config
from al_jax.commands.earlier import beginning, known_of, misfit, read_earlier
from al_jax.commands.plugins import digests, load_plugins
from al_jax.commands.runs import TARGETS
from al_jax.core.identity import source_digest
from al_jax.core.losses import Loss, loss_label
from al_jax.core.stack import Images, InputError, Stack
from al_jax.core.state import true_ranges
from al_jax.core.strategies import STRATEGIES
from al_jax.files.atomic import write_atomic
from al_jax.files.weights import read_weights
from al_jax.learner import neighbours
from al_jax.learner.config import Config, network_label
from al_jax.learner.transfer import EXPERIENCE, Experience, experience_of, write_experience
from al_jax.model.networks import with_weights
from al_jax.model.protocol import init_params
from al_jax.model.training import TrainState
from al_jax.plotting import figures
from al_jax.simulation import runner
from al_jax.simulation.loop import Record
from al_jax.simulation.prepare import Prepared, prepare, wanted_fields, with_fields
from al_jax.simulation.progress import Progress
from al_jax.simulation.runner import Checkpointing

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command; those that affect results are the run's configuration."""
    stack_flags.define_flags()
    flags.adopt_module_key_flags(stack_flags)  # so that --help shows them
    config_flags.define_flags()
    flags.adopt_module_key_flags(config_flags)
    names = f"Any of {', '.join(STRATEGIES)}, or a plugin's."
    flags.DEFINE_list("strategies", ["BDa", "SEr", "Rand"], names)
    flags.DEFINE_float("target_dice", 0.95, "Stop at this Dice; a fraction.", 0, 1)
    flags.DEFINE_float("max_effort", 1.0, "Stop at this effort; a fraction.", 0, 1)
    flags.DEFINE_string("workdir", "results/simulate", "Where the results go.")
    flags.DEFINE_float("checkpoint_seconds", 10.0, "Least time between two checkpoints.", 0)
    flags.DEFINE_integer("devices", 1, "Devices that share the sections of a run.", 1)
    processes.define_flags()
    flags.adopt_module_key_flags(processes)


def read_setting(
    stack: Images, in_range: Callable[[int], np.ndarray]
) -> tuple[dict[str, np.ndarray] | None, Experience | None, Config]:
    """Published weights, the experience of prior stacks, and the settings, by the flags.

    Prior stacks that do not fit are left out, with a message.

    Args:
      stack: that is simulated or annotated.
      in_range: from a margin in sections to the ranges [N, C].

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
        warm = read_config(earlier.convention, stack.num_sections, warm=True)
        if earlier.network != network_label(warm.network):
            raise InputError(
                f"--from is of the network '{earlier.network}'; add --network={earlier.network}"
            )
        if (line := misfit(earlier, stack, in_range(warm.query.margin), warm)) is None:
            config = warm
        else:
            earlier = None
            print(line, file=sys.stderr)
    if weights is not None:
        network = config.network(stack.num_classes)
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
    load_plugins(FLAGS.plugin)
    check_strategies(FLAGS.strategies)
    processes.join()
    mesh = make_mesh(FLAGS.devices)
    stack = stack_flags.load_stack()
    in_range = functools.partial(true_ranges, stack, stack.truth)
    weights, earlier, config = read_setting(stack, in_range)
    chosen = {k: FLAGS[k].value for k in ("strategies", "seed", "target_dice", "max_effort")}
    sources = [f"{name} {source_digest(STRATEGIES[name])}" for name in FLAGS.strategies]
    chosen["strategy_digests"] = sources
    if earlier is not None:
        chosen["from"] = runs.digest_experience(earlier)
    configuration = runs.describe(
        runs.digest_stack(stack), runs.digest_weights(weights), chosen, config
    )
    known = known_of(earlier, stack.names)
    prepared = prepare(jax.random.key(FLAGS.seed), stack, config, prior=known, mesh=mesh)
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
    """The runs of all strategies; everything they write goes into `workdir`."""
    began = datetime.datetime.now(datetime.UTC)
    record.own_source()
    methods = [STRATEGIES[name] for name in FLAGS.strategies]
    fields = wanted_fields(stack, config, methods, workdir / neighbours.FILE)
    prepared = with_fields(prepared, fields)
    state, total = prepared.state, float(prepared.task.total)
    # Of several processes all read the checkpoints.
    folder = pathlib.Path(FLAGS.workdir, "checkpoints")
    checkpointing = Checkpointing(folder, FLAGS.checkpoint_seconds)
    print(
        f"{stack.num_sections} sections of {stack.images.shape[1]}x{stack.images.shape[2]}, "
        f"{stack.num_classes} classes, {total:.0f} px of outline; results in {workdir}",
        flush=True,
    )
    ceiling = runner.ceiling(prepared, config)
    if config.annotator.outline_noise:
        print(f"outlines as this person draws them have a Dice of {ceiling:.1%}", flush=True)
    records_of: dict[str, Record] = {}
    segmentations: dict[str, np.ndarray] = {}

    def report(strategy: str, records: Record) -> None:
        records_of[strategy] = records
        write_atomic(workdir / "queries.csv", runs.table_of_queries(records_of, stack))

    networks: dict[Loss, TrainState] = {}
    initial = float(state.drawn_unique.sum()) / total
    rows = [(f"start ({initial:.1%})", np.asarray(state.labels), np.asarray(state.annotated))]
    for strategy in FLAGS.strategies:
        method = STRATEGIES[strategy]
        loss = method.loss
        if loss not in networks:
            with Progress("network") as bar:
                networks[loss] = runner.train_network(
                    prepared,
                    config,
                    loss,
                    checkpointing=checkpointing.at(f"initial_{loss_label(loss)}"),
                    adapt=adapt,
                    show=bar.show,
                )
        with Progress(strategy) as bar:
            run, records = runner.run_strategy(
                method,
                prepared,
                networks[loss],
                config,
                target_dice=FLAGS.target_dice,
                max_effort=FLAGS.max_effort,
                checkpointing=checkpointing.at(strategy),
                report=functools.partial(report, strategy),
                show=bar.show,
            )
        records_of[strategy] = records
        segmentations[strategy] = runner.segmentation(run, prepared, config)
        labels, annotated = np.asarray(run.state.labels), np.asarray(run.state.annotated)
        rows.append((f"{strategy} ({float(records.effort_unique[-1]):.1%})", labels, annotated))
        # Experience is counted in cracks.
        if strategy == FLAGS.strategies[0] and config.query.length == "crack":
            experience = experience_of(
                run.state,
                run.learner,
                stack.names,
                config,
                prepared.task.sections.downsampling,
            )
            write_experience(workdir / EXPERIENCE, experience)

    write_atomic(workdir / "queries.csv", runs.table_of_queries(records_of, stack))
    write_atomic(workdir / "surfaces.csv", runs.table_of_surfaces(segmentations, stack))
    summary = {strategy: runs.summarise(records) for strategy, records in records_of.items()}
    figures.curve(
        {
            name: {
                "effort_percent": 100 * records.effort_unique,
                "effort_own_percent": 100 * records.effort_whole,
                "dice": records.dice,
                "dice_unclamped": records.dice_unclamped,
            }
            for name, records in records_of.items()
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
        "versions": record.versions(),
        "ceiling": round(100 * ceiling, 3),
        "summary": summary,
    }
    path, plugins = workdir / "result.json", digests(FLAGS.plugin)
    made = record.record(began, command=record.command(), plugins=plugins)
    write_atomic(path, record.recorded(path, result, made))
    print_table(summary)
    print(f"\n{workdir}: queries.csv, surfaces.csv, result.json, curve.png, annotations.png")
