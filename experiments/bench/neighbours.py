"""What carried outlines add to the network: Dice of the pairs that nobody has traced.

    python -m experiments.bench.neighbours --stack=stacks/mri_1000_nine.npz

In both states of `bench.learning`, the `start` of a simulation and a `third` of what is small, it
prints the mean Dice (Eq. 4) of all structures on all sections where they are, but not annotated:
of carried outlines alone, of the network alone, and of both; then of both the difference by the
distance to the nearest section where the structure is annotated. No answer has told yet how well
either draws. It also prints the seconds that the fields between sections took, and those of a
prediction of the stack with and without. `neighbours.png` in --workdir shows the last state. The
flags are those of `experiments.simulate`.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.neighbours")

import functools
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command
from al_jax.core.metrics import dice
from al_jax.core.posterior import segment
from al_jax.core.scores import distance_to_seen
from al_jax.core.stack import UNLABELLED
from al_jax.core.state import ALState, partial_labels
from al_jax.learner import neighbours
from al_jax.learner.config import Config, model_of
from al_jax.learner.learner import fit_initial
from al_jax.model.inputs import Sections
from al_jax.model.prediction import LogPrior, predict
from al_jax.model.resolution import labelled_extent
from al_jax.plotting import figures
from al_jax.xla import compiler_options
from experiments.bench import harness, learning

FLAGS = flags.FLAGS
GAPS = {"1": (1, 1), "2": (2, 2), "3-4": (3, 4), "5-8": (5, 8), "more": (9, np.inf)}


def define_flags() -> None:
    """The flags of a simulation and those of this command."""
    learning.define_flags()
    flags.adopt_module_key_flags(learning)
    FLAGS.set_default("workdir", "results/neighbours")


def draw(
    params: chex.ArrayTree,
    state: ALState,
    sections: Sections,
    config: Config,
    carrying: jax.Array | None,
) -> jax.Array:
    """Eq. 4 of every section [N, H, W] int16, with carried outlines if there is `carrying`."""
    partial, fields, log_prior = partial_labels(state), sections.fields, None
    if carrying is not None and fields is not None:

        def log_prior(section: jax.Array) -> LogPrior:
            return functools.partial(neighbours.log_prior, partial, fields, section, carrying)

    return predict(
        state.key,
        params,
        sections,
        partial,
        model_of(config, state.annotated.shape[1]),
        reduce_fn=lambda prediction, _: prediction.segmentation,
        log_prior=log_prior,
    )


def carry(state: ALState, sections: Sections, carrying: jax.Array) -> jax.Array:
    """The same of carried outlines alone; where none is, the lowest class that may be there."""
    partial, fields = partial_labels(state), sections.fields
    assert fields is not None

    def one(section: jax.Array) -> jax.Array:
        classes = jnp.arange(partial.seen.shape[1])
        log = neighbours.log_prior(partial, fields, section, carrying, classes)
        labels = partial.labels[section]
        return segment(log.whole(labels.shape), labels, partial.compatible[section])

    return jax.lax.map(one, jnp.arange(partial.labels.shape[0])).astype(jnp.int16)


def main() -> None:
    """Prints a row for each state, and draws the last."""
    strategy, stack, config, (keys, task, start), known, untrained = learning.begin()
    began, busy = time.perf_counter(), time.process_time()
    fields = neighbours.make_fields(stack)
    print(
        f"fields of {stack.num_sections} sections of {stack.images.shape[1]}x"
        f"{stack.images.shape[2]}: {time.perf_counter() - began:.1f} s, "
        f"{time.process_time() - busy:.1f} s of CPU",
        flush=True,
    )
    sections = task.sections.replace(fields=fields)
    third = learning.labelled_further(start, stack, task, large=FLAGS.large, every=FLAGS.every)
    train = jax.jit(
        fit_initial, static_argnames=("loss", "steps"), compiler_options=compiler_options()
    )
    score = jax.jit(jax.vmap(functools.partial(dice, num_classes=stack.num_classes)))
    programs = jax.jit(draw), jax.jit(carry)
    numbers = {name: ">8.3f" for name in ("carried", "network", "both")}
    gaps = {f"gap {name}": ">9" for name in GAPS}
    seconds = {"alone": ">6.2f", "with": ">6.2f"}
    row = harness.table({"state": ">6", "pairs": ">6", **numbers, **gaps, **seconds})
    rows: list[tuple[str, np.ndarray, None]] = []
    for name, state in (("start", start), ("third", third)):
        network = untrained
        if config.training.initial_steps:
            network, _ = train(
                keys.training, network, state, task.sections, config, loss=strategy.loss
            )
        areas = labelled_extent(state.labels, num_classes=stack.num_classes)[0]
        prior = None if known is None else known.dice
        carrying = neighbours.begin(areas / sections.downsampling**2, prior)
        drawn = {"carried": programs[1](state, sections, carrying)}
        taken = []
        for kind, given in (("network", None), ("both", carrying)):
            arguments = network.params, state, sections, config, given
            jax.block_until_ready(programs[0](*arguments))
            drawn[kind], one = harness.timed(programs[0], *arguments)
            taken.append(one)
        found = {
            k: np.asarray(score(d, task.truth, task.sections.inside)) for k, d in drawn.items()
        }
        untraced = np.array(task.present & ~state.annotated)
        untraced[:, 0] = False
        gained, distance = found["both"] - found["network"], distance_to_seen(state.seen)
        gap = np.asarray(distance)
        by_gap = [untraced & (gap >= low) & (gap <= high) for low, high in GAPS.values()]
        row(
            name,
            f"{untraced.sum()}",
            *(float(one[untraced].mean()) for one in found.values()),
            *(f"{gained[pairs].mean():+.3f}" if pairs.any() else None for pairs in by_gap),
            *taken,
        )
        rows = [
            (f"{kind}\n({found[kind][untraced].mean():.1%})", np.asarray(d), None)
            for kind, d in drawn.items()
        ]
    picture = harness.make_folder(FLAGS.workdir, "workdir") / "neighbours.png"
    rows = [(title, np.where(stack.inside, d, UNLABELLED), None) for title, d, _ in rows]
    whole = "ground\ntruth", np.where(stack.inside, stack.truth, UNLABELLED), None
    figures.labelled_sections(stack, [whole, *rows], picture, 6)
    print(f"\n{picture}: what is carried, what the network draws, and both, below the truth")


if __name__ == "__main__":
    define_flags()
    command.run(main)
