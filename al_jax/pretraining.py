"""A starting point from stacks that are labelled whole: one network, trained on all alike."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.boundary import shared_lengths
from al_jax.experience import Experience, flat_weights
from al_jax.learner import Lessons, first_rate
from al_jax.metrics import presence
from al_jax.stack import UNLABELLED, InputError, Stack, make_images
from al_jax.state import PartialLabels, ranges
from al_jax.training import Sections, TrainState, make_sections, train


class Library(NamedTuple):
    """Labelled stacks as one, in the order of common class names.

    Attributes:
      names: of the C classes.
      sections: of all stacks, on the largest one's canvas.
      labels: what is known of them: everything.
      stacks: [N] int32, which stack each section is of.
    """

    names: tuple[str, ...]
    sections: Sections
    labels: PartialLabels
    stacks: jax.Array


def make_library(stacks: Sequence[Stack]) -> Library:
    """Stacks of any sizes and class orders; a class is the same where its name is.

    Raises:
      InputError: some are grey and others in colour.
    """
    names = tuple(dict.fromkeys(name for stack in stacks for name in stack.names))
    height, width = (max(stack.inside.shape[axis] for stack in stacks) for axis in (1, 2))
    if len({stack.images.shape[3] for stack in stacks}) > 1:
        raise InputError("some stacks are grey and others in colour; take those of one kind")

    def padded(array: np.ndarray, fill: int) -> np.ndarray:
        pads = [(0, 0), (0, height - array.shape[1]), (0, width - array.shape[2])]
        pads += [(0, 0)] * (array.ndim - 3)
        return np.pad(np.asarray(array), pads, constant_values=fill)

    parts = []
    for stack in stacks:
        place = np.array([names.index(name) for name in stack.names], np.int16)
        truth = np.where(stack.inside, place[np.asarray(stack.truth)], UNLABELLED)
        there = np.zeros((stack.num_sections, len(names)), bool)
        there[:, place] = np.asarray(presence(stack.truth, stack.inside, stack.num_classes))
        parts.append(
            (
                padded(stack.images, 0),
                padded(stack.inside, 0),
                padded(truth, UNLABELLED),
                there,
                np.asarray(ranges(there)),
            )
        )
    images, inside, truth, there, in_range = (np.concatenate(x) for x in zip(*parts, strict=True))
    owner = np.repeat(np.arange(len(stacks)), [stack.num_sections for stack in stacks])
    return Library(
        names=names,
        sections=make_sections(make_images(images, names, inside)),
        labels=PartialLabels(
            labels=jnp.asarray(truth),
            seen=jnp.asarray(there),
            compatible=jnp.zeros(there.shape, bool),
            in_range=jnp.asarray(in_range),
        ),
        stacks=jnp.asarray(owner, jnp.int32),
    )


def pretrain(
    key: jax.Array,
    train_state: TrainState,
    library: Library,
    lessons: Lessons,
    *,
    first_step: jax.Array | int = 0,
    steps: int | None = None,
) -> tuple[TrainState, jax.Array]:
    """`learner.learn_first` on a library: balanced over its stacks, their classes and sections."""
    return train(
        key,
        train_state,
        library.sections,
        library.labels,
        lessons.recipe,
        steps=lessons.initial_steps if steps is None else steps,
        learning_rate=first_rate(lessons),
        first_step=first_step,
        stacks=library.stacks,
    )


def library_lengths(library: Library) -> np.ndarray:
    """[2, C, C] float32, the sums and counts behind B over all sections of a library, pixels."""
    classes = len(library.names)

    def one(section: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        labels, inside, there = section
        lengths = shared_lengths(labels, inside, classes)
        pairs = there[:, None] & there[None, :]
        return lengths * pairs, pairs.astype(jnp.float32)

    inputs = (library.labels.labels, library.sections.inside, library.labels.seen)
    return np.stack([np.asarray(x).sum(0) for x in jax.lax.map(one, inputs)])


def experience_from(
    train_state: TrainState, library: Library, dice: np.ndarray, network: str, convention: str
) -> Experience:
    """What a library teaches.

    Args:
      train_state: from `pretrain`.
      library: the stacks.
      dice: [C], of the network on a stack that it was not trained on; NaN: not known.
      network, convention: of `Experience`.
    """
    return Experience(
        names=library.names,
        weights=flat_weights(train_state.params),
        network=network,
        convention=convention,
        lengths=library_lengths(library),
        offered=np.zeros((2, len(library.names)), np.float32),
        dice=np.asarray(dice, np.float32),
    )
