"""What all commands share: the flags that name a stack, one-line errors, the compilation cache."""

import math
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app, flags, logging

from al_jax import io
from al_jax.stack import InputError, Stack

FLAGS = flags.FLAGS
NIFTI_FLAGS = ("grouping", "axis", "sections", "spacing", "within")


def define_stack_flags() -> None:
    """The flags that `load_stack` reads."""
    flags.DEFINE_string("stack", None, "npz written by al_jax.io.write_stack; default: Colin27.")
    flags.DEFINE_string("images", None, "A NIfTI volume, or a folder of sections (PNG, TIFF).")
    flags.DEFINE_string("labels", None, "Label volume of --images, or folder of label images.")
    flags.DEFINE_string("names", None, "CSV of the labels: id, name and any grouping columns.")
    flags.DEFINE_string("grouping", None, "NIfTI: the column of --names that gives the classes.")
    flags.DEFINE_enum("axis", "coronal", list(io.AXES), "NIfTI: what a section is.")
    flags.DEFINE_integer("sections", 24, "NIfTI: how many sections, evenly spaced.")
    flags.DEFINE_float("spacing", None, "NIfTI: mm between sections, instead of --sections.")
    flags.DEFINE_list("within", [], "NIfTI: take sections that show one of these, of any column.")
    flags.DEFINE_integer("outside_id", None, "Folder: pixels with this id are not in the image.")


def stack_flags() -> dict[str, Any]:
    """The flags that were given to name the stack; of paths, the last part."""
    names = ("stack", "images", "labels", "names", *NIFTI_FLAGS, "outside_id")
    given = {name: FLAGS[name].value for name in names if FLAGS[name].present}
    return {k: pathlib.Path(v).name if isinstance(v, str) else v for k, v in given.items()}


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
        refuse((*NIFTI_FLAGS, "outside_id"), "without --images")
        stack = io.load_default() if FLAGS.stack is None else io.read_stack(FLAGS.stack)
        return stack, list(range(stack.num_sections))
    for name in files:
        if name not in given:
            raise InputError(f"--{name} is missing; --images, --labels and --names go together")
    if os.path.isdir(FLAGS.images):
        refuse(NIFTI_FLAGS, "with a folder of sections")
        stack = io.read_folder(FLAGS.images, FLAGS.labels, FLAGS.names, FLAGS.outside_id)
        return stack, [image.name for image, _ in io.pair_files(FLAGS.images, FLAGS.labels)]
    refuse(("outside_id",), "with a NIfTI volume")
    return read_volume(FLAGS.images, FLAGS.labels, FLAGS.names, within)


def read_volume(
    image: str | os.PathLike,
    labels: str | os.PathLike,
    names: str | os.PathLike,
    within: Sequence[str] = (),
) -> tuple[Stack, list[int | str]]:
    """A volume cut as the flags say, and the slice (in RAS order) that each section is.

    Args:
      image, labels, names: files, as of `io.read_nifti`.
      within: without the flag, sections show one of these as far as `names` has them.
    """
    if FLAGS["sections"].present and FLAGS["spacing"].present:
        raise InputError("--sections and --spacing exclude each other; leave one out")
    wanted = FLAGS.within
    if within and not FLAGS["within"].present:
        known = io.table_entries(names)
        wanted = [name for name in within if name in known]
    stack, slices = io.cut_nifti(
        image, labels, names, FLAGS.grouping, FLAGS.axis, FLAGS.sections, FLAGS.spacing, wanted
    )
    return stack, slices.tolist()


def refuse(names: tuple[str, ...], where: str) -> None:
    """Raises InputError if one of these flags was given."""
    for name in names:
        if FLAGS[name].present:
            raise InputError(f"--{name} has no effect {where}; leave it out")


def _parse(arguments: list[str]) -> list[str]:
    try:
        rest = FLAGS(arguments)
    except flags.Error as error:
        raise SystemExit(_complain(str(error))) from None
    except SystemExit:  # --help, which absl ends with 1
        raise SystemExit(0) from None
    if len(rest) > 1:
        raise SystemExit(_complain(f"'{rest[1]}' is no flag; see --help"))
    try:
        check_finite(FLAGS)
    except InputError as error:
        raise SystemExit(_complain(str(error))) from None
    return rest


def check_finite(values: flags.FlagValues) -> None:
    """Raises InputError for a flag that is no finite number; absl takes nan and inf."""
    for name, value in values.flag_values_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"flag --{name}={value}: give a finite number")


def _stop(*_: object) -> None:
    """Ends the process on the spot: runs survive any stop, and libraries may swallow exceptions."""
    line = "\n" if sys.stderr.isatty() else ""
    print(f"{line}stopped; run the same command again", file=sys.stderr, flush=True)
    os._exit(130)


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def prepare() -> None:
    """Silences libraries and chooses the compilation cache: the first thing a process does."""
    logging.set_verbosity(logging.ERROR)
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if chosen is None:  # not by JAX_COMPILATION_CACHE_DIR
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "al_jax"))
    # Where the cache cannot be written, everything works but for its speed.
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache")


def run(main: Callable[[], int | None]) -> None:
    """Runs a command: bad input ends it with one line and exit status 2.

    `main` returns another exit status, if any.
    """
    prepare()

    def guarded(_: list[str]) -> int:
        before = signal.signal(signal.SIGINT, _stop)
        try:
            return main() or 0
        except InputError as error:
            return _complain(str(error))
        finally:
            signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=_parse)
