"""A whole stack as files: what was traced, the same with the network's part, how sure it is.

Of each, in each format:

  `traced`      what a person traced; 0 is what nobody did
  `labels`      the same, and the network's segmentation of the rest; 0 is outside the image
  `confidence`  of `labels`, from 0 to 1

So a pixel of `labels` is a person's where `traced` is not 0. Beside them are the tables of classes
(`classes.tables`), of answers (`answers.csv`) and of sections (`sections.csv`).
"""

import csv
import io
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from al_jax.core.stack import InputError, Place
from al_jax.exchange.classes import ids_of, make_classes, tables
from al_jax.exchange.formats import FORMATS, Format, check_formats
from al_jax.exchange.placement import Grid, affine_on, in_volume, own_place
from al_jax.files.atomic import write_whole
from al_jax.files.reading import full_path
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
        write_whole(path, data)
        written.append(path)
    return written


def section_files(sections: Sequence[str]) -> list[str]:
    """A name for the files of each section: its number and its own name, as far as that may be.

    Example:
      >>> section_files(["a/s 1.png", "s2.png"])
      ['0_s_1', '1_s2']
    """
    width = len(str(len(sections) - 1))
    stems = [re.sub(r"[^\w.+-]+", "_", pathlib.PurePath(name).stem) for name in sections]
    return [f"{number:0{width}d}_{stem}" for number, stem in enumerate(stems)]


def _files(export: Export, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents; one after the other, as a stack may be large."""
    classes = make_classes(export.names, export.colours)
    yield from tables(classes).items()
    yield "answers.csv", _answers(export)
    files = section_files(export.sections)
    listing = [(n, *row) for n, row in enumerate(zip(export.sections, files, strict=True))]
    yield "sections.csv", _csv([("number", "section", "files"), *listing])
    place = own_place(export.traced.shape) if export.place is None else export.place
    for name in formats:
        form = FORMATS[name]
        for role in ("traced", "labels"):
            found = export.traced if role == "traced" else export.segmentation
            if found is not None:
                yield from _labels(role, found, form, export, place)
        if export.confidence is not None:
            yield from _confidence(name, export, place)


def _labels(
    role: str, found: np.ndarray, form: Format, export: Export, place: Place
) -> Iterator[tuple[str, bytes]]:
    classes = make_classes(export.names, export.colours)
    ids = ids_of(found, len(classes.names))
    if not form.single:
        pages = in_volume(ids, place) if form.volume else ids
        yield role + form.suffix, form.labels(pages, classes, Grid(np.array(place.affine)), ())
        return
    for n, stem in enumerate(section_files(export.sections)):
        grid = Grid(affine_on(place, n), export.downsample)
        one = form.labels(ids[n : n + 1], classes, grid, ())
        yield f"{role}{form.suffix.replace('.', '_')}/{stem}{form.suffix}", one


def _confidence(name: str, export: Export, place: Place) -> Iterator[tuple[str, bytes]]:
    assert export.confidence is not None
    if name == "png":
        form = FORMATS["png"]
        for n, stem in enumerate(section_files(export.sections)):
            percent = np.rint(100 * export.confidence[n : n + 1]).astype(np.uint8)
            yield f"confidence_png/{stem}.png", form.pixels(percent, Grid(affine_on(place, n)))
    else:
        form = FORMATS["tiff" if name == "geojson" else name]
        confidence = np.asarray(export.confidence, np.float32)
        pages = in_volume(confidence, place) if form.volume else confidence
        yield "confidence" + form.pixels_suffix, form.pixels(pages, Grid(np.array(place.affine)))


def _answers(export: Export) -> bytes:
    """A row an answer; what is not known is empty."""
    rows: list[tuple] = [("number", "section_name", "structure_name", *Answered._fields)]
    for number, answer in enumerate(export.answers):
        names = export.sections[answer.section], export.names[answer.structure]
        cells = ["" if value is None or value != value else value for value in answer]
        rows.append((number, *names, *cells))
    return _csv(rows)


def _csv(rows: Sequence[tuple]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()
