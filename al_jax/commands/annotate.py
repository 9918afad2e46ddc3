"""A person traces a stack: a session that is a folder, worked on in a window or by commands.

    al-jax annotate --workdir=my_stack --images=slides --names=classes.csv

opens a window on a new session, or on that of the folder; with nothing but --workdir a new session
is of the shipped stack, whose truth can answer. Without any flag the window asks what to make or to
open. The same without a window, a command at a time:

    al-jax annotate init --workdir=my_stack --images=slides --names=classes.csv
    al-jax annotate suggest --workdir=my_stack --formats=png,nifti
    al-jax annotate ingest --workdir=my_stack --answer=traced.png
    al-jax annotate train --workdir=my_stack

and `status`, `absent`, `skip`, `undo`, `range`, `export`; `classes` adds, renames, merges and
splits classes, `sections` leaves sections out, replaces, mirrors, turns and orders them.
al_jax/session/README.md has an example of each.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from absl import flags

from al_jax import session as sessions
from al_jax.commands import (
    begun,
    command,
    session_changes,
    session_questions,
    session_results,
    session_start,
    stack_flags,
)
from al_jax.commands import config_flags as configuration
from al_jax.commands.plugins import load_plugins
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES
from al_jax.session import Session
from al_jax.session.ledger import read_ledger
from al_jax.session.storage import COSTS, SETTINGS

FLAGS = flags.FLAGS
Action = Callable[[Session], tuple[str, dict[str, Any]]]
COMMANDS = (
    "init",
    "suggest",
    "ingest",
    "train",
    "status",
    "undo",
    "skip",
    "absent",
    "range",
    "export",
    "classes",
    "sections",
)
TAKEN: dict[str | None, set[str]] = {
    None: {"ranges", "truth", "simulated_start", "wait"},
    "init": {"ranges", "truth", "simulated_start"},
    "suggest": {"section", "structure", "formats", "downsample", "wait"},
    "ingest": {
        *("question", "answer", "accept", "truth", "corrected", "sure"),
        *("downsample", "seconds", "widen", "wait"),
    },
    "train": set(),
    "status": set(),
    "undo": set(),
    "skip": {"section", "structure", "question", "reason"},
    "absent": {"section", "structure", "question", "seconds"},
    "range": {"structure", "first", "last"},
    "export": {"formats", "out"},
    "classes": {*session_changes.CLASS_ACTIONS, "to", "first", "last"},
    "sections": {*session_changes.SECTION_ACTIONS, "degrees"},
}
"""Which of these flags a command takes; None is the window."""

FLAG_MODULES = (stack_flags, configuration, session_changes)
"""Whose flags are this command's, too."""


def config_flags() -> tuple[str, ...]:
    """Those that a session keeps from its beginning."""
    names = (flag.name for flag in FLAGS.flags_by_module_dict()[configuration.__name__])
    return ("strategy", "cost", *(name for name in names if name != "plugin"))


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    configuration.define_flags()
    session_changes.define_flags()
    for module in FLAG_MODULES:
        flags.adopt_module_key_flags(module)
    flags.DEFINE_string("strategy", "SEr", f"What asks: {', '.join(STRATEGIES)}, or a plugin's.")
    flags.DEFINE_enum(
        "cost", "pixels", COSTS, "What to need least of: outline, or the person's time."
    )
    flags.DEFINE_string("workdir", None, "The folder of the session.")
    flags.DEFINE_string("ranges", None, "init: table of first and last sections: name,first,last.")
    flags.DEFINE_bool(
        "truth", False, "init: the labels are the truth, for a demonstration; ingest: it answers."
    )
    flags.DEFINE_bool(
        "simulated_start", False, "init: answer the first examples as a simulation of --seed does."
    )
    flags.DEFINE_string("section", None, "The section of a pair, by name or number from 0.")
    flags.DEFINE_string("structure", None, "The structure, by name.")
    flags.DEFINE_list("formats", ["png"], "png, tiff, nifti, seg.nrrd, geojson.")
    flags.DEFINE_string("question", None, "Folder of a question; default: the latest one.")
    flags.DEFINE_string("answer", None, "ingest: the file that a tool saved.")
    flags.DEFINE_bool("accept", False, "ingest: the proposal is the answer.")
    flags.DEFINE_bool("corrected", False, "ingest: the answer was made from the proposal.")
    flags.DEFINE_bool("sure", False, "ingest: the answer is right, though it looks odd.")
    flags.DEFINE_float(
        "downsample",
        None,
        "suggest, ingest: pixels of the slide along a pixel of the section, for outlines (GeoJSON, "
        "regions of ImageJ) that are drawn on the slide; default: 1, and that of the question.",
    )
    flags.DEFINE_float("seconds", None, "ingest: time that the answer took.", 0)
    flags.DEFINE_bool("widen", False, "ingest: widen the structure's range, if need be.")
    flags.DEFINE_string("reason", "", "skip: why.")
    flags.DEFINE_string("first", None, "range: first section; empty is an open end.")
    flags.DEFINE_string("last", None, "range: last section; empty is an open end.")
    flags.DEFINE_bool("wait", False, "Ask when the network has learnt from every answer.")
    flags.DEFINE_string("out", None, "export: where to; default: export in the session's folder.")
    flags.DEFINE_bool("json", False, "The result as one line of JSON, for scripts.")


