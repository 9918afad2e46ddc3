"""What all commands share: the flags that name a stack, one-line errors, the compilation cache."""

import contextlib
import fcntl
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import jax
from absl import app, flags, logging

from al_jax import io
from al_jax.stack import InputError, Stack

FLAGS = flags.FLAGS


def define_stack_flags() -> None:
    """The flags that `load_stack` reads."""
    flags.DEFINE_string("stack", None, "npz written by al_jax.io.write_stack; default: Colin27.")
    flags.DEFINE_string("images", None, "A NIfTI volume, or a folder of sections (PNG, TIFF).")
    flags.DEFINE_string("labels", None, "Its label volume, or the folder of label images.")
    flags.DEFINE_string("names", None, "CSV of the labels: id, name and any grouping columns.")
    flags.DEFINE_string("grouping", None, "NIfTI: the column of --names that gives the classes.")
    flags.DEFINE_enum("axis", "coronal", list(io.AXES), "NIfTI: what a section is.")
    flags.DEFINE_integer("sections", 24, "NIfTI: how many sections, evenly spaced.")
    flags.DEFINE_float("spacing", None, "NIfTI: distance of the sections in mm instead.")
    flags.DEFINE_list("within", [], "NIfTI: take sections that show one of these classes.")
    flags.DEFINE_integer("outside_id", None, "Folder: pixels with this id are not in the image.")


def load_stack() -> Stack:
    """The stack that the flags name.

    Raises:
      InputError: the flags do not go together, or a reader refuses the files.
    """
    files = (FLAGS.images, FLAGS.labels, FLAGS.names)
    if FLAGS.stack is not None and any(files):
        raise InputError("--stack and --images exclude each other; give one")
    if not any(files):
        return io.load_default() if FLAGS.stack is None else io.read_stack(FLAGS.stack)
    for name in ("images", "labels", "names"):
        if FLAGS[name].value is None:
            raise InputError(f"--{name} is missing; --images, --labels and --names go together")
    if os.path.isdir(FLAGS.images):
        if FLAGS.grouping is not None:
            raise InputError("--grouping is for NIfTI volumes; a folder's names are its classes")
        return io.read_folder(FLAGS.images, FLAGS.labels, FLAGS.names, FLAGS.outside_id)
    return io.read_nifti(
        FLAGS.images,
        FLAGS.labels,
        FLAGS.names,
        grouping=FLAGS.grouping,
        axis=FLAGS.axis,
        sections=FLAGS.sections,
        spacing=FLAGS.spacing,
        within=FLAGS.within,
    )


@contextlib.contextmanager
def open_workdir(path: str, configuration: dict) -> Iterator[pathlib.Path]:
    """A directory that belongs to one configuration and one process at a time.

    It is made if missing; `config.json` in it names the configuration.

    Raises:
      InputError: it holds another configuration (the line says what differs) or other files, is in
        use, or cannot be written.
    """
    folder = pathlib.Path(path)
    existing = _read_configuration(folder)
    if existing is not None and existing != configuration:
        keys = sorted(existing.keys() | configuration.keys())
        differing = [k for k in keys if existing.get(k) != configuration.get(k)]
        told = "; ".join(f"{k} was {existing.get(k)}, is {configuration.get(k)}" for k in differing)
        raise InputError(f"{path}: holds another run ({told}); choose another --workdir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{path}: another process is at work in it; wait for it") from None
            if existing is None:
                text = json.dumps(configuration, indent=2) + "\n"
                io.write_whole(folder / "config.json", text.encode())
            yield folder
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; choose another --workdir") from error


def _read_configuration(folder: pathlib.Path) -> dict | None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --workdir")
    try:
        return json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        # A run that was killed before its first file leaves a lock and temporary names at most.
        strangers = [p for p in folder.glob("*") if not p.name.startswith(".")]
        if strangers:
            raise InputError(
                f"{folder}: holds files of something else ({strangers[0].name}); "
                "choose another --workdir"
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its config.json is unreadable; choose another one") from error


def _parse(arguments: list[str]) -> list[str]:
    try:
        rest = FLAGS(arguments)
    except flags.Error as error:
        raise SystemExit(_complain(str(error))) from None
    if len(rest) > 1:
        raise SystemExit(_complain(f"'{rest[1]}' is no flag; see --help"))
    return rest


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def run(main: Callable[[], None]) -> None:
    """Runs a command: bad input ends it with one line and exit status 2."""
    logging.set_verbosity(logging.ERROR)
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "al_jax"))

    def guarded(_: list[str]) -> int:
        try:
            main()
        except InputError as error:
            return _complain(str(error))
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
            return 130
        return 0

    app.run(guarded, flags_parser=_parse)
