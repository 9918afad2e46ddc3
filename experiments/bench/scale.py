"""How time and memory grow with the sections, pixels and classes of a stack.

    python -m experiments.bench.scale

Measures an annotation's part of a query (the start, the prediction of the stack by a tiny network,
a suggestion, an answer) and what a session learns from an answer (by the default network), on
made-up stacks, each in a process of its own, up to 5,000 sections of 300x400 and 266 classes.
Writes `scale.json` and `scale.png` into --out. About twenty minutes, 6 GB.
"""

import datetime
import functools
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command
from al_jax.commands.runs import machine, versions
from al_jax.core.stack import InputError, Stack, make_stack
from al_jax.core.state import ALState, init_state, ranges
from al_jax.core.strategies import Suggestion, make_evidence, suggest
from al_jax.files.atomic import write_atomic
from al_jax.learner.config import Config
from al_jax.learner.learner import Learner, Lessons, assess, init_learner, make_lessons, relearn
from al_jax.model.networks import FCN
from al_jax.model.training import Recipe, TrainState, init_train_state
from al_jax.plotting import plots
from al_jax.simulation import annotator
from al_jax.simulation.annotator import Task
from al_jax.xla import compiler_options

SHOWN = 70  # structures on a section of an atlas with many more (paper, 3.1.2)
ANSWERS = 20
PARTS = ("init_state", "start", "prediction", "suggestion", "answer", "relearn")
LESSONS = 5  # timed

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_list("sections", ["40", "200", "1000", "5000"], "Counts, at the largest of else.")
    flags.DEFINE_list("sizes", ["75x100", "150x200", "300x400"], "Heights x widths, in pixels.")
    flags.DEFINE_list("classes", ["10", "40", "133", "266"], "Counts, background included.")
    flags.DEFINE_integer("few", 200, "Sections while sizes or classes vary.", 2)
    flags.DEFINE_string("out", "results/scale", "Where the results go.")
    flags.DEFINE_string("point", None, "Measure one stack alone, NxHxWxC, and print it as JSON.")


