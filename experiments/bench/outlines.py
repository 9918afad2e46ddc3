"""How well the window's scissors and smart brush outline what a hand clicks on, or paints.

    python -m experiments.bench.outlines

A scripted hand goes round every part of a structure with a click every 15 px and a tremor of 1 px
(normal, along rows and along columns). What is told is the share of the true outline within 1 px of
the outline of what is filled then: by a polygon through the clicks; by the scissors led by the
image alone; by the scissors led by the network's proposal too; and of the proposal as it is. It
also paints, with a tremor that goes from one such value to the next in 15 px: along the outline
itself (`fine`), and --inside_px inside of it with a brush of --brush_px, as wide as it is (`brush`)
and as the smart brush, which grows to the edge (`smart_brush`; no proposal leads it). Both states
are those of `bench.learning`; only sections where nobody has traced the structure count, and of
these only the ones that are no multiples of --tuned, on which the numbers of
`al_jax.window.scissors` and `al_jax.window.smart_brush` were chosen. --out appends the rows to a
CSV. The frog of the neighbours:

    python -m experiments.bench.outlines --images=../shared/data/frog/images \\
        --labels=../shared/data/frog/labels --names=../shared/data/frog/labels.csv --pick=24:94:3
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.outlines")

import functools
from collections.abc import Callable, Iterator

import chex
import jax
import numpy as np
from absl import flags
from scipy.spatial import KDTree
from skimage.measure import find_contours

from al_jax.commands import command, stack_flags
from al_jax.commands.plugins import load_plugins
from al_jax.commands.simulate import check_strategies, read_setting
from al_jax.core.stack import UNLABELLED, InputError, Stack
from al_jax.core.state import partial_labels, true_ranges
from al_jax.core.strategies import STRATEGIES
from al_jax.learner.config import model_of
from al_jax.learner.learner import fit_initial
from al_jax.model.prediction import predict
from al_jax.model.training import init_train_state
from al_jax.simulation.prepare import prepare
from al_jax.window import scissors
from al_jax.xla import compiler_options
from experiments.bench import harness, learning, strokes
from experiments.bench.real_stacks import pick

FLAGS = flags.FLAGS
TRACERS = ("polygon", "image", "scissors", "proposal", "fine", "brush", "smart_brush")
NEAR = 1.0  # pixels


def define_flags() -> None:
    """The flags of a simulation and those of this command."""
    learning.define_flags()
    flags.adopt_module_key_flags(learning)
    flags.DEFINE_float("spacing_px", 15.0, "Pixels of outline between two clicks.", 1)
    flags.DEFINE_float("tremor", 1.0, "Pixels that a click is off, a standard deviation.", 0)
    flags.DEFINE_float("inside_px", 3.0, "Pixels from the outline to the strokes inside.", 0)
    flags.DEFINE_integer("brush_px", 9, "Width of the brush and of the smart brush.", 1)
    flags.DEFINE_integer("tuned", 4, "Multiples of it are not judged; 0: all sections are.", 0)
    flags.DEFINE_string("pick", None, "Sections first:end:step of the stack, from 0.")
    flags.DEFINE_string("out", None, "A CSV to which the rows are appended; default: nowhere.")


def parts(mask: np.ndarray) -> list[np.ndarray]:
    """The closed outlines [K, 2] of a mask [H, W], from crack to crack, holes too; rows, columns.

    The first point comes again at the end.
    """
    return [found - 1 for found in find_contours(np.pad(mask, 1).astype(float), 0.5)]


def clicks(
    outline: np.ndarray, rng: np.random.Generator, spacing: float, tremor: float
) -> np.ndarray:
    """[K, 2], where a hand clicks that goes round an outline; at least three times."""
    along = np.append(0, np.linalg.norm(np.diff(outline, axis=0), axis=1).cumsum())
    count = max(3, round(along[-1] / spacing))
    at = np.arange(count) * along[-1] / count
    found = np.stack([np.interp(at, along, axis) for axis in outline.T], 1)
    return found + tremor * rng.standard_normal(found.shape)


def near(outline: np.ndarray, drawn: np.ndarray) -> int:
    """How many cracks of an outline (`parts`) have one of the mask `drawn` [H, W] within 1 px."""
    found = parts(drawn)
    if not found:
        return 0
    distance = KDTree(np.concatenate(found)).query(outline[:-1])[0]
    return int((distance <= NEAR + 1e-6).sum())


def filled(path: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[H, W] bool, what a closed path [K, 2] goes round."""
    mask = np.zeros(shape, bool)
    mask[scissors.enclosed_pixels(path, shape)] = True
    return mask


def trace(guide: scissors.Guide, points: np.ndarray) -> np.ndarray:
    """What is filled when the scissors go from click to click [K, 2]."""
    shape = guide.edges.shape[0] - 1, guide.edges.shape[1] - 1
    held = [scissors.hold(guide, point) for point in points]
    return filled(scissors.outline(guide, held, closed=True), shape)


def held_out(stack: Stack, annotated: np.ndarray, tuned: int) -> Iterator[tuple[int, int]]:
    """Section and structure of what is judged: not annotated [N, C], no background."""
    for section, truth in enumerate(np.asarray(stack.truth)):
        if tuned == 0 or section % tuned:
            for structure in np.unique(truth[truth > 0]).tolist():
                if not annotated[section, structure]:
                    yield section, structure


