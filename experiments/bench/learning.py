"""How well the network draws by itself, and how fast it learns to.

    python -m experiments.bench.learning --stack=stacks/mri_1000_nine.npz

Two states of the stack: at the `start` of a simulation, and with a `third` of what is small
labelled as well: on every third section each structure but the --large ones with the longest
outlines. It prints the Dice of the network alone, a mean over all structures, after every --look
steps and the seconds of training until then. Then the first of --strategies asks from the start on,
and the last row is of its network at the `end`. `proposals.png` in --workdir shows what the network
draws by itself in the three states, below the truth. The flags are those of `experiments.simulate`.

Found after 810 steps on one core of an AMD EPYC (2026-11-27), start and third: scan 1000 0.466 and
0.694 in 30 and 23 s, the mean of three scans 0.482 and 0.692, the shipped stack 0.689 and 0.815.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.learning")

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from al_jax.commands import command, simulate, stack_flags
from al_jax.commands.earlier import beginning, known_of
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import UNLABELLED, Stack
from al_jax.core.state import ALState, true_ranges
from al_jax.core.strategies import STRATEGIES, Strategy
from al_jax.learner.config import Config, model_of
from al_jax.learner.learner import fit_initial
from al_jax.learner.transfer import Prior
from al_jax.model.training import TrainState, init_train_state
from al_jax.plotting import figures
from al_jax.simulation import annotator, runner
from al_jax.simulation.prepare import Prepared, prepare, wanted_fields, with_fields
from al_jax.simulation.progress import Progress
from al_jax.simulation.task import Task
from al_jax.xla import compiler_options
from experiments.bench import harness, truth
from experiments.bench.lengths import whole_lengths

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of a simulation and those of this command."""
    simulate.define_flags()
    flags.adopt_module_key_flags(simulate)
    FLAGS.set_default("workdir", "results/learning")
    flags.DEFINE_integer("large", 3, "So many structures are labelled at the start alone.", 0)
    flags.DEFINE_integer("every", 3, "The others are labelled on every such section.", 1)
    flags.DEFINE_integer("look", 270, "Steps between two rows.", 1)


class Begun(NamedTuple):
    """What the flags name, before any training.

    Attributes:
      strategy: the first of --strategies.
      stack: with its truth.
      config: of the run.
      prepared: see `prepare`.
      known: what earlier stacks taught.
      network: untrained, or as earlier stacks left it.
    """

    strategy: Strategy
    stack: Stack
    config: Config
    prepared: Prepared
    known: Prior | None
    network: TrainState


def begin() -> Begun:
    """Reads the flags.

    Raises:
      InputError: one of them does not fit.
    """
    load_plugins(FLAGS.plugin)
    simulate.check_strategies(FLAGS.strategies)
    stack = stack_flags.load_stack()
    in_range = functools.partial(true_ranges, stack, stack.truth)
    weights, earlier, config = simulate.read_setting(stack, in_range)
    adapt, known = beginning(weights, earlier, stack.names), known_of(earlier, stack.names)
    prepared = prepare(jax.random.key(FLAGS.seed), stack, config, prior=known)
    network = init_train_state(prepared.keys.weights, model_of(config, stack.num_classes))
    if adapt is not None:
        network = network.replace(params=adapt(network.params))
    return Begun(STRATEGIES[FLAGS.strategies[0]], stack, config, prepared, known, network)


def labelled_further(
    state: ALState, stack: Stack, task: Task, *, large: int, every: int
) -> ALState:
    """The state with the small structures answered on every so many sections, from the second."""
    outlines = np.diagonal(np.asarray(whole_lengths(stack)))
    small = np.argsort(outlines, kind="stable")[: max(len(outlines) - large, 0)]
    answer = jax.jit(annotator.true_answer)
    present, annotated = np.asarray(task.present), np.asarray(state.annotated)
    for section in range(1, len(present), every):
        for structure in sorted(small.tolist()):
            if present[section, structure] and not annotated[section, structure]:
                state, _ = answer(state, section, structure, task)
    return state


def main() -> None:
    """Prints the rows of all three states, and draws them."""
    strategy, stack, config, prepared, _, untrained = begin()
    prepared = with_fields(prepared, wanted_fields(stack, config, [strategy]))
    keys, task, start = prepared
    further = labelled_further(start, stack, task, large=FLAGS.large, every=FLAGS.every)
    evaluate = jax.jit(truth.evaluate)
    row = harness.table(
        {"state": ">6", "steps": ">6", "seconds": ">8.1f", "Dice": ">6.3f", " per structure": ""}
    )
    pictures: dict[str, tuple[str, np.ndarray, None]] = {}

    def show(
        name: str, steps: int, seconds: float | None, network: TrainState, state: ALState
    ) -> None:
        """A row, and the picture of the state's last one."""
        unclamped, found = evaluate(network.params, state, task, config)
        mean = float(found["dice_unclamped"])
        pairs = zip(stack.names, found["class_dice_unclamped"].tolist(), strict=True)
        row(name, steps, seconds, mean, " " + " ".join(f"{n} {d:.2f}" for n, d in pairs))
        drawn = np.where(stack.inside, unclamped, UNLABELLED)
        pictures[name] = (f"{name}\n({mean:.1%})", drawn, None)

    train = jax.jit(
        fit_initial, static_argnames=("loss", "steps"), compiler_options=compiler_options()
    )

    @functools.cache
    def program(count: int) -> Callable:
        """`count` steps, compiled before the clock is read."""
        args = keys.training, untrained, start, task.sections, config
        return train.lower(*args, loss=strategy.loss, first_step=0, steps=count).compile()

    initial_steps = config.training.initial_steps
    networks = {}
    for name, state in (("start", start), ("third", further)):
        network, total = untrained, 0.0
        if not initial_steps:
            show(name, 0, total, network, state)
        for done in range(0, initial_steps, FLAGS.look):
            count = min(FLAGS.look, initial_steps - done)
            train_on = functools.partial(program(count), first_step=done)
            args = keys.training, network, state, task.sections, config
            (network, _), seconds = harness.timed(train_on, *args)
            total += seconds
            show(name, done + count, total, network, state)
        networks[name] = network
    with Progress(FLAGS.strategies[0]) as bar:
        run, records = runner.run_strategy(
            strategy,
            prepared,
            networks["start"],
            config,
            target_dice=FLAGS.target_dice,
            max_effort=FLAGS.max_effort,
            show=bar.show,
        )
    steps = initial_steps + (len(records.dice) - 1) * config.training.query_steps
    show("end", steps, None, run.learner.train, run.state)
    picture = harness.make_folder(FLAGS.workdir, "workdir") / "proposals.png"
    whole = "ground\ntruth", np.where(stack.inside, stack.truth, UNLABELLED), None
    figures.labelled_sections(stack, [whole, *pictures.values()], picture, 6)
    print(f"\n{picture}: what the network draws by itself, below the truth")


if __name__ == "__main__":
    define_flags()
    command.run(main)
