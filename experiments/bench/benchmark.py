"""How fast training, prediction and whole queries are, beside what the machine can do.

    python -m experiments.bench.benchmark
    python -m experiments.bench.benchmark --peer=torch_loop.py --peer_python=torch/bin/python

Some minutes on two cores, on an otherwise idle machine. With --peer the same work in PyTorch is
timed in turns with ours, and the ratio is printed pair by pair.

Found on 2 cores of an AMD EPYC (`experiments/results/benchmark.json`, 2026-11-25): a training step
of `small` 29.1 ms, a section predicted 6.3 ms, a query 686 ms, PyTorch over ours 1.29, 2.70 and
1.76; of `full` without fc 516, 127 and 5700 ms, 1.42, 1.68 and 1.66 (`benchmark_full.json`).
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.benchmark")

import functools
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

from al_jax.commands import command
from al_jax.core.stack import InputError, Stack
from al_jax.core.state import ALState, PartialLabels, partial_labels
from al_jax.core.strategies import BDa
from al_jax.learner.config import DEFAULT, Config, changed, model_of, name_of
from al_jax.learner.learner import Learner, evaluate
from al_jax.model.crops import random_batch
from al_jax.model.inputs import Sections
from al_jax.model.networks import FCN, NETWORKS
from al_jax.model.training import TrainState, init_train_state, train, train_step
from al_jax.simulation import annotator, loop
from al_jax.simulation.scores import scoring
from al_jax.simulation.task import Task, make_task
from experiments.bench import harness, made_up, work
from experiments.bench.harness import spread

STEPS = 12  # of training between two readings of the clock
QUERIES = 2

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    training, network = DEFAULT.training, name_of(DEFAULT.network, NETWORKS)
    flags.DEFINE_enum("network", network, list(NETWORKS), "FCN-8s, or part of it.")
    flags.DEFINE_float("width", None, "Factor on the network's features instead of its own.", 0.01)
    flags.DEFINE_integer("fc", None, "Features of its fc6 and fc7 instead of its own; 0: none.", 0)
    flags.DEFINE_integer("fc_size", None, "Kernel size of its fc6 instead of its own.", 1)
    flags.DEFINE_integer("finest", None, "Finest scored pooling layer instead of its own.", 1, 5)
    flags.DEFINE_enum(
        "precision", None, ["float32", "bfloat16"], "Instead of bfloat16 on accelerators alone."
    )
    flags.DEFINE_integer("crop", training.crop, "Side of a training crop in pixels.", 16)
    flags.DEFINE_integer("batch", training.batch, "Crops in a training step.", 1)
    flags.DEFINE_integer("query_steps", training.query_steps, "Training steps in a query.", 1)
    flags.DEFINE_integer("sections", 24, "Of the stack.", 2)
    flags.DEFINE_integer("size", 256, "Side of a section in pixels.", 16)
    flags.DEFINE_integer("classes", 10, "Background included.", 2)
    flags.DEFINE_integer("runs", 1, "Also train so many runs as one program, by vmap.", 1)
    flags.DEFINE_integer("repeats", 10, "Timings; the median is reported.", 1)
    flags.DEFINE_string("peer", None, "torch_loop.py, to be timed in turns with ours.")
    flags.DEFINE_string("peer_python", sys.executable, "The Python that has torch.")
    flags.DEFINE_integer("peer_fc", None, "Features of the peer's 7x7 fc6; default: as ours.", 0)
    flags.DEFINE_string("json", None, "Write the JSON to this file too.")


def chosen_network() -> Callable[[int], FCN]:
    """What makes the network of the flags for so many classes."""
    own = {"width": FLAGS.width, "fc_features": FLAGS.fc, "fc_size": FLAGS.fc_size}
    own |= {"finest": FLAGS.finest}
    if FLAGS.precision is not None:
        own["dtype"] = jnp.dtype(FLAGS.precision)
    own = {k: v for k, v in own.items() if v is not None}
    factory = NETWORKS[FLAGS.network]
    return lambda classes: cast(FCN, factory(classes)).clone(**own)


def make_peer(network: FCN, config: Config) -> Callable[[], dict[str, Any]]:
    """What runs the peer on the same sizes: `ms_per_step`, `ms_per_section` and what it is.

    Raises:
      InputError: there is no such program; or, when called, it failed.
    """
    if not pathlib.Path(FLAGS.peer).is_file():
        raise InputError(f"{FLAGS.peer}: there is no such file; correct --peer")
    if shutil.which(FLAGS.peer_python) is None:
        raise InputError(f"{FLAGS.peer_python}: is not a program; correct --peer_python")
    sizes = {
        "sections": FLAGS.sections,
        "size": FLAGS.size,
        "classes": FLAGS.classes,
        "width": network.width,
        "fc": network.fc_features if FLAGS.peer_fc is None else FLAGS.peer_fc,
        "crop": config.training.crop,
        "batch": config.training.batch,
        "steps": config.training.query_steps,
        "repeats": 3,
    }
    program = [FLAGS.peer_python, FLAGS.peer, *(f"--{k}={v}" for k, v in sizes.items())]
    program += [] if jax.default_backend() == "cpu" else ["--compile"]
    told = FLAGS.peer, "no message", "; it needs torch in --peer_python"
    return functools.partial(harness.last_line, program, *told)


# What is timed: each is a call and how many steps, sections or queries it does.

Case = tuple[Callable, tuple, int]


def make_cases(config: Config, stack: Stack, compiled: Callable) -> dict[str, Case]:
    """The parts of a simulation, each a program of `compiled(name, function, *args)`."""
    key = jax.random.key(0)
    task = jax.jit(make_task)(stack, config)
    state = jax.jit(annotator.start)(key, task, config)
    model, rate = model_of(config, stack.num_classes), config.training.query_learning_rate
    init = functools.partial(init_train_state, model=model)
    network = compiled("initial weights", init, key)(key)
    chosen = jnp.arange(config.training.batch) % stack.num_sections

    def one_step(
        key: jax.Array,
        network: TrainState,
        sections: Sections,
        partial: PartialLabels,
        chosen: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        key_crop, key_dropout = jax.random.split(key)
        crops = random_batch(key_crop, sections, partial, chosen, config.training)
        return train_step(key_dropout, network, crops, model, rate)

    def in_scan(
        key: jax.Array, network: TrainState, sections: Sections, partial: PartialLabels
    ) -> tuple[TrainState, jax.Array]:
        return train(key, network, sections, partial, model, steps=STEPS, learning_rate=rate)

    def predict(network: TrainState, state: ALState, task: Task) -> tuple[Learner, Any]:
        """What a simulation does of it, the score included."""
        return evaluate(network, state, task.sections, config, reduction=scoring(task))

    queries = functools.partial(
        loop.run_queries,
        config=config,
        strategies=(BDa,),
        which=0,
        count=QUERIES,
        target_dice=jnp.inf,
        max_effort=jnp.inf,
    )
    args = key, network, task.sections, partial_labels(state)
    step = compiled("step", one_step, *args, chosen)

    def outside(key: jax.Array, network: TrainState, *rest: Any) -> TrainState:
        for step_key in jax.random.split(key, STEPS):
            network, _ = step(step_key, network, *rest)
        return network

    run, _ = jax.jit(loop.begin, static_argnames="strategy")(
        network, state, task, config, strategy=BDa
    )
    asked = run, jnp.zeros(run.state.annotated.shape), task
    drawn = network, state, task
    cases: dict[str, Case] = {
        "step_in_scan_ms": (compiled("steps in scan", in_scan, *args), args, STEPS),
        "step_ms": (outside, (*args, chosen), STEPS),
        "predict_section_ms": (compiled("prediction", predict, *drawn), drawn, stack.num_sections),
        "query_ms": (compiled("query", queries, *asked), asked, QUERIES),
    }
    if FLAGS.runs > 1:
        copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * FLAGS.runs), network)
        many = jax.random.split(key, FLAGS.runs), copies, *args[2:]
        together = jax.vmap(in_scan, in_axes=(0, 0, None, None))
        program = compiled("steps of all runs", together, *many)
        cases["together_ms"] = program, many, STEPS * FLAGS.runs
    return cases


def measure(network: FCN, config: Config, stack: Stack, repeats: int) -> dict[str, Any]:
    """Warm times in ms, rates, memory, and compilation in s; the peer's times if there is one."""
    compilation: dict[str, dict[str, float]] = {}
    temporary: dict[str, float] = {}

    def compiled(name: str, function: Callable, *args: Any) -> Callable:
        program, compilation[name] = harness.compiled(function, *args)
        if (memory := program.memory_analysis()) is not None:
            temporary[name] = round(memory.temp_size_in_bytes / 2**20, 1)
        return program

    peer = None if FLAGS.peer is None else make_peer(network, config)
    cases = make_cases(config, stack, compiled)
    query, asked, _ = cases["query_ms"]
    if done := int(query(*asked)[1].done.sum()):
        raise InputError(f"{done} of {QUERIES} queries were not asked; give more --sections")

    def milliseconds(function: Callable, args: tuple, count: int) -> float:
        return 1000 * harness.timed(function, *args)[1] / count

    turns: dict[str, Callable[[], Any]] = {
        name: functools.partial(milliseconds, *case) for name, case in cases.items()
    }
    for warm_up in turns.values():
        warm_up()
    if peer is not None:
        turns["peer"] = peer
    times = harness.in_turns(turns, repeats)

    forward, first = work.operations(network, config.training.crop, config.training.crop)
    flop = {
        "step": config.training.batch * (3 * forward - first),
        "section": work.operations(network, *stack.images.shape[1:3])[0],
    }
    best = work.peak(network.dtype, repeats)

    def share(part: str, name: str) -> float:
        return round(flop[part] / (np.median(times[name]) / 1000) / best, 4)

    found: dict[str, Any] = {
        "step_ms": spread(times["step_ms"]),
        "step_in_scan_ms": spread(times["step_in_scan_ms"]),
        "ratio": spread(over(times["step_in_scan_ms"], times["step_ms"])),
        "predict_section_ms": spread(times["predict_section_ms"]),
        "query_ms": spread(times["query_ms"]),
        "gflop": {name: round(count / 1e9, 3) for name, count in flop.items()},
        "product_gflops": round(best / 1e9, 1),
        "share_of_product": {
            "step_in_scan": share("step", "step_in_scan_ms"),
            "section": share("section", "predict_section_ms"),
        },
        "memory": memory() | {"temporary_MiB": temporary},
        "compile_s": compilation,
        "counts": {"steps": STEPS, "queries": QUERIES, "repeats": repeats},
    }
    if FLAGS.runs > 1:
        found["runs"] = {
            "count": FLAGS.runs,
            "step_ms": spread(times["together_ms"]),
            "one_after_another_over_together": spread(
                over(times["step_in_scan_ms"], times["together_ms"])
            ),
        }
    if peer is not None:
        found["peer"] = compare(
            times["peer"], times, config.training.query_steps, stack.num_sections
        )
    return found


