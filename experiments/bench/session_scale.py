"""How a session of an atlas feels: seconds from an answer to the next question, and memory.

    python -m experiments.bench.session_scale

Makes a session of 5,000 sections of 300x400 with 266 classes, 70 of them in range on each section.
A process of its own answers the first examples, trains, and times more answers; another one opens
the session again. Prints the parts beside their limits; about 3 GB on the disk.

Found on two cores of an AMD EPYC (2026-11-28, one run): answer to next question 0.34 s (median of
39; the longest 0.35 s), opening 2.6 s, memory 3,338 MiB, an update 26 s, compilation included.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.session_scale")

import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable

from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, session_results
from al_jax.core.stack import InputError
from al_jax.learner.config import DEFAULT, Config, changed
from al_jax.session import Session, Settings
from al_jax.session.demonstration import answer_examples, answer_truly
from experiments.bench import harness, made_up, truth

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


def make(folder: pathlib.Path, size: tuple[int, ...], config: Config) -> dict[str, float]:
    """The session, whose truth can answer; measures nothing."""
    truth.make_session(folder, made_up.atlas(*size), Settings(0, config))
    return {}


def work(folder: pathlib.Path) -> dict[str, float]:
    """Answers the first examples, trains, and answers more; seconds and MiB."""
    with sessions.open_session(folder) as session:
        answer_examples(session)
        if session.next_question(propose=False) is None:
            raise InputError("nothing is left after the examples; give more sections or classes")
        _, training = harness.timed(session_results.learn, session)
        every = times(session)
        _, update = harness.timed(session_results.learn, session)
        every += times(session)  # with all that training keeps in memory
    # The first one compiles: a window does that while the first structure is outlined.
    return {
        "answer to next question, median": statistics.median(every[1:]),
        "answer to next question, longest": max(every[1:]),
        "first training, compilation included": training,
        "update, compilation included": update,
        "memory": harness.most_memory(),
    }


def times(session: Session) -> list[float]:
    """Seconds from each of some answers until the next question is there, proposal and all."""
    found = []
    question = session.next_question()
    for _ in range(ANSWERS):
        if question is None:
            break
        began = time.perf_counter()
        answer_truly(session, question.section, question.structure, question)
        question = session.next_question()
        found.append(time.perf_counter() - began)
    return found


def reopen(folder: pathlib.Path) -> dict[str, float]:
    """Seconds until a session is open, its answers replayed and its network read."""
    session, opening = harness.timed(sessions.read_session, folder)
    return {
        "opening": opening,
        "answers replayed": float(len(session.events)),
        "memory after opening": harness.most_memory(),
    }


def main() -> None:
    """Measures every part, and prints it beside its limit."""
    size = harness.whole_numbers(FLAGS.stack_size, 4, "stack_size")
    workdir = pathlib.Path(FLAGS.workdir)
    quick = changed(DEFAULT, {"initial_steps": 1, "query_steps": 1})
    making = functools.partial(make, size=size, config=quick)
    parts: dict[str, Callable] = {"make": making, "work": work, "open": reopen}
    if FLAGS.part is not None:
        print(json.dumps(parts[FLAGS.part](workdir / "session")))
        return
    found: dict[str, float] = {}
    for part in parts:
        given = [f"--{name}={FLAGS[name].value}" for name in ("stack_size", "workdir")]
        found |= harness.apart("session_scale", part, f"--part={part}", *given)
    row = harness.table({"part": ">38", "measured": ">10.2f", "": "<3", "  limit": ""})
    for name, value in found.items():
        unit = "MiB" if "memory" in name else "" if "replayed" in name else "s"
        row(name, value, unit, f"  at most {LIMITS[name]:g}" if name in LIMITS else "")
    result = harness.record({"stack": FLAGS.stack_size, "parts": found})
    harness.write(workdir / "session_scale.json", result)


if __name__ == "__main__":
    define_flags()
    command.run(main)
