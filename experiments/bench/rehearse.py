"""What it costs that nobody waits: the truth answers a session, in two orders.

    python -m experiments.bench.rehearse

In the paper's order each question waits for the network to learn from the answer before it. In a
session's own order it does not: the network is one answer behind. Prints the effort at 80, 90 and
95% Dice for each seed, and the mean. In the first order a session asks what
`simulate --strategies=SEr` asks.

The truth takes as long as a scripted person would (`--speeds`): the minutes to each Dice are
printed, and how far off the session's own model of that person is after `SHOWN` answers, the median
over all answers. With `--cost=seconds` the session asks by Dice per second.

Found on the shipped stack, seeds 0, 1 and 2 (one core of an AMD EPYC, 2026-11-28), % of whole
outlines for 80 / 90 / 95% Dice: waiting 5.2 / 6.7 / 9.7, one behind 5.1 / 6.6 / 9.5.

Of the person (seed 0 alone, two cores, 2026-11-30): the model is 2 to 5% off after 30 answers;
minutes to 90 / 95%, waiting and one behind, by pixels 4.9 / 12.6 and 5.6 / 11.5, by seconds
6.7 / 12.0 and 6.9 / 11.2: by seconds less at the end and more on the way.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.rehearse")

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, config_flags, session_results, session_start, stack_flags
from al_jax.commands.plugins import load_plugins
from al_jax.commands.runs import TARGETS
from al_jax.core.stack import InputError, Stack
from al_jax.core.statistics import effort_at
from al_jax.learner.config import Config
from al_jax.learner.learner import Learner
from al_jax.model.resolution import downsample_sections
from al_jax.model.subsets import subset_width
from al_jax.session import Question, Session, Settings
from al_jax.session import annotations as state_of
from al_jax.session.annotations import full_state
from al_jax.session.demonstration import answer_truly, true_answer
from al_jax.session.events import Event, by_hand, effective_answers
from al_jax.session.pace import kind_of, pace_of, seconds_of
from al_jax.session.storage import COSTS
from al_jax.simulation.task import Task, make_task
from experiments.bench import harness, truth

FLAGS = flags.FLAGS
KINDS = ("effort", "effort_own", "minutes")
ORDERS = {"waiting": True, "one behind": False}
SHOWN = 30  # answers from which the person's pace is known
SPREAD = 0.3  # standard deviation of log seconds
COLUMNS = [f"{kind}_at_{100 * t:.0f}" for kind in KINDS for t in TARGETS]


class Trace(NamedTuple):
    """A session that the truth answered; T rows, the first one after the start.

    Attributes:
      pairs: [T-1, 2] int, sections and structures in the order in which they were asked.
      pace_error: median over the answers of how far off the model of the person's seconds is, as a
        share; NaN with fewer than `SHOWN` answers.
      seconds: [T], that the person took by then.
      effort_unique, effort_whole, dice, dice_unclamped: [T] fractions, see
        `simulation.loop.Record`.
    """

    pairs: np.ndarray
    pace_error: float
    seconds: np.ndarray
    effort_unique: np.ndarray
    effort_whole: np.ndarray
    dice: np.ndarray
    dice_unclamped: np.ndarray


class Judge:
    """Knows the truth, and compares a session's network with it; the session does not."""

    def __init__(self, stack: Stack, config: Config):
        """Measures the truth."""
        bare = dataclasses.replace(stack, sections=(), colours=None, place=None)
        self.stack, self.config = stack, config
        self.task: Task = jax.jit(make_task)(bare, config)
        self._evaluate = jax.jit(truth.evaluate)

    def __call__(self, session: Session) -> tuple[float, ...]:
        """Both efforts, Dice and unclamped Dice of the session as it is now."""
        learner = session.network.learner
        assert isinstance(learner, Learner)
        state = full_state(session.annotations, session.images)
        width = subset_width(state.in_range, state.seen)
        seen = downsample_sections(
            self.task.sections.replace(classes=width), session.network.downsampling
        )
        task = self.task.replace(sections=seen)
        _, found = self._evaluate(learner.train.params, state, task, self.config)
        return tuple(float(found[name]) for name in Trace._fields[3:])


class Person(NamedTuple):
    """How fast a scripted person is.

    Attributes:
      traced, absent: seconds of an answer without its outline.
      rate: seconds of a pixel of outline.
    """

    traced: float = 8.0
    absent: float = 4.0
    rate: float = 0.1

    def seconds(self, event: Event) -> float:
        """Seconds of an answer, on average."""
        if kind_of(event) == "absent":
            return self.absent
        return self.traced + self.rate * by_hand(event)


SCRIPTED = Person()


def begin(folder: pathlib.Path, judge: Judge, seed: int, cost: str = "pixels") -> None:
    """A session whose first examples are those of the simulation of that seed, trained on them."""
    truth.make_session(folder, judge.stack, Settings(seed, judge.config, cost=cost))
    with sessions.open_session(folder) as session:
        session_start.simulated_start(session, np.asarray(judge.stack.truth))
        session_results.learn(session)


