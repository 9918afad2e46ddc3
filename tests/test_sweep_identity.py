"""What a run is called: by the settings that it reads, the same from version to version."""

import dataclasses

import pytest

from al_jax.commands import runs
from al_jax.core.strategies import STRATEGIES
from al_jax.learner.config import Config, changed, to_json
from experiments.sweeps import identity


def configuration(strategy: str = "BDa", **settings) -> dict:
    chosen = {"seed": 0, "target_dice": 0.95, "max_effort": 1.0, "strategy": strategy}
    return runs.describe("a" * 16, None, chosen, changed(Config(), settings))


@pytest.mark.parametrize(
    "strategy, setting, counts",
    [
        ("Rand", {"alpha": 0.1}, False),
        ("Uniform", {"dice_estimate": "prospective"}, False),
        ("Rand", {"min_effort": 3.0}, False),
        ("Rand", {"dropout_samples": 2}, False),
        ("Rand", {"query_steps": 2}, True),
        ("BDa", {"alpha": 0.1}, True),
        ("BDa", {"dropout_samples": 2}, False),
        ("H", {"alpha": 0.1}, True),  # which breaks ties
        ("H", {"min_effort": 3.0}, False),
        ("HB", {"min_effort": 3.0}, True),
        ("H_dropout", {"dropout_samples": 2}, True),
        ("BDa", {"neighbours": False}, False),
        ("SDr", {"neighbours": False}, True),
    ],
)
def test_what_a_strategy_reads_names_its_runs(strategy, setting, counts):
    one, other = configuration(strategy), configuration(strategy, **setting)
    assert (identity.digest(one) != identity.digest(other)) == counts


def test_names_stay_what_they_are():
    """A change here makes every finished run unknown; who means it raises `SCHEMA`."""
    assert identity.digest(configuration()) == "9171e9a30af36eaa"
    # From when neighbours were off by default.
    assert identity.digest(configuration("SDr", neighbours=False)) == "0d2015d7d320d0a2"


def test_a_setting_counts_where_it_is_not_at_its_default(monkeypatch):
    old = configuration()
    monkeypatch.setattr(identity, "to_json", lambda config: to_json(config) | {"smoothing": 0.5})
    identity._defaults.cache_clear()
    default, other = ({**old, "smoothing": value} for value in (0.5, 0.25))
    assert identity.digest(default) == identity.digest(old)
    assert identity.digest(other) != identity.digest(old)
    identity._defaults.cache_clear()


def test_an_edited_strategy_is_another_run(monkeypatch):
    def described() -> dict:
        return configuration("BDa") | runs.about_strategy("BDa")

    before = described()
    assert identity.digest(described()) == identity.digest(before)
    edited = dataclasses.replace(STRATEGIES["BDa"], gain=lambda evidence: evidence.dice)
    monkeypatch.setitem(STRATEGIES, "BDa", edited)
    assert identity.digest(described()) != identity.digest(before)


def test_an_initial_network_does_not_read_what_acts_after_it():
    def network(**settings) -> dict:
        chosen = {"seed": 0, "loss": "partial"}
        return runs.describe("a" * 16, None, chosen, changed(Config(), settings))

    assert identity.digest(network(alpha=0.1)) == identity.digest(network())
    assert identity.digest(network(margin=1)) != identity.digest(network())
