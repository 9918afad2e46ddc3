"""Times training, prediction and whole queries on a made-up stack, beside what the machine can do.

    python -m experiments.bench.benchmark
    python -m experiments.bench.benchmark --peer=torch_loop.py --peer_python=torch/bin/python

Some minutes on two cores, on an otherwise idle machine. With --peer, the same work in PyTorch is
timed in turns with ours, and the ratio is printed pair by pair.
"""

import datetime
import functools
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

from al_jax.commands import command
from al_jax.commands.runs import machine, versions
from al_jax.core.stack import InputError, Stack, make_stack
from al_jax.core.state import ALState, PartialLabels, partial_labels
from al_jax.files.atomic import write_atomic
from al_jax.learner.config import Config
from al_jax.learner.learner import Learner, assess
from al_jax.model import networks, training
from al_jax.model.networks import FCN, NETWORKS
from al_jax.model.training import Sections, Training, TrainState
from al_jax.simulation import annotator, loop
from al_jax.simulation.annotator import Task
from al_jax.simulation.loop import Run
from al_jax.xla import compiler_options

STEPS = 12  # of training between two looks at the clock
QUERIES = 2
PRODUCT = 2048  # side of the matrices whose product is the machine's peak; on accelerators fourfold

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    training, config = Training(), Config()
    flags.DEFINE_enum("network", config.network, list(NETWORKS), "FCN-8s, or part of it.")
    flags.DEFINE_float("width", None, "Factor on the network's features instead of its own.", 0.01)
    flags.DEFINE_integer("fc", None, "Features of its fc6 and fc7 instead of its own; 0: none.", 0)
    flags.DEFINE_integer("fc_size", None, "Kernel size of its fc6 instead of its own.", 1)
    flags.DEFINE_integer("finest", None, "Finest scored pooling layer instead of its own.", 1, 5)
    flags.DEFINE_enum(
        "precision", None, ["float32", "bfloat16"], "Instead of bfloat16 on accelerators alone."
    )
    flags.DEFINE_integer("crop", training.crop, "Side of a training crop in pixels.", 16)
    flags.DEFINE_integer("batch", training.batch, "Crops in a training step.", 1)
    flags.DEFINE_integer("query_steps", config.query_steps, "Training steps in a query.", 1)
    flags.DEFINE_integer("sections", 24, "Of the stack.", 2)
    flags.DEFINE_integer("size", 256, "Side of a section in pixels.", 16)
    flags.DEFINE_integer("classes", 10, "Background included.", 2)
    flags.DEFINE_integer("runs", 1, "Also train so many runs as one program, by vmap.", 1)
    flags.DEFINE_integer("repeats", 10, "Timings; the median is reported.", 1)
    flags.DEFINE_string("peer", None, "torch_loop.py, to be timed in turns with ours.")
    flags.DEFINE_string("peer_python", sys.executable, "The Python that has torch.")
    flags.DEFINE_integer("peer_fc", None, "Features of the peer's 7x7 fc6; default: as ours.", 0)
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


# What the work is, and what the machine can do.


def operations(network: FCN, height: int, width: int) -> tuple[float, float]:
    """Floating-point operations of the convolutions on one image, forward.

    Two for each product of a weight in a direct convolution; the padding of odd sizes included.
    Winograd's filters, of wide layers in float32 on a CPU, need fewer: the rate of these operations
    may be more than that of a product of matrices.
    Upsampling, the loss and all that is not a convolution are left out.

    Returns:
      All convolutions; the first one of them, which in training needs no gradient of its input.
    """
    padded = [size + -size % networks.STRIDE for size in (height, width)]
    shapes = jax.eval_shape(lambda key: networks.init_params(key, network), jax.random.key(0))
    total = first = 0.0
    for layer, parts in shapes.items():
        block = int(layer.removeprefix("block")[0]) if layer.startswith("block") else None
        if block is None:  # behind a pooling layer: fc6 and fc7 behind pool5
            block = (int(layer[-1]) if layer.startswith("score") else 5) + 1
        pixels = padded[0] * padded[1] / 4 ** (block - 1)
        count = 2.0 * pixels * parts["kernel"].size
        first = count if layer == "block1_conv1" else first
        total += count
    return total, first