def over(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios of what was measured in one round."""
    return [one / other for one, other in zip(some, others, strict=True)]


def memory() -> dict[str, float]:
    """Most memory in use so far: of the process, and of the accelerator if there is one; MiB."""
    found = {"process_MiB": harness.most_memory()}
    device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        found["device_MiB"] = device["peak_bytes_in_use"] / 2**20
    return {name: round(value, 1) for name, value in found.items()}


def compare(
    told: list[dict[str, Any]], ours: dict[str, list[float]], steps: int, sections: int
) -> dict[str, Any]:
    """The peer's times, and over ours of the same round.

    Args:
      told: by the peer, a round each.
      ours: ms by case, a round each.
      steps, sections: of a query.
    """
    theirs = {
        "step": [each["ms_per_step"] for each in told],
        "section": [each["ms_per_section"] for each in told],
        "query": [steps * e["ms_per_step"] + sections * e["ms_per_section"] for e in told],
    }
    same = {"step": "step_in_scan_ms", "section": "predict_section_ms", "query": "query_ms"}
    pairs = {name: over(values, ours[same[name]]) for name, values in theirs.items()}
    about = ("torch", "device", "width", "fc", "compile")
    return {
        **{f"{name}_ms": spread(values) for name, values in theirs.items()},
        "over_ours": {name: spread(values) for name, values in pairs.items()},
        "pairs": {name: [round(x, 3) for x in values] for name, values in pairs.items()},
        "is": {name: told[-1][name] for name in about if name in told[-1]},
    }


ROWS = {
    "step_ms": "training step, ms",
    "step_in_scan_ms": "the same in the scan, ms",
    "ratio": "ratio (at most 1.15)",
    "predict_section_ms": "prediction of a section, ms",
    "query_ms": "a whole query, ms",
}


def print_table(found: dict[str, Any]) -> None:
    """Medians and their spread, rates, memory, compilation; the peer's and the ratios."""
    row = harness.table({"": ">34", "median": ">10.2f", "  min - max": ""})

    def spread_row(title: str, values: dict[str, float]) -> None:
        row(title, values["median"], f"  {values['min']:.2f} - {values['max']:.2f}")

    for name, title in ROWS.items():
        spread_row(title, found[name])
    for name, part in (("step_in_scan", "step"), ("section", "section")):
        share, gflop = found["share_of_product"][name], found["gflop"][part]
        row(f"direct / product, {part}", f"{share:.1%}", f"  of {gflop} Gflop")
    row("matrix product, Gflop/s", f"{found['product_gflops']:.1f}", "")
    for name, most in found["memory"].items():
        if name != "temporary_MiB":
            row(f"most memory, {name.replace('_', ', ')}", f"{most:.1f}", "")
    for name, seconds in found["compile_s"].items():
        row(f"compile {name}, s", seconds["cold"], f"  {seconds['cached']:.2f} from the cache")
    if runs := found.get("runs"):
        spread_row(f"step of one of {runs['count']} runs, ms", runs["step_ms"])
        spread_row("one after another / together", runs["one_after_another_over_together"])
    for name, pairs in found.get("peer", {"pairs": {}})["pairs"].items():
        spread_row(f"peer, {name}, ms", found["peer"][f"{name}_ms"])
        spread_row(f"peer / ours, {name}", found["peer"]["over_ours"][name])
        row("pair by pair", "", "  " + " ".join(f"{ratio:.2f}" for ratio in pairs))


def main() -> None:
    """Measures, prints a table and a line of JSON."""
    given = {name: FLAGS[name].value for name in ("query_steps", "crop", "batch")}
    make_network = chosen_network()
    config = changed(Config(network=make_network), given)
    network = make_network(FLAGS.classes)
    stack = made_up.bands(FLAGS.sections, FLAGS.size, FLAGS.classes)
    with tempfile.TemporaryDirectory() as cache:  # compilation is to be timed from scratch
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()
        found = measure(network, config, stack, FLAGS.repeats)
    print_table(found)
    names = ("network", "crop", "batch", "query_steps", "sections", "size", "classes")
    shape = ("width", "fc_features", "fc_size", "finest")
    setting = {name: FLAGS[name].value for name in names}
    setting |= {name: getattr(network, name) for name in shape}
    setting["precision"] = jnp.dtype(network.dtype).name
    result = harness.record({"setting": setting, **found})
    print(json.dumps(result))
    if FLAGS.json is not None:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    define_flags()
    command.run(main)
