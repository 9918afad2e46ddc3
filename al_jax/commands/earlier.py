"""What `--from` names: the experience of prior stacks, and a network's weights to begin with."""

import functools
from collections.abc import Sequence

import numpy as np

from al_jax.core.stack import Images, InputError
from al_jax.learner import transfer
from al_jax.learner.config import Config
from al_jax.learner.transfer import Experience, Prior, combine, fit_to, with_experience
from al_jax.model.networks import with_weights
from al_jax.simulation.runner import Adapt


def read_earlier(paths: Sequence[str] | None) -> Experience | None:
    """One experience of files, and of folders of runs or sessions; None where none is named.

    Raises:
      InputError: there is none, or they are of different networks.
    """
    if not paths:
        return None
    # Most runs and workers name none, and need nothing of a session.
    from al_jax.session.beginning import experience_at

    found = [experience_at(path) for path in paths]
    for path, one in zip(paths, found, strict=True):
        if (one.network, one.convention) != (found[0].network, found[0].convention):
            raise InputError(f"--from: {path} is of another network than {paths[0]}; leave one out")
    return combine(found)


def misfit(earlier: Experience, images: Images, in_range: np.ndarray, config: Config) -> str | None:
    """Why a stack begins from scratch in spite of `--from`, one line; None: the prior ones fit."""
    line = transfer.misfit(earlier, images, in_range, config)
    return None if line is None else f"--from is {line}"


def known_of(earlier: Experience | None, names: Sequence[str]) -> Prior | None:
    """What is known of the classes `names` from prior stacks; None without any."""
    return None if earlier is None else fit_to(earlier, names)


def beginning(
    weights: dict[str, np.ndarray] | None, earlier: Experience | None, names: Sequence[str]
) -> Adapt | None:
    """The function from drawn weights to those that a network begins with; None: they stay."""
    if earlier is not None:
        return functools.partial(with_experience, experience=earlier, names=names)
    return None if weights is None else functools.partial(with_weights, weights=weights)
