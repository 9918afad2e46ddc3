"""How quickly the annotation window answers while the network trains behind it.

    python -m experiments.bench.window_latency

opens a window on a new session of the shipped stack (`xvfb-run -a` gives it a display where there
is none), lets the truth answer, and measures the event loop: how much later than asked a timer of
5 ms comes. Measured from the end of the first update on, when all is compiled, with an update under
way all the time: first while nobody moves, then while a brush draws 30 times a second. The time
from an answer to the next question is measured apart, as the loop stands still for it.

Found on two cores of an AMD EPYC under Xvfb (--updates=30, 2026-11-27): p99 9.8 ms late while the
network trains, 24.4 ms while a brush draws too, 20.6 ms for the brush alone; from an answer to the
next question 0.09 s (median), an update 0.49 s.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.window_latency")

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
from al_jax.session import Settings
from experiments.bench import harness, truth

FLAGS = flags.FLAGS
BEAT = 5.0  # milliseconds
FRAME = 33  # milliseconds between two dabs of the brush
DOING = ("training", "training, drawing")
ALONE = "drawing alone"
REST = 5.0  # seconds of drawing while nothing trains


def define_flags() -> None:
    """All flags of the command."""
    config_flags.define_flags()
    flags.adopt_module_key_flags(config_flags)
    flags.DEFINE_integer("updates", 10, "Updates of the network to measure in each part.", 1)
    flags.DEFINE_string("out", None, "Where the figures go as JSON; default: nowhere.")


def main() -> None:
    """Measures, and prints a table."""
    load_plugins(FLAGS.plugin)
    window.check_display()
    window.start_computing()
    with tempfile.TemporaryDirectory() as folder:
        workdir, stack = pathlib.Path(folder) / "session", load_default()
        config = config_flags.read_config("plain", stack.num_sections)
        truth.make_session(workdir, stack, Settings(FLAGS.seed, config))
        found = measure(workdir, FLAGS.updates)
    columns = {"median": ">8.1f", "p99": ">8.1f", "worst": ">8.1f", "beats": ">8"}
    row = harness.table({"event loop, ms late": ">22", **columns})
    for name in (*DOING, ALONE):
        late = found[name]
        row(name, *np.percentile(late, (50, 99)), max(late), len(late))
    answers, update = found["answers"], statistics.median(found["updates"])
    print(
        f"answer to next question on the screen: median {statistics.median(answers):.2f} s, worst "
        f"{max(answers):.2f} s of {len(answers)}; an update: {update:.2f} s; load of the machine: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    if FLAGS.out is not None:
        harness.write(FLAGS.out, harness.record(found))


def measure(workdir: pathlib.Path, updates: int) -> dict[str, list[float]]:
    """Milliseconds that beats were late, by what was done; seconds of answers and of updates."""
    import napari
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    from al_jax.window.widget import in_window

    failures: list[str] = []
    found: dict[str, list[float]] = {name: [] for name in (*DOING, ALONE, "answers", "updates")}
    doing: str | None = None
    last = time.perf_counter()
    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
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
        while not controller.session.network.trained or controller.busy:
            if controller.failure is not None:
                failures.append(controller.failure)
                return
            if not controller.busy and controller.question is not None:
                controller.do("let_truth_answer")
            yield
        for part in (None, *DOING):  # the first answers compile what an update needs
            for _ in range(updates if part else 2):
                began = time.perf_counter()
                controller.do("let_truth_answer")
                QApplication.processEvents()
                while controller.doing:
                    yield
                if part:
                    found["answers"].append(time.perf_counter() - began)
                last, doing = time.perf_counter(), part
                while controller.busy:
                    yield
                doing = None
                yield
                if part and controller.learnt is not None:
                    found["updates"].append(controller.learnt.seconds)
        last, doing, began = time.perf_counter(), ALONE, time.perf_counter()
        while time.perf_counter() - began < REST:
            yield
        doing = None

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
        widget.close_session()
        viewer.close()
    if failures:
        raise InputError(f"the network did not learn: {failures[0]}")
    return found


if __name__ == "__main__":
    define_flags()
    command.run(main)
