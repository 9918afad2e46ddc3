"""A session on disk: what is annotated, and the settings; the ledger has a module of its own.

Sections are kept as `.npy`, which is mapped into memory: of a large stack only what is used is
read (an npz would have to be unpacked), and a network's training uses the file's own pages.
"""

import dataclasses
import json
import mmap
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from al_jax.core.identity import source_digest
from al_jax.core.stack import Images, InputError, Place
from al_jax.core.strategies import OWN_STRATEGIES, STRATEGIES, SEr, Strategy
from al_jax.files.atomic import temporary_beside, to_disk
from al_jax.files.reading import reading
from al_jax.files.spreadsheets import table
from al_jax.learner.config import DEFAULT, Config, check_registered, from_json, name_of, to_json
from al_jax.learner.transfer import Experience, read_experience, write_experience
from al_jax.session import ledger
from al_jax.session.ranges import ends

FORM = 1
"""Number of the folder's form; a later one is not read by this version."""

SETTINGS, CLASSES = "session.json", "classes.csv"
EARLIER = "earlier.npz"
NOTHING = frozenset(
    (
        *("lost+found", ".ds_store", ".localized", "desktop.ini", "thumbs.db", ".directory"),
        *(".stfolder", ".stignore", ".dropbox", ".fseventsd", ".spotlight-v100", ".trashes"),
        *("system volume information", "$recycle.bin"),
    )
)
"""What systems and synchronisers put into empty folders and file systems."""

IMAGES, INSIDE, TRUTH, WEIGHTS = "images.npy", "inside.npy", "truth.npy", "weights.npz"


