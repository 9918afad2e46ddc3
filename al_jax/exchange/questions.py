"""A question as files for any other tool.

A question has a folder of its own. Beside image, template (what had been labelled), proposal and
outline in each format, it holds `question.json`, which says what was asked and of which image, and
`traced.png`, what had been labelled by then. Whoever reads an answer needs these two.

A person works in these folders too, and copies them: nothing that was changed or added there is
written over, and what was asked last is told by numbers, as the times of files are not kept.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.exchange.classes import Classes, ids_of, tables
from al_jax.exchange.formats import FORMATS, check_formats, png
from al_jax.exchange.placement import Grid, InStack, affine_on
from al_jax.files.atomic import write_atomic
from al_jax.files.folders import plain_name
from al_jax.files.reading import full_path, listed, reading

if TYPE_CHECKING:
    from al_jax.session.session import Question

MANIFEST, TRACED, SHOWN = "question.json", "traced.png", "shown.npz"
BEGUN = ".question.json"
"""The manifest while the files are written: what a writer that was stopped left is known by it."""
VERSION = 1
ALL = 1 << 62
"""Of a question that does not say how many events there were: all that there are."""


class Origin(NamedTuple):
    """The session that asks, as far as an answer needs to know.

    Attributes:
      number: of the question, from 1; 0 for those that were written without one.
      events: how many the session had.
      history: `digest_of_events` of these.
      sections: how many the stack has; 0 where that was not written.
      first: number of the section in the stack that the session began with, and how many it had;
        (-1, 0) where that was not written.
      turned: the section was mirrored or turned since.
      settled: the highest number that questions of several pairs had by then: copies of a session
        that ask each for itself, and are put together again, have such; 0: none.
    """

    number: int = 1
    events: int = 0
    history: str = ""
    sections: int = 0
    first: tuple[int, int] = (-1, 0)
    turned: bool = False
    settled: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `question.json` holds.

    Attributes:
      path: of the file.
      section, structure, section_name, why: see `session.Question`.
      id: of the structure in label maps.
      names, colours: of all classes.
      shape: (H, W).
      downsample: pixels of a full-resolution image along a pixel of the section, for GeoJSON.
      affine: four rows of four numbers: from (column, row, 0) to mm (RAS).
      image_digest: `array_digest` of the section's image.
      traced_digest: `array_digest` of what had been labelled on it, its ids.
      asked: when, in seconds of `time.time`.
      origin: the session that asked.
      written: name -> SHA-256 of every other file of the question, as it was written.
      files: format -> 'image', 'template', 'proposal' or 'outline' -> name of a file beside it.
    """

    path: pathlib.Path
    section: int
    structure: int
    section_name: str
    id: int
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    shape: tuple[int, int]
    downsample: float
    affine: tuple[tuple[float, ...], ...]
    image_digest: str
    traced_digest: str
    why: str
    files: dict[str, dict[str, str]]
    asked: float
    origin: Origin
    written: dict[str, str]

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return Classes(self.names, self.colours)

    @property
    def grid(self) -> Grid:
        """Where the section is."""
        return Grid(np.array(self.affine), self.downsample)

    @property
    def stack(self) -> InStack:
        """Where the section is in files of all."""
        own, origin = (self.section, self.origin.sections), self.origin
        return InStack(*own, origin.first if origin.first[1] else own, origin.turned)

    @property
    def pair(self) -> str:
        """What was asked, in words."""
        return f"'{self.names[self.structure]}' on section {self.section_name}"


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of the numbers of an array with their type and shape."""
    array = np.ascontiguousarray(array)
    known = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(known + array.tobytes()).hexdigest()


def digest_of_events(events: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the events of a ledger, which tells sessions apart; those of a copy are equal."""
    # Whether a mask is missing, and what a class was split into, is no part of the ledger.
    kept = [{k: v for k, v in event.items() if k not in ("lost", "parts")} for event in events]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def question_name(section: int, structure: int, name: str) -> str:
    """The name of a pair's folder: the numbers tell pairs apart, whatever the name is.

    Example:
      >>> question_name(3, 12, "layer 2/3")
      '0003_012_layer_2_3'
    """
    return f"{section:04}_{structure:03}_{plain_name(name)}"


