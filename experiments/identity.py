"""What a run is, and so what its folder is called: the settings that it reads.

A run of `Rand` does not read alpha, so it is the same run under each of them. A setting that is no
part of `FIRST` counts only where it is not at its default, so that new settings leave the names of
old runs as they were. Whoever changes what an old setting means, or gives a new one a default that
changes what runs did before, raises `SCHEMA`.
"""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from al_jax.oracle import Config
from al_jax.strategies import STRATEGIES, unit
from experiments.folders import flatten

SCHEMA = 2
CHOSEN = ("stack", "weights", "seed", "loss", "strategy", "target_dice", "max_effort")
# The settings that take effect after the initial training; new ones are taken to act in both.
AFTERWARDS = (
    "query_epochs",
    "query_learning_rate",
    "alpha",
    "dice_estimate",
    "min_effort",
    "length",
    "dropout_samples",
    "dice_over",
    "count_background",
)
# All settings of schema 1, which counted every one of them.
FIRST = frozenset(CHOSEN + AFTERWARDS) | {
    "network",
    "initial_epochs",
    "learning_rate",
    "margin",
    "training",
    "crop",
    "batch",
    "momentum",
    "weight_decay",
    "clip",
    "convention",
    "augmentation",
    "rotation",
    "translation",
    "scale",
    "shear",
    "brightness",
    "contrast",
    "field",
}


def unread(strategy: str | None) -> frozenset[str]:
    """The settings that have no effect on what a strategy asks for.

    Args:
      strategy: a key of `STRATEGIES`; None for an initial network, which is trained before all of
        them. Of a strategy that is not known all settings count.
    """
    if strategy is None:
        return frozenset(AFTERWARDS)
    if strategy not in STRATEGIES:
        return frozenset()
    method = STRATEGIES[strategy]
    names = set()
    if not method.dropout:
        names.add("dropout_samples")
    if method.cost is unit:
        names.add("min_effort")
    if method.draw is not None:  # no two pairs of one priority, so D breaks no tie either
        names |= {"alpha", "dice_estimate"}
    return frozenset(names)


def identity(configuration: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration (as `runs.describe` gives it) a run or an initial network reads."""
    without = unread(configuration.get("strategy"))
    read = {
        key: value
        for key, value in flatten(configuration).items()
        if key not in without and not _new(key, value)
    }
    return {"schema": SCHEMA, **read}


def digest(configuration: dict[str, Any]) -> str:
    """Names a run or an initial network by what it reads."""
    return _name(identity(configuration))


def first_digest(configuration: dict[str, Any]) -> str | None:
    """The name under schema 1; None if it has a setting that did not exist then."""
    if not all(key in FIRST or _new(key, value) for key, value in flatten(configuration).items()):
        return None

    def known(settings: dict[str, Any]) -> dict[str, Any]:
        return {
            key: known(value) if isinstance(value, dict) else value
            for key, value in settings.items()
            if key in FIRST
        }

    return _name(known(configuration))


def _new(key: str, value: Any) -> bool:
    """Whether this is a setting since schema 1, at its default."""
    return key not in FIRST and value == _defaults().get(key)


@functools.cache
def _defaults() -> dict[str, Any]:
    return flatten(json.loads(json.dumps(dataclasses.asdict(Config()))))


def _name(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
