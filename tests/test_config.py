"""One tree of settings: its JSON of today and before, what it refuses, and what compiles once."""

import dataclasses
import json

import jax
import pytest
import tiny

from al_jax.core.stack import InputError
from al_jax.learner.config import (
    DEFAULT,
    Annotator,
    Config,
    Query,
    changed,
    from_json,
    name_of,
    preset,
    to_json,
    warm_start,
)
from al_jax.model.augmentation import AUGMENTATIONS, Table1
from al_jax.model.config import Training
from al_jax.model.networks import NETWORKS, full, small
from al_jax.simulation.scores import reported_dice


def through_json(config):
    return from_json(json.loads(json.dumps(to_json(config))))


@pytest.mark.parametrize(
    "config",
    [
        DEFAULT,
        preset("paper", 24),
        warm_start(DEFAULT),
        tiny.config(
            alpha=0.25,
            crop=32,
            augmentation=Table1(),
            field="paper",
            scale=(0.5, 2.0),
            skips=0.1,
            start="none",
        ),
    ],
    ids=["default", "paper", "warm", "changed"],
)
def test_json_and_back(config):
    found = through_json(config)
    assert found == config and hash(found) == hash(config)


def test_the_layout_of_older_files_is_read():
    was = {
        "network": "small",
        "initial_steps": 7,
        "alpha": 0.25,
        "training": {
            "reduction": 1,
            "crop": 32,
            "augmentation": {"rotation": 5.0, "scale": [0.9, 1.1], "field": "paper"},
        },
        "person": {"correct": True, "tremor": 0.5, "glance": 2.0},
    }
    augmentation = Table1(rotation=5.0, scale=(0.9, 1.1), field="paper")
    assert from_json(was) == Config(
        network=small,
        training=Training(initial_steps=7, downsampling=1, crop=32, augmentation=augmentation),
        query=Query(alpha=0.25, neighbours=False),  # which were not there
        annotator=Annotator(correct=True, outline_noise=0.5, review_cost=2.0),
    )


@pytest.mark.parametrize(
    "given, line",
    [
        ({"network": "huge"}, "network 'huge' is not one of full, "),
        ({"training": {"augmentation": "none"}}, "augmentation 'none' is not one of table1"),
        ({"query": {"alpha": 1.5}}, "alpha is 1.5; it must be at most 1"),
        ({"length": "crofton", "correct": True}, "counted in cracks; set length='crack'"),
    ],
)
def test_what_is_not_known_here_is_refused_in_a_line(given, line):
    with pytest.raises(InputError) as refusal:
        from_json(given)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


class Later(tiny.Pixelwise):
    """The same network by another source."""

    num_classes: int = 2
    extra: int = 1


def test_a_network_from_elsewhere_is_known_by_its_source(monkeypatch):
    assert "network_digest" not in to_json(DEFAULT)
    written = to_json(tiny.config())
    assert written["network"] == "pixelwise" and len(written["network_digest"]) == 16
    assert from_json(written).network is tiny.Pixelwise
    monkeypatch.setitem(NETWORKS, "pixelwise", Later)
    with pytest.raises(InputError, match="network 'pixelwise' has changed since this was written"):
        from_json(written)


def nothing(key, middle, crop):
    """No augmentation at all."""


def everything(key, middle, crop):
    """Another one."""
    raise NotImplementedError


def test_so_is_an_augmentation(monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "nothing", nothing)
    written = to_json(changed(DEFAULT, {"augmentation": "nothing"}))
    assert written["training"]["augmentation"] == "nothing"
    assert from_json(written).training.augmentation is nothing
    monkeypatch.setitem(AUGMENTATIONS, "nothing", everything)
    with pytest.raises(InputError, match="augmentation 'nothing' has changed"):
        from_json(written)


def test_names_of_objects():
    assert name_of(full, NETWORKS) == "full"
    assert name_of(Later, NETWORKS) == f"{__name__}:Later"
    assert name_of(Later(), NETWORKS) == f"{__name__}:Later"


def test_changed_replaces_by_name_wherever_a_field_is():
    values = {"network": "full", "crop": 48, "alpha": 0.0, "tolerance": 3, "rotation": 0.0}
    found = changed(DEFAULT, values)
    assert found.network is full and found.training.augmentation == Table1(rotation=0.0)
    assert (found.training.crop, found.query.alpha, found.annotator.tolerance) == (48, 0.0, 3)
    assert changed(found, {}) == found != DEFAULT
    with pytest.raises(ValueError, match="crop is 8; it must be at least 16"):
        changed(DEFAULT, {"crop": 8})
    with pytest.raises(ValueError, match="croop"):
        changed(DEFAULT, {"croop": 32})


def test_names_of_fields_are_unique_in_the_tree():
    bundles = (Config, Training, Table1, Query, Annotator)
    names = [field.name for bundle in bundles for field in dataclasses.fields(bundle)]
    assert len(names) == len(set(names))


def test_equal_settings_are_one_key():
    one, other = (changed(DEFAULT, {"alpha": 0.3, "crop": 48}) for _ in range(2))
    assert one == other and hash(one) == hash(other) and len({one, other, DEFAULT}) == 2


def test_numbers_share_a_compilation_and_all_else_has_its_own():
    traces = []

    def rates(config):
        traces.append(config)
        query, training = config.query, config.training
        weighted = query.alpha * training.query_learning_rate + training.learning_rate
        return weighted / query.min_effort * training.batch

    jitted = jax.jit(rates)
    same = [
        {"alpha": alpha, "learning_rate": rate, "min_effort": least}
        for alpha, rate, least in ((0.1, 0.01, 1.0), (0.7, 0.5, 1.0), (1.0, 0.5, 3.0))
    ]
    configs = [changed(DEFAULT, values) for values in same]
    found = [float(jitted(config)) for config in configs]
    assert len(traces) == 1
    assert found == pytest.approx([rates(config) for config in configs], rel=1e-6)
    jitted(changed(configs[0], {"batch": 3}))
    assert len(traces) == 1 + len(configs) + 1


def test_static_settings_are_still_settings_under_jit():
    config = changed(DEFAULT, {"count_background": True})
    dice = jax.numpy.array([0.0, 1.0, 1.0])
    assert float(jax.jit(reported_dice)(dice, config)) == pytest.approx(2 / 3)
    assert float(jax.jit(reported_dice)(dice, DEFAULT)) == 1


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="optimiser 'lion' is not one of adamw, sgd"):
        Training(optimiser="lion")


@dataclasses.dataclass(frozen=True)
class Mirror:
    """An augmentation of one's own, with a field that a setting has too."""

    crop: int = 7

    def __call__(self, key, middle, crop):
        """Nothing is random."""
        return middle, lambda image: image


def test_an_augmentation_of_ones_own_keeps_its_name_and_its_fields(monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "mirror", Mirror())
    config = changed(DEFAULT, {"augmentation": "mirror", "crop": 96})
    assert config.training.crop == 96 and config.training.augmentation is AUGMENTATIONS["mirror"]
    written = to_json(config)["training"]
    assert written["augmentation"] == "mirror" and len(written["augmentation_digest"]) == 16
    assert through_json(config) == config


def test_a_kind_of_table_1_is_not_table_1(monkeypatch):
    class Wider(Table1):
        """Not Table 1."""

    monkeypatch.setitem(AUGMENTATIONS, "wider", Wider())
    config = changed(DEFAULT, {"augmentation": "wider"})
    assert to_json(config)["training"]["augmentation"] == "wider"
    assert type(through_json(config).training.augmentation) is Wider
