"""The answer to a question, from whatever another tool saved."""

import os

import numpy as np

from al_jax.core.stack import InputError
from al_jax.exchange.classes import ids_of, labels_of
from al_jax.exchange.formats import Saved, Wanted, read_saved
from al_jax.exchange.questions import TRACED, Manifest, array_digest
from al_jax.files.pictures import ids_of as picture_ids
from al_jax.files.reading import listed
from al_jax.files.registry import open_picture


def read_answer(path: str | os.PathLike, manifest: Manifest) -> np.ndarray:
    """The mask of the structure that was asked for, from what a tool saved.

    Pixels that had been labelled as others before are in the mask: `answers.answer` leaves them to
    those, and its report says how many of which class.

    Args:
      path: a label map (NIfTI or another volume, TIFF, PNG), a `.seg.nrrd`, GeoJSON of QuPath, or
        regions of ImageJ. A label map that shows the structure alone is taken as well as a filled
        template, and so is a mask of one value. Of a stack, the section's own part is.
      manifest: of the question, from `read_manifest`.

    Returns:
      [H, W] bool, with at least one pixel.

    Raises:
      InputError: one line that names file, section and class, and how to fix it: the file has
        another size or place, an id or a name that is not a class, changes other classes, shows
        nothing of the structure, or has several segments of its name.
    """
    traced = read_traced(manifest)
    asked = manifest.names[manifest.structure]
    where = f"{path}: {manifest.pair}"
    wanted = Wanted(
        manifest.classes,
        manifest.grid,
        manifest.shape,
        manifest.structure,
        traced,
        manifest.stack,
    )
    try:
        saved = read_saved(path, wanted)
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
            "answer 'absent', else draw it and save again"
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


def _check_others(
    where: str, manifest: Manifest, saved: Saved, mask: np.ndarray, traced: np.ndarray
) -> None:
    """Refuses files that say otherwise than before what classes beside the one asked for are."""
    asked = manifest.names[manifest.structure]
    others = {name: layer for name, layer in saved.layers if name != asked}
    for name, layer in others.items():
        if name not in manifest.names and layer.any():
            raise InputError(
                f"{where}: has '{name}', which is not a class; call it '{asked}' if it is the "
                f"answer, or delete it (the classes are {listed(manifest.names)})"
            )
    shown = {manifest.names.index(n) for n, layer in others.items() if layer.any()}
    if not shown:
        return
    compared = sorted(shown) if saved.known is None else range(len(manifest.names))
    known = np.ones_like(mask) if saved.known is None else saved.known
    for c in compared:
        if c == manifest.structure:
            continue
        name = manifest.names[c]
        layer = others.get(name, np.zeros_like(mask))
        changed = int(((layer != (traced == c)) & ~mask & known).sum())
        if changed:
            raise InputError(
                f"{where}: {changed} px of '{name}' differ from what had been labelled; only "
                f"'{asked}' (id {manifest.id}) may change: undo that, or save '{asked}' alone, as "
                "a mask of 0 and 255"
            )
