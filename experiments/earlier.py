"""What `--from` names: experience of earlier stacks, and a network's weights to begin with."""

import functools
from collections.abc import Sequence

import numpy as np

from al_jax import session as sessions
from al_jax.driver import Adapt
from al_jax.experience import (
    EXPERIENCE,
    Experience,
    Known,
    combine,
    fit_to,
    read_experience,
    with_experience,
)
from al_jax.files.reading import full_path
from al_jax.networks import with_weights
from al_jax.session.folder import SETTINGS
from al_jax.stack import InputError


def read_earlier(paths: Sequence[str] | None) -> Experience | None:
    """One experience of files, and of folders of runs or sessions; None where none is named.

    Raises:
      InputError: there is none, or they are of different networks.
    """
    if not paths:
        return None
    found = []
    for path in paths:
        place = full_path(path)
        if (place / SETTINGS).exists():
            found.append(sessions.taught(sessions.read_session(place)))
        else:
            found.append(read_experience(place / EXPERIENCE if place.is_dir() else place))
    for path, one in zip(paths, found, strict=True):
        if (one.network, one.convention) != (found[0].network, found[0].convention):
            raise InputError(f"--from: {path} is of another network than {paths[0]}; leave one out")
    return combine(found)


def known_of(earlier: Experience | None, names: Sequence[str]) -> Known | None:
    """What earlier stacks say of the classes `names`; None without any."""
    return None if earlier is None else fit_to(earlier, names)


def beginning(
    weights: dict[str, np.ndarray] | None, earlier: Experience | None, names: Sequence[str]
) -> Adapt | None:
    """What makes of drawn weights those that a network begins with; None: they stay."""
    if earlier is not None:
        return functools.partial(with_experience, experience=earlier, names=names)
    return None if weights is None else functools.partial(with_weights, weights=weights)
