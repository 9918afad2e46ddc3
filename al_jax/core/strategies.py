"""Which structure on which section to annotate next (paper, Eq. 7 and section 3.2).

A strategy scores every (section, structure) pair by a gain over a cost; both are pure functions of
`Evidence`. `STRATEGIES` gives names to strategies, for flags; everything else takes the object.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from al_jax.core import scores
from al_jax.core.evidence import Evidence
from al_jax.core.losses import Loss, cross_entropy, partial_cross_entropy
from al_jax.core.posterior import class_entropy, expected_error
from al_jax.core.state import ALState, candidates, central_examples, shared_examples

Score = Callable[[Evidence], jax.Array]
"""Of every section and structure, [N, C]."""

READABLE = ("dice", "boundary", "redrawn", "uncertainty", "priority", "hindsight")
"""Fields of `Evidence` that a strategy may read if its `reads` names them; others it always may.

Of `proposed`, see `proposes`."""


def unread_lengths(reads: Iterable[str]) -> frozenset[str]:
    """The settings in pixels that take no part where a strategy reads these: its cost has none."""
    costs_pixels = not {"boundary", "hindsight"}.isdisjoint(reads)
    return frozenset() if costs_pixels else frozenset({"min_effort", "overhead"})


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How a query is chosen (Eq. 7), and the loss of its network; hashable, static under jit.

    Example:
      # Like BDa, but small structures first, whatever the network knows of them.
      def shortest(evidence):  # [N, C]
          return 1 / jnp.maximum(jnp.diagonal(evidence.boundary), 1) * jnp.ones(evidence.seen.shape)

      STRATEGIES["short"] = Strategy(shortest, scores.unit, reads=("boundary",))

    Attributes:
      gain, cost: their quotient is the score; the pair with the highest is asked.
      reads: of `READABLE`, what gain and cost read. The rest is withheld from them, and settings
        that only the rest depends on are no part of a run's identity.
      loss: that the network minimises.
      uncertainty: what `Evidence.uncertainty` is of each section: (posterior [H, W, C] of Eq. 3,
        inside [H, W]) -> [C], such as `class_entropy` (Eq. 8); None: not computed.
      dropout: the posterior that it gets is the mean over Monte Carlo dropout (Eq. 9).
      draw: (key, N, C) -> [N, C], `Evidence.priority`, drawn once per run; with it no first
        examples are asked for before all else.
      examples: (state, pairs not to ask [N, C]) -> [N, C] bool, where they are asked for.
      scale: outline length on each section relative to B.
      neighbours: outlines that are carried from neighbouring sections may take part in what is
        predicted, where the settings have them; in the paper each section is seen by itself.
    """

    gain: Score
    cost: Score
    reads: tuple[str, ...] = ("dice", "boundary")
    loss: Loss = partial_cross_entropy
    uncertainty: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    dropout: bool = False
    draw: Callable[[jax.Array, int, int], jax.Array] | None = None
    examples: Callable[[ALState, jax.Array], jax.Array] = central_examples
    scale: Score = scores.equal_lengths
    neighbours: bool = False

    def __post_init__(self) -> None:
        """Refuses what no evidence has, and a need without its source."""
        object.__setattr__(self, "reads", tuple(self.reads))
        for name in self.reads:
            if name not in READABLE:
                raise ValueError(f"reads '{name}' is not one of {', '.join(READABLE)}")
        if "uncertainty" in self.reads and self.uncertainty is None:
            raise ValueError("a strategy that reads 'uncertainty' needs its function, too")
        if "priority" in self.reads and self.draw is None:
            raise ValueError("a strategy that reads 'priority' needs a draw, too")


BDa = Strategy(scores.room, scores.remaining)  # Eq. 7


def _own(gain: Score, cost: Score, *reads: str, **others: Any) -> Strategy:
    """Beyond the paper: examples that share outlines, and outlines of neighbouring sections."""
    reads = reads or ("dice", "boundary")
    return Strategy(gain, cost, reads, neighbours=True, examples=shared_examples, **others)


SDr = _own(scores.rise, scores.shaped, scale=scores.ellipsoid)
SEr = _own(
    scores.expected_rise,
    scores.foreseen_remaining,
    "boundary",
    "uncertainty",
    uncertainty=expected_error,
    scale=scores.foreseen,
)


def _uncertain(gain: Score, cost: Score, *reads: str, dropout: bool = False) -> Strategy:
    return Strategy(gain, cost, reads, uncertainty=class_entropy, dropout=dropout)


def _random(draw: Callable[[jax.Array, int, int], jax.Array]) -> Strategy:
    return Strategy(scores.drawn, scores.unit, ("priority",), draw=draw)


