"""What the usual practice costs: every k-th section traced whole, the others filled in.

    python -m experiments.bench.practice --stack=stacks/frog.npz --out=practice.csv

Of N sections M are traced at even distances, every k-th with k = N / M. For each M of --traced and
each of --methods it prints effort and Dice as `experiments.simulate` counts them: the outlines of
all structures of these sections but one, which is left over (the background where there is some);
each outline once, and whole outlines of the structures. The sections between are filled by signed
distances, `interpolated`; by the same along the `registered` images (SimpleITK); by a random `walk`
that the images lead; by the `network`, trained on the traced sections alone. All of them know in
what range of sections a structure is, as a simulation does, and draw it nowhere else. Then the
least effort at 80, 90 and 95% Dice: k is chosen by the truth, for each method and each Dice anew,
which is more than practice knows. --out appends the rows to a CSV.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.practice")

import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command, stack_flags
from al_jax.core.metrics import overlap, presence
from al_jax.core.stack import InputError, Stack
from al_jax.core.state import true_ranges
from al_jax.learner import neighbours
from al_jax.learner.config import DEFAULT
from al_jax.simulation.scores import class_dice, reported_dice
from experiments.bench import filling, harness
from experiments.bench.lengths import true_lengths

FLAGS = flags.FLAGS
METHODS = ("interpolated", "registered", "walk", "network")
TARGETS = (0.8, 0.9, 0.95)


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    flags.adopt_module_key_flags(stack_flags)
    flags.DEFINE_list("methods", list(METHODS[:3]), f"Of {', '.join(METHODS)}.")
    flags.DEFINE_list("traced", [], "Numbers of sections that are traced; default: 2 to all.")
    flags.DEFINE_integer("seed", 0, "Of the network.", 0)
    flags.DEFINE_string("out", None, "A CSV to which the rows are appended; default: nowhere.")


def costs(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Effort of tracing each section whole, [N] both: each outline once, and whole outlines.

    Fractions of all of the stack's; the first are 1 together. The background is left over, or the
    structure with the longest outline where there is none.
    """
    whole = np.diagonal(np.asarray(true_lengths(stack)), axis1=1, axis2=2)
    total = whole.sum()  # every outline of two structures
    left_over = np.where(whole[:, 0] > 0, whole[:, 0], whole.max(1))
    return whole.sum(1) / total, (whole.sum(1) - left_over) / total


def dice(stack: Stack, drawn: np.ndarray) -> tuple[float, float]:
    """The Dice that a simulation reports of classes [N, H, W]; and that of the worst structure."""
    score = jax.jit(jax.vmap(functools.partial(overlap, num_classes=stack.num_classes)))
    inside = jnp.asarray(stack.inside)
    present = presence(stack.truth, inside, stack.num_classes)
    overlaps = score(jnp.asarray(drawn), jnp.asarray(stack.truth), inside)
    found = class_dice(overlaps, present, DEFAULT.annotator.dice_over)
    return float(reported_dice(found, DEFAULT)), float(jnp.nanmin(found[1:]))


def fills(names: Iterable[str], stack: Stack) -> dict[str, filling.Fill]:
    """The methods by name."""
    found: dict[str, filling.Fill] = {}
    for name in names:
        match name:
            case "interpolated":
                found[name] = filling.interpolate
            case "registered":
                move = filling.along(neighbours.make_fields(stack))
                found[name] = functools.partial(filling.interpolate, move=move)
            case "walk":
                found[name] = filling.walk
            case "network":
                found[name] = filling.network(DEFAULT, FLAGS.seed)
            case _:
                raise InputError(f"--methods has '{name}'; choose of {', '.join(METHODS)}")
    return found


def best(rows: list[dict[str, Any]], target: float) -> dict[str, Any]:
    """The row with the least effort of those that reach a Dice; that of all sections does."""
    return min((row for row in rows if row["dice"] >= target), key=lambda row: row["effort_own"])


def numbers_traced(texts: list[str], count: int) -> list[int]:
    """How many of `count` sections are traced, in ascending order, and all of them.

    Raises:
      InputError: one is no whole number from 2 to `count`.
    """
    if not all(text.isdecimal() and 2 <= int(text) <= count for text in texts):
        raise InputError(
            f"--traced={','.join(texts)} takes numbers from 2 to {count}, the sections"
        )
    return sorted({*(map(int, texts) if texts else range(2, count)), count})


def measure(stack: Stack, fill: filling.Fill, numbers: list[int]) -> Iterator[dict[str, Any]]:
    """What each number of traced sections costs and gives: efforts and Dice, fractions."""
    once, own = costs(stack)
    in_range = true_ranges(stack, stack.truth, DEFAULT.query.margin)
    for number in numbers:
        traced, began = filling.spread(stack.num_sections, number), time.process_time()
        drawn = fill(stack, traced, in_range) if number < stack.num_sections else stack.truth
        seconds = time.process_time() - began
        reached, worst = dice(stack, drawn)
        shares = {"effort": once[traced].sum(), "effort_own": own[traced].sum()}
        shares |= {"dice": reached, "worst": worst}
        yield {
            "k": round(stack.num_sections / number, 2),
            "traced": number,
            **{name: round(float(share), 4) for name, share in shares.items()},
            "seconds": round(seconds, 1),
        }


def main() -> None:
    """Prints a row for each method and number of traced sections, then the best ones."""
    harness.check_out(FLAGS.out)
    stack = stack_flags.load_stack()
    numbers = numbers_traced(FLAGS.traced, stack.num_sections)
    ways = fills(FLAGS.methods, stack)
    columns = {"k": ">5.1f", "traced": ">6", "effort": ">7.1%", "own": ">6.1%", "Dice": ">6.1%"}
    row = harness.table({"method": "<12", **columns, "worst": ">6.1%", "seconds": ">8.1f"})
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, fill in ways.items():
        for found in measure(stack, fill, numbers):
            row(name, *found.values())
            rows.setdefault(name, []).append(found)
    print("\nleast effort (own) of all k at a Dice of")
    heads = [f"{target:.0%}" for target in TARGETS]
    row = harness.table({"method": "<12", **dict.fromkeys(heads, ">23")})
    for name, mine in rows.items():
        chosen = [best(mine, target) for target in TARGETS]
        row(name, *(f"{r['effort']:.1%} ({r['effort_own']:.1%}), k {r['k']:.1f}" for r in chosen))
    if FLAGS.out is not None:
        of = {"stack": stack_flags.called(), "sections": stack.num_sections}
        of |= {"classes": stack.num_classes}
        every = [(name, found) for name, mine in rows.items() for found in mine]
        harness.append(FLAGS.out, [of | {"method": name, **found} for name, found in every])


if __name__ == "__main__":
    define_flags()
    command.run(main)
