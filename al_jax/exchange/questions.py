"""A question as files for any other tool.

A question has a folder of its own. Beside image, template (what had been labelled), proposal and
outline in each format, it holds `question.json`, which says what was asked and of which image, and
`traced.png`, what had been labelled by then. Whoever reads an answer needs these two.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.exchange.classes import Classes, ids_of, tables
from al_jax.exchange.formats import FORMATS, check_formats, png
from al_jax.exchange.placement import Grid, affine_on
from al_jax.files.atomic import write_atomic
from al_jax.files.reading import full_path, reading

if TYPE_CHECKING:
    from al_jax.session.session import Question

MANIFEST, TRACED = "question.json", "traced.png"
VERSION = 1


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

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return Classes(self.names, self.colours)

    @property
    def grid(self) -> Grid:
        """Where the section is."""
        return Grid(np.array(self.affine), self.downsample)

    @property
    def pair(self) -> str:
        """What was asked, in words."""
        return f"'{self.names[self.structure]}' on section {self.section_name}"


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of the numbers of an array with their type and shape."""
    array = np.ascontiguousarray(array)
    known = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(known + array.tobytes()).hexdigest()


def write_question(
    folder: str | os.PathLike,
    question: "Question",
    classes: Classes,
    formats: Sequence[str],
    *,
    affine: np.ndarray | None = None,
    downsample: float = 1.0,
) -> list[pathlib.Path]:
    """Writes a question as files; the manifest is the last to be written.

    In each format: the image; a template with what has been labelled, to be filled; the proposal,
    which is the template with the proposal filled in; and the pixels along the outline that is
    still to draw. The last two are left out where there is no proposal.

    Args:
      folder: of this question alone; made if it is missing.
      question: the pair.
      classes: of the stack, from `make_classes`.
      formats: some of `formats.FORMATS`.
      affine: [4, 4], from (column, row, 0) of this section to mm (RAS); None: it has no place.
      downsample: pixels of a full-resolution image along a pixel of the section, for GeoJSON.

    Returns:
      Paths of the files, the manifest first.

    Raises:
      InputError: a format is unknown or needs a package that is missing, or the folder cannot be
        written.
    """
    check_formats(formats)
    folder = full_path(folder)
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
        "files": files,
    }
    written[MANIFEST] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another place"
        ) from error
    for name, data in written.items():
        write_atomic(folder / name, data)
    return [folder / MANIFEST, *(folder / name for name in written if name != MANIFEST)]


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