STRATEGIES: dict[str, Strategy] = {
    "BDa": BDa,
    "Da": Strategy(scores.room, scores.perimeter),
    "BDa_CE": Strategy(scores.room, scores.remaining, loss=cross_entropy),
    "HBDa": _uncertain(
        scores.room_and_uncertainty, scores.remaining, "dice", "boundary", "uncertainty"
    ),
    "HDa": _uncertain(scores.room_and_uncertainty, scores.unit, "dice", "uncertainty"),
    "HB": _uncertain(scores.uncertainty, scores.remaining, "boundary", "uncertainty"),
    "H": _uncertain(scores.uncertainty, scores.unit, "uncertainty"),
    "H_dropout": _uncertain(scores.uncertainty, scores.unit, "uncertainty", dropout=True),
    "Rand": _random(scores.random_priority),
    "Uniform": _random(scores.uniform_priority),
    # Beyond the paper: a gain per section, costs of correcting, upper and lower bounds.
    "BDr": _own(scores.rise, scores.remaining),
    "SDr": SDr,
    "SEr": SEr,
    "KBDa": _own(scores.room, scores.drawing, "dice", "boundary", "redrawn"),
    "KBDr": _own(scores.rise, scores.drawing, "dice", "boundary", "redrawn"),
    "KSDr": _own(
        scores.rise, scores.drawing_shaped, "dice", "boundary", "redrawn", scale=scores.ellipsoid
    ),
    "KSEr": dataclasses.replace(
        SEr, cost=scores.drawing_foreseen, reads=("boundary", "uncertainty", "redrawn")
    ),
    "Oracle": _own(scores.true_rise, scores.true_remaining, "hindsight"),
    "Lengths": _own(scores.room, scores.true_remaining, "dice", "hindsight"),
    "RandC": Strategy(scores.fewest, scores.unit, ("priority",), draw=scores.uniform_score),
    "RandR": Strategy(
        scores.drawn,
        scores.remaining,
        ("priority", "boundary"),
        draw=scores.inverse_exponential,
    ),
    "Neighbour": Strategy(scores.nearness, scores.unit, ()),
}
"""The ten methods of the paper's section 3.2 and others, by name; a plugin adds its own here."""

OWN_STRATEGIES = dict(STRATEGIES)
"""Those of al_jax."""


