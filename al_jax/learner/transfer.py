"""Transfer from prior stacks to the next one (the paper's outlook), by class name.

An `Experience` holds a network's weights, the sums behind B and the Dice of each structure.
`fit_to` puts it into the order of another stack's classes; new classes start as in the paper.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct, traverse_util

from al_jax.core.boundary import outline_lengths
from al_jax.core.names import number_of
from al_jax.core.stack import Images, InputError, evenly_spaced
from al_jax.core.state import ALState, PartialLabels, init_state, partial_labels
from al_jax.files.atomic import write_npz
from al_jax.files.claims import check_archive
from al_jax.files.reading import full_path, reading
from al_jax.learner.config import Config, model_of, network_label
from al_jax.learner.learner import Learner
from al_jax.model.config import ModelConfig, Training
from al_jax.model.inputs import Sections, make_sections
from al_jax.model.prediction import Prediction, predict
from al_jax.model.protocol import class_layers, init_params
from al_jax.model.resolution import downsample_sections
from al_jax.model.subsets import subset_width

SECTIONS = 3.0
"""The weight of a mean length of prior stacks, at most, in sections of the stack at hand."""

MOST = 12
"""How many classes a message names, at most."""

JUDGED = 24
"""On how many sections of a new stack, at most, its `agreement` is measured."""

AGREES = 0.4
"""With less `agreement` a stack begins from scratch, which then costs less than the transfer."""

FORM = 1
"""Number of an experience's form, which stands in its file; a later one is not read."""

EXPERIENCE = "experience.npz"
"""The name of its file in the folder of a run or a session."""


class Experience(NamedTuple):
    """What is transferred from a stack of C classes.

    Attributes:
      names: of the classes, in the order of the arrays.
      weights: of the network, by layer and part with a `/` between.
      network: of `config.network_label`.
      convention: of `inputs.network_input`.
      downsampling: of sections for it.
      class_layers: its layers with an output for each class (`protocol.Network`).
      lengths: [2, C, C] float32, sums and counts behind B, pixels.
      offered: [2, C] float32, see `state.ALState`.
      dice: [C] float32, of the network's predictions of what was not labelled; NaN: not known.
    """

    names: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    network: str
    convention: str
    downsampling: int
    class_layers: tuple[str, ...]
    lengths: np.ndarray
    offered: np.ndarray
    dice: np.ndarray


class Prior(struct.PyTreeNode):
    """What the method needs of an experience, in the order of a stack's classes.

    Attributes:
      lengths: [2, C, C] float32, sums and counts behind B, of at most `SECTIONS` each.
      offered: [2, C] float32, pixels of at most `SECTIONS` outlines.
      dice: [C] float32, NaN where it is not known.
      downsampling: of sections for its network, static.
    """

    lengths: jax.Array
    offered: jax.Array
    dice: jax.Array
    downsampling: int = struct.field(pytree_node=False, default=1)


def settled_downsampling(training: Training, prior: Experience | Prior | None) -> int:
    """The downsampling that is known before anything is labelled; 0: it is not known yet."""
    return training.downsampling or (0 if prior is None else prior.downsampling)


def experience_of(
    state: ALState, learner: Learner, names: Sequence[str], config: Config, downsampling: int
) -> Experience:
    """The experience of a run or a session, for the next one.

    Args:
      state, learner: at its end.
      names: of its classes.
      config: its settings.
      downsampling: of its sections (`inputs.Sections`).
    """
    return Experience(
        names=tuple(names),
        weights=flat_weights(learner.train.params),
        network=network_label(config.network),
        convention=config.training.convention,
        downsampling=downsampling,
        class_layers=class_layers(config.network(len(names))),
        lengths=np.stack([state.length_sum, state.length_count]),
        offered=np.asarray(state.offered),
        dice=np.where(np.diagonal(state.length_count) > 0, learner.dice[0], np.nan),
    )


def fit_to(experience: Experience, names: Sequence[str]) -> Prior:
    """What is known of the classes `names`; for new ones lengths are zero and Dice is NaN.

    Lengths are means that count for few sections (`SECTIONS`), so that the stack at hand soon
    outweighs them.
    """
    old = _places(experience.names, names)
    both = np.ix_(old, old)
    sums, counts = (
        np.where((old[:, None] >= 0) & (old >= 0), x[both], 0) for x in experience.lengths
    )
    bounded = np.minimum(counts, SECTIONS)
    mean = sums / np.maximum(counts, 1)
    offered = np.where(old >= 0, experience.offered[:, old], 0)
    most = SECTIONS * np.diagonal(mean)
    offered *= np.minimum(most / np.maximum(offered[0], 1), 1)
    dice = np.where(old >= 0, experience.dice[old], np.nan)
    return Prior(
        lengths=jnp.asarray(np.stack([mean * bounded, bounded]), jnp.float32),
        offered=jnp.asarray(offered, jnp.float32),
        dice=jnp.asarray(dice, jnp.float32),
        downsampling=experience.downsampling,
    )


