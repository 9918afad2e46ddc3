"""The flags that name a stack, and the stack that they name."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from al_jax.files.cuts import AXES, cut_nifti
from al_jax.files.folders import pair_files, read_folder
from al_jax.files.stacks import load_default, read_stack
from al_jax.files.tables import table_entries
from al_jax.stack import InputError, Stack
from experiments import command

FLAGS = flags.FLAGS
VOLUME_FLAGS = ("grouping", "axis", "sections", "spacing", "within")
FILE_FLAGS = ("images", "labels", "names", *VOLUME_FLAGS, "outside_id")


def define_flags() -> None:
    """The flags that `load_stack` reads."""
    flags.DEFINE_string("stack", None, "npz written by al_jax.write_stack; default: Colin27.")
    flags.DEFINE_string("images", None, "A NIfTI volume, or a folder of sections (PNG, TIFF).")
    flags.DEFINE_string("labels", None, "Label volume of --images, or folder of label images.")
    flags.DEFINE_string("names", None, "CSV of the labels: id, name and any grouping columns.")
    flags.DEFINE_string("grouping", None, "NIfTI: the column of --names that gives the classes.")
    flags.DEFINE_enum("axis", "coronal", list(AXES), "NIfTI: what a section is.")
    flags.DEFINE_integer("sections", 24, "NIfTI: how many sections, evenly spaced.")
    flags.DEFINE_float("spacing", None, "NIfTI: mm between sections, instead of --sections.")
    flags.DEFINE_list("within", [], "NIfTI: take sections that show one of these, of any column.")
    flags.DEFINE_integer("outside_id", None, "Folder: pixels with this id are not in the image.")


def given() -> dict[str, Any]:
    """The flags that were given to name the stack; of paths, the last part."""
    names = [name for name in ("stack", *FILE_FLAGS) if FLAGS[name].present]
    values = {name: FLAGS[name].value for name in names}
    return {k: pathlib.Path(v).name if isinstance(v, str) else v for k, v in values.items()}


def load_stack() -> Stack:
    """The stack that the flags name.

    Raises:
      InputError: the flags do not go together, or a reader refuses the files.
    """
    return load_sections()[0]


def load_sections(within: Sequence[str] = ()) -> tuple[Stack, list[int | str]]:
    """The stack that the flags name, and where in its input each section comes from.

    That is a slice of the volume in RAS order, a file, or the section of another stack.

    Args:
      within: what `read_volume` looks for.

    Raises:
      InputError: the flags do not go together, or a reader refuses the files.
    """
    files = ("images", "labels", "names")
    given = [name for name in files if FLAGS[name].value is not None]
    if FLAGS.stack is not None and given:
        raise InputError(f"--stack and --{given[0]} exclude each other; give one")
    if not given:
        command.refuse((*VOLUME_FLAGS, "outside_id"), "without --images")
        stack = load_default() if FLAGS.stack is None else read_stack(FLAGS.stack)
        return stack, list(range(stack.num_sections))
    for name in files:
        if name not in given:
            raise InputError(f"--{name} is missing; --images, --labels and --names go together")
    if os.path.isdir(FLAGS.images):
        command.refuse(VOLUME_FLAGS, "with a folder of sections")
        stack = read_folder(FLAGS.images, FLAGS.labels, FLAGS.names, FLAGS.outside_id)
        return stack, [image.name for image, _ in pair_files(FLAGS.images, FLAGS.labels)]
    command.refuse(("outside_id",), "with a NIfTI volume")
    return read_volume(FLAGS.images, FLAGS.labels, FLAGS.names, within)


def read_volume(
    image: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    within: Sequence[str] = (),
) -> tuple[Stack, list[int | str]]:
    """A volume cut as the flags say, and the slice (in RAS order) that each section is.

    Args:
      image, labels, names: files, as of `read_nifti`.
      within: without the flag, sections show one of these as far as `names` has them.
    """
    if FLAGS["sections"].present and FLAGS["spacing"].present:
        raise InputError("--sections and --spacing exclude each other; leave one out")
    wanted = FLAGS.within
    if within and not FLAGS["within"].present:
        known = table_entries(names)
        wanted = [name for name in within if name in known]
    stack, slices = cut_nifti(
        image, labels, names, FLAGS.grouping, FLAGS.axis, FLAGS.sections, FLAGS.spacing, wanted
    )
    return stack, slices.tolist()
