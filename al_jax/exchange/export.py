"""A whole stack as files: what a person labelled, the same with the network's part, how sure it is.

Of each, in each format:

  `traced`      what a person labelled; 0 is what nobody did
  `labels`      the same, and the network's segmentation of the rest; 0 is outside the image
  `confidence`  of `labels`, from 0 to 1

So a pixel of `labels` is a person's where `traced` is not 0. Beside them are the tables of classes
(`classes.tables`), of answers (`answers.csv`) and of sections (`sections.csv`), and
`exported.sha256`, the digest of each file: what no export wrote, or was changed since, is never
replaced nor removed.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes, ids_of, make_classes, tables
from al_jax.exchange.formats import FORMATS, Format, check_formats
from al_jax.exchange.placement import Grid, affine_on, in_volume, own_place
from al_jax.files.atomic import write_atomic
from al_jax.files.folders import plain_name
from al_jax.files.reading import file_digest, full_path, reading
from al_jax.files.spreadsheets import table
from al_jax.session.results import Answered, Export

LISTING = "exported.sha256"

Content = Callable[[], bytes]
"""Makes the bytes of a file when they are wanted, as a stack may be large."""


class Written(NamedTuple):
    """What became of a folder.

    Attributes:
      files: that were written.
      removed: of an earlier export, as this one did not write them.
      kept: the same, but changed since.
    """

    files: list[pathlib.Path]
    removed: list[pathlib.Path]
    kept: list[pathlib.Path]


def export_stack(
    folder: str | os.PathLike,
    export: Export,
    formats: Sequence[str],
    more: Mapping[str, Content] | None = None,
) -> Written:
    """Writes a stack in each format.

    NIfTI and `.seg.nrrd` hold the stack in a volume like the one it was cut out of: each section in
    its slice, 0 in the others. Without a place, the volume is the sections one on the other. TIFF
    has a page a section. GeoJSON and PNG are of one section: a folder of each, with files in the
    order and by the names of the sections. Confidence, which GeoJSON cannot hold, is a TIFF beside
    it, and a PNG of its percentages.

    Args:
      folder: made if it is missing; what an earlier export wrote there is replaced or removed.
      export: the stack.
      formats: some of `formats.FORMATS`.
      more: other files of the export, by their names.

    Returns:
      Paths of the files.

    Raises:
      InputError: a format is unknown or needs a package that is missing, or the folder cannot be
        written; a file is there that no export wrote, or that was changed since: nothing is written
        then.
    """
    check_formats(formats)
    folder = full_path(folder)
    contents = dict(_files(export, formats)) | dict(more or {})
    earlier = _read_listing(folder)
    for name in contents:
        _check_free(folder / name, earlier.get(name, set()))
        if "/" in name and not (folder / name).parent.is_dir():
            _check_free((folder / name).parent, set())
    stale = [name for name in earlier if name not in contents and os.path.lexists(folder / name)]
    digests: dict[str, str] = {}
    for name, content in contents.items():
        path, data = folder / name, content()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent}: cannot be made ({error.strerror or error}); choose another place"
            ) from error
        digests[name] = hashlib.sha256(data).hexdigest()
        _note(folder, name, digests[name])  # before it is there: an export may be killed
        write_atomic(path, data)
    removed, kept = [], []
    for name in stale:
        path = folder / name
        if _is_ours(path, earlier[name]):
            path.unlink()
            removed.append(path)
            if path.parent != folder and not any(path.parent.iterdir()):
                path.parent.rmdir()
        else:
            kept.append(path)
    lines = [_line(name, digest) for name, digest in digests.items()]
    write_atomic(folder / LISTING, "".join(lines).encode())
    return Written([folder / name for name in (*contents, LISTING)], removed, kept)


def section_files(sections: Sequence[str]) -> list[str]:
    """A name for the files of each section: its number and its own name, as far as that may be.

    Example:
      >>> section_files(["a/s 1.png", "s2.png"])
      ['0_s_1', '1_s2']
    """
    width = len(str(len(sections) - 1))
    stems = [plain_name(pathlib.PurePath(name).stem) for name in sections]
    return [f"{number:0{width}d}_{stem}" for number, stem in enumerate(stems)]


def _read_listing(folder: pathlib.Path) -> dict[str, set[str]]:
    """The digests that exports noted of each file: several where one was killed."""
    path = folder / LISTING
    found: dict[str, set[str]] = {}
    if path.is_file():
        with reading(path, "a list of exported files"):
            for line in path.read_text("utf-8").splitlines():
                digest, _, name = line.partition("  ")
                found.setdefault(name, set()).add(digest)
    return found


def _line(name: str, digest: str) -> str:
    """As `sha256sum` writes it."""
    return f"{digest}  {name}\n"


def _note(folder: pathlib.Path, name: str, digest: str) -> None:
    """Adds a file to the list of those that are exported."""
    path = folder / LISTING
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(_line(name, digest))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def _is_ours(path: pathlib.Path, digests: set[str]) -> bool:
    if not digests or path.is_symlink() or not path.is_file():
        return False
    return file_digest(path) in digests


def _check_free(path: pathlib.Path, digests: set[str]) -> None:
    """Refuses to replace what no export wrote, or what was changed since."""
    try:
        if not os.path.lexists(path) or _is_ours(path, digests):
            return
    except OSError as error:
        raise InputError(
            f"{path}: may not be read ({error.strerror}); choose another place"
        ) from error
    why = "was changed since it was exported"
    if not digests:
        why = f"is not of an export ({LISTING} lists what is)"
    raise InputError(f"{path}: {why}, so it stays; choose another --out, or move it away")


def _files(export: Export, formats: Sequence[str]) -> Iterator[tuple[str, Content]]:
    """Names and contents."""
    classes = make_classes(export.names, export.colours)
    for name, data in tables(classes).items():
        yield name, functools.partial(bytes, data)
    yield "answers.csv", functools.partial(_answers, export)
    files = section_files(export.sections)
    done = export.turned or ("",) * len(files)
    listing = [(n, *row) for n, row in enumerate(zip(export.sections, files, done, strict=True))]
    header = ("number", "section", "files", "turned")
    yield "sections.csv", functools.partial(table, [header, *listing])
    ids = functools.partial(ids_of, count=len(classes.names))
    for name in formats:
        form = FORMATS[name]
        label = functools.partial(_label, form, classes)
        for role, labels in (("traced", export.traced), ("labels", export.segmentation)):
            if labels is not None:
                pages = functools.partial(_pages, labels, ids)
                yield from _placed(role + form.suffix, pages, form, label, export)
        if export.confidence is not None:
            form = FORMATS["tiff" if name == "geojson" else name]  # polygons have no confidence
            scaled = functools.partial(_scaled, percent=name == "png")
            pages = functools.partial(_pages, export.confidence, scaled)
            yield from _placed("confidence" + form.pixels_suffix, pages, form, form.pixels, export)


def _label(form: Format, classes: Classes, ids: np.ndarray, grid: Grid) -> bytes:
    return form.labels(ids, classes, grid, ())


def _pages(
    found: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], part: slice
) -> np.ndarray:
    """Some sections as they are written."""
    return np.asarray(convert(np.asarray(found[part])))


def _scaled(confidence: np.ndarray, percent: bool) -> np.ndarray:
    return np.rint(100 * confidence).astype(np.uint8) if percent else confidence.astype(np.float32)


def _placed(
    name: str,
    pages: Callable[[slice], np.ndarray],
    form: Format,
    write: Callable[[np.ndarray, Grid], bytes],
    export: Export,
) -> Iterator[tuple[str, Content]]:
    """One file of all sections, or a folder with one of each."""
    place = own_place(export.traced.shape) if export.place is None else export.place
    if not form.single:

        def stack() -> bytes:
            every = pages(slice(None))
            every = in_volume(every, place) if form.volume else every
            return write(every, Grid(np.array(place.affine)))

        yield name, stack
        return
    role, _, suffix = name.partition(".")

    def section(n: int) -> bytes:
        return write(pages(slice(n, n + 1)), Grid(affine_on(place, n), export.downsample))

    for n, stem in enumerate(section_files(export.sections)):
        yield f"{role}_{suffix}/{stem}.{suffix}", functools.partial(section, n)


def _answers(export: Export) -> bytes:
    """A row an answer; what is not known is empty."""
    rows: list[tuple] = [("number", "section_name", "structure_name", *Answered._fields)]
    for number, answer in enumerate(export.answers):
        names = export.sections[answer.section], export.names[answer.structure]
        cells = ["" if value is None or value != value else value for value in answer]
        rows.append((number, *names, *cells))
    return table(rows)
