"""What a simulation needs before its first training."""

import dataclasses
import os
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from al_jax.core.stack import InputError, Stack
from al_jax.core.state import ALState
from al_jax.core.strategies import Strategy
from al_jax.learner.config import Config, Keys, make_keys
from al_jax.learner.neighbours import make_fields
from al_jax.learner.transfer import Prior, settled_downsampling
from al_jax.model.inputs import Fields
from al_jax.model.resolution import downsample_sections, suited_sections
from al_jax.model.subsets import subset_width
from al_jax.simulation.annotator import perturb, start
from al_jax.simulation.task import Task, make_task

Tree = TypeVar("Tree")

_make_task = jax.jit(make_task, static_argnames="mesh", donate_argnames="stack")
_start = jax.jit(start)


class Prepared(NamedTuple):
    """A simulation before its training: its keys, its task, and the state after the start."""

    keys: Keys
    task: Task
    state: ALState


def prepare(
    key: jax.Array,
    stack: Stack,
    config: Config,
    *,
    prior: Prior | None = None,
    mesh: Mesh | None = None,
) -> Prepared:
    """A stack as the annotator knows it and the network sees it; use it outside jit.

    The network's resolution is chosen here, as it may depend on what is labelled at the start.

    Args:
      key: all randomness of the run.
      stack: with the truth of every section.
      config: its settings.
      prior: from prior stacks (`transfer.fit_to`), whose network the run begins with.
      mesh: devices that share the sections; the numbers agree to rounding.

    Raises:
      InputError: the stack has no outline.
    """
    # Names and colours are static: with them each stack would have a program of its own.
    bare = dataclasses.replace(stack, sections=(), colours=None, place=None)
    # A copy whose memory the task takes over, so that there is no second one.
    task = _make_task(jax.tree.map(jnp.array, bare), config=config, mesh=mesh)
    keys = make_keys(key)
    task = perturb(keys.person, task.replace(prior=prior), config.annotator)
    task = place(task, task.mesh)
    if float(task.total) == 0:
        raise InputError("no section shows two classes side by side; there is nothing to trace")
    state = _start(keys.start, task, config)
    sections = task.sections.replace(classes=subset_width(state.in_range, state.seen))
    if factor := settled_downsampling(config.training, prior):
        sections = downsample_sections(sections, factor)
    else:
        sections = suited_sections(sections, state.labels, state.seen.shape[1])
    return Prepared(keys, task.replace(sections=sections), state)


def wanted_fields(
    stack: Stack,
    config: Config,
    strategies: Iterable[Strategy],
    cache: str | os.PathLike | None = None,
) -> Fields | None:
    """The fields between neighbouring sections, for `with_fields`; None if nothing asks for them.

    Args:
      stack: that is simulated.
      config: its settings, whose `Query.neighbours` asks.
      strategies: that will run, of which one must, too.
      cache: see `neighbours.make_fields`, as for errors.
    """
    wanted = config.query.neighbours and any(strategy.neighbours for strategy in strategies)
    return make_fields(stack, cache) if wanted else None


def with_fields(prepared: Prepared, fields: Fields | None) -> Prepared:
    """A simulation in which outlines are carried along the fields between sections."""
    task = prepared.task
    sections = task.sections.replace(fields=place(fields, task.mesh))
    return prepared._replace(task=task.replace(sections=sections))


def place(tree: Tree, mesh: Mesh | None) -> Tree:
    """Copies arrays to every device of a mesh, once for all calls; without one they stay.

    The devices may be of several processes, which all have the same arrays.
    """
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) and leaf.is_fully_addressable:
            # Keys of one process alone are not put on the devices of others.
            data = jax.device_put(jax.random.key_data(leaf), everywhere)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(leaf, everywhere)

    return jax.tree.map(put, tree)
