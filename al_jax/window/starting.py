"""From what a person fills in to a new session; no window is needed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from al_jax.core.answers import Span, given_ranges
from al_jax.core.stack import Images, InputError
from al_jax.files.inputs import is_volume, read_images
from al_jax.files.reading import full_path, with_notes
from al_jax.files.slicing import Cut
from al_jax.files.tables import table_of
from al_jax.learner.config import DEFAULT, Config, changed, warm_start
from al_jax.learner.transfer import Experience, describe_experience, misfit
from al_jax.session import Settings
from al_jax.session.beginning import begin, experience_at
from al_jax.session.ranges import ends, read_in_range


class Stack(NamedTuple):
    """What names a stack, as it was filled in; '' where nothing was.

    Attributes:
      sections: folder of images, volume, stack of pictures or npz.
      cut: which sections of a volume.
      classes: their names, one a line.
      table: of the classes, in place of these.
    """

    sections: str
    cut: Cut
    classes: str
    table: str


class Beginning(NamedTuple):
    """What else a session is made of.

    Attributes:
      folder: where it goes.
      ranges: a table, or ''.
      spans: first and last sections that were chosen, by class; in place of the table. None: of no
        class.
      earlier: folder of a session to start from, or ''.
    """

    folder: str
    ranges: str
    spans: Mapping[str, Span] | None
    earlier: str


def cuts(sections: str) -> bool:
    """Whether this is a volume, out of which sections are cut."""
    return full_path(sections).exists() and is_volume(sections)


def read_stack(stack: Stack) -> tuple[Images, list[str]]:
    """The sections with their classes, and what is to be said of them.

    Raises:
      InputError: something is missing, or a reader refuses it.
    """
    path = stack.sections.strip()
    if not path:
        raise InputError("The sections are missing; choose a folder of images, or a volume")
    if stack.table and stack.classes.strip():
        raise InputError("Name the classes or give a table of them, not both")
    own = full_path(path).suffix.lower() == ".npz" and not stack.classes.strip()
    names = stack.table or (None if own else table_of(stack.classes.splitlines()))
    cut = stack.cut if cuts(path) else None
    return with_notes(lambda: read_images(path, names, cut=cut))


def in_range_by(beginning: Beginning, images: Images, margin: int = 0) -> np.ndarray:
    """[N, C] bool, the sections on which each class may be.

    Raises:
      InputError: of the table, or of spans that leave a section to no class.
    """
    if beginning.spans is None and beginning.ranges:
        return read_in_range(beginning.ranges, images, margin)
    return given_ranges(beginning.spans or {}, images, margin)


def spans_by_table(ranges: str, images: Images) -> dict[str, Span]:
    """First and last sections of the classes that a table of ranges limits."""
    whole = (0, images.num_sections - 1)
    found = zip(images.names, ends(read_in_range(ranges, images)), strict=True)
    return {name: both for name, both in found if both not in (None, whole)}


def begin_session(beginning: Beginning, images: Images) -> list[str]:
    """Makes the session, or nothing; what is to be said of it.

    Raises:
      InputError: something is missing or does not fit.
    """
    if not beginning.folder.strip():
        raise InputError("Say where the session goes: a new folder")
    earlier = experience_at(beginning.earlier) if beginning.earlier else None
    config, notes = DEFAULT if earlier is None else _warm(earlier), list[str]()
    in_range = in_range_by(beginning, images, DEFAULT.query.margin)
    if earlier is not None:
        if (line := misfit(earlier, images, in_range, config)) is not None:
            earlier, config = None, DEFAULT
            notes.append(f"The earlier session is {line}")
        else:
            notes.append(describe_experience(earlier, images.names))
    begin(beginning.folder.strip(), images, in_range, Settings(0, config), earlier=earlier)
    return notes


def _warm(earlier: Experience) -> Config:
    """The settings of a session that goes on with the network of another one."""
    values = {"convention": earlier.convention, "network": earlier.network}
    try:
        return changed(warm_start(DEFAULT), values)
    except ValueError as error:
        raise InputError(
            f"the earlier session has the network '{earlier.network}', which is not known here; "
            "begin with the command, and its --plugin"
        ) from error