def made_up_atlas(sections: int, height: int, width: int, classes: int) -> Stack:
    """Grey noise with a grid of structures, of which each section shows the next ones on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (sections, height, width, 1), np.uint8)
    shown = min(SHOWN, classes - 1)
    across = int(np.ceil(np.sqrt(shown + 1)))  # a cell at least for the background
    rows, columns = (np.arange(size) * across // size for size in (height, width))
    cells = rows[:, None] * across + columns + 1
    truth = np.empty((sections, height, width), np.int16)
    for section in range(sections):
        first = (classes - 1 - shown) * section // (sections - 1)
        truth[section] = np.where(cells <= shown, cells + first, 0)
    return make_stack(images, truth, ["background", *(f"class {c}" for c in range(1, classes))])


def timed(function: Callable, *args: Any, repeats: int = 1) -> tuple[Any, float]:
    """What `function` returns, and the median of the seconds that it takes once compiled."""
    program, seconds = jax.jit(function).lower(*args).compile(compiler_options()), []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(program(*args))
        seconds.append(time.perf_counter() - begin)
    return result, float(np.median(seconds))


def measure(sections: int, height: int, width: int, classes: int) -> dict[str, Any]:
    """Seconds of each part on one stack, and the most memory of the process, MiB."""
    made, config, key = made_up_atlas(sections, height, width, classes), Config(), jax.random.key(0)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(made)) / 2**20
    stack = jax.tree.map(jnp.array, made)
    del made
    # The stack becomes the task, as in a run.
    make_task = jax.jit(functools.partial(annotator.make_task, config=config), donate_argnums=0)
    task = jax.block_until_ready(make_task(stack))
    del stack
    seconds: dict[str, float] = {}

    def empty(key: jax.Array, task: Task) -> ALState:
        return init_state(key, task.sections.inside, ranges(task.present))

    state, seconds["init_state"] = timed(empty, key, task)
    del state
    start = functools.partial(annotator.start, config=config)
    state, seconds["start"] = timed(start, key, task)

    lessons = Lessons(Recipe(FCN(classes, width=1 / 32, fc_features=0)))
    network = jax.jit(functools.partial(init_train_state, recipe=lessons.recipe))(key)

    def predict(network: TrainState, state: ALState, task: Task) -> jax.Array:
        return assess(network, state, task.sections, lessons)[0].dice

    dice, seconds["prediction"] = timed(predict, network, state, task)

    def ask(state: ALState, dice: jax.Array) -> Suggestion:
        return suggest(state, make_evidence(state, dice))

    usual = make_lessons(classes)
    learner = jax.jit(init_learner, static_argnames="lessons")(key, state, lessons=usual)

    def learn(learner: Learner, state: ALState, task: Task) -> Learner:
        """As a session does, which looks at no section that has no answer."""
        return relearn(learner, state, task.sections, usual, where=state.seen.any(1))[0]

    learner, seconds["relearn"] = timed(learn, learner, state, task, repeats=LESSONS)
    del learner

    query, seconds["suggestion"] = timed(ask, state, dice, repeats=ANSWERS)
    again = jax.jit(ask)

    def answer(state: ALState, query: Suggestion, task: Task) -> ALState:
        return annotator.true_answer(state, query.section, query.structure, task)[0]

    # With the state donated, as in a run: only the section that was answered is written.
    program = jax.jit(answer, donate_argnums=0).lower(state, query, task).compile()
    every = []
    for _ in range(ANSWERS):
        query = jax.block_until_ready(again(state, dice))
        if not query.found:
            break
        begin = time.perf_counter()
        state = jax.block_until_ready(program(state, query, task))
        every.append(time.perf_counter() - begin)
    if not every:
        raise InputError("nothing is left to ask after the start; give more sections or classes")
    seconds["answer"] = float(np.median(every))
    return {
        "sections": sections,
        "height": height,
        "width": width,
        "classes": classes,
        "seconds": {name: round(seconds[name], 6) for name in PARTS},
        "stack_MiB": round(size, 1),
        "memory_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def measure_apart(point: tuple[int, ...]) -> dict[str, Any]:
    """`measure` in a process of its own, whose memory is its own too.

    Raises:
      InputError: it failed.
    """
    name = "x".join(map(str, point))
    program = [sys.executable, "-m", "experiments.bench.scale", f"--point={name}"]
    ran = subprocess.run(program, capture_output=True, text=True)
    if ran.returncode:
        ended = ["its process was ended, for want of memory perhaps; try less"]
        said = (ran.stderr.strip().splitlines() or ended)[-1]
        raise InputError(f"{name}: {said.removeprefix('error: ')}")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def whole_numbers(text: str, count: int, flag: str) -> tuple[int, ...]:
    """'300x400' as numbers of at least 2.

    Raises:
      InputError: it is none of `count` such numbers.
    """
    parts = text.split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) > 1 for part in parts):
        shape = "x".join(["300"] * count)
        raise InputError(f"--{flag} has '{text}'; give numbers of at least 2, such as {shape}")
    return tuple(map(int, parts))


def main() -> None:
    """Measures every point, prints a line of each, writes the numbers and their picture."""
    if FLAGS.point is not None:
        print(json.dumps(measure(*whole_numbers(FLAGS.point, 4, "point"))))
        return
    sections = sorted(whole_numbers(text, 1, "sections")[0] for text in FLAGS.sections)
    sizes = sorted(whole_numbers(text, 2, "sizes") for text in FLAGS.sizes)
    classes = sorted(whole_numbers(text, 1, "classes")[0] for text in FLAGS.classes)
    if not (sections and sizes and classes):
        raise InputError("--sections, --sizes or --classes is empty; give at least one of each")
    fewest = -(-(classes[-1] - 1) // SHOWN)
    if min(sections[0], FLAGS.few) < fewest:
        raise InputError(
            f"{min(sections[0], FLAGS.few)} sections cannot show {classes[-1]} classes, "
            f"{SHOWN} at a time; give at least {fewest}"
        )
    series = {
        "sections": [(count, *sizes[-1], classes[-1]) for count in sections],
        "pixels of a section": [(FLAGS.few, *size, classes[-1]) for size in sizes],
        "classes": [(FLAGS.few, *sizes[-1], count) for count in classes],
    }
    out = pathlib.Path(FLAGS.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; choose another --out") from error
    print(f"{'stack':>20} " + " ".join(f"{name + ', s':>14}" for name in PARTS) + "   memory, MiB")
    found: dict[tuple[int, ...], dict[str, Any]] = {}
    for point in dict.fromkeys(point for points in series.values() for point in points):
        found[point] = measure_apart(point)
        cells = " ".join(f"{found[point]['seconds'][name]:14.4f}" for name in PARTS)
        memory = f"{found[point]['memory_MiB']:.0f}, stack {found[point]['stack_MiB']:.0f}"
        print(f"{'x'.join(map(str, point)):>20} {cells}   {memory}", flush=True)

    def along(name: str, point: tuple[int, ...]) -> int:
        return {"sections": point[0], "classes": point[3]}.get(name, point[1] * point[2])

    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "points": list(found.values()),
    }
    write_atomic(out / "scale.json", (json.dumps(result, indent=2) + "\n").encode())
    panels = {
        name: (
            [along(name, point) for point in points],
            {part: [found[point]["seconds"][part] for point in points] for part in PARTS},
            {
                "memory": [found[point]["memory_MiB"] for point in points],
                "stack": [found[point]["stack_MiB"] for point in points],
            },
        )
        for name, points in series.items()
    }
    plots.growth(panels, out / "scale.png")
    print(f"{out}: scale.json, scale.png")


if __name__ == "__main__":
    define_flags()
    command.run(main)
