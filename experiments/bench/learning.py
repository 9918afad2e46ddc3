"""Shows how well the network draws by itself, and how fast it learns to.

    python -m experiments.bench.learning --stack=stacks/mri_1000_nine.npz

Two states of the stack: at the `start` of a simulation, and with a `third` of what is small traced
as well: on every third section each structure but the --large ones with the longest outlines. It
prints the Dice of the network alone, a mean over all structures, after every --look steps and the
seconds of training until then. Then the first of --strategies asks from the start on, and the last
row is of its network at the `end`. `proposals.png` in --workdir shows what the network draws by
itself in the three states, below the truth. The flags are those of `experiments.simulate`.
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from al_jax.commands import command, simulate, stack_flags
from al_jax.commands.earlier import beginning, known_of, true_ranges
from al_jax.core.stack import UNLABELLED, Stack
from al_jax.core.state import ALState, partial_labels
from al_jax.learner.config import Config
from al_jax.learner.learner import learn_first
from al_jax.model.prediction import Prediction, predict
from al_jax.model.training import TrainState
from al_jax.plotting import figures
from al_jax.simulation import annotator, loop, runner
from al_jax.simulation.annotator import Scores, Task
from al_jax.simulation.runner import Checkpointing, Progress
from al_jax.xla import compiler_options
from experiments.bench.lengths import whole_lengths

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of a simulation and those of this command."""
    simulate.define_flags()
    flags.adopt_module_key_flags(simulate)
    FLAGS.set_default("workdir", "results/learning")
    flags.DEFINE_integer("large", 3, "So many structures are traced at the start alone.", 0)
    flags.DEFINE_integer("every", 3, "The others are traced on every such section.", 1)
    flags.DEFINE_integer("look", 270, "Steps between two looks.", 1)


def traced_further(state: ALState, stack: Stack, task: Task, *, large: int, every: int) -> ALState:
    """The state with the small structures traced on every so many sections, from the second on."""
    outlines = np.diagonal(np.asarray(whole_lengths(stack)))
    small = np.argsort(outlines, kind="stable")[: max(len(outlines) - large, 0)]
    answer = jax.jit(annotator.true_answer)
    present, annotated = np.asarray(task.present), np.asarray(state.annotated)
    for section in range(1, len(present), every):
        for structure in sorted(small.tolist()):
            if present[section, structure] and not annotated[section, structure]:
                state, _ = answer(state, section, structure, task)
    return state


def drawn_alone(
    train_state: TrainState, state: ALState, task: Task, config: Config
) -> tuple[jax.Array, jax.Array]:
    """What the network draws by itself: classes [N, H, W] int16, and their Dice [C]."""

    def keep(prediction: Prediction, known: tuple) -> tuple[jax.Array, Scores]:
        return prediction.alone, annotator.score(prediction, known)

    alone, scores = predict(
        state.key,
        train_state.params,
        task.sections,
        partial_labels(state),
        loop.lessons_of(task, config).recipe,
        keep=keep,
        beside=annotator.beside(task),
    )
    return alone, annotator.class_dice(scores.unclamped, task.present, config.dice_over)


def main() -> None:
    """Prints the rows of all three states, and draws them."""
    simulate.check_strategies(FLAGS.strategies)
    stack = stack_flags.load_stack()
    in_range = functools.partial(true_ranges, stack, stack.truth)
    weights, earlier, config = simulate.read_setting(stack, in_range)
    adapt = beginning(weights, earlier, stack.names)
    prepared = keys, task, state = runner.prepare(
        stack, config, FLAGS.seed, known=known_of(earlier, stack.names)
    )
    further = traced_further(state, stack, task, large=FLAGS.large, every=FLAGS.every)
    strategy = FLAGS.strategies[0]
    lessons = loop.lessons_of(task, config, strategy)
    look = jax.jit(drawn_alone, static_argnames="config")
    programs: dict[int, Callable] = {}
    pictures: list[tuple[str, np.ndarray, None]] = []

    def compiled(train_state: TrainState, state: ALState, count: int) -> Callable:
        """`count` steps, compiled before the clock is looked at."""

        def train(train_state: TrainState, state: ALState, done: jax.Array) -> Any:
            return learn_first(
                keys.training,
                train_state,
                state,
                task.sections,
                lessons,
                first_step=done,
                steps=count,
            )

        if count not in programs:
            program = jax.jit(train, compiler_options=compiler_options())
            programs[count] = program.lower(train_state, state, 0).compile()
        return programs[count]

    def show(name: str, steps: int, seconds: str, train_state: TrainState, state: ALState) -> None:
        """A row, and the picture of the state's last one."""
        alone, found = look(train_state, state, task, config)
        dice = np.asarray(found)
        mean = float(annotator.reported_dice(dice, config))
        each = " ".join(f"{n} {d:.2f}" for n, d in zip(stack.names, dice, strict=True))
        print(f"{name:>6} {steps:>6} {seconds:>8} {mean:>6.3f}  {each}", flush=True)
        if pictures and pictures[-1][0].startswith(name):
            pictures.pop()
        drawn = np.where(stack.inside, alone, UNLABELLED)
        pictures.append((f"{name}\n({mean:.1%})", drawn, None))

    print(f"{'state':>6} {'steps':>6} {'seconds':>8} {'Dice':>6}  per structure")
    networks = {}
    for name, what in (("start", state), ("third", further)):
        train_state = loop.initial_train_state(keys.weights, task, config)
        if adapt is not None:
            train_state = train_state.replace(params=adapt(train_state.params))
        seconds = 0.0
        if not config.initial_steps:
            show(name, 0, "0.0", train_state, what)
        for done in range(0, config.initial_steps, FLAGS.look):
            count = min(FLAGS.look, config.initial_steps - done)
            program = compiled(train_state, what, count)
            begun = time.monotonic()
            train_state, losses = program(train_state, what, done)
            jax.block_until_ready(losses)
            seconds += time.monotonic() - begun
            show(name, done + count, f"{seconds:.1f}", train_state, what)
        networks[name] = train_state
    with tempfile.TemporaryDirectory() as folder, Progress(strategy) as bar:
        run, records = runner.run_strategy(
            strategy,
            prepared,
            networks["start"],
            config,
            target_dice=FLAGS.target_dice,
            max_effort=FLAGS.max_effort,
            keep=Checkpointing(pathlib.Path(folder)),
            show=bar.show,
        )
    steps = config.initial_steps + (len(records.dice) - 1) * config.query_steps
    show("end", steps, "-", run.learner.train, run.state)
    workdir = pathlib.Path(FLAGS.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    truth = np.where(stack.inside, stack.truth, UNLABELLED)
    picture = workdir / "proposals.png"
    figures.labelled_sections(stack, [("ground\ntruth", truth, None), *pictures], picture, 6)
    print(f"\n{picture}: what the network draws by itself, below the truth")


if __name__ == "__main__":
    define_flags()
    command.run(main)
