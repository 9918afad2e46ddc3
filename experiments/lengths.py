"""What the boundary term saves by itself: all queries of a stack, without a network.

    python -m experiments.lengths --stack=stacks/mri_1000_merged.npz --strategies=BDa,Da,Rand

With a Dice of 0 everywhere, BDa asks for the least remaining outline (Eq. 5) and Da for the least
whole outline. The table gives the effort at which each has answered a share of all structures on
all sections. Seconds to a minute.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax import simulation
from al_jax.simulation import Config, Task
from al_jax.stack import InputError
from al_jax.state import ALState, annotate
from al_jax.strategies import STRATEGIES, suggest
from experiments import command, runs
from experiments.simulate import check_strategies

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    command.define_stack_flags()
    flags.adopt_module_key_flags(command)
    flags.DEFINE_list("strategies", ["BDa", "Da", "Rand"], "Any that need no entropy.")
    flags.DEFINE_list("seed", ["0"], "Seeds of the start.")


def trace(
    state: ALState, priority: jax.Array, task: Task, strategy: str
) -> tuple[jax.Array, jax.Array]:
    """Answers all there is to ask.

    Returns:
      After the start and each answer: effort, a fraction of all outlines, and the number of
      structures on sections that have been answered, [T + 1] each.
    """

    def now(state: ALState) -> tuple[jax.Array, jax.Array]:
        return state.traced.sum() / task.total, (state.annotated & task.present).sum()

    def step(state: ALState, _: None) -> tuple[ALState, tuple[jax.Array, jax.Array]]:
        query = suggest(state, strategy, priority=priority)
        mask = task.truth[query.section] == query.structure
        answered = annotate(state, query.section, query.structure, mask, task.sections.inside)[0]
        state = jax.tree.map(lambda a, b: jnp.where(query.found, a, b), answered, state)
        return state, now(state)

    first = now(state)
    rest = jax.lax.scan(step, state, None, length=state.annotated.size)[1]
    effort, answers = (jnp.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True))
    return effort, answers


def main() -> None:
    """Prints a row per seed and strategy."""
    check_strategies(FLAGS.strategies)
    for name in FLAGS.strategies:
        if STRATEGIES[name].entropy:
            raise InputError(f"strategy '{name}' needs a network; leave it out")
    if not FLAGS.seed or not all(seed.isdecimal() for seed in FLAGS.seed):
        raise InputError("--seed takes whole numbers, such as 0,1")
    stack, config = command.load_stack(), Config()
    run = jax.jit(trace, static_argnames="strategy")
    heads = [f"{share:.0%}" for share in SHARES]
    print("effort (% of all outlines) at which a share of all structures is answered")
    print(f"{'seed':>4} {'strategy':>9} {'start':>6} " + " ".join(f"{head:>6}" for head in heads))
    for seed in FLAGS.seed:
        keys, task, state = runs.prepare(stack, config, int(seed))
        for name in FLAGS.strategies:
            priority = simulation.draw_priority(keys.priority, task.present, name)
            effort, answers = map(np.asarray, run(state, priority, task, strategy=name))
            total = int(task.present.sum())
            reached = [100 * effort[np.argmax(answers >= share * total)] for share in SHARES]
            cells = " ".join(f"{value:6.1f}" for value in (100 * effort[0], *reached))
            print(f"{seed:>4} {name:>9} {cells}", flush=True)


if __name__ == "__main__":
    define_flags()
    command.run(main)
