"""Pre-training: one network trained on several fully labelled stacks, for further ones."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.boundary import shared_lengths
from al_jax.core.metrics import class_areas, presence
from al_jax.core.stack import UNLABELLED, InputError, Stack
from al_jax.core.state import PartialLabels, ranges
from al_jax.learner.config import Config, model_of, network_label
from al_jax.learner.learner import initial_rate
from al_jax.learner.transfer import Experience, flat_weights
from al_jax.model.inputs import Sections, make_sections
from al_jax.model.protocol import class_layers
from al_jax.model.resolution import (
    at_network_resolution,
    downsample_sections,
    labelled_extent,
    suited_downsampling,
)
from al_jax.model.training import TrainState, train


class Library(NamedTuple):
    """Labelled stacks as one, in the order of common class names.

    Attributes:
      names: of the C classes.
      sections: of all stacks, as the network sees them, on the largest one's canvas.
      labels: of all their pixels.
      stacks: [N] int32, which stack each section is of.
      lengths: [2, C, C] float32, the sums and counts behind B over all sections, in pixels of each
        stack.
      downsampling: the median of those of the stacks.
    """

    names: tuple[str, ...]
    sections: Sections
    labels: PartialLabels
    stacks: jax.Array
    lengths: np.ndarray
    downsampling: int


def make_library(stacks: Sequence[Stack], downsampling: int = 0) -> Library:
    """Stacks of any sizes and class orders; a class is the same where its name is.

    Args:
      stacks: fully labelled.
      downsampling: of images and labels; 0 for what suits each stack's structures.

    Raises:
      InputError: some are grey and others in colour.
    """
    names = tuple(dict.fromkeys(name for stack in stacks for name in stack.names))
    if len({stack.images.shape[3] for stack in stacks}) > 1:
        raise InputError("some stacks are grey and others in colour; take those of one kind")

    factors = [downsampling or _suited_downsampling(stack) for stack in stacks]

    def known(stack: Stack, factor: int) -> tuple[Sections, PartialLabels]:
        """A stack as the network sees it, and all its classes."""
        truth = np.where(stack.inside, _places(stack, names)[np.asarray(stack.truth)], UNLABELLED)
        there = presence(truth, stack.inside, len(names))
        everything = PartialLabels(
            labels=jnp.asarray(truth),
            seen=there,
            compatible=jnp.zeros_like(there),
            in_range=ranges(there),
        )
        return at_network_resolution(downsample_sections(make_sections(stack), factor), everything)

    parts = [known(stack, factor) for stack, factor in zip(stacks, factors, strict=True)]
    height, width = (max(seen.inside.shape[axis] for seen, _ in parts) for axis in (1, 2))

    def padded(array: jax.Array, fill: int = 0) -> jax.Array:
        pads = [(0, 0), (0, height - array.shape[1]), (0, width - array.shape[2])]
        pads += [(0, 0)] * (array.ndim - 3)
        return jnp.pad(array, pads, constant_values=fill)

    parts = [
        (
            seen.replace(images=padded(seen.images), inside=padded(seen.inside)),
            everything.replace(labels=padded(everything.labels, UNLABELLED)),
        )
        for seen, everything in parts
    ]
    sections, labels = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    owner = np.repeat(np.arange(len(stacks)), [stack.num_sections for stack in stacks])
    return Library(
        names=names,
        sections=sections,
        labels=labels,
        stacks=jnp.asarray(owner, jnp.int32),
        lengths=np.sum([_lengths(stack, names) for stack in stacks], 0),
        downsampling=int(np.median(factors)),
    )


def _places(stack: Stack, names: Sequence[str]) -> np.ndarray:
    """Where the classes of a stack are among `names`; int16."""
    return np.array([names.index(name) for name in stack.names], np.int16)


def _suited_downsampling(stack: Stack) -> int:
    labels = jnp.where(stack.inside, stack.truth, UNLABELLED)
    return suited_downsampling(*labelled_extent(labels, num_classes=stack.num_classes))


def _lengths(stack: Stack, names: Sequence[str]) -> np.ndarray:
    """[2, C, C] float32, the sums and counts behind B over a stack's sections, pixels."""

    def one(section: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        lengths = shared_lengths(*section, stack.num_classes)
        there = class_areas(*section, stack.num_classes) > 0
        pairs = there[:, None] & there[None, :]
        return lengths * pairs, pairs.astype(jnp.float32)

    found = jax.lax.map(one, (jnp.asarray(stack.truth), jnp.asarray(stack.inside)))
    place, both = _places(stack, names), np.zeros((2, len(names), len(names)), np.float32)
    both[:, place[:, None], place] = [np.asarray(x).sum(0) for x in found]
    return both


def pretrain(
    key: jax.Array,
    train_state: TrainState,
    library: Library,
    config: Config,
    *,
    first_step: jax.Array | int = 0,
    steps: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """`learner.fit_initial` on a library: balanced over its stacks, their classes and sections."""
    return train(
        key,
        train_state,
        library.sections,
        library.labels,
        model_of(config, len(library.names)),
        steps=config.training.initial_steps if steps is None else steps,
        learning_rate=initial_rate(config.training),
        first_step=first_step,
        stacks=library.stacks,
    )


def experience_from(
    train_state: TrainState, library: Library, dice: np.ndarray, config: Config
) -> Experience:
    """The experience of a network that was trained on a library.

    Args:
      train_state: from `pretrain`.
      library: the stacks.
      dice: [C], of the network on a stack that it was not trained on; NaN: not known.
      config: of the training.
    """
    return Experience(
        names=library.names,
        weights=flat_weights(train_state.params),
        network=network_label(config.network),
        convention=config.training.convention,
        downsampling=library.downsampling,
        class_layers=class_layers(config.network(len(library.names))),
        lengths=library.lengths,
        offered=np.zeros((2, len(library.names)), np.float32),
        dice=np.asarray(dice, np.float32),
    )
