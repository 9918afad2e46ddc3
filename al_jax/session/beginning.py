"""A new session, with what is known of its stack before the first question."""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping

import numpy as np

from al_jax.core.stack import Images
from al_jax.files.reading import full_path
from al_jax.learner.transfer import EXPERIENCE, Experience, read_experience
from al_jax.session.session import Session, open_session, read_session
from al_jax.session.storage import NOTHING, SETTINGS, Settings, create


def begin(
    folder: str | os.PathLike,
    images: Images,
    in_range: np.ndarray,
    settings: Settings,
    *,
    truth: np.ndarray | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    earlier: Experience | None = None,
    first: Callable[[Session], int] | None = None,
) -> int:
    """Makes a session whole or not at all; how many answers it begins with.

    Args:
      folder, images, in_range, settings, truth, weights, earlier: see `create`.
      first: stores what is known already, and says how many answers that is; None: nothing is.

    Raises:
      InputError: of `create`, or of `first`: then nothing of the session is left.
    """
    place = pathlib.Path(folder).expanduser()
    existed = os.path.lexists(place)
    create(folder, images, in_range, settings, truth=truth, weights=weights, earlier=earlier)
    if first is None:
        return 0
    try:
        with open_session(place) as session:
            return first(session)
    except BaseException:
        _empty(place, existed)
        raise


def experience_at(path: str | os.PathLike) -> Experience:
    """What an earlier stack taught, by the folder of its session or run, or by its file.

    Raises:
      InputError: there is none, or it is damaged.
    """
    place = full_path(path)
    if not place.is_dir():
        return read_experience(place)
    if (place / SETTINGS).exists():
        return read_session(place).experience()
    return read_experience(place / EXPERIENCE)


def _empty(folder: pathlib.Path, stays: bool) -> None:
    """Takes back a session that was just made; a folder that was there before stays, empty."""
    for path in folder.iterdir() if stays else [folder]:
        if path.name.casefold() in NOTHING:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