def write_question(
    folder: str | os.PathLike,
    question: "Question",
    classes: Classes,
    formats: Sequence[str],
    *,
    affine: np.ndarray | None = None,
    downsample: float = 1.0,
    origin: Origin | None = None,
) -> list[pathlib.Path]:
    """Writes a question as files; the manifest is the last to be written.

    Where the folder holds anything but files of an earlier question that are as they were written
    and that are written anew, it stays as it is: a folder beside it, `folder_2` and so on, is
    taken.

    In each format: the image; a template with what has been labelled, to be filled; the proposal,
    which is the template with the proposal filled in; and the pixels along the outline that is
    still to draw. The last two are left out where there is no proposal.

    Args:
      folder: of this pair alone; made if it is missing.
      question: the pair.
      classes: of the stack, from `make_classes`.
      formats: some of `formats.FORMATS`.
      affine: [4, 4], from (column, row, 0) of this section to mm (RAS); None: it has no place.
      downsample: pixels of a full-resolution image along a pixel of the section, for GeoJSON.
      origin: the session that asks; None: nothing is known of it.

    Returns:
      Paths of the files, the manifest first.

    Raises:
      InputError: a format is unknown or needs a package that is missing, or the folder cannot be
        written.
    """
    check_formats(formats)
    origin = Origin() if origin is None else origin
    if affine is None:
        affine = affine_on(None, question.section)
    grid = Grid(np.asarray(affine, float), downsample)
    traced = ids_of(question.labels, len(classes.names))
    labels = {"template": traced}
    if question.proposal is not None:
        own = question.structure + 1
        free = question.proposal & (traced == 0) & question.inside
        labels["proposal"] = np.where(free, own, traced).astype(traced.dtype)
        rim = outline_to_trace(question.proposal, question.labels, question.inside)
        labels["outline"] = np.where(rim, own, 0).astype(traced.dtype)
    image = question.image[..., 0] if question.image.shape[-1] == 1 else question.image

    written = {name: data for name, data in tables(classes).items()}
    files: dict[str, dict[str, str]] = {}
    for name in formats:
        form = FORMATS[name]
        files[name] = {"image": "image" + form.pixels_suffix}
        written[files[name]["image"]] = form.pixels(image[None], grid)
        for role, ids in labels.items():
            files[name][role] = role + form.suffix
            written[role + form.suffix] = form.labels(
                ids[None], classes, grid, (question.structure,)
            )
    written[TRACED] = png(traced[None], grid)
    written[SHOWN] = _shown(question, origin)
    manifest = {
        "al_jax_question": VERSION,
        "section": question.section,
        "section_name": question.section_name,
        "structure": question.structure,
        "name": classes.names[question.structure],
        "id": question.structure + 1,
        "why": question.why,
        "shape": list(question.labels.shape),
        "downsample": downsample,
        "affine": grid.affine.tolist(),
        "image_digest": array_digest(question.image),
        "traced_digest": array_digest(traced),
        "names": classes.names,
        "colours": classes.colours,
        "asked": question.asked,
        **origin._asdict(),
        "files": files,
        "written": {name: _digest(data) for name, data in written.items()},
    }
    written[MANIFEST] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    folder = next(place for place in _places(full_path(folder)) if not not_ours(place, written))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another place"
        ) from error
    write_atomic(folder / BEGUN, written[MANIFEST])
    for name, data in written.items():
        write_atomic(folder / name, data)
    with contextlib.suppress(OSError):
        (folder / BEGUN).unlink()
    return [folder / MANIFEST, *(folder / name for name in written if name != MANIFEST)]


def not_ours(folder: pathlib.Path, names: Mapping[str, Any] | None = None) -> list[str]:
    """What a folder holds beside files of a question that are as they were written.

    Hidden files, which systems leave everywhere, do not count.

    Args:
      folder: need not exist.
      names: of files; of a question's own files, those that have other names count too.

    Raises:
      InputError: it cannot be read.
    """
    try:
        held = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        written = dict[str, set[str]]()
        for manifest in (folder / MANIFEST, folder / BEGUN):
            with contextlib.suppress(InputError):
                if own := read_manifest(manifest).written:
                    own[manifest.name] = _digest(manifest.read_bytes())
                for name, digest in own.items():
                    written.setdefault(name, set()).add(digest)
        return [
            path.name
            for path in held
            if (names is not None and path.name not in names)
            or path.name not in written
            or _digest(path.read_bytes()) not in written[path.name]
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); move it away") from error


def next_numbers(questions: pathlib.Path) -> tuple[int, int]:
    """`number` and `settled` of the next question, by those whose folders are in a folder."""
    paths, found = _manifests(questions), list[Manifest]()
    for path in paths:
        with contextlib.suppress(InputError):  # a damaged one counts, whatever its number was
            found.append(read_manifest(path))
    return 1 + max(len(paths), *(one.origin.number for one in found), 0), _shared(found)


def latest(questions: pathlib.Path) -> Manifest | None:
    """The question that was asked last, of those whose folders are in a folder, or None.

    That is the one with the highest number; of those without one, by when they were asked.

    Raises:
      InputError: one is damaged, or copies of the session went on asking each for itself, so that
        nobody knows which is the latest.
    """
    found = []
    for path in _manifests(questions):
        try:
            found.append(read_manifest(path))
        except InputError as error:
            raise InputError(
                f"{error}; or name the question that is answered by --question, or move "
                f"{path.parent} away"
            ) from error
    last = max(found, key=lambda one: (one.origin.number, one.asked), default=None)
    if last is not None and (number := _shared(found)) > last.origin.settled:
        alike = [str(one.path.parent) for one in found if one.origin.number == number]
        raise InputError(
            f"{listed(alike, 2)} were asked by copies of the session, both as its question "
            f"{number}: which came last is not known; name the one that is answered by --question"
        )
    return last


