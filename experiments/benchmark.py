"""Times training, prediction and a whole query on a made-up stack, and what compiling them costs.

    python -m experiments.benchmark

Some minutes on two cores, on an otherwise idle machine. The line to look at is the ratio: a
training step inside the scan may cost at most 1.15 times the same step compiled on its own.
"""

import datetime
import functools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax import io, simulation, training
from al_jax.networks import NETWORKS
from al_jax.simulation import Config, Run, Task
from al_jax.stack import InputError, Stack, make_stack
from al_jax.state import ALState
from al_jax.training import Training, TrainState
from experiments import command
from experiments.runs import versions

STEPS = 12  # of training between two looks at the clock, at least
QUERIES = 2

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_enum("network", "small", list(NETWORKS), "FCN-8s, or an eighth of it.")
    flags.DEFINE_integer("crop", Training().crop, "Side of a training crop in pixels.", 16)
    flags.DEFINE_integer("batch", Training().batch, "Crops in a training step.", 1)
    flags.DEFINE_integer("sections", 24, "Of the stack.", 2)
    flags.DEFINE_integer("size", 256, "Side of a section in pixels.", 16)
    flags.DEFINE_integer("classes", 10, "Background included.", 2)
    flags.DEFINE_integer("repeats", 10, "Timings; the median is reported.", 1)
    flags.DEFINE_string("json", None, "Write the line of JSON to this file too.")


def made_up_stack(sections: int, size: int, classes: int) -> Stack:
    """Random sections in which every class is a band of rows."""
    if classes > size:
        raise InputError(f"--classes {classes} do not fit --size {size}; give fewer")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (sections, size, size, 1), np.uint8)
    rows = np.arange(size) * classes // size
    truth = np.broadcast_to(rows[:, None], (sections, size, size))
    return make_stack(images, truth, ["background", *(f"class {c}" for c in range(1, classes))])


def timed(function: Callable, *args: Any) -> float:
    """Seconds that a call takes, until its results are there."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - begin


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and largest."""
    found = {"median": np.median(values), "min": min(values), "max": max(values)}
    return {name: round(float(value), 4) for name, value in found.items()}


