"""What `--from` names: the experience of prior stacks, and a network's weights to begin with."""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from al_jax.core.metrics import presence
from al_jax.core.stack import Images, InputError
from al_jax.core.state import ranges
from al_jax.files.reading import full_path
from al_jax.learner.config import Config, model_of
from al_jax.learner.transfer import (
    AGREES,
    EXPERIENCE,
    Experience,
    Prior,
    agreement,
    combine,
    fit_to,
    read_experience,
    with_experience,
)
from al_jax.model.networks import with_weights
from al_jax.simulation.runner import Adapt


def read_earlier(paths: Sequence[str] | None) -> Experience | None:
    """One experience of files, and of folders of runs or sessions; None where none is named.

    Raises:
      InputError: there is none, or they are of different networks.
    """
    if not paths:
        return None
    found = [_read(full_path(path)) for path in paths]
    for path, one in zip(paths, found, strict=True):
        if (one.network, one.convention) != (found[0].network, found[0].convention):
            raise InputError(f"--from: {path} is of another network than {paths[0]}; leave one out")
    return combine(found)


def _read(place: pathlib.Path) -> Experience:
    if not place.is_dir():
        return read_experience(place)
    # Most runs and workers name no folder, and need nothing of a session.
    from al_jax import session as sessions
    from al_jax.session.storage import SETTINGS

    if (place / SETTINGS).exists():
        return sessions.read_session(place).experience()
    return read_experience(place / EXPERIENCE)


def misfit(earlier: Experience, images: Images, in_range: np.ndarray, config: Config) -> str | None:
    """Why a stack begins from scratch in spite of `--from`, one line; None: the prior ones fit."""
    model = model_of(config, images.num_classes)
    found = agreement(earlier, images, in_range, model)
    if found >= AGREES:
        return None
    return (
        f"--from is of another kind of stack: what its network draws here agrees by {found:.0%} "
        f"with the outlines it knows, {AGREES:.0%} are needed; begun from scratch"
    )


def true_ranges(images: Images, truth: np.ndarray, margin: int) -> np.ndarray:
    """The ranges [N, C] bool of a stack whose truth is known, as in its simulation."""
    present = presence(np.asarray(truth), np.asarray(images.inside), images.num_classes)
    return np.asarray(ranges(present, margin))


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