def _shared(found: Sequence[Manifest]) -> int:
    """The highest number that questions of several pairs have; 0: each has one of its own."""
    pairs = {(one.origin.number, one.section_name, one.structure) for one in found}
    numbers = Counter(number for number, *_ in pairs)
    return max((number for number, count in numbers.items() if count > 1), default=0)


def folder_of(path: str | os.PathLike) -> pathlib.Path | None:
    """The folder of the question that a file lies in, however deep, or None."""
    file = full_path(path)
    for place in (pathlib.Path(os.path.abspath(file)), file.resolve()):
        for folder in place.parents:
            if _is_question(folder / MANIFEST):
                return folder
    return None


def _is_question(path: pathlib.Path) -> bool:
    """Whether a file is ours; a damaged one counts, as whoever reads it says so."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return path.is_file()
    return isinstance(found, dict) and "al_jax_question" in found


def read_shown(manifest: Manifest) -> tuple[np.ndarray | None, int]:
    """The proposal that was shown [H, W] bool, if any, and what the network had seen by then.

    Raises:
      InputError: the file is missing or damaged.
    """
    path = manifest.path.with_name(SHOWN)
    with reading(path, "what was shown"), np.load(path) as shown:
        proposal = shown.get("proposal")
        return proposal, int(shown["network"])


def read_manifest(path: str | os.PathLike) -> Manifest:
    """Reads what was asked.

    Args:
      path: of a `question.json`, or of its folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    file = full_path(path)
    if file.is_dir():
        file = file / MANIFEST
    with reading(file, "a question"):
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found, dict) or found.get("al_jax_question") != VERSION:
            raise InputError(f"{file}: is not a question of this version; write the question again")
        if "number" not in found:
            found |= _before_numbers(file)
        first = found.get("first", Origin().first)
        return Manifest(
            path=file,
            section=int(found["section"]),
            section_name=str(found["section_name"]),
            structure=int(found["structure"]),
            id=int(found["id"]),
            names=tuple(map(str, found["names"])),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in found["colours"]),
            shape=(int(found["shape"][0]), int(found["shape"][1])),
            downsample=float(found["downsample"]),
            affine=tuple(tuple(map(float, row)) for row in found["affine"]),
            image_digest=str(found["image_digest"]),
            traced_digest=str(found["traced_digest"]),
            why=str(found["why"]),
            files=found["files"],
            asked=float(found["asked"]),
            origin=Origin(
                int(found["number"]),
                int(found["events"]),
                str(found["history"]),
                int(found["sections"]),
                (int(first[0]), int(first[1])),
                bool(found.get("turned", False)),
                int(found.get("settled", 0)),
            ),
            written=dict(found["written"]),
        )


def outline_to_trace(proposal: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Pixels of a proposal beside its outline, where that is not shared with what is labelled.

    Args:
      proposal: [H, W] bool.
      labels: [H, W], `UNLABELLED` where nothing is labelled.
      inside: [H, W] bool, the image domain.

    Returns:
      [H, W] bool.

    Example:
      >>> proposal = np.array([[True, True, False]])
      >>> outline_to_trace(proposal, np.full((1, 3), -1), np.ones((1, 3), bool)).tolist()
      [[False, True, False]]
    """
    own = proposal & inside & (labels == UNLABELLED)
    free = np.pad(~own & inside & (labels == UNLABELLED), 1)
    beside = free[:-2, 1:-1] | free[2:, 1:-1] | free[1:-1, :-2] | free[1:-1, 2:]
    return own & beside


def _before_numbers(manifest: pathlib.Path) -> dict[str, Any]:
    """What a manifest has now, of a question that was written before; `SHOWN` has a part of it."""
    shown: dict[str, Any] = {}
    path = manifest.with_name(SHOWN)
    if path.exists():
        with reading(path, "what was shown"), np.load(path) as archive:
            shown = {name: archive[name] for name in ("asked", "events") if name in archive}
    return {
        "asked": shown.get("asked", 0.0),
        "events": shown.get("events", ALL),
        "number": 0,
        "history": "",
        "sections": 0,
        "written": {},
    }


def _shown(question: "Question", origin: Origin) -> bytes:
    """What was shown and known, of which an answer's effort depends."""
    shown: dict[str, Any] = {} if question.proposal is None else {"proposal": question.proposal}
    shown |= {"network": question.network, "asked": question.asked, "events": origin.events}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **shown)
    return file.getvalue()


def _places(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder, and others beside it."""
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}_{number}")


def _manifests(questions: pathlib.Path) -> list[pathlib.Path]:
    return sorted(questions.glob(f"*/{MANIFEST}"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
