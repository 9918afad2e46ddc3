"""The identity of a run, by which its folder is named: the settings that it reads.

A run of `Rand` does not read alpha, so it is the same run for every alpha. A setting counts only
where it is not at its default, so that a new setting does not change the names of old runs. A
change of what a setting or a default means must raise `SCHEMA`; the sources of the strategy, the
network and the loss are part of the identity.
"""

import functools
import hashlib
import json
from typing import Any

from al_jax.commands.folders import as_flags
from al_jax.core.strategies import OWN_STRATEGIES, STRATEGIES, unread_lengths
from al_jax.learner.config import Config, to_json

SCHEMA = 7
# The settings that take effect after the initial training only; all others count for both.
AFTERWARDS = (
    "query_steps",
    "query_learning_rate",
    "alpha",
    "dice_estimate",
    "min_effort",
    "overhead",
    "length",
    "dropout_samples",
    "dice_over",
    "count_background",
    "neighbours",
)


def unread(strategy: str | None) -> frozenset[str]:
    """The settings that have no effect on what a strategy asks for.

    Args:
      strategy: a key of `STRATEGIES`; None for an initial network, which is trained before all of
        them. For an unknown strategy all settings count.
    """
    if strategy is None:
        return frozenset(AFTERWARDS)
    if strategy not in STRATEGIES:
        return frozenset()
    method = STRATEGIES[strategy]
    names = set(unread_lengths(method.reads))
    if not method.dropout:
        names.add("dropout_samples")
    if not method.neighbours:
        names.add("neighbours")
    # D breaks ties, but no two pairs have the same priority that al_jax draws.
    drawn = "priority" in method.reads and method in OWN_STRATEGIES.values()
    if drawn and "dice" not in method.reads:
        names |= {"alpha", "dice_estimate"}
    return frozenset(names)


def identity(configuration: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration (`runs.describe`) that a run or an initial network reads."""
    without, usual = unread(configuration.get("strategy")), _defaults()
    read = {
        key: value
        for key, value in as_flags(configuration).items()
        if key not in without and (key not in usual or value != usual[key])
    }
    return {"schema": SCHEMA, **read}


def digest(configuration: dict[str, Any]) -> str:
    """Names a run or an initial network by what it reads."""
    content = json.dumps(identity(configuration), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@functools.cache
def _defaults() -> dict[str, Any]:
    # Runs got their names when the default was to see each section by itself.
    return as_flags(to_json(Config())) | {"neighbours": False}