COSTS = ("pixels", "seconds")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a session needs to know besides its images; it never changes.

    Attributes:
      seed: of all randomness, as in a simulation.
      config: as in a simulation; 'length' is 'crack'.
      strategy: what asks: by default the one that needs the least effort of those that know no
        truth.
      cost: of `COSTS`, what it should need least of: pixels of outline, or the person's seconds, to
        which what an answer takes beyond its outline is added.
    """

    seed: int = 0
    config: Config = DEFAULT
    strategy: Strategy = SEr
    cost: str = "pixels"

    def __post_init__(self) -> None:
        """Refuses a strategy that needs the truth."""
        if "hindsight" in self.strategy.reads:
            raise InputError("a strategy that reads 'hindsight' needs the truth; take another one")
        if self.strategy not in STRATEGIES.values():
            raise InputError("the strategy has no name; add it to al_jax.STRATEGIES first")
        if self.cost not in COSTS:
            raise InputError(f"cost '{self.cost}' is not one of {', '.join(COSTS)}")
        check_registered(self.config)


class Content(NamedTuple):
    """A folder as it is read.

    Attributes:
      images: mapped into memory.
      in_range: [N, C] bool, the ranges that it began with.
      settings: its settings.
      weights: of a published network to begin with, by name, or None.
      earlier: what earlier stacks taught, or None.
    """

    images: Images
    in_range: np.ndarray
    settings: Settings
    weights: dict[str, np.ndarray] | None
    earlier: Experience | None


def create(
    folder: str | os.PathLike,
    images: Images,
    in_range: np.ndarray,
    settings: Settings | None = None,
    *,
    truth: np.ndarray | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    earlier: Experience | None = None,
) -> None:
    """Makes the folder of a new session, atomically.

    Args:
      folder: is made; may exist if it is empty, as a link or a mount point, too.
      images: what is annotated.
      in_range: [N, C] bool, of `al_jax.given_ranges`.
      settings: None takes the defaults.
      truth: [N, H, W] int16, of a demonstration whose truth can answer.
      weights: of a published network, see `files.weights.read_weights`.
      earlier: what earlier stacks taught, in place of weights; the settings begin without training
        then (`initial_steps` of 0).

    Raises:
      InputError: the folder holds something, or cannot be written.
    """
    settings, place = settings or Settings(), pathlib.Path(folder).expanduser().resolve()
    try:
        if exists := place.exists():
            _check_empty(folder, place)
        # What exists may be a mount point, or lie where nothing may be written: it is filled then.
        aside = temporary_beside(place / SETTINGS if exists else place)
        new = [path for path in aside.parents if not path.exists()]
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.mkdir()
            (aside / ledger.MASKS).mkdir()
            np.save(aside / IMAGES, images.images)
            np.save(aside / INSIDE, images.inside)
            if truth is not None:
                np.save(aside / TRUTH, truth)
            if weights is not None:
                np.savez(aside / WEIGHTS, allow_pickle=False, **weights)
            if earlier is not None:
                write_experience(aside / EARLIER, earlier)
            (aside / CLASSES).write_bytes(table_of_classes(images))
            (aside / ledger.LEDGER).touch()
            about = {
                "form": FORM,
                "names": images.names,
                "sections": images.sections,
                "colours": images.colours,
                "place": None if images.place is None else images.place._asdict(),
                "ranges": ends(in_range),
                "begins_with": [name for name in (WEIGHTS, EARLIER) if (aside / name).exists()],
                **_to_json(settings),
            }
            # Seeds, places and settings may be numbers of NumPy.
            text = json.dumps(about, indent=2, default=lambda value: value.tolist())
            (aside / SETTINGS).write_text(text + "\n")
            for path in (*aside.iterdir(), aside):
                to_disk(path)
            if exists:
                _fill(place, aside)
                to_disk(place)
            else:
                os.replace(aside, place)
            for path in (place, *new):
                to_disk(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another folder"
        ) from error


def _check_empty(folder: str | os.PathLike, place: pathlib.Path) -> None:
    """Refuses a folder that holds something."""
    held = [path.name for path in place.iterdir() if path.name.casefold() not in NOTHING]
    if SETTINGS in held:
        raise InputError(
            f"{folder}: is not empty but a session already; go on with it without init, or choose "
            "another folder"
        )
    if held:
        raise InputError(f"{folder}: is not empty; choose another folder for a new session")


def _fill(place: pathlib.Path, aside: pathlib.Path) -> None:
    """Moves a session into an empty folder, its settings last: until then it is none."""
    moved: list[pathlib.Path] = []
    try:
        for path in sorted(aside.iterdir(), key=lambda path: path.name == SETTINGS):
            os.replace(path, place / path.name)
            moved.append(place / path.name)
    except BaseException:
        for path in moved:
            os.replace(path, aside / path.name)
        raise
    aside.rmdir()


def check(folder: pathlib.Path) -> None:
    """Raises InputError if the folder is not a session, or may not be read."""
    try:
        (folder / SETTINGS).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: is not a session; make one with init") from error
    except OSError as error:
        raise InputError(
            f"{folder}: may not be read ({error.strerror}); change its permissions"
        ) from error


def read(folder: pathlib.Path) -> Content:
    """What `create` wrote.

    Raises:
      InputError: it is not a session, or damaged.
    """
    check(folder)
    path = folder / SETTINGS
    with reading(path, "the settings of a session"):
        about = json.loads(path.read_text())
        if about["form"] > FORM:
            raise InputError(f"{path}: was written by a newer version; use that one")
        settings = _from_json(about)
        colours = about["colours"]
        names, sections = tuple(about["names"]), tuple(map(_readable, about["sections"]))
        place = about.get("place")  # older sessions have none, nor what they begin with
        begins_with = about.get("begins_with", ())
        place = None if place is None else Place(**{k: _tuples(v) for k, v in place.items()})
        in_range = np.zeros((len(sections), len(names)), bool)
        for structure, ends in enumerate(about["ranges"]):
            if ends is not None:
                in_range[ends[0] : ends[1] + 1, structure] = True
    pixels, inside = (_mapped(folder / name) for name in (IMAGES, INSIDE))
    if pixels.shape[:3] != inside.shape or len(sections) != len(inside):
        raise InputError(f"{folder / INSIDE}: does not fit the images; take it from a copy")
    images = Images(
        images=pixels,
        inside=inside,
        names=names,
        sections=sections,
        colours=None if colours is None else _tuples(colours),
        place=place,
    )
    for name in begins_with:
        if not (folder / name).exists():
            raise InputError(f"{folder / name}: is missing, the session began with it; put it back")
    weights = None
    if (folder / WEIGHTS).exists():
        with reading(folder / WEIGHTS, "an npz of weights"), np.load(folder / WEIGHTS) as archive:
            weights = dict(archive)
    earlier = read_experience(folder / EARLIER) if (folder / EARLIER).exists() else None
    return Content(images, in_range, settings, weights, earlier)


def table_of_classes(images: Images) -> bytes:
    """A table of the classes that `files.tables` reads: id (the class), name and colour."""
    colours = images.colours
    rows: list[tuple] = [("id", "name") if colours is None else ("id", "name", "color")]
    for number, name in enumerate(images.names):
        own = () if colours is None else ("#{:02x}{:02x}{:02x}".format(*colours[number]),)
        rows.append((number, name, *own))
    return table(rows)


def true_mask(folder: pathlib.Path, section: int, structure: int) -> np.ndarray:
    """The true answer of a demonstration, [H, W] bool.

    Raises:
      InputError: the session has no truth.
    """
    if not (folder / TRUTH).exists():
        raise InputError(f"{folder}: has no truth that could answer; trace it yourself")
    return np.asarray(_mapped(folder / TRUTH)[section] == structure)


def _mapped(path: pathlib.Path) -> np.ndarray:
    with reading(path, "an array"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def forget_pages(images: Images) -> None:
    """Takes the mapped pages of the images out of memory; they are read again where needed.

    A training touches the pages of the whole stack sooner or later, and nothing else lets them go
    while there is room.
    """
    for array in (images.images, images.inside):
        mapped = getattr(array, "base", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _readable(name: str) -> str:
    """A name that was no UTF-8 when older sessions began, as text that can be written."""
    return name.encode(errors="backslashreplace").decode()


def _tuples(value: Any) -> Any:
    """Tuples again, of the lists that JSON made of them."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _to_json(settings: Settings) -> dict[str, Any]:
    plain = {"seed": settings.seed, "config": to_json(settings.config)}
    plain |= {"strategy": name_of(settings.strategy, STRATEGIES), "cost": settings.cost}
    if settings.strategy not in OWN_STRATEGIES.values():
        plain["strategy_digest"] = source_digest(settings.strategy)
    return plain


def _from_json(about: Mapping[str, Any]) -> Settings:
    name = about.get("strategy", "SDr")  # older sessions have no other
    if name not in STRATEGIES:
        raise InputError(f"its strategy '{name}' is unknown; name what defines it with --plugin")
    if about.get("strategy_digest") not in (None, source_digest(STRATEGIES[name])):
        raise InputError(
            f"its strategy '{name}' has changed since it began; take the plugin as it was"
        )
    cost = about.get("cost", "pixels")  # likewise
    return Settings(about["seed"], from_json(about["config"]), STRATEGIES[name], cost)
