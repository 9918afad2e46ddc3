"""Training on partial labels (paper, section 2.4.2)."""

import functools

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from al_jax.core.losses import batch_mean
from al_jax.core.state import PartialLabels
from al_jax.model.config import ModelConfig, Training, steps_per_epoch
from al_jax.model.crops import Batch, random_batch
from al_jax.model.inputs import Sections
from al_jax.model.protocol import decode, encode, init_params
from al_jax.model.resolution import at_network_resolution


class TrainState(struct.PyTreeNode):
    """Network weights and the optimiser's memory: momentum, or Adam's two moments."""

    params: chex.ArrayTree
    momentum: optax.OptState


def optimiser(training: Training) -> optax.GradientTransformation:
    """The optimiser but for the learning rate, by which `train_step` multiplies its update."""
    decay = optax.add_decayed_weights(
        training.weight_decay,
        mask=functools.partial(jax.tree.map, lambda weights: weights.ndim > 1),
    )
    clip = optax.clip_by_global_norm(training.clip)
    if training.optimiser == "sgd":
        return optax.chain(decay, clip, optax.trace(training.momentum))
    return optax.chain(clip, optax.scale_by_adam(), decay)


def init_train_state(
    key: jax.Array, model: ModelConfig, params: chex.ArrayTree | None = None
) -> TrainState:
    """Weights drawn from `key` (or the given `params`), and zero momentum."""
    if params is None:
        params = init_params(key, model.network)
    return TrainState(params=params, momentum=optimiser(model.training).init(params))


def train_step(
    key: jax.Array, state: TrainState, batch: Batch, model: ModelConfig, learning_rate: float
) -> tuple[TrainState, jax.Array]:
    """One step on a batch; `key` draws the dropout. Returns the new state and the loss."""

    def objective(params: chex.ArrayTree) -> jax.Array:
        features = encode(model.network, params, batch.inputs)
        size = batch.labels.shape[1:]
        logits = decode(model.network, params, features, size, key, classes=batch.classes)
        return batch_mean(model.loss, logits, batch.labels, batch.compatible, batch.inside)

    value, gradient = jax.value_and_grad(objective)(state.params)
    update, momentum = optimiser(model.training).update(gradient, state.momentum, state.params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, update)
    return TrainState(params=params, momentum=momentum), value


def train(
    key: jax.Array,
    state: TrainState,
    sections: Sections,
    partial: PartialLabels,
    model: ModelConfig,
    *,
    steps: int,
    learning_rate: float | optax.Schedule,
    first_step: jax.Array | int = 0,
    stacks: jax.Array | None = None,
) -> tuple[TrainState, jax.Array]:
    """Steps on batches of crops; every ceil(N / batch) of them pass over all sections once.

    Args:
      key: randomness; step k uses `fold_in(key, k)`, so a training may be cut into pieces.
      state: weights and the optimiser's memory.
      sections: the stack.
      partial: what is labelled.
      model: the network, its training and its loss.
      steps, first_step: how many (static), and the number of the first.
      learning_rate: a number, or a function of the step's number.
      stacks: [N] int32, the stack of each section, if there are several (`random_batch`).

    Returns:
      The new state, and the loss of every step [steps] float32.
    """
    sections, partial = at_network_resolution(sections, partial)
    num_sections, batch = partial.labels.shape[0], model.training.batch
    per_epoch = steps_per_epoch(num_sections, batch)
    key_order, key_steps = jax.random.split(key)

    def step(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        key_crop, key_dropout = jax.random.split(jax.random.fold_in(key_steps, number))
        epoch, place = jnp.divmod(number, per_epoch)
        order = jax.random.permutation(jax.random.fold_in(key_order, epoch), num_sections)
        chosen = order[(place * batch + jnp.arange(batch)) % num_sections]
        crops = random_batch(key_crop, sections, partial, chosen, model.training, stacks)
        rate = learning_rate(number) if callable(learning_rate) else learning_rate
        return train_step(key_dropout, state, crops, model, rate)

    return jax.lax.scan(step, state, first_step + jnp.arange(steps))


def reset_momentum(state: TrainState, training: Training) -> TrainState:
    """The state to begin fine-tuning with: the same weights, and no momentum of 'sgd'.

    The moments of 'adamw' stay: without them its first steps would be as long as its rate allows,
    in directions of single batches.
    """
    if training.optimiser == "adamw":
        return state
    return state.replace(momentum=jax.tree.map(jnp.zeros_like, state.momentum))
