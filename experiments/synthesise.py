"""Makes stacks out of labelled volumes as in the paper's 3.1.1: sections deformed one by one.

    python -m experiments.synthesise --scans=../shared/data/mri --grouping=nine --out=stacks

Writes for each scan, say 1000, `mri_1000_nine.npz`, which
`experiments.simulate --stack=stacks/mri_1000_nine.npz` takes, `mri_1000_nine.png` to look at (the
other non-linear field is beside the chosen one) and `mri_1000_nine.json`, which says how it was
made and which slice each section is. The same flags give the same bytes, and replace what lies
there.

Sections of a volume show one of the deep structures of the paper, as far as --names knows any and
--within does not say otherwise. They are put on a canvas of --size and deformed one by one; a class
that the deformation moves out of all sections is left out, and the command says so. With --nodeform
it only turns any input of `experiments.simulate` into an npz.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.synthesise")

import json
import os
import pathlib
import re
import zlib
from typing import NamedTuple

import jax
from absl import flags

from al_jax.commands import command, stack_flags
from al_jax.commands.record import versions
from al_jax.commands.runs import digest_stack
from al_jax.core.stack import InputError, Stack
from al_jax.files.atomic import write_atomic
from al_jax.files.stacks import write_stack
from al_jax.model.augmentation import FIELDS
from al_jax.plotting import figures
from al_jax.simulation.synthesis import Deformation, on_canvas, synthesise

DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens")
SUFFIXES = ("t1", "labels")

FLAGS = flags.FLAGS


class Source(NamedTuple):
    """A stack as it was read, the file or folder it is from, and the key of its deformations."""

    stack: Stack
    path: pathlib.Path | None
    key: jax.Array


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    flags.adopt_module_key_flags(stack_flags)
    flags.DEFINE_string("scans", None, "Folder of <id>_t1.nii.gz, <id>_labels.nii.gz, labels.csv.")
    flags.DEFINE_list("ids", [], "Which of --scans; default: all.")
    flags.DEFINE_string("out", None, "Folder where the stacks go.")
    flags.DEFINE_string("stem", None, "Of the files' names; default: of the input's.")
    flags.DEFINE_integer("seed", 0, "Seed of the deformations.", 0, 2**32 - 1)
    flags.DEFINE_bool("deform", True, "Deform the sections; else only write them.")
    flags.DEFINE_enum("field", Deformation().field, list(FIELDS), "Non-linear field.")
    flags.DEFINE_integer("size", 256, "Side of a deformed section, pixels.", 16, 4096)


def read_sources() -> dict[str, Source]:
    """What the flags name, by the stem of the files to write.

    Raises:
      InputError: flags do not go together, a file is missing, or a reader refuses one.
    """
    key = jax.random.key(FLAGS.seed)
    if FLAGS.scans is None:
        command.refuse(("ids",), "without --scans")
        named = FLAGS.stack or FLAGS.images
        path = None if named is None else pathlib.Path(named).resolve()
        return {FLAGS.stem or _stem(path): Source(stack_flags.load_stack(DEEP), path, key)}
    command.refuse(("stack", "images", "labels", "names", "outside_id"), "with --scans")
    folder = pathlib.Path(FLAGS.scans)
    stem = FLAGS.stem or folder.resolve().name
    scans = FLAGS.ids or _scans(folder)
    files = {scan: [folder / f"{scan}_{suffix}.nii.gz" for suffix in SUFFIXES] for scan in scans}
    for path in (path for pair in files.values() for path in pair):
        if not path.is_file():
            raise InputError(f"{folder}: has no {path.name}; correct --scans or --ids")
    sources = {}
    for scan, (image, labels) in files.items():
        stack = stack_flags.read_files(str(image), str(labels), str(folder / "labels.csv"), DEEP)
        # A scan is deformed alike whichever others are asked for.
        own = jax.random.fold_in(key, zlib.crc32(scan.encode()))
        sources[_joined(stem, scan)] = Source(stack, image.resolve(), own)
    return sources


def _scans(folder: pathlib.Path) -> list[str]:
    ending = f"_{SUFFIXES[0]}.nii.gz"
    found = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    if not found:
        raise InputError(f"{folder}: holds no <id>{ending}; correct --scans")
    return found


def _stem(path: pathlib.Path | None) -> str:
    if path is None:
        return "colin27"
    name = path.name if path.is_dir() else re.sub(r"(\.seg|\.ome)?\.\w+(\.gz)?$", "", path.name)
    return _joined(name)


def _joined(*parts: str) -> str:
    return "_".join((*parts, FLAGS.grouping) if FLAGS.grouping else parts)


def make(source: Source) -> tuple[Stack, list[tuple[str, Stack, bool]]]:
    """The stack as the flags want it, and the rows of its contact sheet."""
    if not FLAGS.deform:
        return source.stack, [("image", source.stack, False), ("labels", source.stack, True)]
    before = on_canvas(source.stack, FLAGS.size)
    chosen = FLAGS.field
    other = next(name for name in FIELDS if name != chosen)
    deformed, otherwise = (
        synthesise(source.key, before, Deformation(field=field)) for field in (chosen, other)
    )
    return deformed, [
        ("before", before, False),
        (f"{chosen}\nfield", deformed, False),
        (f"{chosen},\nlabels", deformed, True),
        (f"{other}\nfield", otherwise, False),
    ]


def provenance(source: Source, stack: Stack, folder: pathlib.Path) -> dict:
    """How a stack was made, for its JSON in the folder of outputs."""
    scans = {} if FLAGS.scans is None else {"scans": pathlib.Path(FLAGS.scans).resolve().name}
    settings = ("seed", "field", "size")
    return {
        "input": scans | stack_flags.given(),
        "source": _relative(source.path, folder),
        "deformation": {name: FLAGS[name].value for name in settings} if FLAGS.deform else None,
        "sections": list(stack.sections),
        "classes": list(stack.names),
        "classes_left_out": [name for name in source.stack.names if name not in stack.names],
        "stack": digest_stack(stack),
        "versions": versions(),
    }


def _relative(path: pathlib.Path | None, folder: pathlib.Path) -> str | None:
    """Where an input lies, seen from the outputs: no names of a machine where both move along."""
    return None if path is None else pathlib.Path(os.path.relpath(path, folder)).as_posix()


def check_target(path: pathlib.Path, source: Source) -> None:
    """Raises InputError if a file to be written is the input, or was made of another one."""
    if source.path is not None and source.path == path.resolve():
        raise InputError(f"{path}: would be overwritten; give another --out or --stem")
    try:
        was = json.loads(path.with_suffix(".json").read_text())["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing there, or nothing that says where it is from
    now = _relative(source.path, path.parent.resolve())
    if was != now:
        raise InputError(
            f"{path}: was made of {was}, and {now} would replace it; give another --out or --stem"
        )


def main() -> None:
    """Makes all stacks, then writes them."""
    if not FLAGS.out:
        raise InputError("--out is missing; name the folder where the stacks go")
    if not FLAGS.deform:
        command.refuse(("seed", "field", "size"), "with --nodeform")
    folder, sources, made = pathlib.Path(FLAGS.out), read_sources(), {}
    for stem, source in sources.items():
        check_target(folder / f"{stem}.npz", source)
        try:
            made[stem] = make(source)
        except InputError as error:
            raise InputError(f"{stem}: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --out") from error
    for stem, (stack, rows) in made.items():
        path, about = folder / f"{stem}.npz", provenance(sources[stem], stack, folder.resolve())
        titles = [pathlib.Path(section).stem for section in stack.sections]
        figures.contact_sheet(rows, titles, path.with_suffix(".png"))
        write_atomic(path.with_suffix(".json"), (json.dumps(about, indent=2) + "\n").encode())
        write_stack(path, stack)
        lost = about["classes_left_out"]
        print(
            f"{path}: {stack.num_sections} sections of {stack.images.shape[1]}x"
            f"{stack.images.shape[2]}, {stack.num_classes} classes"
            + (f"; deformed out of the picture: {', '.join(lost)}" if lost else "")
        )


if __name__ == "__main__":
    define_flags()
    command.run(main)
