"""A network for other classes and sections than it was trained on: nothing of it is learnt anew.

A class that is new begins at the mean of the outputs less `NEW`, so that it takes at most exp(-NEW)
of the probability of the likeliest one, and all others keep their odds. Classes that are one now
begin with the mean of their outputs, and with the probability of all (of a linear layer, the
nearest); the parts of a class share its output and its probability.
"""

from collections.abc import Iterable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.learner import neighbours
from al_jax.learner.learner import Learner
from al_jax.session.network import Network
from al_jax.session.trials import NONE, Pair, Trials
from al_jax.session.views import Class, View

NEW = 5.0
"""By how much the output of a new class is below the mean of the others."""


def converted(
    network: Network, old: View, new: View, layers: Sequence[str], pairs: Iterable[Pair]
) -> Network | None:
    """A network of the classes and sections of another view; None: it must begin again.

    Args:
      network: of the view `old`.
      old, new: views.
      layers: of it, with an output for each class (`protocol.class_layers`).
      pairs: of the new view, that it has learnt from.
    """
    if old.numbers == new.numbers and old.sections == new.sections:
        return network
    learner = network.learner
    if learner is None:
        return None
    sources = _sources(old.classes, new.classes)
    changed = old.numbers != new.numbers
    if changed and not layers:
        return None
    at = {section: n for n, section in enumerate(old.sections)}
    rows = [at.get(section, -1) for section in new.sections]
    if np.shape(learner.fit) != (len(at), len(old.classes)):
        return None
    trials = network.trials
    return network._replace(
        learner=learner.replace(
            train=_train(learner, layers, sources) if changed else learner.train,
            dice=_means(learner.dice, sources),
            trials=_sums(learner.trials, sources),
            carrying=None if learner.carrying is None else _carrying(learner.carrying, sources),
            proposed=None if learner.proposed is None else _proposed(learner, rows, sources),
            **{
                name: _of_sections(np.asarray(getattr(learner, name)), rows, sources)
                for name in ("fit", "labelled", "uncertainty")
            },
        ),
        trials=Trials(
            np.concatenate([_sums(trials.start[:3], sources), _means(trials.start[3:], sources)]),
            _shown(trials, rows, sources, pairs),
        ),
    )


def _sources(old: Sequence[Class], new: Sequence[Class]) -> list[list[int]]:
    """Of which of the old classes each new one is made: itself, or what has an origin with it."""
    number = {one.number: c for c, one in enumerate(old)}
    return [
        [number[one.number]]
        if one.number in number
        else [c for c, other in enumerate(old) if other.lineage & one.lineage]
        for one in new
    ]


def _train(learner: Learner, layers: Sequence[str], sources: list[list[int]]) -> chex.ArrayTree:
    """Weights and momentum with an output for each new class; that of momentum begins at zero."""
    shares = [
        sum(c in own for own in sources)
        for c in range(1 + max(max(own, default=0) for own in sources))
    ]
    first = layers[0]

    def of_class(path: tuple, leaf: jax.Array) -> jax.Array:
        parts = [str(getattr(one, "key", getattr(one, "name", one))) for one in path]
        layer = next((part for part in parts if part in layers), None)
        if layer is None:
            return leaf
        old, weights = np.asarray(leaf), parts[0] == "params"
        columns = []
        for own in sources:
            if not weights:
                columns.append(old[..., own[0]] if len(own) == 1 else np.zeros_like(old[..., 0]))
                continue
            column = old[..., own or range(old.shape[-1])].mean(-1)
            if layer == first and parts[-1] == "bias":
                together = sum(1 / shares[c] for c in own)
                column = column + (np.log(together) if own else -NEW)
            columns.append(column)
        return jnp.asarray(np.stack(columns, -1), leaf.dtype)

    tree = {"params": learner.train.params, "momentum": learner.train.momentum}
    found = jax.tree_util.tree_map_with_path(of_class, tree)
    return learner.train.replace(params=found["params"], momentum=found["momentum"])


def _means(known: chex.Array, sources: list[list[int]]) -> np.ndarray:
    """[R, C'] of [R, C], each the mean of what is known of its sources; NaN where nothing is."""
    old, found = np.asarray(known), np.full((len(known), len(sources)), np.nan, np.float32)
    for c, own in enumerate(sources):
        for row in range(len(old)):
            values = old[row, own]
            values = values[~np.isnan(values)]
            if len(values):
                found[row, c] = values.mean()
    return found


def _sums(known: chex.Array, sources: list[list[int]]) -> np.ndarray:
    old = np.asarray(known)
    return np.stack([old[:, own].sum(1) for own in sources], 1).astype(np.float32)


def _carrying(known: chex.Array, sources: list[list[int]]) -> np.ndarray:
    """Means likewise; a class that is new begins as one of which nothing is labelled."""
    found = _means(known, sources)
    return np.where(np.isnan(found), neighbours.begin(jnp.zeros(len(sources))), found)


def _of_sections(known: np.ndarray, rows: list[int], sources: list[list[int]]) -> np.ndarray:
    """[N', C'] of [N, C]; zero, or False, of what is new."""
    found = np.zeros((len(rows), len(sources)), known.dtype)
    for c, own in enumerate(sources):
        if own:
            both = known[:, own]
            column = np.asarray(both.any(1) if known.dtype == bool else both.mean(1))
            found[:, c] = np.where(np.array(rows) >= 0, column[rows], 0)
    return found


def _proposed(learner: Learner, rows: list[int], sources: list[list[int]]) -> np.ndarray:
    """Outlines of what has one source that is its alone, [N', C']; NaN of the rest."""
    used = [c for own in sources for c in own]
    same = [own if len(own) == 1 and used.count(own[0]) == 1 else [] for own in sources]
    found = _of_sections(np.asarray(learner.proposed), rows, same)
    known = np.array(rows)[:, None] >= 0
    return np.where(known & np.array([bool(own) for own in same]), found, np.float32(np.nan))


def _shown(
    trials: Trials, rows: list[int], sources: list[list[int]], pairs: Iterable[Pair]
) -> dict[Pair, np.ndarray]:
    """The trials of pairs that are the same still; what it knows is no trial."""
    section = {old: n for n, old in enumerate(rows)}
    structure = {own[0]: c for c, own in enumerate(sources) if len(own) == 1}
    found = {
        (section[n], structure[c]): one
        for (n, c), one in trials.shown.items()
        if n in section and c in structure
    }
    return found | {pair: NONE for pair in pairs if pair not in found}