def strategy_of(name: str) -> Strategy:
    """The strategy of a flag or a file.

    Raises:
      ValueError: unknown name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy '{name}' is not one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def proposes(strategy: Strategy) -> bool:
    """Whether a strategy may read `Evidence.proposed`: its lengths differ from section to section.

    All sections are predicted for an uncertainty alone, so it must have one, too.
    """
    return strategy.uncertainty is not None and strategy.scale is not scores.equal_lengths


def shares_program(strategy: Strategy, *, neighbours: bool = False) -> tuple[Strategy, ...]:
    """The strategies that train and predict as this one does, and differ only in what they ask.

    One compiled program serves all of them. A plugin's strategy has its own, so that the programs
    of the others, and the last digits of their results, stay as they are. With `neighbours` those
    that use carried outlines have one for themselves; the first that is returned tells which it is.
    """

    def work(one: Strategy) -> tuple:
        return one.loss, one.uncertainty, one.dropout, proposes(one), "hindsight" in one.reads

    own = tuple(OWN_STRATEGIES.values())
    if strategy not in own:
        return (strategy,)
    carried = neighbours and strategy.neighbours
    same = (one for one in own if work(one) == work(strategy))
    return tuple(one for one in same if one.neighbours or not carried)


class Suggestion(struct.PyTreeNode):
    """A query, with what Eqs. 5 and 6 predict of it, or what a strategy has in their place.

    Attributes:
      section, structure: [] int32.
      score: [] float32, gain over cost.
      dice: [] float32, the structure's predicted Dice (Eq. 6).
      left: [] float32, R, the remaining outline (Eq. 5), pixels.
      whole: [] float32, the whole outline (B_cc), pixels.
      shared: [C] float32, the outline shared with each structure annotated there (B_cc'), pixels.
      example: [] bool, it is asked for as the structure's first example.
      found: [] bool, False once nothing is left to ask; the rest is then meaningless.
    """

    section: jax.Array
    structure: jax.Array
    score: jax.Array
    dice: jax.Array
    left: jax.Array
    whole: jax.Array
    shared: jax.Array
    example: jax.Array
    found: jax.Array


def suggest(
    state: ALState,
    evidence: Evidence,
    strategy: Strategy = BDa,
    *,
    exclude: jax.Array | None = None,
) -> Suggestion:
    """Eq. 7: the pair of section and structure with the highest gain over cost.

    A structure of which no outline is known comes first, where `Strategy.examples` wants it (lower
    sections first; background last on each), unless the strategy follows a priority.
    Ties go to the larger 1 - D, then to the lower section, then to the lower class.

    Args:
      state: the annotation so far.
      evidence: from `make_evidence`.
      strategy: what asks.
      exclude: [N, C] bool, pairs not to ask for now, such as skipped ones.

    Returns:
      The query; `found` is False once there is none.

    Raises:
      ValueError: the strategy lacks an array that it reads, or reads one that it does not name.

    Example:
      >>> state = init_state(jax.random.key(0), jnp.ones((3, 4, 4), bool), jnp.ones((3, 2), bool))
      >>> query = suggest(state, make_evidence(state, jnp.zeros((2, 2))))  # nothing is known yet
      >>> int(query.section), int(query.structure)
      (1, 1)
    """
    if exclude is None:
        exclude = jnp.zeros(state.annotated.shape, bool)
    allowed = candidates(state) & ~exclude
    chex.assert_equal_shape([exclude, allowed])
    score = _score(strategy, evidence)
    rank = jnp.where(allowed, score, -jnp.inf)
    first = jnp.zeros(allowed.shape, bool)
    if strategy.draw is None:
        first = strategy.examples(state, exclude)
        rank = jnp.where(first.any(), jnp.where(first, _in_order(allowed.shape), -jnp.inf), rank)
        allowed |= first  # an example may be what a section has left
    best = allowed & (rank == rank.max())
    room_left = jnp.where(best, scores.room(evidence), -jnp.inf)
    # argmax takes the first of equals: the lower section, then the lower class.
    n, c = jnp.unravel_index(jnp.argmax(room_left), allowed.shape)
    query = explain(state, evidence, n, c, strategy)
    return query.replace(score=score[n, c], example=first[n, c], found=allowed.any())


def explain(
    state: ALState,
    evidence: Evidence,
    section: jax.Array | int,
    structure: jax.Array | int,
    strategy: Strategy = BDa,
) -> Suggestion:
    """What a strategy predicts of any pair, whether it may be asked for or not; its score is 0."""
    scale = strategy.scale(evidence)
    left = jnp.maximum(scores.remaining(evidence) * scale, evidence.min_effort)
    outlines = evidence.boundary[structure] * scale[section, structure]
    others = state.seen[section] & (jnp.arange(outlines.shape[0]) != structure)
    return Suggestion(
        section=jnp.asarray(section, jnp.int32),
        structure=jnp.asarray(structure, jnp.int32),
        score=jnp.float32(0),
        dice=evidence.dice[structure],
        left=left[section, structure],
        whole=outlines[structure],
        shared=outlines * others,
        example=state.length_count[structure, structure] == 0,
        found=jnp.asarray(True),
    )


def suggestions(
    state: ALState,
    evidence: Evidence,
    strategy: Strategy = BDa,
    *,
    count: int = 3,
    exclude: jax.Array | None = None,
) -> Suggestion:
    """The best pairs in order: the first is `suggest`'s, the next its choice without that one.

    Args:
      state, evidence, strategy, exclude: see `suggest`.
      count: how many.

    Returns:
      Suggestions with a leading axis of `count`; `found` is False beyond what may be asked.
    """

    def one(taken: jax.Array, _: None) -> tuple[jax.Array, Suggestion]:
        query = suggest(state, evidence, strategy, exclude=taken)
        taken = taken.at[query.section, query.structure].set(True)
        # One first example of a structure is enough.
        column = taken[:, query.structure] | (query.example & query.found)
        return taken.at[:, query.structure].set(column), query

    nothing = jnp.zeros(state.annotated.shape, bool)
    return jax.lax.scan(one, nothing if exclude is None else exclude, None, length=count)[1]


def _in_order(shape: tuple[int, ...]) -> jax.Array:
    """[N, C] float32, falling from section to section, and on each from class 1 to background."""
    sections, classes = (jnp.arange(size) for size in shape)
    return -(sections[:, None] * shape[1] + (classes - 1) % shape[1]).astype(jnp.float32)


def _score(strategy: Strategy, evidence: Evidence) -> jax.Array:
    """Gain over cost [N, C], from no more than what the strategy names in its `reads`."""
    for name in strategy.reads:
        if getattr(evidence, name) is None:
            raise ValueError(f"the strategy reads '{name}', which the evidence does not have")
    withheld = {name: None for name in READABLE if name not in strategy.reads}
    withheld |= dict.fromkeys(unread_lengths(strategy.reads))
    if not proposes(strategy):
        withheld["proposed"] = None
    shown = evidence.replace(**withheld)
    try:
        cost = strategy.cost(shown)
        if shown.overhead is not None:  # of a cost in pixels
            cost = cost + shown.overhead
        return jnp.nan_to_num(strategy.gain(shown) / cost)
    except (TypeError, AttributeError, AssertionError) as error:  # of chex, too
        reads, why = ", ".join(strategy.reads) or "nothing", str(error).split("\n")[0]
        raise ValueError(
            f"the strategy reads {reads} ({why}); name in its `reads` all that gain and cost read "
            f"of {', '.join(READABLE)}; 'proposed' is for one with an uncertainty and a scale"
        ) from error
