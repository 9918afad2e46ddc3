"""All settings of a run or a session, their presets, and the keys of its randomness."""

import dataclasses

import jax
from flax import struct

from al_jax.core.boundary import DIRECTIONS
from al_jax.core.strategies import STRATEGIES
from al_jax.learner.learner import ESTIMATES, SCHEDULES, Lessons
from al_jax.model.networks import make_network
from al_jax.model.training import Recipe, Training, steps_per_epoch

DICE_OVER = ("sections", "stack")
STARTS = ("central", "needed", "none")


@dataclasses.dataclass(frozen=True)
class Person:
    """Who answers in a simulation; hashable, static under jit.

    Attributes:
      correct: the person sees the network's proposal, and corrects it where that is less to draw.
      tolerance: pixels; outline of the answer that is as near to the proposal's is kept as it is.
      glance: cost of looking at a proposal that is corrected or accepted, pixels of outline.
      tremor: standard deviation in pixels of the smooth field by which outlines are displaced. A
        section has one field, so that structures stay side by side.
      skips: share of the pairs that are answered only when nothing else is left to ask.
      range_errors: share of the ends of structures' ranges that are said a section too far out or,
        as often, too far in.
    """

    correct: bool = False
    tolerance: int = 1
    glance: float = 5.0
    tremor: float = 0.0
    skips: float = 0.0
    range_errors: float = 0.0

    def __post_init__(self) -> None:
        """Refuses negative numbers, and shares above 1."""
        if min(self.tolerance, self.glance, self.tremor, self.skips, self.range_errors) < 0:
            raise ValueError("what a person does is told by numbers of at least 0")
        if max(self.skips, self.range_errors) > 1:
            raise ValueError("skips and range_errors are shares, at most 1")


@dataclasses.dataclass(frozen=True)
class Config:
    """A simulation but for its stack, strategy and key; hashable, static under jit.

    Attributes:
      network: a key of `networks.NETWORKS`.
      initial_steps, query_steps, learning_rate, query_learning_rate, schedule, dice_estimate: as
        of `learner.Lessons`.
      alpha: of Eq. 6.
      min_effort: lower bound of a predicted effort, pixels.
      length: 'crack' or 'crofton'.
      margin: sections added to both ends of each structure's range.
      dropout_samples: S of Eq. 9.
      dice_over: the reported Dice of a class is a mean over 'sections' or pooled over the 'stack'.
      count_background: whether the reported Dice averages over the background too.
      person: who answers.
      start: what is traced before the first query, of `STARTS`: a 'central' section of each
        structure, that of structures of which nothing is known from earlier stacks ('needed'), or
        'none'.
      training: of the network.
    """

    network: str = "small"
    initial_steps: int = Lessons.initial_steps
    query_steps: int = Lessons.query_steps
    learning_rate: float = Lessons.learning_rate
    query_learning_rate: float = Lessons.query_learning_rate
    schedule: str = Lessons.schedule
    alpha: float = 0.5
    dice_estimate: str = Lessons.dice_estimate
    min_effort: float = 1.0
    length: str = "crack"
    margin: int = 0
    dropout_samples: int = 20
    dice_over: str = "sections"
    count_background: bool = False
    person: Person = Person()
    start: str = "central"
    training: Training = dataclasses.field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuses unknown names, and trainings without a step."""
        if self.initial_steps < 0 or self.query_steps < 1:
            raise ValueError("initial_steps must be at least 0 and query_steps at least 1")
        for field, known in (
            ("dice_estimate", ESTIMATES),
            ("schedule", SCHEDULES),
            ("dice_over", DICE_OVER),
            ("length", tuple(DIRECTIONS)),
            ("start", STARTS),
        ):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} '{getattr(self, field)}' is not of {', '.join(known)}")
        if self.person.correct and self.length != "crack":
            raise ValueError("what is kept of a proposal is counted in cracks; set length='crack'")


DEFAULT = Config()
PRESETS = ("default", "paper")


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
    training = Training(reduction=1, crop=128, batch=8, balanced=0.0, optimiser="sgd")
    epoch = steps_per_epoch(num_sections, training.batch)
    return Config(
        network="full",
        initial_steps=3000 * epoch,
        query_steps=10 * epoch,
        learning_rate=0.05,
        query_learning_rate=0.005,
        schedule="constant",
        dice_estimate="fit",
        training=training,
    )


def recipe_of(num_classes: int, config: Config, loss: str = "partial") -> Recipe:
    """The network for so many classes, and how it is trained."""
    return Recipe(make_network(config.network, num_classes), config.training, loss)


def lessons_for(num_classes: int, config: Config, strategy: str = "BDa") -> Lessons:
    """The same of any stack of so many classes."""
    method = STRATEGIES[strategy]
    return Lessons(
        recipe=recipe_of(num_classes, config, method.loss),
        initial_steps=config.initial_steps,
        query_steps=config.query_steps,
        learning_rate=config.learning_rate,
        query_learning_rate=config.query_learning_rate,
        schedule=config.schedule,
        dice_estimate=config.dice_estimate,
        entropy=method.entropy,
        dropout_samples=config.dropout_samples if method.dropout else 0,
    )


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