def measure(
    stack: Stack,
    annotated: np.ndarray,
    drawn: np.ndarray,
    hand: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    painter: strokes.Hand,
    *,
    tuned: int,
    seed: int,
) -> dict[int, np.ndarray]:
    """Cracks within 1 px by each of `TRACERS`, and all, [8] of each structure.

    Args:
      stack: of which the truth is known.
      annotated: [N, C] bool, what was traced.
      drawn: [N, H, W], what the network draws.
      hand: from an outline to its clicks.
      painter: who paints.
      tuned, seed: see `held_out`, and of the tremor.
    """
    counts: dict[int, np.ndarray] = {}
    nothing = np.full(stack.truth.shape[1:], UNLABELLED)

    @functools.lru_cache(maxsize=1)
    def alone(section: int) -> scissors.Guide:
        return scissors.make_guide(np.asarray(stack.images[section]), nothing, None)

    for section, structure in held_out(stack, annotated, tuned):
        proposal = drawn[section] == structure
        led = scissors.propose(alone(section), proposal)
        rng = np.random.default_rng([seed, section, structure])
        painting = np.random.default_rng([seed, section, structure, 1])
        mask, image = np.asarray(stack.truth[section]) == structure, stack.images[section]
        for outline in parts(mask):
            points = hand(outline, rng)
            masks = (
                filled(points, nothing.shape),
                trace(alone(section), points),
                trace(led, points),
                proposal,
                *strokes.painted(outline, mask, np.asarray(image), painter, painting),
            )
            found = [*(near(outline, each) for each in masks), len(outline) - 1]
            counts[structure] = counts.get(structure, 0) + np.array(found)
    return counts


def picked(stack: Stack, text: str | None) -> Stack:
    """The sections that --pick names (`real_stacks.pick`)."""
    if text is None:
        return stack
    numbers = text.split(":")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers) or numbers[2] == "0":
        raise InputError(f"--pick has '{text}'; give first:end:step, such as 24:94:3")
    chosen = np.arange(stack.num_sections)[slice(*map(int, numbers))]
    if len(chosen) < 2:
        raise InputError(f"--pick={text} leaves {len(chosen)} sections; two are needed")
    return pick(stack, chosen)


def main() -> None:
    """Prints a row for each state and structure."""
    load_plugins(FLAGS.plugin)
    check_strategies(FLAGS.strategies)
    harness.check_out(FLAGS.out)
    loss = STRATEGIES[FLAGS.strategies[0]].loss
    stack = picked(stack_flags.load_stack(), FLAGS.pick)
    _, _, config = read_setting(stack, functools.partial(true_ranges, stack, stack.truth))
    model = model_of(config, stack.num_classes)
    keys, task, start = prepare(jax.random.key(FLAGS.seed), stack, config)
    further = learning.labelled_further(start, stack, task, large=FLAGS.large, every=FLAGS.every)
    train = jax.jit(
        fit_initial, static_argnames=("loss", "steps"), compiler_options=compiler_options()
    )

    @jax.jit
    def draw(params: chex.ArrayTree, state: chex.ArrayTree) -> jax.Array:
        labels = partial_labels(state)
        arguments = state.key, params, task.sections, labels, model
        return predict(*arguments, reduce_fn=lambda seen, _: seen.segmentation)

    hand = functools.partial(clicks, spacing=FLAGS.spacing_px, tremor=FLAGS.tremor)
    painter = strokes.Hand(FLAGS.inside_px, FLAGS.brush_px, FLAGS.spacing_px, FLAGS.tremor)
    formats = dict.fromkeys(TRACERS, ">11.3f")
    row = harness.table({"state": ">6", "structure": ">14", "cracks": ">7", **formats})
    rows = []
    for name, state in (("start", start), ("third", further)):
        untrained = init_train_state(keys.weights, model)
        network, _ = train(keys.training, untrained, state, task.sections, config, loss=loss)
        drawn, annotated = np.asarray(draw(network.params, state)), np.asarray(state.annotated)
        found = measure(stack, annotated, drawn, hand, painter, tuned=FLAGS.tuned, seed=FLAGS.seed)
        shares = {c: counts[:-1] / counts[-1] for c, counts in sorted(found.items())}
        for structure, share in shares.items():
            rows.append((name, stack.names[structure], int(found[structure][-1]), *share))
            row(*rows[-1])
        rows.append((name, "mean", None, *np.mean([*shares.values()], 0)))
        row(*rows[-1])
    if FLAGS.out is not None:
        append(FLAGS.out, rows)


def append(path: str, rows: list[tuple]) -> None:
    """Adds rows to a CSV, with what they are of."""
    settings = {"pick": FLAGS.pick, "seed": FLAGS.seed}
    settings |= {"spacing": FLAGS.spacing_px, "tremor": FLAGS.tremor}
    settings |= {"inside": FLAGS.inside_px, "width": FLAGS.brush_px}
    of = {"stack": stack_flags.called(), **settings}
    head = ("state", "structure", "cracks", *TRACERS)
    texts = [(*row[:3], *(f"{share:.3f}" for share in row[3:])) for row in rows]
    harness.append(path, [of | dict(zip(head, text, strict=True)) for text in texts])


if __name__ == "__main__":
    define_flags()
    command.run(main)
