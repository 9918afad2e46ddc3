"""Makes npz stacks of the real sections and volumes beside the project, as results use them.

    python -m experiments.bench.real_stacks --data=../shared/data --out=stacks

`frog`: every third photographed cryosection of a frog, 24 to 93, and `frog_close`: 36 next ones;
`inia19`: 20 coronal sections of a macaque with 70 to 162 classes each, named by their ids; `fvb_1`
to `fvb_8`: 24 coronal sections of each of eight mice; `histology_Br5292` and `histology_Br5595`:
four H&E sections of one person each, unknown outside the labelled square. --only makes some of
them. Whence they are and what their licences allow is in the SOURCE.md of their folders. The
deformed MRI scans are made by `experiments.synthesise`.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.bench.real_stacks")

import dataclasses
import functools
import pathlib
import tempfile
import warnings
from collections.abc import Callable

import numpy as np
from absl import flags

from al_jax.commands import command
from al_jax.core.stack import InputError, Stack, drop_absent, evenly_spaced
from al_jax.files.inputs import read_labelled
from al_jax.files.reading import InputNote
from al_jax.files.slicing import Cut
from al_jax.files.stacks import write_stack
from al_jax.files.volumes import load_volume
from experiments.bench import harness

FLAGS = flags.FLAGS


def define_flags() -> None:
    """All flags of the command."""
    flags.DEFINE_string("data", "../shared/data", "Folder of the data.")
    flags.DEFINE_string("out", "stacks", "Folder where the stacks go.")
    flags.DEFINE_list("only", [], "Names of stacks; default: all.")


def pick(stack: Stack, chosen: np.ndarray) -> Stack:
    """Some sections, by their numbers; classes that none of them shows are left out."""
    arrays = {name: getattr(stack, name)[chosen] for name in ("images", "inside", "truth")}
    truth, classes, colours = drop_absent(arrays.pop("truth"), stack.names, stack.colours)
    sections, place = tuple(stack.sections[n] for n in chosen), stack.place
    if place is not None:
        place = place._replace(slices=tuple(place.slices[n] for n in chosen))
    return dataclasses.replace(
        stack,
        **arrays,
        truth=truth,
        names=classes,
        colours=colours,
        sections=sections,
        place=place,
    )


def frog(data: pathlib.Path, sections: np.ndarray) -> Stack:
    """Sections of the frog, by their numbers."""
    paths = (data / "frog" / name for name in ("images", "labels", "labels.csv"))
    return pick(read_labelled(*paths), sections)


def inia19(data: pathlib.Path) -> Stack:
    """20 coronal sections of the macaque from y = 54 to 120; its table of ids is made here."""
    image, labels = (data / "inia19" / f"inia19-{n}.nii.gz" for n in ("t1-brain", "NeuroMaps"))
    ids = [int(number) for number in np.unique(load_volume(labels).voxels) if number]
    rows = ["0,background", *(f"{number},id {number}" for number in ids)]
    every = _read(image, labels, rows)
    wanted = np.linspace(54, 120, 20).round().astype(int).astype(str)
    return pick(every, np.array([every.sections.index(name) for name in wanted]))


def fvb(data: pathlib.Path, mouse: int) -> Stack:
    """24 coronal sections of one mouse, evenly among those that show at least five classes."""
    image, labels = (data / "fvb" / f"{name}_{mouse}.nii.gz" for name in ("template", "label"))
    rows = (data / "fvb" / "labels.csv").read_text().splitlines()[1:]
    every = _read(image, labels, ["0,background", *rows[1:]])
    shown = np.flatnonzero([len(np.unique(truth)) >= 5 for truth in every.truth])
    return pick(every, shown[evenly_spaced(len(shown), 24)])


def _read(image: pathlib.Path, labels: pathlib.Path, rows: list[str]) -> Stack:
    """All coronal sections of a volume whose table has no file, or one with another head."""
    with tempfile.TemporaryDirectory() as folder:
        names = pathlib.Path(folder) / "labels.csv"
        names.write_text("\n".join(["id,name", *rows, ""]))
        return read_labelled(image, labels, names, cut=Cut(sections=load_volume(image).stored[1]))


def histology(data: pathlib.Path, donor: str) -> Stack:
    """The sections of one donor; what is not labelled is outside."""
    folder = data / "histology"
    paths = (folder / donor / "images", folder / donor / "labels", folder / "labels.csv")
    return read_labelled(*paths, outside_id=0)


MAKERS: dict[str, Callable[[pathlib.Path], Stack]] = {
    "frog": functools.partial(frog, sections=np.arange(24, 94, 3)),
    "frog_close": functools.partial(frog, sections=np.arange(42, 78)),
    "inia19": inia19,
    **{f"fvb_{mouse}": functools.partial(fvb, mouse=mouse) for mouse in range(1, 9)},
    **{f"histology_{d}": functools.partial(histology, donor=d) for d in ("Br5292", "Br5595")},
}
"""Each stack, from the folder of the data."""


def main() -> None:
    """Makes the stacks one after the other."""
    wanted = FLAGS.only or list(MAKERS)
    for name in wanted:
        if name not in MAKERS:
            raise InputError(f"--only has '{name}'; the stacks are {', '.join(MAKERS)}")
    if not (data := pathlib.Path(FLAGS.data)).is_dir():
        raise InputError(f"--data={data}: there is no such folder; name that of the data")
    folder = harness.make_folder(FLAGS.out, "out")
    warnings.simplefilter("ignore", InputNote)  # of classes that no section shows
    for name in wanted:
        stack = MAKERS[name](data)
        path = folder / f"{name}.npz"
        write_stack(path, stack)
        size = "x".join(map(str, stack.images.shape[1:3]))
        print(f"{path}: {stack.num_sections} sections of {size}, {stack.num_classes} classes")


if __name__ == "__main__":
    define_flags()
    command.run(main)