def measure(config: Config, stack: Stack, repeats: int) -> dict[str, dict]:
    """Warm times in ms, their ratio, and cold compilation in s."""
    num_sections, compilation = stack.num_sections, {}

    def compiled(name: str, function: Callable, *args: Any) -> Callable:
        begin = time.perf_counter()
        executable = jax.jit(function).lower(*args).compile()
        compilation[name] = round(time.perf_counter() - begin, 3)
        return executable

    key = jax.random.key(0)
    task = jax.jit(functools.partial(simulation.make_task, config=config))(stack)
    state = jax.jit(functools.partial(simulation.start, config=config))(key, task)
    init = functools.partial(simulation.initial_train_state, config=config)
    train_state = compiled("initial weights", init, key, task)(key, task)

    batch = config.training.batch
    epochs = -(-STEPS // training.steps_per_epoch(num_sections, batch))
    steps = epochs * training.steps_per_epoch(num_sections, batch)
    network = simulation.make_network(config.network, stack.num_classes)
    labels, compatible = state.labels, simulation.compatible(state)
    chosen = jnp.arange(batch) % num_sections

    settings: dict[str, Any] = {"network": network, "setting": config.training}
    settings["learning_rate"] = config.query_learning_rate
    one_step = functools.partial(training.augmented_step, **settings)
    in_scan = functools.partial(training.train, epochs=epochs, **settings)

    def predict(key: jax.Array, params: Any, task: Task, state: ALState) -> Any:
        return training.predict(
            key, params, task.sections, state.labels, simulation.compatible(state), state.in_range,
            task.truth, network, config.training, entropy=False,
        )  # fmt: skip

    def queries(run: Run, priority: jax.Array, task: Task) -> Any:
        return simulation.run_queries(
            run, priority, task, config, ("BDa",), 0, QUERIES, jnp.inf, jnp.inf
        )

    args = key, train_state, task.sections, labels, compatible
    step = compiled("step", one_step, *args, chosen)
    scan = compiled("steps in scan", in_scan, *args)
    prediction = compiled("prediction", predict, key, train_state.params, task, state)
    run, _ = jax.jit(functools.partial(simulation.begin, config=config, strategy="BDa"))(
        train_state, state, task
    )
    query_args = run, jnp.zeros(run.state.annotated.shape), task
    query = compiled("query", queries, *query_args)

    def outside(key: jax.Array, train_state: TrainState, *rest: Any) -> TrainState:
        for step_key in jax.random.split(key, steps):
            train_state, _ = step(step_key, train_state, *rest)
        return train_state

    times: dict[str, list[float]] = {name: [] for name in ("step", "scan", "section", "query")}
    for repeat in range(repeats + 1):  # the first one warms up
        # In turns and in either order, so that a drift of the machine cancels in the ratio.
        for name in ("step", "scan") if repeat % 2 else ("scan", "step"):
            seconds = timed(outside, *args, chosen) if name == "step" else timed(scan, *args)
            times[name].append(1000 * seconds / steps)
        seconds = timed(prediction, key, train_state.params, task, state)
        times["section"].append(1000 * seconds / num_sections)
        times["query"].append(1000 * timed(query, *query_args) / QUERIES)
    times = {name: values[1:] for name, values in times.items()}
    done = int(query(*query_args)[1].done.sum())
    if done:
        raise InputError(f"{done} of {QUERIES} queries were not asked; give more --sections")
    ratios = [scan / step for scan, step in zip(times["scan"], times["step"], strict=True)]
    return {
        "step_ms": spread(times["step"]),
        "step_in_scan_ms": spread(times["scan"]),
        "ratio": spread(ratios),
        "predict_section_ms": spread(times["section"]),
        "query_ms": spread(times["query"]),
        "compile_s": compilation,
        "counts": {"steps": steps, "queries": QUERIES, "repeats": repeats},
    }


ROWS = {
    "step_ms": "training step, ms",
    "step_in_scan_ms": "the same in the scan, ms",
    "ratio": "ratio (at most 1.15)",
    "predict_section_ms": "prediction of a section, ms",
    "query_ms": "a whole query, ms",
}


def print_table(found: dict[str, dict]) -> None:
    """Medians and their spread, then the compilation times."""
    print(f"{'':>28} {'median':>9}   min - max")
    for name, title in ROWS.items():
        row = found[name]
        print(f"{title:>28} {row['median']:9.2f}   {row['min']:.2f} - {row['max']:.2f}")
    for name, seconds in found["compile_s"].items():
        print(f"{'compile ' + name + ', s':>28} {seconds:9.2f}")


def main() -> None:
    """Measures, prints a table and a line of JSON."""
    # `command.run` has set a cache; compilation is to be timed from scratch.
    jax.config.update("jax_enable_compilation_cache", False)
    setting = {name: FLAGS[name].value for name in
               ("network", "crop", "batch", "sections", "size", "classes")}  # fmt: skip
    config = Config(
        network=FLAGS.network, training=Training(crop=FLAGS.crop, batch=FLAGS.batch)
    )  # fmt: skip
    stack = made_up_stack(FLAGS.sections, FLAGS.size, FLAGS.classes)
    found = measure(config, stack, FLAGS.repeats)
    print_table(found)
    machine = {"cores": len(os.sched_getaffinity(0)), "device": jax.devices()[0].device_kind}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    result = {"date": date, "machine": machine, "versions": versions(), "setting": setting, **found}
    line = json.dumps(result)
    print(line)
    if FLAGS.json is not None:
        io.write_whole(FLAGS.json, (line + "\n").encode())


if __name__ == "__main__":
    define_flags()
    command.run(main)
