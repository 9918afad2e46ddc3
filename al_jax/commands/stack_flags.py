"""The flags that name a stack, how the stack is read, and how results describe it."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from al_jax.commands import command, runs
from al_jax.core.stack import Images, InputError, Stack
from al_jax.files.inputs import is_volume, read_begun, read_images, read_labelled
from al_jax.files.reading import with_notes
from al_jax.files.slicing import AXES, Cut
from al_jax.files.stacks import load_default, read_stack
from al_jax.files.tables import table_entries

FLAGS = flags.FLAGS
VOLUME_FLAGS = ("axis", "sections", "spacing", "within")
SECTION_FLAGS = ("label_suffix",)
OPTION_FLAGS = ("grouping", *VOLUME_FLAGS, "outside_id", "channels", *SECTION_FLAGS)
FILE_FLAGS = ("images", "labels", "names", *OPTION_FLAGS)


def define_flags() -> None:
    """The flags that `load_stack` reads."""
    flags.DEFINE_string("stack", None, "npz written by al_jax.write_stack; default: Colin27.")
    flags.DEFINE_string("images", None, "A volume, a folder of sections, or a TIFF of them.")
    flags.DEFINE_string("labels", None, "The same of labels.")
    flags.DEFINE_string("names", None, "Table of the labels: id, name and any grouping columns.")
    flags.DEFINE_string("grouping", None, "The column of --names that gives the classes.")
    flags.DEFINE_enum("axis", "coronal", list(AXES), "Volume: what a section is.")
    flags.DEFINE_integer("sections", Cut().sections, "Volume: how many sections, evenly spaced.")
    flags.DEFINE_float("spacing", None, "Volume: mm between sections, instead of --sections.")
    flags.DEFINE_list("within", [], "Volume: take sections that show one of these, of any column.")
    flags.DEFINE_integer("outside_id", None, "Pixels with this id are not in the image.")
    flags.DEFINE_list("channels", None, "One channel or three of images that have others, from 0.")
    flags.DEFINE_string(
        "label_suffix", None, "Folder: what names of labels add to those of images."
    )


def given() -> dict[str, Any]:
    """The flags that were given to name the stack; of paths, the last part."""
    names = [name for name in ("stack", *FILE_FLAGS) if FLAGS[name].present]
    values = {name: FLAGS[name].value for name in names}
    files = ("stack", "images", "labels", "names")
    return {k: pathlib.Path(str(v)).name if k in files else v for k, v in values.items()}


def called() -> str:
    """One name for the stack that the flags name."""
    named = given()
    return str(named.get("stack") or named.get("images") or "shipped")


def describe(stack: Stack) -> dict[str, Any]:
    """The input in results: the flags, the sections in order and the classes."""
    return given() | runs.contents(stack)


def load_stack(within: Sequence[str] = ()) -> Stack:
    """The stack that the flags name; prints the order of its sections, and readers' notes.

    Args:
      within: the default of --within, as far as --names has these names.

    Raises:
      InputError: the flags do not go together, or a reader refuses the files.
    """
    if not check_named(("images", "labels", "names")):
        return load_default() if FLAGS.stack is None else read_stack(FLAGS.stack)
    return read_files(FLAGS.images, FLAGS.labels, FLAGS.names, within)


def check_named(needed: tuple[str, ...]) -> bool:
    """Whether files are named rather than an npz.

    Raises:
      InputError: both are, files are named without one that is `needed`, or options without files.
    """
    named = [name for name in ("images", "labels", "names") if FLAGS[name].value is not None]
    if FLAGS.stack is not None and named:
        raise InputError(f"--stack and --{named[0]} exclude each other; give one")
    if not named:
        command.refuse(OPTION_FLAGS, "without --images")
        return False
    for name in needed:
        if name not in named:
            together = [f"--{each}" for each in needed]
            raise InputError(
                f"--{name} is missing; {', '.join(together[:-1])} and {together[-1]} go together"
            )
    return True


def read_unlabelled(images: str, names: str) -> Images:
    """Files without labels, read by the flags."""
    volume = is_volume(images)
    command.refuse(("outside_id", *SECTION_FLAGS), "without --labels")
    if not volume:
        command.refuse(VOLUME_FLAGS, "with pictures of sections")
    elif FLAGS["within"].present:
        raise InputError("--within has no effect without --labels; leave it out")
    found = _noted(
        lambda: read_images(
            images,
            names,
            grouping=FLAGS.grouping,
            cut=_cut(names, ()) if volume else None,
            channels=_channels(),
        )
    )
    _print_order(images, found)
    return found


def read_files(images: str, labels: str, names: str, within: Sequence[str] = ()) -> Stack:
    """Files with labels, read by the flags; see `load_stack`."""
    stack = _noted(lambda: read_labelled(images, labels, names, **_options(images, names, within)))
    _print_order(images, stack)
    return stack


def read_begun_files(images: str, labels: str, names: str) -> tuple[Images, np.ndarray]:
    """Files with labels of some sections or structures, by the flags; see `inputs.read_begun`."""
    found, known = _noted(lambda: read_begun(images, labels, names, **_options(images, names)))
    _print_order(images, found)
    return found, known


def _options(images: str, names: str, within: Sequence[str] = ()) -> dict[str, Any]:
    """What the flags say of files with labels."""
    volume = is_volume(images)
    if volume:
        command.refuse(SECTION_FLAGS, "with a volume")
    else:
        command.refuse(VOLUME_FLAGS, "with pictures of sections")
    return {
        "grouping": FLAGS.grouping,
        "cut": _cut(names, within) if volume else None,
        "outside_id": FLAGS.outside_id,
        "channels": _channels(),
        "label_suffix": FLAGS.label_suffix,
    }


def _print_order(images: str, stack: Images) -> None:
    volume = is_volume(images)
    what = f"{FLAGS.axis} slices (from 0, in RAS order)" if volume else "sections in this order"
    shown = stack.sections
    if len(shown) > 12:
        shown = (*shown[:8], "...", *shown[-3:])
    print(f"{images}: {len(stack.sections)} {what}: {', '.join(shown)}", flush=True)


def _cut(names: str, within: Sequence[str]) -> Cut:
    if FLAGS["sections"].present and FLAGS["spacing"].present:
        raise InputError("--sections and --spacing exclude each other; leave one out")
    wanted = FLAGS.within
    if within and not FLAGS["within"].present:
        known = table_entries(names)
        wanted = [name for name in within if name in known]
    return Cut(FLAGS.axis, FLAGS.sections, FLAGS.spacing, tuple(wanted))


def _channels() -> tuple[int, ...] | None:
    if FLAGS.channels is None:
        return None
    if not all(text.isascii() and text.isdecimal() for text in FLAGS.channels):
        raise InputError(f"--channels={','.join(FLAGS.channels)} takes numbers, such as 0 or 0,1,2")
    return tuple(int(text) for text in FLAGS.channels)


def _noted(read: Callable[[], Any]) -> Any:
    """Reads, then prints the readers' notes; not before, so that a refusal stays a single line."""
    stack, notes = with_notes(read)
    for line in notes:
        print(f"note: {line}", flush=True)
    return stack
