"""What a run is called: by the settings that it reads, the same from version to version."""

import dataclasses
import hashlib
import json

import pytest

from al_jax.oracle import Config
from experiments import identity, runs

# Written by the version whose runs had names of schema 1.
FIRST = {
    "stack": "a" * 16,
    "weights": None,
    "seed": 0,
    "target_dice": 0.95,
    "max_effort": 1.0,
    "strategy": "BDa",
    "network": "small",
    "initial_epochs": 270,
    "query_epochs": 6,
    "learning_rate": 0.05,
    "query_learning_rate": 0.01,
    "alpha": 0.5,
    "dice_estimate": "fit",
    "min_effort": 1.0,
    "length": "crack",
    "margin": 0,
    "dropout_samples": 20,
    "dice_over": "sections",
    "count_background": False,
    "training": {
        "crop": 96,
        "batch": 8,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "clip": 1.0,
        "convention": "plain",
        "augmentation": {
            "rotation": 10.0,
            "translation": 10.0,
            "scale": [0.8, 1.2],
            "shear": 10.0,
            "brightness": 20.0,
            "contrast": [0.8, 1.25],
            "field": "smooth",
        },
    },
}


def configuration(strategy: str = "BDa", **settings) -> dict:
    chosen = {"seed": 0, "target_dice": 0.95, "max_effort": 1.0, "strategy": strategy}
    return runs.describe("a" * 16, None, chosen, Config(**settings))


def former(configuration: dict) -> str:
    """The name that the former version gave a run, in its words."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "strategy, setting, counts",
    [
        ("Rand", {"alpha": 0.1}, False),
        ("Uniform", {"dice_estimate": "prospective"}, False),
        ("Rand", {"min_effort": 3.0}, False),
        ("Rand", {"dropout_samples": 2}, False),
        ("Rand", {"query_epochs": 2}, True),
        ("BDa", {"alpha": 0.1}, True),
        ("BDa", {"dropout_samples": 2}, False),
        ("H", {"alpha": 0.1}, True),  # which breaks ties
        ("H", {"min_effort": 3.0}, False),
        ("HB", {"min_effort": 3.0}, True),
        ("H_dropout", {"dropout_samples": 2}, True),
    ],
)
def test_what_a_strategy_reads_names_its_runs(strategy, setting, counts):
    one, other = configuration(strategy), configuration(strategy, **setting)
    assert (identity.digest(one) != identity.digest(other)) == counts


def test_names_stay_what_they_are():
    """A change here makes every finished run unknown; who means it raises `SCHEMA`."""
    assert identity.digest(FIRST) == "020e3b27b3a9a938"
    assert identity.first_digest(FIRST) == former(FIRST) == "4d57186cc0381fc2"


def test_a_new_setting_counts_where_it_is_not_at_its_default(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Later(Config):
        optimiser: str = "sgd"

    old = FIRST
    monkeypatch.setattr(identity, "Config", Later)
    identity._defaults.cache_clear()
    default, other = ({**old, "optimiser": name} for name in ("sgd", "adamw"))
    assert identity.digest(default) == identity.digest(old)
    assert identity.first_digest(default) == former(old)
    assert identity.digest(other) != identity.digest(old)
    assert identity.first_digest(other) is None
    identity._defaults.cache_clear()


def test_an_initial_network_does_not_read_what_acts_after_it():
    def network(**settings) -> dict:
        chosen = {"seed": 0, "loss": "partial"}
        return runs.describe("a" * 16, None, chosen, Config(**settings))

    assert identity.digest(network(alpha=0.1)) == identity.digest(network())
    assert identity.digest(network(margin=1)) != identity.digest(network())


def test_the_shipped_names_of_settings_are_those_of_schema_1():
    """So that `FIRST` forgets none."""
    assert set(identity.flatten(configuration())) | {"loss"} == identity.FIRST - {
        "training",
        "augmentation",
    }