def rehearse(
    session: Session,
    judge: Judge,
    *,
    wait: bool,
    target: float = 1.0,
    person: Person = SCRIPTED,
) -> Trace:
    """The truth answers until the target, or nothing is left to ask.

    Args:
      session: from `begin`.
      judge: of the same stack.
      wait: ask after the network has learnt from the answer before, or before it does.
      target: a Dice, as a fraction; each is that of the network that has learnt from all answers.
      person: whose speed it answers with.
    """
    rows, pairs, seconds = [judge(session)], list[tuple[int, int]](), [0.0]
    rng = np.random.default_rng(session.settings.seed)

    def ask() -> Question | None:
        return session.next_question(propose=False)

    question = ask()
    while question is not None and np.float32(rows[-1][2]) < np.float32(target):
        pairs.append((question.section, question.structure))
        mean = person.seconds(_true_event(session, *pairs[-1]))
        taken = mean * float(np.exp(rng.normal(0, SPREAD)))
        answer_truly(session, *pairs[-1], question, seconds=taken)
        seconds.append(seconds[-1] + taken)
        question = None if wait else ask()
        session_results.learn(session)
        rows.append(judge(session))
        question = ask() if wait else question
    error = _pace_error(effective_answers(session.events)[-len(pairs) :], person)
    return Trace(np.array(pairs, int).reshape(-1, 2), error, np.array(seconds), *np.array(rows).T)


def _true_event(session: Session, section: int, structure: int) -> Event:
    """The truth's answer as the ledger will have it."""
    mask = true_answer(session, section, structure)
    if not mask.any():
        return Event(event="absent", length=0.0)
    now, images = session.annotations, session.images
    length = state_of.answer(now, images, section, structure, mask)[1].effort
    return Event(event="answer", how="traced", length=length)


def _pace_error(answers: Sequence[Event], person: Person) -> float:
    """See `Trace`."""
    if len(answers) < SHOWN:
        return float("nan")
    pace = pace_of(answers[:SHOWN])
    predicted = np.array([seconds_of(pace, kind_of(e), by_hand(e)) for e in answers])
    true = np.array([person.seconds(e) for e in answers])
    return float(np.median(np.abs(predicted / true - 1)))


def summarise(trace: Trace) -> dict[str, float | int | None]:
    """Efforts in %, and minutes, at the targets (None: not reached)."""
    found: dict[str, float | int | None] = {"answers": len(trace.pairs)}
    found["pace_error"] = None if np.isnan(trace.pace_error) else 100 * trace.pace_error
    efforts = 100 * trace.effort_unique, 100 * trace.effort_whole, trace.seconds / 60
    for kind, effort in zip(KINDS, efforts, strict=True):
        for target in TARGETS:
            reached = effort_at(effort, trace.dice, target)
            found[f"{kind}_at_{100 * target:.0f}"] = None if np.isnan(reached) else reached
    return found


def means(found: Sequence[dict]) -> dict[str, float | None]:
    """Means over seeds; None where one did not reach the target."""
    values = {key: [each[key] for each in found] for key in found[0]}
    return {k: None if None in v else float(np.mean(v)) for k, v in values.items()}


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    config_flags.define_flags()
    for module in (stack_flags, config_flags):
        flags.adopt_module_key_flags(module)
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, one session in each order for each.")
    flags.DEFINE_enum("cost", "pixels", COSTS, "What to need least of.")
    flags.DEFINE_list(
        "speeds",
        list(map(str, SCRIPTED)),
        "Of the person: seconds of an answer, of an absent one, of a pixel of outline.",
    )
    flags.DEFINE_float("target_dice", 0.95, "Stop at this Dice; a fraction.", 0, 1)
    flags.DEFINE_string("workdir", "results/rehearse", "Where sessions and results go.")


def main() -> None:
    """Rehearses every seed in both orders, prints a line of each and the means."""
    load_plugins(FLAGS.plugin)
    command.refuse(("seed",), "here; --seeds names them")
    command.refuse(
        ("from", "weights", "length", "start", *config_flags.ANNOTATOR),
        "here, where a session begins from scratch and the truth answers",
    )
    if not all(seed.isdecimal() for seed in FLAGS.seeds) or not FLAGS.seeds:
        raise InputError(f"--seeds={','.join(FLAGS.seeds)} takes numbers, such as 0,1,2")
    try:
        person = Person(*map(float, FLAGS.speeds))
    except (TypeError, ValueError) as error:
        given = ",".join(FLAGS.speeds)
        raise InputError(f"--speeds={given} takes three numbers, such as 8,4,0.1") from error
    if not all(0 < speed < np.inf for speed in person):
        raise InputError(f"--speeds={','.join(FLAGS.speeds)} takes numbers above 0")
    stack = stack_flags.load_stack()
    config = config_flags.read_config("plain", stack.num_sections)
    judge = Judge(stack, config)
    workdir = pathlib.Path(FLAGS.workdir)
    results: dict[str, list[dict]] = {order: [] for order in ORDERS}
    columns = {"answers": ">8.1f", "pace_error": ">11.1f", **dict.fromkeys(COLUMNS, ">16.1f")}
    row = harness.table({"seed": ">4", "order": ">10", **columns})
    for seed in map(int, FLAGS.seeds):
        start = workdir / f"seed_{seed}" / "start"
        begin(start, judge, seed, FLAGS.cost)
        for order, wait in ORDERS.items():
            folder = start.with_name(order.replace(" ", "_"))
            shutil.copytree(start, folder)
            with sessions.open_session(folder) as session:
                trace = rehearse(session, judge, wait=wait, target=FLAGS.target_dice, person=person)
            results[order].append(summarise(trace))
            row(seed, order, *map(results[order][-1].get, columns))
    for order, found in results.items():
        row("mean", order, *map(means(found).get, columns))
    harness.write(workdir / "rehearse.json", harness.record(results))


if __name__ == "__main__":
    define_flags()
    command.run(main)
