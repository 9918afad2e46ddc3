"""Shows how well the network draws by itself, and how fast it learns to.

    python -m experiments.learning --stack=stacks/mri_1000_nine.npz

Two states of the stack: at the `start` of a simulation, and with a `third` of what is small traced
as well: on every third section each structure but the --large ones with the longest outlines. No
question is asked. It prints the Dice of the network alone, a mean over all structures, after every
--look steps and the seconds of training until then. The flags are those of `experiments.simulate`.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from al_jax import driver, oracle, simulation
from al_jax.learner import assess, learn_first
from al_jax.oracle import Config, Task
from al_jax.stack import Stack
from al_jax.state import ALState
from al_jax.training import TrainState
from al_jax.xla import compiler_options
from experiments import command, simulate, stack_flags
from experiments.earlier import beginning
from experiments.lengths import whole_lengths

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of a simulation and those of this command."""
    simulate.define_flags()
    flags.adopt_module_key_flags(simulate)
    flags.DEFINE_integer("large", 3, "So many structures are traced at the start alone.", 0)
    flags.DEFINE_integer("every", 3, "The others are traced on every such section.", 1)
    flags.DEFINE_integer("look", 270, "Steps between two looks.", 1)


def traced_further(state: ALState, stack: Stack, task: Task, *, large: int, every: int) -> ALState:
    """The state with the small structures traced on every so many sections, from the second on."""
    outlines = np.diagonal(np.asarray(whole_lengths(stack)))
    small = np.argsort(outlines, kind="stable")[: len(outlines) - large]
    answer = jax.jit(oracle.true_answer)
    present, annotated = np.asarray(task.present), np.asarray(state.annotated)
    for section in range(1, len(present), every):
        for structure in sorted(small.tolist()):
            if present[section, structure] and not annotated[section, structure]:
                state, _ = answer(state, section, structure, task)
    return state


def unclamped_dice(
    train_state: TrainState, state: ALState, task: Task, config: Config
) -> jax.Array:
    """Dice [C] of the network alone."""
    lessons = simulation.lessons_of(task, config)
    keep, beside = oracle.score, oracle.beside(task)
    _, scores = assess(train_state, state, task.sections, lessons, keep=keep, beside=beside)
    return oracle.class_dice(scores.unclamped, task.present, config.dice_over)


def main() -> None:
    """Prints a row a look for both states."""
    stack = stack_flags.load_stack()
    weights, earlier, config = simulate.read_setting(stack)
    adapt = beginning(weights, earlier, stack.names)
    keys, task, state = driver.prepare(stack, config, FLAGS.seed)
    further = traced_further(state, stack, task, large=FLAGS.large, every=FLAGS.every)
    lessons = simulation.lessons_of(task, config)
    look = jax.jit(unclamped_dice, static_argnames="config")
    programs: dict[int, Callable] = {}

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

    print(f"{'state':>6} {'steps':>6} {'seconds':>8} {'Dice':>6}  per structure")
    for name, what in (("start", state), ("third", further)):
        train_state = simulation.initial_train_state(keys.weights, task, config)
        if adapt is not None:
            train_state = train_state.replace(params=adapt(train_state.params))
        seconds = 0.0
        for done in range(0, config.initial_steps, FLAGS.look):
            count = min(FLAGS.look, config.initial_steps - done)
            program = compiled(train_state, what, count)
            begun = time.monotonic()
            train_state, losses = program(train_state, what, done)
            jax.block_until_ready(losses)
            seconds += time.monotonic() - begun
            dice = np.asarray(look(train_state, what, task, config))
            mean = np.nanmean(dice[0 if config.count_background else 1 :])
            each = " ".join(f"{n} {d:.2f}" for n, d in zip(stack.names, dice, strict=True))
            print(f"{name:>6} {done + count:>6} {seconds:>8.1f} {mean:>6.3f}  {each}", flush=True)


if __name__ == "__main__":
    define_flags()
    command.run(main)
