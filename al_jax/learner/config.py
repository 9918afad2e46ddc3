"""All settings of a run or a session as one tree, their presets and JSON, and the keys of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import struct

from al_jax.core.boundary import DIRECTIONS
from al_jax.core.identity import source_digest
from al_jax.core.losses import Loss, partial_cross_entropy
from al_jax.core.settings import check_settings, leaves, setting
from al_jax.core.stack import InputError
from al_jax.model.augmentation import AUGMENTATIONS, Table1
from al_jax.model.config import MakeNetwork, ModelConfig, Training, steps_per_epoch
from al_jax.model.networks import NETWORKS, OWN_NETWORKS, full, small

ESTIMATES = ("fit", "prospective", "shrunk")
DICE_OVER = ("sections", "stack")
STARTS = ("central", "together", "needed", "none")
PRESETS = ("default", "paper")

WARM_RATE = 3e-5
"""Learning rate after an answer of a network that began with prior stacks: more, and it forgets."""


@dataclasses.dataclass(frozen=True)
class Query:
    """How a query is chosen. A pytree: alpha, min_effort and overhead are leaves.

    D of Eq. 6 is 'fit', the Dice of the network's own prediction against the labels;
    'prospective', that of the prediction just before each answer; or 'shrunk', the mean of the
    latter per structure, shrunk towards the former (`learner.shrunk_dice`).
    """

    alpha: float = setting(0.5, "Weight of D(T-1) in Eq. 6.", 0, 1)
    dice_estimate: str = setting("shrunk", "D of Eq. 6.", choices=ESTIMATES)
    min_effort: float = setting(1.0, "Least predicted outline of an answer, pixels.", 1e-3)
    overhead: float = setting(
        0.0, "What an answer costs beyond its outline, in pixels of outline.", 0
    )
    length: str = setting("crack", "How outlines are measured.", choices=tuple(DIRECTIONS))
    margin: int = setting(0, "Sections added to both ends of a structure's range.", 0)
    dropout_samples: int = setting(20, "S of Eq. 9.", 1)
    neighbours: bool = setting(
        True, "Outlines are carried to neighbouring sections; not for the paper's strategies."
    )

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check_settings(self)


_LEAVES = ("alpha", "min_effort", "overhead")
jax.tree_util.register_dataclass(
    Query,
    data_fields=_LEAVES,
    meta_fields=tuple(f.name for f in dataclasses.fields(Query) if f.name not in _LEAVES),
)


@dataclasses.dataclass(frozen=True)
class Annotator:
    """The truth in place of a person: what is labelled first, the answers, the reported Dice.

    Outline noise is the standard deviation of a smooth field that displaces outlines. A section has
    one field, so that neighbouring structures stay neighbours. Labelled first is a 'central'
    section of each structure, or of each that prior stacks do not know ('needed'), or 'none'; or
    'together': all of the section that may show the most of them, then the others as before (of
    fewer than six sections, as 'central').
    """

    correct: bool = setting(False, "Proposals are corrected where that is less to draw.")
    tolerance: int = setting(1, "Outline as near to a proposal's is kept, pixels.", 0)
    review_cost: float = setting(
        5.0, "Cost of looking at a proposal that is corrected or accepted, pixels of outline.", 0
    )
    outline_noise: float = setting(
        0.0, "How far outlines are off, standard deviation in pixels.", 0
    )
    skips: float = setting(0.0, "Share of questions that are put off to the end.", 0, 1)
    range_errors: float = setting(0.0, "Share of ranges' ends that are a section off.", 0, 1)
    start: str = setting(
        "central", "What is labelled before the first query; with --from needed.", choices=STARTS
    )
    dice_over: str = setting(
        "sections", "Reported Dice: a mean over sections, or pooled.", choices=DICE_OVER
    )
    count_background: bool = setting(False, "Reported Dice counts the background, too.")

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run but for its stack, strategy and key; hashable.

    A pytree, not a static argument: the learning rates, alpha, min_effort and overhead are leaves,
    so that one compilation serves all their values; all else is static.

    Attributes:
      network: makes a network for so many classes (`protocol.Network`): one of
        `networks.NETWORKS`, or any other.
      training: of the network.
      query: how a query is chosen.
      annotator: who answers in a simulation.
    """

    network: MakeNetwork = small
    training: Training = Training()
    query: Query = Query()
    annotator: Annotator = Annotator()

    def __post_init__(self) -> None:
        """Refuses settings that do not go together."""
        if self.annotator.correct and self.query.length != "crack":
            raise ValueError("what is kept of a proposal is counted in cracks; set length='crack'")


jax.tree_util.register_dataclass(
    Config, data_fields=("training", "query"), meta_fields=("network", "annotator")
)

DEFAULT = Config()


def preset(name: str, num_sections: int) -> Config:
    """Settings by their name, for a stack of `num_sections`.

    'default' is for two CPU cores and costs the same for any number of sections. 'paper' is 2.4.2
    with Table 1: gradient descent on crops anywhere, 3,000 epochs and 10 after each answer, each
    of ceil(N / 8) steps; its network starts from weights of ImageNet, which the caller has.
    """
    if name == "default":
        return DEFAULT
    if name != "paper":
        raise ValueError(f"preset '{name}' is not one of {', '.join(PRESETS)}")
    epoch = steps_per_epoch(num_sections, 8)
    training = Training(
        initial_steps=3000 * epoch,
        query_steps=10 * epoch,
        learning_rate=0.05,
        query_learning_rate=0.005,
        schedule="constant",
        downsampling=1,
        crop=128,
        batch=8,
        balanced=0.0,
        optimiser="sgd",
    )
    return Config(network=full, training=training, query=Query(dice_estimate="fit"))


