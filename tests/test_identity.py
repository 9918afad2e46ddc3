"""What a run is called: by the settings that it reads, the same from version to version."""

import dataclasses

import pytest

from al_jax.commands import runs
from al_jax.learner.config import Config
from experiments.sweeps import identity


def configuration(strategy: str = "BDa", **settings) -> dict:
    chosen = {"seed": 0, "target_dice": 0.95, "max_effort": 1.0, "strategy": strategy}
    return runs.describe("a" * 16, None, chosen, Config(**settings))


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
    ],
)
def test_what_a_strategy_reads_names_its_runs(strategy, setting, counts):
    one, other = configuration(strategy), configuration(strategy, **setting)
    assert (identity.digest(one) != identity.digest(other)) == counts


def test_names_stay_what_they_are():
    """A change here makes every finished run unknown; who means it raises `SCHEMA`."""
    assert identity.digest(configuration()) == "7b1125734b2777f3"


def test_a_setting_counts_where_it_is_not_at_its_default(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Later(Config):
        smoothing: float = 0.5

    old = configuration()
    monkeypatch.setattr(identity, "Config", Later)
    identity._defaults.cache_clear()
    default, other = ({**old, "smoothing": value} for value in (0.5, 0.25))
    assert identity.digest(default) == identity.digest(old)
    assert identity.digest(other) != identity.digest(old)
    identity._defaults.cache_clear()


def test_an_initial_network_does_not_read_what_acts_after_it():
    def network(**settings) -> dict:
        chosen = {"seed": 0, "loss": "partial"}
        return runs.describe("a" * 16, None, chosen, Config(**settings))

    assert identity.digest(network(alpha=0.1)) == identity.digest(network())
    assert identity.digest(network(margin=1)) != identity.digest(network())
