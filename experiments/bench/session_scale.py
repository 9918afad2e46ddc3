"""How a session of an atlas feels: seconds from an answer to the next question, and memory.

    python -m experiments.bench.session_scale

Makes a session of 5,000 sections of 300x400 with 266 classes, 70 of them in range on each section.
A process of its own answers the first examples, trains, and times more answers; another one opens
the session again. Prints the parts beside their limits; about 3 GB on the disk.
"""

import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import annotate, command
from al_jax.commands.runs import machine, versions
from al_jax.core.metrics import presence
from al_jax.core.stack import InputError
from al_jax.core.state import ranges
from al_jax.files.atomic import write_atomic
from al_jax.learner.config import Config
from al_jax.session import Session, Settings
from experiments.bench.scale import made_up_atlas, whole_numbers

FLAGS = flags.FLAGS
ANSWERS = 20
LIMITS = {
    "opening": 20.0,
    "answer to next question, median": 1.0,
    "answer to next question, longest": 1.0,
    "memory": 4096.0,
}
"""Seconds, and MiB."""


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_string("stack_size", "5000x300x400x266", "Sections x height x width x classes.")
    flags.DEFINE_string("workdir", "results/session_scale", "Where the session and numbers go.")
    flags.DEFINE_enum("part", None, ["make", "work", "open"], "Does one part alone, in a process.")


def make(folder: pathlib.Path, size: tuple[int, ...], config: Config) -> None:
    """The session, whose truth can answer."""
    atlas = made_up_atlas(*size)
    present = jax.jit(presence, static_argnums=2)(atlas.truth, atlas.inside, size[3])
    sessions.create(
        folder,
        annotate.without_truth(atlas),
        np.asarray(ranges(present)),
        Settings(0, config),
        truth=np.asarray(atlas.truth),
    )


def work(folder: pathlib.Path) -> dict[str, float]:
    """Answers the first examples, trains, and answers more; seconds and MiB."""
    with sessions.open_session(folder) as session:
        while (question := session.next_question(propose=False)) and question.example:
            annotate.answer_truly(session, question.section, question.structure)
        if question is None:
            raise InputError("nothing is left after the examples; give more sections or classes")
        began = time.perf_counter()
        annotate.learn(session)
        training = time.perf_counter() - began
        every = times(session)
        began = time.perf_counter()
        annotate.learn(session)
        update = time.perf_counter() - began
        every += times(session)  # with all that training keeps in memory
    # The first one compiles: a window does that while the first structure is traced.
    return {
        "answer to next question, median": statistics.median(every[1:]),
        "answer to next question, longest": max(every[1:]),
        "first training, compilation included": training,
        "update, compilation included": update,
        "memory": _memory(),
    }


def times(session: Session) -> list[float]:
    """Seconds from each of some answers until the next question is there, proposal and all."""
    found = []
    question = session.next_question()
    for _ in range(ANSWERS):
        if question is None:
            break
        began = time.perf_counter()
        annotate.answer_truly(session, question.section, question.structure, question)
        question = session.next_question()
        found.append(time.perf_counter() - began)
    return found


def reopen(folder: pathlib.Path) -> dict[str, float]:
    """Seconds until a session is open, its answers replayed and its network read."""
    began = time.perf_counter()
    session = sessions.read_session(folder)
    return {
        "opening": time.perf_counter() - began,
        "answers replayed": float(len(session.events)),
        "memory after opening": _memory(),
    }


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(part: str) -> dict[str, float]:
    """A part in a process of its own, whose memory is its own too.

    Raises:
      InputError: it failed.
    """
    given = [f"--{name}={FLAGS[name].value}" for name in ("stack_size", "workdir")]
    program = [sys.executable, "-m", "experiments.bench.session_scale", f"--part={part}", *given]
    ran = subprocess.run(program, capture_output=True, text=True)
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["ended, for want of memory perhaps"])[-1]
        raise InputError(f"{part}: {said.removeprefix('error: ')}")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measures every part, and prints it beside its limit."""
    size = whole_numbers(FLAGS.stack_size, 4, "stack_size")
    workdir = pathlib.Path(FLAGS.workdir)
    folder = workdir / "session"
    if FLAGS.part is not None:
        parts = {"work": work, "open": reopen}
        if FLAGS.part == "make":
            make(folder, size, Config(initial_steps=1, query_steps=1))
        print(json.dumps(parts[FLAGS.part](folder) if FLAGS.part in parts else {}))
        return
    apart("make")
    found: dict[str, Any] = apart("work") | apart("open")
    for name, value in found.items():
        limit = f"   at most {LIMITS[name]:g}" if name in LIMITS else ""
        unit = "MiB" if "memory" in name else "" if "replayed" in name else "s"
        print(f"{name:>38} {value:10.2f} {unit:<3}{limit}")
    result = {
        "machine": machine(),
        "versions": versions(),
        "stack": FLAGS.stack_size,
        "parts": found,
    }
    write_atomic(workdir / "session_scale.json", (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    define_flags()
    command.run(main)