def peak(dtype: jnp.dtype, repeats: int) -> float:
    """Operations a second in a product of two large square matrices, at best."""
    side = PRODUCT * (1 if jax.default_backend() == "cpu" else 4)
    a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    timed(product, a, a)
    return 2.0 * side**3 / min(timed(product, a, a) for _ in range(repeats))


def memory() -> dict[str, float]:
    """Most memory in use so far: of the process, and of the accelerator if there is one; MiB."""
    found = {"process_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        found["device_MiB"] = device["peak_bytes_in_use"] / 2**20
    return {name: round(value, 1) for name, value in found.items()}


class Peer:
    """The peer's times on the same sizes."""

    def __init__(self, network: FCN, config: Config, stack: Stack, steps: int):
        """What it is asked to do.

        Raises:
          InputError: there is no such file.
        """
        if not pathlib.Path(FLAGS.peer).is_file():
            raise InputError(f"{FLAGS.peer}: there is no such file; correct --peer")
        fc = network.fc_features if FLAGS.peer_fc is None else FLAGS.peer_fc
        setting = {
            "sections": stack.num_sections,
            "size": stack.images.shape[1],
            "classes": stack.num_classes,
            "width": network.width,
            "fc": fc,
            "crop": config.training.crop,
            "batch": config.training.batch,
            "steps": steps,
            "repeats": 3,
        }
        self._command = [FLAGS.peer_python, FLAGS.peer]
        self._command += [f"--{name}={value}" for name, value in setting.items()]
        if jax.default_backend() != "cpu":
            self._command.append("--compile")

    def times(self) -> dict[str, Any]:
        """`ms_per_step`, `ms_per_section` and what the peer says of itself.

        Raises:
          InputError: it failed.
        """
        try:
            ran = subprocess.run(self._command, capture_output=True, text=True)
        except OSError as error:
            raise InputError(f"{FLAGS.peer_python}: {error.strerror}; correct --peer_python") from (
                error
            )
        if ran.returncode:
            said = (ran.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{FLAGS.peer}: {said}; it needs torch in --peer_python")
        return json.loads(ran.stdout.strip().splitlines()[-1])


# The measurement.


def measure(network: FCN, config: Config, stack: Stack, repeats: int) -> dict[str, Any]:
    """Warm times in ms, rates, memory, and compilation in s; the peer's times if there is one."""
    num_sections, compilation, temporary = stack.num_sections, {}, {}
    options = compiler_options()

    def compiled(name: str, function: Callable, *args: Any) -> Callable:
        seconds = []
        for _ in ("cold", "cached"):
            jax.clear_caches()
            begin = time.perf_counter()
            executable = jax.jit(function).lower(*args).compile(options)
            seconds.append(round(time.perf_counter() - begin, 3))
        compilation[name] = dict(zip(("cold", "cached"), seconds, strict=True))
        if (analysis := executable.memory_analysis()) is not None:
            temporary[name] = round(analysis.temp_size_in_bytes / 2**20, 1)
        return executable

    key = jax.random.key(0)
    task = jax.jit(functools.partial(annotator.make_task, config=config))(stack)
    state = jax.jit(functools.partial(annotator.start, config=config))(key, task)
    init = functools.partial(loop.initial_train_state, config=config)
    train_state = compiled("initial weights", init, key, task)(key, task)

    batch = config.training.batch
    steps, per_query = STEPS, config.query_steps
    partial = partial_labels(state)
    chosen = jnp.arange(batch) % num_sections
    lessons = loop.lessons_of(task, config)
    rate = config.query_learning_rate

    def one_step(
        key: jax.Array,
        train_state: TrainState,
        sections: Sections,
        partial: PartialLabels,
        chosen: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        key_crop, key_dropout = jax.random.split(key)
        crops = training.random_batch(key_crop, sections, partial, chosen, config.training)
        return training.train_step(key_dropout, train_state, crops, lessons.recipe, rate)

    def in_scan(
        key: jax.Array, train_state: TrainState, sections: Sections, partial: PartialLabels
    ) -> tuple[TrainState, jax.Array]:
        return training.train(
            key, train_state, sections, partial, lessons.recipe, steps=steps, learning_rate=rate
        )

    def predict(train_state: TrainState, state: ALState, task: Task) -> tuple[Learner, Any]:
        """What a simulation does of it, the score included."""
        keep, beside = annotator.score, annotator.beside(task)
        return assess(train_state, state, task.sections, lessons, keep=keep, beside=beside)

    def queries(run: Run, priority: jax.Array, task: Task) -> Any:
        return loop.run_queries(
            run,
            priority,
            task,
            config,
            strategies=("BDa",),
            which=0,
            count=QUERIES,
            target_dice=jnp.inf,
            max_effort=jnp.inf,
        )

    args = key, train_state, task.sections, partial
    step = compiled("step", one_step, *args, chosen)
    scan = compiled("steps in scan", in_scan, *args)
    prediction_args = train_state, state, task
    prediction = compiled("prediction", predict, *prediction_args)
    begin = functools.partial(loop.begin, config=config, strategy="BDa")
    run, _ = jax.jit(begin)(train_state, state, task)
    query_args = run, jnp.zeros(run.state.annotated.shape), task
    query = compiled("query", queries, *query_args)

    def outside(key: jax.Array, train_state: TrainState, *rest: Any) -> TrainState:
        for step_key in jax.random.split(key, steps):
            train_state, _ = step(step_key, train_state, *rest)
        return train_state

    if FLAGS.runs > 1:
        keys = jax.random.split(key, FLAGS.runs)
        copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * FLAGS.runs), train_state)
        many_args = keys, copies, *args[2:]
        over_runs = jax.vmap(in_scan, in_axes=(0, 0, None, None))
        together = compiled("steps of all runs", over_runs, *many_args)

    peer = None if FLAGS.peer is None else Peer(network, config, stack, per_query)
    times: dict[str, list[float]] = {name: [] for name in ("step", "scan", "section", "query")}
    many_times: list[float] = []
    peer_times: dict[str, list[float]] = {name: [] for name in ("step", "section", "query")}
    said: dict[str, Any] = {}
    for repeat in range(repeats + 1):  # the first one warms up
        # In turns and in either order, so that a drift of the machine cancels in the ratio.
        for name in ("step", "scan") if repeat % 2 else ("scan", "step"):
            seconds = timed(outside, *args, chosen) if name == "step" else timed(scan, *args)
            times[name].append(1000 * seconds / steps)
        if FLAGS.runs > 1:
            many_times.append(1000 * timed(together, *many_args) / steps / FLAGS.runs)
        seconds = timed(prediction, *prediction_args)
        times["section"].append(1000 * seconds / num_sections)
        times["query"].append(1000 * timed(query, *query_args) / QUERIES)
        if peer is not None and repeat:
            said = peer.times()
            peer_times["step"].append(said["ms_per_step"])
            peer_times["section"].append(said["ms_per_section"])
            whole = per_query * said["ms_per_step"] + num_sections * said["ms_per_section"]
            peer_times["query"].append(whole)
    times = {name: values[1:] for name, values in times.items()}
    done = int(query(*query_args)[1].done.sum())
    if done:
        raise InputError(f"{done} of {QUERIES} queries were not asked; give more --sections")

    forward, first = operations(network, config.training.crop, config.training.crop)
    work = {
        "step": batch * (3 * forward - first),
        "section": operations(network, *stack.images.shape[1:3])[0],
    }
    best = peak(network.dtype, repeats)

    def share(name: str, milliseconds: list[float]) -> float:
        return round(work[name] / (np.median(milliseconds) / 1000) / best, 4)

    ratios = [scan / step for scan, step in zip(times["scan"], times["step"], strict=True)]
    found: dict[str, Any] = {
        "step_ms": spread(times["step"]),
        "step_in_scan_ms": spread(times["scan"]),
        "ratio": spread(ratios),
        "predict_section_ms": spread(times["section"]),
        "query_ms": spread(times["query"]),
        "gflop": {name: round(count / 1e9, 3) for name, count in work.items()},
        "product_gflops": round(best / 1e9, 1),
        "share_of_product": {
            "step_in_scan": share("step", times["scan"]),
            "section": share("section", times["section"]),
        },
        "memory": memory() | {"temporary_MiB": temporary},
        "compile_s": compilation,
        "counts": {"steps": steps, "queries": QUERIES, "repeats": repeats},
    }
    if FLAGS.runs > 1:
        turns = zip(times["scan"], many_times[1:], strict=True)
        found["runs"] = {
            "count": FLAGS.runs,
            "step_ms": spread(many_times[1:]),
            "one_after_another_over_together": spread([one / many for one, many in turns]),
        }
    if peer is not None:
        ours = {"step": times["scan"], "section": times["section"], "query": times["query"]}
        pairs = {
            name: [theirs / own for theirs, own in zip(peer_times[name], ours[name], strict=True)]
            for name in ours
        }
        found["peer"] = {
            **{f"{name}_ms": spread(values) for name, values in peer_times.items()},
            "over_ours": {name: spread(values) for name, values in pairs.items()},
            "pairs": {name: [round(x, 3) for x in values] for name, values in pairs.items()},
            "is": {k: said[k] for k in ("torch", "device", "width", "fc", "compile") if k in said},
        }
    return found


ROWS = {
    "step_ms": "training step, ms",
    "step_in_scan_ms": "the same in the scan, ms",
    "ratio": "ratio (at most 1.15)",
    "predict_section_ms": "prediction of a section, ms",
    "query_ms": "a whole query, ms",
}


def print_table(found: dict[str, Any]) -> None:
    """Medians and their spread, rates, memory, compilation; the peer's and the ratios."""

    def line(title: str, row: dict[str, float]) -> None:
        print(f"{title:>34} {row['median']:10.2f}   {row['min']:.2f} - {row['max']:.2f}")

    print(f"{'':>34} {'median':>10}   min - max")
    for name, title in ROWS.items():
        line(title, found[name])
    for name, title in (("step_in_scan", "step"), ("section", "section")):
        share = found["share_of_product"][name]
        gflop = found["gflop"][title]
        print(f"{'direct / product, ' + title:>34} {share:10.1%}   of {gflop} Gflop")
    print(f"{'matrix product, Gflop/s':>34} {found['product_gflops']:10.1f}")
    for name, value in found["memory"].items():
        if not isinstance(value, dict):
            print(f"{'most memory, ' + name.replace('_', ', '):>34} {value:10.1f}")
    for name, seconds in found["compile_s"].items():
        title = f"compile {name}, s"
        print(f"{title:>34} {seconds['cold']:10.2f}   {seconds['cached']:.2f} from the cache")
    if "runs" in found:
        line(f"step of one of {found['runs']['count']} runs, ms", found["runs"]["step_ms"])
        ratios = found["runs"]["one_after_another_over_together"]
        line("one after another / together", ratios)
    for name in ("step", "section", "query") if "peer" in found else ():
        line(f"peer, {name}, ms", found["peer"][f"{name}_ms"])
        line(f"peer / ours, {name}", found["peer"]["over_ours"][name])
        print(
            f"{'pair by pair':>34}   " + " ".join(f"{x:.2f}" for x in found["peer"]["pairs"][name])
        )


def chosen_network(config: Config, classes: int) -> FCN:
    """The network of the flags; `config.network` names it from now on."""
    own = {"width": FLAGS.width, "fc_features": FLAGS.fc, "fc_size": FLAGS.fc_size}
    own |= {"finest": FLAGS.finest}
    if FLAGS.precision is not None:
        own["dtype"] = jnp.dtype(FLAGS.precision)
    NETWORKS[config.network] |= {k: v for k, v in own.items() if v is not None}
    return networks.make_network(config.network, classes)


def main() -> None:
    """Measures, prints a table and a line of JSON."""
    config = Config(
        network=FLAGS.network,
        query_steps=FLAGS.query_steps,
        training=Training(crop=FLAGS.crop, batch=FLAGS.batch),
    )
    stack = made_up_stack(FLAGS.sections, FLAGS.size, FLAGS.classes)
    network = chosen_network(config, FLAGS.classes)
    with tempfile.TemporaryDirectory() as cache:  # compilation is to be timed from scratch
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()
        found = measure(network, config, stack, FLAGS.repeats)
    print_table(found)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    names = ("network", "crop", "batch", "query_steps", "sections", "size", "classes")
    setting: dict[str, Any] = {name: FLAGS[name].value for name in names}
    shape = ("width", "fc_features", "fc_size", "finest")
    setting |= {name: getattr(network, name) for name in shape}
    setting["precision"] = jnp.dtype(network.dtype).name
    result = {
        "date": date,
        "machine": machine(),
        "versions": versions(),
        "setting": setting,
        **found,
    }
    line = json.dumps(result)
    print(line)
    if FLAGS.json is not None:
        write_atomic(FLAGS.json, (line + "\n").encode())


if __name__ == "__main__":
    define_flags()
    command.run(main)
