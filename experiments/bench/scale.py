"""How time and memory grow with the sections, pixels and classes of a stack.

    python -m experiments.bench.scale

Measures an annotation's part of a query (the start, the prediction of the stack by a tiny network,
a suggestion, an answer) and what a session learns from an answer (by the default network), on
made-up stacks, each in a process of its own, up to 5,000 sections of 300x400 and 649 classes.
Writes `scale.json` and `scale.png` into --out. About twenty minutes, 6 GB.

Found on one core of an AMD EPYC (`experiments/results/scale.json`, 2026-11-25), the largest stack:
a start 1.8 s, the prediction 759 s, a suggestion 15 ms (linear in the sections), an answer 2 to 3
ms however many there are, 5,471 MiB, of which the stack alone is 2,289.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.scale")

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command
from al_jax.core.evidence import make_evidence
from al_jax.core.stack import InputError
from al_jax.core.state import ALState, init_state, ranges
from al_jax.core.strategies import Suggestion, suggest
from al_jax.learner.config import DEFAULT, Config, model_of
from al_jax.learner.learner import Learner, evaluate, init_learner, update
from al_jax.model.networks import FCN
from al_jax.model.subsets import subset_width
from al_jax.model.training import TrainState, init_train_state
from al_jax.plotting import plots
from al_jax.simulation import annotator
from al_jax.simulation.task import Task, make_task
from al_jax.xla import compiler_options
from experiments.bench import harness, made_up
from experiments.bench.harness import whole_numbers

ANSWERS = 20
UPDATES = 5  # timed
PARTS = ("init_state", "start", "prediction", "suggestion", "answer", "relearn")

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_list("sections", ["40", "200", "1000", "5000"], "Counts, at the largest of else.")
    flags.DEFINE_list("sizes", ["75x100", "150x200", "300x400"], "Heights x widths, in pixels.")
    flags.DEFINE_list("classes", ["10", "70", "266", "649"], "Counts, background included.")
    flags.DEFINE_integer("few", 200, "Sections while sizes or classes vary.", 2)
    flags.DEFINE_string("out", "results/scale", "Where the results go.")
    flags.DEFINE_string("point", None, "Measure one stack alone, NxHxWxC, and print it as JSON.")


def median_time(function: Callable, *args: Any, repeats: int = 1) -> tuple[Any, float]:
    """What `function` returns, and the median of the seconds that it takes once compiled."""
    program, seconds = jax.jit(function).lower(*args).compile(compiler_options()), []
    for _ in range(repeats):
        result, taken = harness.timed(program, *args)
        seconds.append(taken)
    return result, float(np.median(seconds))


def measure(sections: int, height: int, width: int, classes: int) -> dict[str, Any]:
    """Seconds of each part on one stack, and the most memory of the process, MiB."""
    made = made_up.atlas(sections, height, width, classes)
    key = jax.random.key(0)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(made)) / 2**20
    stack = jax.tree.map(jnp.array, made)
    del made
    # The stack becomes the task, as in a run.
    to_task = jax.jit(make_task, donate_argnums=0)
    task = jax.block_until_ready(to_task(stack, DEFAULT))
    del stack
    seconds: dict[str, float] = {}

    def empty(key: jax.Array, task: Task) -> ALState:
        return init_state(key, task.sections.inside, ranges(task.present))

    state, seconds["init_state"] = median_time(empty, key, task)
    del state
    start = functools.partial(annotator.start, config=DEFAULT)
    state, seconds["start"] = median_time(start, key, task)

    width = subset_width(state.in_range, state.seen)
    task = task.replace(sections=task.sections.replace(classes=width))
    tiny = Config(network=functools.partial(FCN, width=1 / 32, fc_features=0))
    network = jax.jit(init_train_state)(key, model_of(tiny, classes))

    def predict(network: TrainState, state: ALState, task: Task) -> jax.Array:
        return evaluate(network, state, task.sections, tiny)[0].dice

    dice, seconds["prediction"] = median_time(predict, network, state, task)

    learner = jax.jit(init_learner)(key, state, DEFAULT)

    def learn(learner: Learner, state: ALState, task: Task) -> Learner:
        """As a session does, which predicts no section that has no answer."""
        return update(learner, state, task.sections, DEFAULT, where=state.seen.any(1))[0]

    learner, seconds["relearn"] = median_time(learn, learner, state, task, repeats=UPDATES)
    del learner

    def ask(state: ALState, dice: jax.Array) -> Suggestion:
        return suggest(state, make_evidence(state, dice))

    _, seconds["suggestion"] = median_time(ask, state, dice, repeats=ANSWERS)
    seconds["answer"] = answering_time(jax.jit(ask), state, dice, task)
    return {
        "sections": sections,
        "height": height,
        "width": width,
        "classes": classes,
        "seconds": {name: round(seconds[name], 6) for name in PARTS},
        "stack_MiB": round(size, 1),
        "memory_MiB": round(harness.most_memory(), 1),
    }


def answering_time(ask: Callable, state: ALState, dice: jax.Array, task: Task) -> float:
    """The median of the seconds in which an answer is stored; `state` is used up."""

    def answer(state: ALState, query: Suggestion, task: Task) -> ALState:
        return annotator.true_answer(state, query.section, query.structure, task)[0]

    # With the state donated, as in a run: only the section that was answered is written.
    program = jax.jit(answer, donate_argnums=0).lower(state, ask(state, dice), task).compile()
    every = []
    for _ in range(ANSWERS):
        query = jax.block_until_ready(ask(state, dice))
        if not query.found:
            break
        state, taken = harness.timed(program, state, query, task)
        every.append(taken)
    if not every:
        raise InputError("nothing is left to ask after the start; give more sections or classes")
    return float(np.median(every))


Point = tuple[int, ...]
"""Sections, height, width, classes."""


def read_series() -> dict[str, tuple[list[int], list[Point]]]:
    """What grows -> its values, and the stacks to measure.

    Raises:
      InputError: a flag is empty or has no such numbers, or classes are too many to be shown.
    """
    sections = sorted(whole_numbers(text, 1, "sections")[0] for text in FLAGS.sections)
    sizes = sorted(whole_numbers(text, 2, "sizes") for text in FLAGS.sizes)
    classes = sorted(whole_numbers(text, 1, "classes")[0] for text in FLAGS.classes)
    if not (sections and sizes and classes):
        raise InputError("--sections, --sizes or --classes is empty; give at least one of each")
    fewest = -(-(classes[-1] - 1) // made_up.SHOWN)
    if (least := min(sections[0], FLAGS.few)) < fewest:
        raise InputError(
            f"{least} sections cannot show {classes[-1]} classes, {made_up.SHOWN} at a time; give "
            f"at least {fewest}"
        )
    few, size, most = FLAGS.few, sizes[-1], classes[-1]
    pixels = [height * width for height, width in sizes]
    return {
        "sections": (sections, [(count, *size, most) for count in sections]),
        "pixels of a section": (pixels, [(few, *each, most) for each in sizes]),
        "classes": (classes, [(few, *size, count) for count in classes]),
    }


def main() -> None:
    """Measures every point, prints a line of each, writes the numbers and their picture."""
    if FLAGS.point is not None:
        print(json.dumps(measure(*whole_numbers(FLAGS.point, 4, "point"))))
        return
    series, out = read_series(), harness.make_folder(FLAGS.out, "out")
    columns = {f"{name}, s": ">14.4f" for name in PARTS}
    row = harness.table({"stack": ">20", **columns, "  memory, MiB": ""})
    found: dict[Point, dict[str, Any]] = {}
    for point in dict.fromkeys(point for _, points in series.values() for point in points):
        name = "x".join(map(str, point))
        found[point] = one = harness.apart("scale", name, f"--point={name}")
        memory = f"  {one['memory_MiB']:.0f}, stack {one['stack_MiB']:.0f}"
        row(name, *(one["seconds"][part] for part in PARTS), memory)
    harness.write(out / "scale.json", harness.record({"points": list(found.values())}))

    def panel(values: list[int], points: list[Point]) -> tuple[list[int], dict, dict]:
        along = [found[point] for point in points]
        seconds = {part: [each["seconds"][part] for each in along] for part in PARTS}
        memory = {part: [each[f"{part}_MiB"] for each in along] for part in ("memory", "stack")}
        return values, seconds, memory

    plots.growth({name: panel(*each) for name, each in series.items()}, out / "scale.png")
    print(f"{out}: scale.json, scale.png")


if __name__ == "__main__":
    define_flags()
    command.run(main)
