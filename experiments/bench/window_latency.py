"""How quickly the annotation window answers while the network trains behind it.

    python -m experiments.bench.window_latency

opens a window on a new session of the shipped stack (`xvfb-run -a` gives it a display where there
is none), lets the truth answer, and measures the event loop: how much later than asked a timer of
5 ms comes. Measured from the end of the first update on, when all is compiled, with an update under
way all the time: first while nobody moves, then while a brush draws 30 times a second. Apart from
these: the first question, the next ones before the network trains (what trains takes CPU, too) and
while it does, closing the window while an update is under way, and memory.
`--stack_size=100x2000x2000x70` takes RGB noise of that size in place of the shipped stack.

Found on two cores of an AMD EPYC under Xvfb (2026-11-30): see experiments/README.md.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.window_latency")

import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from absl import flags

from al_jax import window
from al_jax.commands import command, config_flags
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import InputError
from al_jax.files.stacks import load_default
from al_jax.learner.config import Config
from al_jax.session import Settings
from experiments.bench import harness, made_up, truth

FLAGS = flags.FLAGS
BEAT = 5.0  # milliseconds
FRAME = 33  # milliseconds between two dabs of the brush
DOING = ("training", "training, drawing")
ALONE = "drawing alone"
FIRST, FIRST_CPU = "open to first question", "program to first question, CPU"
EXAMPLE, EXAMPLE_CPU = "answer to next question, untrained", "answer to next, untrained, CPU"
ANSWER, UPDATE, CLOSING = (
    "answer to next question, trained",
    "an update",
    "closing",
)
SECONDS = (FIRST, FIRST_CPU, EXAMPLE, EXAMPLE_CPU, ANSWER, UPDATE, CLOSING)
REST = 5.0  # seconds of drawing while nothing trains


def define_flags() -> None:
    """All flags of the command."""
    config_flags.define_flags()
    flags.adopt_module_key_flags(config_flags)
    flags.DEFINE_integer(
        "updates", 10, "Updates of the network to measure in each part; 0: without training.", 0
    )
    flags.DEFINE_string("stack_size", None, "Sections x height x width x classes of RGB noise.")
    flags.DEFINE_string("out", None, "Where the figures go as JSON; default: nowhere.")


def main() -> None:
    """Measures, and prints a table."""
    load_plugins(FLAGS.plugin)
    window.check_display()
    window.start_computing()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "session"
        size = FLAGS.stack_size and harness.whole_numbers(FLAGS.stack_size, 4, "stack_size")
        sections = size[0] if size else load_default().num_sections
        config = config_flags.read_config("plain", sections)
        # In a process of its own, as the stack with its truth is in no memory of a window.
        making = multiprocessing.get_context("spawn").Process(
            target=make, args=(workdir, size, FLAGS.seed, config)
        )
        making.start()
        making.join()
        found = measure(workdir, FLAGS.updates)
    columns = {"median": ">8.1f", "p99": ">8.1f", "worst": ">8.1f", "beats": ">8"}
    row = harness.table({"event loop, ms late": ">22", **columns})
    for name in (*DOING, ALONE):
        late = found[name]
        if not late:
            continue
        row(name, *np.percentile(late, (50, 99)), max(late), len(late))
    row = harness.table({"seconds": ">42", "median": ">8.2f", "worst": ">8.2f", "of": ">6"})
    for name in filter(found.get, SECONDS):
        row(name, statistics.median(found[name]), max(found[name]), len(found[name]))
    print(
        f"memory: {harness.most_memory():.0f} MiB; load of the machine: {os.getloadavg()[0]:.1f} "
        f"on {os.cpu_count()} cores"
    )
    if FLAGS.out is not None:
        harness.write(FLAGS.out, harness.record(found))


def make(
    workdir: pathlib.Path, size: tuple[int, int, int, int] | None, seed: int, config: Config
) -> None:
    """A session whose truth can answer."""
    stack = made_up.atlas(*size, channels=3) if size else load_default()
    truth.make_session(workdir, stack, Settings(seed, config))


def measure(workdir: pathlib.Path, updates: int) -> dict[str, list[float]]:
    """Milliseconds that beats were late, by what was done; `SECONDS` of all else."""
    import napari
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    from al_jax.window.widget import in_window

    failures: list[str] = []
    found: dict[str, list[float]] = {name: [] for name in (*DOING, ALONE, *SECONDS)}
    doing: str | None = None
    last = time.perf_counter()
    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
    began = time.perf_counter()
    widget.open(workdir)
    controller = widget.controller
    assert controller is not None
    brush = np.random.default_rng(0)

    def beat() -> None:
        nonlocal last
        now = time.perf_counter()
        if doing is not None:
            found[doing].append(max(0.0, (now - last) * 1000 - BEAT))
        last = now

    def dab() -> None:
        if doing in (DOING[1], ALONE) and controller.question is not None:
            place = brush.integers(0, controller.question.inside.shape)
            controller.layer.paint(tuple(map(int, place)), int(brush.integers(0, 2)))

    def script() -> Iterator[None]:
        """What the person does; one turn every 50 ms."""
        nonlocal doing, last
        while controller.doing:
            yield
        QApplication.processEvents()
        found[FIRST].append(time.perf_counter() - began)
        found[FIRST_CPU].append(time.process_time())
        while controller.missing and controller.question is not None:
            now, cpu = time.perf_counter(), time.process_time()
            controller.do("let_truth_answer")
            while controller.doing:
                yield
            QApplication.processEvents()
            found[EXAMPLE].append(time.perf_counter() - now)
            found[EXAMPLE_CPU].append(time.process_time() - cpu)
            yield
        if not updates:
            return
        while not controller.session.network.trained or controller.busy:
            if controller.failure is not None:
                failures.append(controller.failure)
                return
            if not controller.busy and controller.question is not None:
                controller.do("let_truth_answer")
            yield
        for part in (None, *DOING):  # the first answers compile what an update needs
            for _ in range(updates if part else 2):
                now = time.perf_counter()
                controller.do("let_truth_answer")
                QApplication.processEvents()
                while controller.doing:
                    yield
                if part:
                    found[ANSWER].append(time.perf_counter() - now)
                last, doing = time.perf_counter(), part
                while controller.busy:
                    yield
                doing = None
                yield
                if part and controller.learnt is not None:
                    found[UPDATE].append(controller.learnt.seconds)
        last, doing, now = time.perf_counter(), ALONE, time.perf_counter()
        while time.perf_counter() - now < REST:
            yield
        doing = None
        controller.do("let_truth_answer")
        while not controller.busy or controller.doing:
            yield

    turns = script()

    def turn() -> None:
        if next(turns, turns) is turns:
            QApplication.exit()  # quit() would close the window before what it belongs to

    timers = []
    for period, call in ((int(BEAT), beat), (FRAME, dab), (50, turn)):
        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setInterval(period)
        timer.timeout.connect(call)
        timer.start()
        timers.append(timer)
    try:
        napari.run()
    finally:
        now = time.perf_counter()
        widget.close_session()
        viewer.close()
        found[CLOSING].append(time.perf_counter() - now)
    if failures:
        raise InputError(f"the network did not learn: {failures[0]}")
    return found


if __name__ == "__main__":
    define_flags()
    command.run(main)
