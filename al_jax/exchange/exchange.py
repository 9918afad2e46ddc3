"""A question as files for any other tool, and its answer back from what that tool saved.

A question has a folder of its own. Beside image, template (what had been traced), proposal and
outline in each format, it holds `question.json`, which says what was asked and of which image, and
`traced.png`, what had been traced by then. Whoever reads an answer needs these two.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from al_jax.core.stack import UNLABELLED, Colour, InputError
from al_jax.exchange.classes import Classes, ids_of, labels_of, tables
from al_jax.exchange.formats import FORMATS, Grid, Saved, check_formats, png, read_saved
from al_jax.exchange.placement import affine_on
from al_jax.files.atomic import write_whole
from al_jax.files.folders import open_picture
from al_jax.files.pictures import ids_of as picture_ids
from al_jax.files.reading import full_path, listed, reading

MANIFEST, TRACED = "question.json", "traced.png"
VERSION = 1


class Asked(Protocol):
    """What is written of a question: `session.Question` has it, and so may any other."""

    @property
    def section(self) -> int:
        """n, counted from 0."""

    @property
    def structure(self) -> int:
        """c, counted from 0."""

    @property
    def section_name(self) -> str:
        """As in `Images.sections`."""

    @property
    def why(self) -> str:
        """The reasons, one line."""

    @property
    def image(self) -> np.ndarray:
        """[H, W, 1 or 3] uint8 or float32."""

    @property
    def inside(self) -> np.ndarray:
        """[H, W] bool."""

    @property
    def labels(self) -> np.ndarray:
        """[H, W] int16, what has been traced on the section, else `UNLABELLED`."""

    @property
    def proposal(self) -> np.ndarray | None:
        """[H, W] bool, what the network takes for the structure; None: nothing yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `question.json` holds.

    Attributes:
      path: of the file.
      section, structure, section_name, why: as of `Asked`.
      id: of the structure in label maps.
      names, colours: of all classes.
      shape: (H, W).
      downsample: pixels of a full-resolution image along a pixel of the section, for GeoJSON.
      affine: four rows of four numbers: from (column, row, 0) to mm (RAS).
      image_digest: `array_digest` of the section's image.
      traced_digest: `array_digest` of what had been traced on it, its ids.
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
    question: Asked,
    classes: Classes,
    formats: Sequence[str],
    *,
    affine: np.ndarray | None = None,
    downsample: float = 1.0,
) -> list[pathlib.Path]:
    """Writes a question as files; the manifest is the last to be written.

    In each format: the image; a template with what has been traced, to be filled; the proposal,
    which is the template with the proposal filled in; and the pixels along the outline that is
    still to trace. The last two are left out where there is no proposal.

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
        write_whole(folder / name, data)
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
            raise InputError(f"{file}: is no question of this version; write the question again")
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


def read_answer(path: str | os.PathLike, manifest: Manifest) -> np.ndarray:
    """The mask of the structure that was asked for, from what a tool saved.

    Pixels that others had been traced on before are in the mask: `answers.answer` leaves them to
    those, and its report says how many of which class.

    Args:
      path: a label map (NIfTI or another volume, TIFF, PNG), a `.seg.nrrd`, or GeoJSON of QuPath. A
        label map that shows the structure alone is taken as well as a filled template, and so is a
        mask of black and white.
      manifest: of the question, from `read_manifest`.

    Returns:
      [H, W] bool, with at least one pixel.

    Raises:
      InputError: one line that names file, section and class, with the mend: the file has another
        size or place, an id or a name that is no class, changes other classes, shows nothing of the
        structure, or has several segments of its name.
    """
    traced = read_traced(manifest)
    asked = manifest.names[manifest.structure]
    where = f"{path}: {manifest.pair}"
    try:
        saved = read_saved(
            path, manifest.classes, manifest.grid, manifest.shape, asked=manifest.structure
        )
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix(f'{path}: ')}") from error
    own = [mask for name, mask in saved.layers if name == asked]
    if len(own) > 1:
        raise InputError(f"{where}: has {len(own)} segments of that name; merge them into one")
    mask = own[0] if own else np.zeros(manifest.shape, bool)
    _check_others(where, manifest, saved, mask, traced)
    if not mask.any():
        shown = [f"'{name}'" for name, layer in saved.layers if layer.any()]
        others = f"{listed(shown)} and " if shown else ""
        raise InputError(
            f"{where}: shows {others}no pixel of it (id {manifest.id}); if it is absent there, "
            "answer 'absent', else trace it and save again"
        )
    return mask


def read_traced(manifest: Manifest) -> np.ndarray:
    """What had been traced when the question was written, [H, W] int16.

    Raises:
      InputError: it is missing or was changed.
    """
    path = manifest.path.with_name(TRACED)
    picture = open_picture(path)
    ids = picture_ids(picture, picture.orientation)
    ids = ids.astype(ids_of(np.zeros(0), len(manifest.names)).dtype)
    if array_digest(ids) != manifest.traced_digest:
        raise InputError(f"{path}: was changed since the question was written; write it again")
    return labels_of(ids)


def outline_to_trace(proposal: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Pixels of a proposal beside its outline, where that is not shared with what is traced.

    Args:
      proposal: [H, W] bool.
      labels: [H, W], `UNLABELLED` where nothing has been traced.
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


def _check_others(
    where: str, manifest: Manifest, saved: Saved, mask: np.ndarray, traced: np.ndarray
) -> None:
    """Refuses files that say otherwise than before what classes beside the one asked for are."""
    asked = manifest.names[manifest.structure]
    others = {name: layer for name, layer in saved.layers if name != asked}
    for name, layer in others.items():
        if name not in manifest.names and layer.any():
            raise InputError(
                f"{where}: has '{name}', which is no class; call it '{asked}' if it is the answer, "
                f"or delete it (the classes are {listed(manifest.names)})"
            )
    shown = {manifest.names.index(n) for n, layer in others.items() if layer.any()}
    if not shown:
        return
    compared = sorted(shown) if saved.said is None else range(len(manifest.names))
    said = np.ones_like(mask) if saved.said is None else saved.said
    for c in compared:
        if c == manifest.structure:
            continue
        name = manifest.names[c]
        layer = others.get(name, np.zeros_like(mask))
        changed = int(((layer != (traced == c)) & ~mask & said).sum())
        if changed:
            raise InputError(
                f"{where}: {changed} px of '{name}' differ from what had been traced; only "
                f"'{asked}' (id {manifest.id}) may change: undo that, or save '{asked}' alone"
            )
