"""The classes of a stack as other tools know them: ids, names and colours, and their tables.

In every file that is exchanged, 0 says that nobody has labelled the pixel; class c has the id
c + 1. So 0 never stands for the background, which is a class like the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.colours import class_colours
from al_jax.core.stack import UNLABELLED, Colour
from al_jax.files.spreadsheets import table


class Classes(NamedTuple):
    """Names and colours; the id of class c is c + 1.

    Attributes:
      names: C names, the first 'background'.
      colours: C colours (red, green, blue; 0-255).
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]


def make_classes(names: Sequence[str], colours: Sequence[Colour] | None = None) -> Classes:
    """The classes of `Images.names`, in `Images.colours` or, without these, in those of figures."""
    if colours is None:
        colours = [(r, g, b) for r, g, b in class_colours(len(names)).tolist()]
    return Classes(tuple(names), tuple(colours))


def ids_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Ids of labels of any shape: 0 where they are `UNLABELLED`, else the class + 1.

    Of the smallest unsigned type that holds the ids of all `count` classes.
    """
    dtype = np.uint8 if count <= np.iinfo(np.uint8).max else np.uint16
    return (labels.astype(np.int32) - UNLABELLED).astype(dtype)


def labels_of(ids: np.ndarray) -> np.ndarray:
    """What `ids_of` was given, int16."""
    return (ids.astype(np.int32) + UNLABELLED).astype(np.int16)


def tables(classes: Classes) -> dict[str, bytes]:
    """A table of the classes as each tool reads it, by the name of its file.

    `classes.csv` is for al_jax (a simulation wants `--outside_id=0`) and spreadsheets. FreeSurfer
    counts transparency, 3D Slicer opacity; neither takes spaces in names, so they are underscores
    there.
    """
    numbered = list(zip(range(1, 1 + len(classes.names)), *classes, strict=True))
    rows = [(n, name, "#{:02x}{:02x}{:02x}".format(*rgb)) for n, name, rgb in numbered]
    snap = [
        "# ITK-SNAP label descriptions: id, red, green, blue, opacity, visible, in 3D, name",
        '    0     0    0    0        0  0  0    "Clear Label"',
    ]
    freesurfer = ["0 Unknown 0 0 0 0"]
    slicer = ["# Color table of classes: id, name, red, green, blue, opacity", "0 none 0 0 0 0"]
    for n, name, (red, green, blue) in numbered:
        quoted = name.replace('"', "'")  # the format has no way to write a quotation mark
        snap.append(f'{n:5d}  {red:4d} {green:4d} {blue:4d}        1  1  1    "{quoted}"')
        joined = "_".join(name.split())
        freesurfer.append(f"{n} {joined} {red} {green} {blue} 0")
        slicer.append(f"{n} {joined} {red} {green} {blue} 255")
    return {
        "classes.csv": table([("id", "name", "color"), *rows]),
        "classes_itksnap.txt": _text(snap),
        "classes_freesurfer.txt": _text(freesurfer),
        "classes_slicer.ctbl": _text(slicer),
    }


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
