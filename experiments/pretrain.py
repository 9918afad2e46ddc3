"""Trains a starting point for a new stack, from a folder of stacks that are labelled whole.

    python -m experiments.pretrain --stacks=stacks --held_out=mri_1012_nine --out=start.npz
    python -m experiments.simulate --stack=new.npz --from=start.npz

One network learns from all stacks but the one that is held out, as much from each; the Dice of its
drawings of that one is printed, and is what a simulation or a session expects of them at first.
Outlines of all stacks but that one are the sums behind B. The same command goes on where it was
stopped; until it ends, its checkpoints are in a folder beside --out.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.pretrain")

import functools
import pathlib
import shutil

import jax
import numpy as np
from absl import flags

from al_jax.commands import command, config_flags
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import InputError, Stack
from al_jax.core.state import init_state, ranges
from al_jax.files.leases import hold
from al_jax.files.reading import full_path
from al_jax.files.stacks import read_stack
from al_jax.learner import pretraining
from al_jax.learner.config import Config, make_keys, model_of
from al_jax.learner.transfer import Experience, with_experience, write_experience
from al_jax.model.resolution import downsample_sections
from al_jax.model.training import TrainState, init_train_state
from al_jax.simulation import runner
from al_jax.simulation.progress import Progress
from al_jax.simulation.runner import Checkpointing
from al_jax.simulation.scores import reported_dice
from al_jax.simulation.task import make_task
from al_jax.xla import compiler_options
from experiments.bench import harness
from experiments.bench.truth import evaluate

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    config_flags.define_flags()
    flags.adopt_module_key_flags(config_flags)
    flags.DEFINE_string("stacks", None, "Folder of npz files written by al_jax.write_stack.")
    flags.DEFINE_list("leave_out", [], "Stacks of it that are not read; names without .npz.")
    flags.DEFINE_string("held_out", None, "The stack to judge by; default: the last one by name.")
    flags.DEFINE_string("out", "start.npz", "Where the starting point goes.")


def find_stacks() -> dict[str, pathlib.Path]:
    """The files that the flags name, by their names without ending."""
    if FLAGS.stacks is None:
        raise InputError("--stacks is missing; name a folder of labelled stacks")
    paths = {path.stem: path for path in sorted(full_path(FLAGS.stacks).glob("*.npz"))}
    named = [*FLAGS.leave_out, *([FLAGS.held_out] if FLAGS.held_out else [])]
    for name in named:
        if name not in paths:
            raise InputError(
                f"{FLAGS.stacks}: has no {name}.npz; it has {', '.join(paths) or 'none'}"
            )
    if FLAGS.held_out in FLAGS.leave_out:
        raise InputError(f"--leave_out and --held_out both name {FLAGS.held_out}; leave one out")
    left = {name: path for name, path in paths.items() if name not in FLAGS.leave_out}
    if len(left) < 2:
        raise InputError(f"{FLAGS.stacks}: leaves {len(left)} stacks; two at least are needed")
    return left


def dice_on(learnt: Experience, stack: Stack, config: Config) -> dict:
    """Dice of the network's own drawings of a stack, by class name."""
    task = make_task(stack, config)
    task = task.replace(sections=downsample_sections(task.sections, learnt.downsampling))
    fresh = init_train_state(jax.random.key(0), model_of(config, stack.num_classes))
    params = with_experience(fresh.params, learnt, stack.names)
    state = init_state(jax.random.key(0), stack.inside, ranges(task.present))
    _, found = jax.jit(evaluate)(params, state, task, config)
    return dict(zip(stack.names, found["class_dice_unclamped"].tolist(), strict=True))


def main() -> None:
    """Trains, judges, and writes."""
    load_plugins(FLAGS.plugin)
    command.refuse(("from", "weights"), "here, where a network begins from scratch")
    command.refuse(("length", "start", *config_flags.ANNOTATOR), "here, where nobody is asked")
    paths = find_stacks()
    judge = FLAGS.held_out or list(paths)[-1]
    harness.check_out(FLAGS.out)
    stacks = {name: read_stack(path) for name, path in paths.items()}
    earlier = [stack for name, stack in stacks.items() if name != judge]
    config = config_flags.read_config("plain", sum(stack.num_sections for stack in earlier))
    library = pretraining.make_library(earlier, config.training.downsampling)
    keys = make_keys(jax.random.key(FLAGS.seed))
    train_state = init_train_state(keys.weights, model_of(config, len(library.names)))

    @functools.partial(
        jax.jit, static_argnums=2, donate_argnums=0, compiler_options=compiler_options()
    )
    def piece(train_state: TrainState, first: jax.Array, steps: int) -> tuple:
        return pretraining.pretrain(
            keys.training, train_state, library, config, first_step=first, steps=steps
        )

    mark = runner.make_mark(
        config, "pretraining", (keys, library.sections, library.labels, library.stacks)
    )
    with hold(full_path(f"{FLAGS.out}.checkpoints")) as folder, Progress("network") as bar:
        train_state = runner.train_pieces(
            piece, train_state, config, mark, checkpointing=Checkpointing(folder), show=bar.show
        )
    unknown = np.full(len(library.names), np.nan, np.float32)
    learnt = pretraining.experience_from(train_state, library, unknown, config)
    found = dice_on(learnt, stacks[judge], config)
    dice = np.array([found.get(name, np.nan) for name in library.names], np.float32)
    write_experience(FLAGS.out, learnt._replace(dice=dice))
    shutil.rmtree(folder, ignore_errors=True)
    mean = float(reported_dice(dice, config))
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    print(
        f"{FLAGS.out}: {len(stacks) - 1} stacks, {config.training.initial_steps} steps; "
        f"Dice on {judge} {mean:.3f} ({each})"
    )


if __name__ == "__main__":
    define_flags()
    command.run(main)