def main(word: str | None) -> int | None:
    """Does one command, and prints its result as one line.

    The exit status says whether what was to be stored is stored, whatever became of the line.
    """
    load_plugins(FLAGS.plugin)
    if FLAGS.workdir is None and word is None and not _given():
        start()
        return None
    if FLAGS.workdir is None:
        raise InputError("--workdir is missing; name the folder of the session")
    folder = pathlib.Path(FLAGS.workdir)
    if word in TAKEN:
        others = set().union(*TAKEN.values()) - TAKEN[word]
        command.refuse(tuple(sorted(others)), f"with {word or 'the window'}")
    if word == "init":
        if os.path.exists(folder / SETTINGS):
            begun.check_begun(folder)
            line = f"a session already; go on with: {command.program()} --workdir={FLAGS.workdir}"
            raise InputError(f"{folder}: is not empty but {line}, or choose another --workdir")
        with contextlib.redirect_stdout(sys.stderr if FLAGS.json else sys.stdout):
            made = session_start.init(folder)
        print_result(*made)
        return None
    if word is None:
        window(folder)
        return None
    begun_with = [name for name in ("stack", *stack_flags.FILE_FLAGS) if name != "images"]
    command.refuse((*begun_with, *(() if word == "sections" else ("images",))), f"with {word}")
    command.refuse(config_flags(), f"with {word}; a session keeps what it began with")
    actions: dict[str, Action] = {
        "status": session_results.status,
        "export": session_results.export,
        "suggest": session_questions.suggest,
        "ingest": session_questions.ingest,
        "train": session_results.train,
        "undo": session_results.undo,
        "skip": session_questions.skip,
        "absent": session_questions.absent,
        "range": session_results.change_range,
        "classes": session_changes.classes,
        "sections": session_changes.sections,
    }
    try:
        (folder / SETTINGS).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        line = f"{folder}: is not a session; to make one, run: {command.typed('init', folder)}"
        raise InputError(line) from error
    except OSError:
        pass  # opening it says why
    if word in ("status", "export"):
        session = sessions.read_session(folder)
        result = actions[word](session)
        _show(session, result)
        return command.output_status() if word == "status" else None
    _work(folder, actions[word], learns=word == "ingest" and FLAGS.wait)
    return None


def _work(folder: pathlib.Path, action: Action, *, learns: bool) -> None:
    """Does what may be stored, and learns from it then; what fails once it is done is a note."""
    done = False
    try:
        with sessions.open_session(folder) as session:
            signal.signal(signal.SIGINT, functools.partial(_stop, folder, len(session.events)))
            result = action(session)
            done = True
            _show(session, result)
            if learns:
                session_results.learn(session)
    except Exception as error:
        if not done:
            raise
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        _note(f"{' '.join(what.split())}; all but the network is stored, {_how_to_learn(folder)}")


def _stop(folder: pathlib.Path, before: int, *_: object) -> NoReturn:
    """Ends the command; where its events are stored, doing it again would be too much."""
    with contextlib.suppress(InputError):
        if len(read_ledger(folder)[0]) > before:
            command.stop(f"all but the network is stored, {_how_to_learn(folder)}", 0)
    command.stop()


def _how_to_learn(folder: pathlib.Path) -> str:
    return f"which learns by: {command.typed('train', folder)}"


def _show(session: Session, result: tuple[str, dict[str, Any]]) -> None:
    for line in session.notices:
        _note(line)
    print_result(*result)


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr if FLAGS.json else sys.stdout, flush=True)


def print_result(line: str, result: dict[str, Any]) -> None:
    """The result for a person, or for a script."""
    if FLAGS.json:
        # What an output that is not UTF-8 makes of a letter, \xe4, is no JSON.
        letters = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        line = json.dumps(result, ensure_ascii=not letters, default=_plain)
    print(line, flush=True)


def _plain(value: Any) -> Any:
    """A number or an array of NumPy or JAX, for JSON."""
    return value.tolist()


def _given() -> list[str]:
    """The flags of this command that were given, but for plugins."""
    own = (__name__, *(module.__name__ for module in FLAG_MODULES))
    found = FLAGS.flags_by_module_dict()
    named = [flag.name for module in own for flag in found.get(module, ()) if flag.present]
    return [name for name in named if name != "plugin"]


def start() -> None:
    """Opens the window without a session; it offers to make or to open one."""
    _check_napari()
    _leave_by(lambda module: module.run())


def window(folder: pathlib.Path) -> None:
    """Opens the window, on a new session where there is none."""
    _check_napari()
    if exists := os.path.exists(folder / SETTINGS):
        begun.check_begun(folder)

    def opened(module: ModuleType) -> None:
        if not exists:
            print_result(*session_start.init(folder))
        module.run(folder, wait=FLAGS.wait)

    _leave_by(opened)


def _check_napari() -> None:
    if importlib.util.find_spec("napari") is None:
        raise InputError(
            f"the window needs napari; run: {command.how_to_install('window')}, or answer without "
            f"one: {command.program()} init, suggest, ingest (see --help)"
        )


def _leave_by(work: Callable[[ModuleType], None]) -> None:
    """Does what is done in a window with its package, and ends as the window ends."""
    module = importlib.import_module("al_jax.window")
    module.check_display()
    module.start_computing()  # before a new session computes anything
    work(module)
    module.leave()
