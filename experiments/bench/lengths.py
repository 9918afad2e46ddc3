"""What the boundary term saves by itself: all queries of a stack, without a network.

    python -m experiments.bench.lengths --stack=stacks/mri_1000_merged.npz --strategies=BDa,Da,Rand

With a Dice of 0 everywhere, BDa asks for the least remaining outline (Eq. 5) and Da for the least
whole outline. The table gives the effort at which a share of all structures on all sections is
known. With --truth the same two ask by the true outlines of each section instead of the averages in
B: what a perfect estimate could save. Seconds to a minute.

Found on 9 sections of scan 1000, with 60 classes wide apart and with 44 close: the least remaining
outline instead of the least whole one saves at most 3.4 points, a perfect estimate 1 to 4 up to 80%
of all answers and 4 to 7 at 90%; on cortical layers 5 to 18 points at half of all answers.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.lengths")

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command, stack_flags
from al_jax.commands.simulate import check_strategies
from al_jax.core.boundary import remaining_effort, shared_lengths
from al_jax.core.evidence import make_evidence
from al_jax.core.stack import InputError, Stack
from al_jax.core.state import ALState, candidates
from al_jax.core.strategies import STRATEGIES, BDa, Strategy, suggest
from al_jax.learner.config import DEFAULT
from al_jax.simulation.annotator import true_answer
from al_jax.simulation.loop import draw_priority
from al_jax.simulation.prepare import prepare
from al_jax.simulation.task import Task
from experiments.bench import harness

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    flags.adopt_module_key_flags(stack_flags)
    flags.DEFINE_list("strategies", ["BDa", "Da"], "Any that need no network.")
    flags.DEFINE_list("seed", ["0"], "Seeds of the start.")
    flags.DEFINE_bool("truth", False, "Ask by true outlines; BDa and Da alone.")


def true_lengths(stack: Stack) -> jax.Array:
    """Outlines and shared outlines of every section, [N, C, C] pixels."""
    sections = jnp.asarray(stack.truth), jnp.asarray(stack.inside)
    return jax.lax.map(lambda x: shared_lengths(x[0], x[1], stack.num_classes), sections)


def whole_lengths(stack: Stack) -> jax.Array:
    """The same summed over sections, [C, C]."""

    def add(total: jax.Array, section: tuple) -> tuple[jax.Array, None]:
        return total + shared_lengths(section[0], section[1], stack.num_classes), None

    zero = jnp.zeros((stack.num_classes, stack.num_classes))
    return jax.lax.scan(add, zero, (stack.truth, stack.inside))[0]


def cheapest(state: ALState, lengths: jax.Array, strategy: Strategy) -> tuple[jax.Array, jax.Array]:
    """Section and structure of the least outline: by `lengths` [N, C, C] instead of B."""
    whole = jnp.diagonal(lengths, axis1=1, axis2=2)
    left = jax.vmap(remaining_effort, (0, 0, None))
    cost = left(lengths, state.seen, 0.0) if strategy == BDa else whole
    # What is not there costs nothing, and is asked for last.
    cost = jnp.where(candidates(state), jnp.where(whole > 0, cost, 1e9), jnp.inf)
    section, structure = jnp.unravel_index(jnp.argmin(cost), cost.shape)
    return section, structure


def trace(
    state: ALState,
    priority: jax.Array,
    task: Task,
    strategy: Strategy,
    lengths: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Answers all there is to ask.

    Args:
      state: the start.
      priority: [N, C] of the strategy.
      task: the stack.
      strategy: one that reads neither uncertainty nor hindsight.
      lengths: [N, C, C] to ask by the truth, with BDa or Da.

    Returns:
      After the start and each answer: effort, a fraction of all outlines, and the number of
      structures on sections that are known, [T + 1] each. Where nothing is left to ask, the last
      structure is known too.
    """

    def now(state: ALState) -> tuple[jax.Array, jax.Array]:
        closed = ~candidates(state).any(1)
        known = (state.annotated | closed[:, None]) & task.present
        return state.drawn_unique.sum() / task.total, known.sum()

    def step(state: ALState, _: None) -> tuple[ALState, tuple[jax.Array, jax.Array]]:
        found = candidates(state).any()
        if lengths is None:
            query = suggest(state, make_evidence(state, priority=priority), strategy)
            section, structure = query.section, query.structure
        else:
            section, structure = cheapest(state, lengths, strategy)
        state = true_answer(state, jnp.where(found, section, -1), structure, task)[0]
        return state, now(state)

    first = now(state)
    rest = jax.lax.scan(step, state, None, length=state.annotated.size)[1]
    effort, known = (jnp.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True))
    return effort, known


def bordering(lengths: np.ndarray) -> tuple[list[int], float]:
    """The two classes with the longest outlines, and the fraction of all outlines along either.

    `lengths` is [C, C], summed over sections.
    """
    longest = np.argsort(np.diagonal(lengths))[::-1][:2]
    between = np.triu(lengths, 1)
    others = np.delete(np.delete(between, longest, 0), longest, 1)
    return longest.tolist(), 1 - float(others.sum() / between.sum())


def main() -> None:
    """Prints a row per seed and strategy."""
    check_strategies(FLAGS.strategies)
    for name in FLAGS.strategies:
        if not {"uncertainty", "hindsight"}.isdisjoint(STRATEGIES[name].reads):
            raise InputError(f"strategy '{name}' needs a network; leave it out")
        if FLAGS.truth and name not in ("BDa", "Da"):
            raise InputError(f"--truth has no effect on strategy '{name}'; leave it out")
    if not FLAGS.seed or not all(seed.isdecimal() for seed in FLAGS.seed):
        raise InputError("--seed takes whole numbers, such as 0,1")
    stack = stack_flags.load_stack()
    run = jax.jit(trace, static_argnames="strategy")
    by = true_lengths(stack) if FLAGS.truth else None
    print("effort (% of all outlines) at which a share of all structures is known")
    columns = dict.fromkeys(["start", *(f"{share:.0%}" for share in SHARES)], ">6.1f")
    row = harness.table({"seed": ">4", "strategy": ">9", **columns})
    for seed in FLAGS.seed:
        keys, task, state = prepare(jax.random.key(int(seed)), stack, DEFAULT)
        for name in FLAGS.strategies:
            strategy = STRATEGIES[name]
            priority = draw_priority(keys.priority, task.present, strategy)
            found = run(state, priority, task, strategy=strategy, lengths=by)
            effort, known = map(np.asarray, found)
            total = int(task.present.sum())
            reached = [100 * effort[np.argmax(known >= share * total)] for share in SHARES]
            row(seed, name, 100 * effort[0], *reached)
    classes, share = bordering(np.asarray(whole_lengths(stack)))
    first, second = (stack.names[c] for c in classes)
    print(f"{share:.0%} of all outlines are those of '{first}' and '{second}'")


if __name__ == "__main__":
    define_flags()
    command.run(main)