def outlined(experience: Experience) -> tuple[str, ...]:
    """The classes of which it knows an outline; any other one is new to it."""
    known = np.diagonal(experience.lengths[1]) > 0
    return tuple(name for name, one in zip(experience.names, known, strict=True) if one)


def describe_experience(experience: Experience, names: Sequence[str]) -> str:
    """What is transferred to a stack of the classes `names`, one line."""
    known = outlined(experience)
    old = [name for name in names if number_of(name, known) is not None]
    new = [name for name in names if name not in old]
    sections = int(np.diagonal(experience.lengths[1]).max(initial=0))
    line = f"begun from earlier stacks (outlines on {sections} sections): classes {_listed(old)}"
    return f"{line}; new: {_listed(new)}"


def with_prior(state: ALState, prior: Prior) -> ALState:
    """A state whose B begins with the outlines of prior stacks."""
    sums, counts = prior.lengths
    return state.replace(length_sum=sums, length_count=counts, offered=prior.offered)


def with_experience(
    params: chex.ArrayTree, experience: Experience, names: Sequence[str]
) -> chex.ArrayTree:
    """The weights of an experience, in a network for the classes `names`.

    Args:
      params: of such a network, which new classes keep.
      experience: what is transferred.
      names: C classes.

    Raises:
      InputError: it is of another network.
    """
    old, flat = _places(experience.names, names), traverse_util.flatten_dict(params, sep="/")
    found = {}
    for path, current in flat.items():
        if path not in experience.weights:
            raise InputError(f"the weights have no '{path}'; they are of another network")
        value = np.asarray(experience.weights[path])
        by_class = bool(set(path.split("/")) & set(experience.class_layers))
        if by_class:
            value = value[..., old]
        if value.shape != current.shape:
            raise InputError(
                f"'{path}' of the weights has shape {list(value.shape)}, the network "
                f"{list(current.shape)}; take the network that they are of"
            )
        merged = jnp.where(old >= 0, value, current) if by_class else value
        found[path] = jnp.asarray(merged, current.dtype)
    return traverse_util.unflatten_dict(found, sep="/")


def agreement(
    experience: Experience, images: Images, in_range: chex.Array, model: ModelConfig
) -> float:
    """How similar a new stack is to the prior ones, 0 to 1; nothing of it need be labelled.

    The outlines of the network's own segmentation are compared with those of prior stacks: on each
    section the shorter length over the longer. Of each structure the upper quartile over its range
    counts, as a range may be wider than the structure.

    Args:
      experience: what would be transferred.
      images: N sections, of which `JUDGED` are measured if there are more.
      in_range: [N, C] bool.
      model: of the network that would begin with it.

    Returns:
      The mean over the structures that are known; 0 if none is.
    """
    shapes = jax.eval_shape(lambda key: init_params(key, model.network), jax.random.key(0))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    params = with_experience(nothing, experience, images.names)
    shown = evenly_spaced(images.num_sections, JUDGED)
    pixels, inside = np.asarray(images.images[shown]), np.asarray(images.inside[shown])
    may = np.asarray(in_range)[shown]
    partial = partial_labels(init_state(jax.random.key(0), inside, may))
    judged = dataclasses.replace(images, images=pixels, inside=inside, sections=())
    factor = settled_downsampling(model.training, experience)
    seen = make_sections(judged).replace(classes=subset_width(partial.in_range, partial.seen))
    sections = downsample_sections(seen, factor)
    drawn = np.asarray(_outlines(params, sections, partial, model))
    sums, counts = (np.diagonal(x) for x in fit_to(experience, images.names).lengths)
    expected = sums / np.maximum(counts, 1)
    ratio = np.minimum(drawn, expected) / np.maximum(np.maximum(drawn, expected), 1)
    known = (counts > 0) & may.any(0)
    quartiles = [np.quantile(ratio[may[:, c], c], 0.75) for c in np.flatnonzero(known) if c]
    return float(np.mean(quartiles)) if quartiles else 0.0