def warm_start(config: Config) -> Config:
    """The settings of a run whose network was trained on prior stacks: no initial training."""
    training = dataclasses.replace(config.training, initial_steps=0)
    if training.optimiser == "adamw":
        training = dataclasses.replace(training, query_learning_rate=WARM_RATE)
    annotator = dataclasses.replace(config.annotator, start="needed")
    return dataclasses.replace(config, training=training, annotator=annotator)


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The settings with other values of some fields, by the names of the fields.

    Names of fields are unique in the tree. A network and an augmentation may be given by name.

    Raises:
      ValueError: a value is not allowed, or a name is unknown.
    """
    values = {name: _named(name, value) for name, value in values.items()}
    unknown = set(values)

    def replaced(bundle: Any) -> Any:
        new = {}
        for field in dataclasses.fields(bundle):
            value = values.get(field.name, getattr(bundle, field.name))
            unknown.discard(field.name)
            # An augmentation that is not of al_jax is one value, whatever fields it has.
            nested = type(value) in (Training, Query, Annotator, Table1)
            new[field.name] = replaced(value) if nested else value
        return dataclasses.replace(bundle, **new)

    found = replaced(config)
    if unknown:
        raise ValueError(f"there is no setting '{min(unknown)}' here")
    return found


def _named(field: str, value: Any) -> Any:
    """The object behind the name of a network or an augmentation."""
    tables: dict[str, Mapping[str, Any]] = {"network": NETWORKS, "augmentation": AUGMENTATIONS}
    if field not in tables or not isinstance(value, str):
        return value
    if value not in tables[field]:
        raise ValueError(f"{field} '{value}' is not one of {', '.join(tables[field])}")
    return tables[field][value]


def name_of(thing: Any, table: Mapping[str, Any]) -> str:
    """Its name in a table of objects; of one that is not there, that of its definition."""
    names = [name for name, other in table.items() if other is thing]
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return names[0] if names else f"{kind.__module__}:{kind.__qualname__}"


def network_label(network: MakeNetwork) -> str:
    """Its name; of one that is not of al_jax, with the digest of its source."""
    name = name_of(network, NETWORKS)
    return name if network in OWN_NETWORKS.values() else f"{name} {source_digest(network)}"


def check_registered(config: Config) -> None:
    """Refuses settings that no file can name: of a network or an augmentation without a name.

    Raises:
      InputError: what is to be registered, and where.
    """
    augmentation = config.training.augmentation
    if config.network not in NETWORKS.values():
        raise InputError("the network has no name; add it to al_jax.NETWORKS first")
    if type(augmentation) is not Table1 and augmentation not in AUGMENTATIONS.values():
        raise InputError("the augmentation has no name; add it to al_jax.AUGMENTATIONS first")


def to_json(config: Config) -> dict[str, Any]:
    """The settings as plain JSON, which `from_json` reads."""
    training, augmentation = config.training, config.training.augmentation
    plain = {f.name: getattr(training, f.name) for f in dataclasses.fields(training)}
    if type(augmentation) is Table1:
        plain["augmentation"] = {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in dataclasses.asdict(augmentation).items()
        }
    else:
        plain["augmentation"] = name_of(augmentation, AUGMENTATIONS)
        plain["augmentation_digest"] = source_digest(augmentation)
    network = {"network": name_of(config.network, NETWORKS)}
    if config.network not in OWN_NETWORKS.values():
        network["network_digest"] = source_digest(config.network)
    return network | {
        "training": plain,
        "query": dataclasses.asdict(config.query),
        "annotator": dataclasses.asdict(config.annotator),
    }


FORMER = {"reduction": "downsampling", "glance": "review_cost", "tremor": "outline_noise"}
"""Names that fields had in older files."""


def from_json(data: Mapping[str, Any]) -> Config:
    """The settings that `to_json` wrote, whatever bundles their names were in.

    Raises:
      InputError: a value is not allowed, or a network or an augmentation is unknown here, or has
        another source than it had.
    """
    # Files that say nothing of neighbours are from before there were any.
    given = {"neighbours": False}
    given |= {FORMER.get(name, name): value for name, value in flatten(data).items()}
    known = {field.name for field, _ in leaves(DEFAULT)} | {"augmentation"}
    try:
        config = changed(
            DEFAULT,
            {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in given.items()
                if name in known
            },
        )
    except ValueError as error:
        raise InputError(f"{error}; name what defines it with --plugin") from error
    objects = {"network": config.network, "augmentation": config.training.augmentation}
    for name, thing in objects.items():
        if given.get(f"{name}_digest") not in (None, source_digest(thing)):
            raise InputError(
                f"{name} '{given[name]}' has changed since this was written; take the plugin as it "
                "was, or begin anew"
            )
    return config


def flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under their own names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= flatten(value) if isinstance(value, Mapping) else {name: value}
    return flat


def model_of(config: Config, num_classes: int, loss: Loss = partial_cross_entropy) -> ModelConfig:
    """The network for so many classes, the settings of its training, and its loss."""
    return ModelConfig(config.network(num_classes), config.training, loss)


class Keys(struct.PyTreeNode):
    """The keys of a run; none depends on the strategy, so strategies share start and network."""

    start: jax.Array
    weights: jax.Array
    training: jax.Array
    priority: jax.Array
    person: jax.Array


def make_keys(key: jax.Array) -> Keys:
    """All keys of the run that `key` names."""
    start_key, weights, training, priority = jax.random.split(key, 4)
    person = jax.random.fold_in(key, 4)
    return Keys(
        start=start_key, weights=weights, training=training, priority=priority, person=person
    )
