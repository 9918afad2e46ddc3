"""A whole stack as files: what a person labelled, the same with the network's part, how sure it is.

Of each, in each format:

  `traced`      what a person labelled; 0 is what nobody did
  `labels`      the same, and the network's segmentation of the rest; 0 is outside the image
  `confidence`  of `labels`, from 0 to 1

So a pixel of `labels` is a person's where `traced` is not 0. Beside them are the tables of classes
(`classes.tables`), of answers (`answers.csv`) and of sections (`sections.csv`).
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes, ids_of, make_classes, tables
from al_jax.exchange.formats import FORMATS, Format, check_formats
from al_jax.exchange.placement import Grid, affine_on, in_volume, own_place
from al_jax.files.atomic import write_atomic
from al_jax.files.folders import plain_name
from al_jax.files.reading import full_path
from al_jax.files.spreadsheets import table
from al_jax.session.results import Answered, Export


def export_stack(
    folder: str | os.PathLike, export: Export, formats: Sequence[str]
) -> list[pathlib.Path]:
    """Writes a stack in each format.

    NIfTI and `.seg.nrrd` hold the stack in a volume like the one it was cut out of: each section in
    its slice, 0 in the others. Without a place, the volume is the sections one on the other. TIFF
    has a page a section. GeoJSON and PNG are of one section: a folder of each, with files in the
    order and by the names of the sections. Confidence, which GeoJSON cannot hold, is a TIFF beside
    it, and a PNG of its percentages.

    Args:
      folder: made if it is missing; files of these names in it are replaced.
      export: the stack.
      formats: some of `formats.FORMATS`.

    Returns:
      Paths of the files.

    Raises:
      InputError: a format is unknown or needs a package that is missing, or the folder cannot be
        written.
    """
    check_formats(formats)
    folder = full_path(folder)
    written = []
    for name, data in _files(export, formats):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent}: cannot be made ({error.strerror or error}); choose another place"
            ) from error
        write_atomic(path, data)
        written.append(path)
    return written


def section_files(sections: Sequence[str]) -> list[str]:
    """A name for the files of each section: its number and its own name, as far as that may be.

    Example:
      >>> section_files(["a/s 1.png", "s2.png"])
      ['0_s_1', '1_s2']
    """
    width = len(str(len(sections) - 1))
    stems = [plain_name(pathlib.PurePath(name).stem) for name in sections]
    return [f"{number:0{width}d}_{stem}" for number, stem in enumerate(stems)]


def _files(export: Export, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents; one after the other, as a stack may be large."""
    classes = make_classes(export.names, export.colours)
    yield from tables(classes).items()
    yield "answers.csv", _answers(export)
    files = section_files(export.sections)
    listing = [(n, *row) for n, row in enumerate(zip(export.sections, files, strict=True))]
    yield "sections.csv", table([("number", "section", "files"), *listing])
    for name in formats:
        form = FORMATS[name]
        label = functools.partial(_label, form, classes)
        for role, found in (("traced", export.traced), ("labels", export.segmentation)):
            if found is not None:
                ids = ids_of(found, len(classes.names))
                yield from _placed(role, form.suffix, ids, form, label, export)
        if export.confidence is not None:
            form = FORMATS["tiff" if name == "geojson" else name]  # polygons have no confidence
            shown = np.asarray(export.confidence, np.float32)
            if name == "png":
                shown = np.rint(100 * shown).astype(np.uint8)
            yield from _placed("confidence", form.pixels_suffix, shown, form, form.pixels, export)


def _label(form: Format, classes: Classes, ids: np.ndarray, grid: Grid) -> bytes:
    return form.labels(ids, classes, grid, ())


def _placed(
    role: str,
    suffix: str,
    pages: np.ndarray,
    form: Format,
    write: Callable[[np.ndarray, Grid], bytes],
    export: Export,
) -> Iterator[tuple[str, bytes]]:
    """One file of all sections, or a folder with one of each."""
    place = own_place(export.traced.shape) if export.place is None else export.place
    if not form.single:
        pages = in_volume(pages, place) if form.volume else pages
        yield role + suffix, write(pages, Grid(np.array(place.affine)))
        return
    for n, stem in enumerate(section_files(export.sections)):
        grid = Grid(affine_on(place, n), export.downsample)
        yield f"{role}{suffix.replace('.', '_')}/{stem}{suffix}", write(pages[n : n + 1], grid)


def _answers(export: Export) -> bytes:
    """A row an answer; what is not known is empty."""
    rows: list[tuple] = [("number", "section_name", "structure_name", *Answered._fields)]
    for number, answer in enumerate(export.answers):
        names = export.sections[answer.section], export.names[answer.structure]
        cells = ["" if value is None or value != value else value for value in answer]
        rows.append((number, *names, *cells))
    return table(rows)