def misfit(earlier: Experience, images: Images, in_range: chex.Array, config: Config) -> str | None:
    """Why a stack begins from scratch in spite of prior ones, one line; None: they fit."""
    found = agreement(earlier, images, in_range, model_of(config, images.num_classes))
    if found >= AGREES:
        return None
    return (
        f"of another kind of stack: what its network draws here agrees by {found:.0%} with the "
        f"outlines it knows, {AGREES:.0%} are needed; begun from scratch"
    )


@jax.jit
def _outlines(
    params: chex.ArrayTree, sections: Sections, partial: PartialLabels, model: ModelConfig
) -> jax.Array:
    """[N, C], outline lengths of the network's own segmentation, pixels."""
    classes = partial.in_range.shape[1]

    def drawn(prediction: Prediction, inside: jax.Array) -> jax.Array:
        return outline_lengths(prediction.unclamped, inside, classes)

    key, aux = jax.random.key(0), sections.inside
    return predict(key, params, sections, partial, model, reduce_fn=drawn, aux=aux)


def combine(several: Sequence[Experience]) -> Experience:
    """One experience: the first, with the outlines of its classes in the others added.

    Its network is the first one's; `pretraining.pretrain` trains one on several stacks.
    """
    first = several[0]
    lengths, offered = np.zeros_like(first.lengths), np.zeros_like(first.offered)
    for one in several:
        place = _places(one.names, first.names)
        own = np.flatnonzero(place >= 0)
        lengths[:, own[:, None], own] += one.lengths[:, place[own][:, None], place[own]]
        offered[:, own] += one.offered[:, place[own]]
    return first._replace(lengths=lengths, offered=offered)


def flat_weights(params: chex.ArrayTree) -> dict[str, np.ndarray]:
    """A network's weights by their paths, as in `Experience.weights`."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return {path: np.asarray(value) for path, value in flat.items()}


def write_experience(path: str | os.PathLike, experience: Experience) -> None:
    """Writes an npz atomically; equal experiences give equal bytes."""
    arrays: dict[str, Any] = {f"weights/{k}": v for k, v in experience.weights.items()}
    fields = experience._asdict()
    del fields["weights"]
    write_npz(path, arrays | fields | {"form": FORM})


def read_experience(path: str | os.PathLike) -> Experience:
    """Reads what `write_experience` wrote.

    Raises:
      InputError: the file is missing, damaged, or holds something else.
    """
    check_archive(path)
    with reading(path, "an experience"), np.load(full_path(path), allow_pickle=False) as archive:
        arrays = dict(archive)
        newer = int(arrays.get("form", 0)) > FORM  # older ones have none
    if newer:
        raise InputError(f"{path}: is of a newer version; use that one")
    prefix = "weights/"
    weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    # As they were in older files.
    arrays.setdefault("downsampling", arrays.get("reduction", np.array(1)))
    arrays.setdefault("class_layers", np.array(["score2", "score3", "score4", "score5"]))
    missing = set(Experience._fields) - {"weights"} - set(arrays)
    if missing or not weights:
        raise InputError(f"{path}: holds no experience of an earlier stack; name one")
    names = tuple(arrays["names"].tolist())
    shapes = {"lengths": (2, len(names), len(names)), "offered": (2, len(names))}
    shapes["dice"] = (len(names),)
    for name, shape in shapes.items():
        array, unknown = arrays[name], name == "dice"
        expected = array.dtype.kind == "f" and array.shape == shape
        if not expected or not np.isfinite(array[~np.isnan(array)] if unknown else array).all():
            raise InputError(f"{path}: '{name}' is damaged; export it again")
    factor = arrays["downsampling"]
    if factor.dtype.kind not in "iu" or factor.shape or factor < 1:
        raise InputError(f"{path}: 'downsampling' is damaged; export it again")
    if not all(v.dtype.kind == "f" and np.isfinite(v).all() for v in weights.values()):
        raise InputError(f"{path}: its weights are not finite; export it again")
    return Experience(
        names=names,
        weights=weights,
        network=str(arrays["network"]),
        convention=str(arrays["convention"]),
        downsampling=int(factor),
        class_layers=tuple(arrays["class_layers"].tolist()),
        lengths=arrays["lengths"],
        offered=arrays["offered"],
        dice=arrays["dice"],
    )


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - MOST} more"] if len(names) > MOST else []
    return ", ".join([*names[:MOST], *more]) or "none"


def _places(earlier: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Where each of `names` is among the earlier ones, -1 if it is not; [C]."""
    found = (number_of(name, earlier) for name in names)
    return np.array([-1 if number is None else number for number in found])
