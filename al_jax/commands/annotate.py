"""A person traces a stack: a session that is a folder, worked on in a window or by commands.

    al-jax annotate --workdir=my_stack --images=slides --names=classes.csv

opens a window on a new session, or on that of the folder; with nothing but --workdir a new session
is of the shipped stack, whose truth can answer. The same without a window, a command at a time:

    al-jax annotate init --workdir=my_stack --images=slides --names=classes.csv
    al-jax annotate suggest --workdir=my_stack --formats=png,nifti
    al-jax annotate ingest --workdir=my_stack --answer=traced.png
    al-jax annotate train --workdir=my_stack

and `status`, `absent`, `skip`, `undo`, `range`, `export`. al_jax/session/README.md has an example
of each.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, simulate, stack_flags
from al_jax.commands import config_flags as configuration
from al_jax.commands.earlier import true_ranges
from al_jax.commands.plugins import load_plugins
from al_jax.core.metrics import presence
from al_jax.core.stack import UNLABELLED, Images, InputError, Stack, make_images
from al_jax.core.strategies import STRATEGIES
from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import make_classes
from al_jax.exchange.export import export_stack
from al_jax.exchange.placement import affine_on
from al_jax.exchange.questions import MANIFEST, array_digest, read_manifest, write_question
from al_jax.files.atomic import write_atomic, write_npz
from al_jax.files.inputs import read_images
from al_jax.files.reading import reading
from al_jax.files.stacks import load_default, read_stack
from al_jax.files.tables import read_table
from al_jax.learner.config import make_keys
from al_jax.learner.transfer import EXPERIENCE, describe_experience, write_experience
from al_jax.plotting.session_report import write_report
from al_jax.session import Question, Session, Settings
from al_jax.session.ranges import (
    in_range_of,
    read_ranges,
    section_number,
    structure_number,
    table_of_ranges,
)
from al_jax.session.results import Export
from al_jax.session.storage import SETTINGS
from al_jax.simulation.annotator import initial_queries

FLAGS = flags.FLAGS
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
)
QUESTIONS, SHOWN = "questions", "shown.npz"


def config_flags() -> tuple[str, ...]:
    """Those that a session keeps from its beginning."""
    names = (flag.name for flag in FLAGS.flags_by_module_dict()[configuration.__name__])
    return ("strategy", *(name for name in names if name != "plugin"))


def define_flags() -> None:
    """All flags of the command."""
    stack_flags.define_flags()
    configuration.define_flags()
    for module in (stack_flags, configuration):
        flags.adopt_module_key_flags(module)
    flags.DEFINE_string("strategy", "SDr", f"What asks: {', '.join(STRATEGIES)}, or a plugin's.")
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
    flags.DEFINE_float("seconds", None, "ingest: time that the answer took.", 0)
    flags.DEFINE_bool("widen", False, "ingest: widen the structure's range, if need be.")
    flags.DEFINE_string("reason", "", "skip: why.")
    flags.DEFINE_string("first", None, "range: first section; empty is an open end.")
    flags.DEFINE_string("last", None, "range: last section; empty is an open end.")
    flags.DEFINE_bool("wait", False, "Ask when the network has learnt from every answer.")
    flags.DEFINE_string("out", None, "export: where to; default: export in the session's folder.")
    flags.DEFINE_bool("json", False, "The result as one line of JSON, for scripts.")


def main(word: str | None) -> None:
    """Does one command, and prints its result as one line."""
    if FLAGS.workdir is None:
        raise InputError("--workdir is missing; name the folder of the session")
    load_plugins(FLAGS.plugin)
    folder = pathlib.Path(FLAGS.workdir)
    if word == "init":
        with contextlib.redirect_stdout(sys.stderr if FLAGS.json else sys.stdout):
            made = init(folder)
        return print_result(*made)
    if word is None:
        return window(folder)
    command.refuse(("images", "labels", "names", "stack", "ranges"), f"with {word}")
    command.refuse(config_flags(), f"with {word}; a session keeps what it began with")
    actions: dict[str, Callable[[Session], tuple[str, dict[str, Any]]]] = {
        "status": status,
        "export": export,
        "suggest": suggest,
        "ingest": ingest,
        "train": train,
        "undo": undo,
        "skip": skip,
        "absent": absent,
        "range": change_range,
    }
    try:
        (folder / SETTINGS).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        line = f"{folder}: is not a session; to make one, run: {_typed('init', folder)}"
        raise InputError(line) from error
    except OSError:
        pass  # opening it says why
    if word in ("status", "export"):
        session = sessions.read_session(folder)
        result = actions[word](session)
    else:
        with sessions.open_session(folder) as session:
            result = actions[word](session)
    for line in session.notices:
        print(f"note: {line}", file=sys.stderr if FLAGS.json else sys.stdout, flush=True)
    return print_result(*result)


def _typed(subcommand: str, folder: pathlib.Path) -> str:
    """What to type next."""
    return f"{command.program()} {subcommand} --workdir={shlex.quote(str(folder))}"


def print_result(line: str, result: dict[str, Any]) -> None:
    """The result for a person, or for a script."""
    print(json.dumps(result, ensure_ascii=False) if FLAGS.json else line, flush=True)


def window(folder: pathlib.Path) -> None:
    """Opens the window, on a new session where there is none."""
    if importlib.util.find_spec("napari") is None:
        raise InputError(
            f"the window needs napari; run: {command.how_to_install('window')}, or answer without "
            f"one: {command.program()} init, suggest, ingest (see --help)"
        )
    module = importlib.import_module("al_jax.window")
    module.check_display()
    module.start_computing()  # before a new session computes anything
    if not os.path.exists(folder / SETTINGS):
        print_result(*init(folder))
    module.run(folder, wait=FLAGS.wait)


def init(folder: pathlib.Path) -> tuple[str, dict[str, Any]]:
    """A new session of what the flags name."""
    images, labels = load()
    truth = labels if FLAGS.truth or _is_demonstration() else None
    if truth is None and FLAGS.simulated_start:
        raise InputError("--simulated_start needs a truth that answers; give --truth")

    def ranges_with(margin: int) -> np.ndarray:
        if FLAGS.ranges is not None:
            return in_range_of(read_ranges(FLAGS.ranges), images, margin)
        if truth is not None:
            return true_ranges(images, truth, margin)
        return np.ones((images.num_sections, images.num_classes), bool)

    weights, earlier, config = simulate.read_setting(images, ranges_with)
    if config.query.length != "crack":
        raise InputError("--length has no effect in a session, which counts cracks; leave it out")
    command.refuse((*configuration.ANNOTATOR, "start"), "in a session, where a person answers")
    command.refuse(("dice_over", "count_background"), "in a session")
    simulate.check_strategies([FLAGS.strategy])
    in_range = ranges_with(config.query.margin)
    settings = Settings(FLAGS.seed, config, STRATEGIES[FLAGS.strategy])
    sessions.create(
        folder,
        images,
        in_range,
        settings,
        truth=truth,
        weights=weights,
        earlier=earlier,
    )
    given = 0
    try:
        if labels is not None and truth is None:
            with sessions.open_session(folder) as session:
                given = session.take_over(labels)
        elif truth is not None and FLAGS.simulated_start:
            given = simulated_start(folder, truth)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    size = "x".join(map(str, images.inside.shape[1:]))
    begun = "" if earlier is None else f"; {describe_experience(earlier, images.names)}"
    line = (
        f"{folder}: a new {'demonstration' if _is_demonstration() else 'session'}, "
        f"{images.num_sections} sections of {size}, {images.num_classes} classes, "
        f"{given} answers so far" + ("; its truth can answer" if truth is not None else "")
    ) + begun
    result = {
        "workdir": str(folder),
        "sections": list(images.sections),
        "classes": list(images.names),
        "answers": given,
        "truth": truth is not None,
    }
    return line, result


def load() -> tuple[Images, np.ndarray | None]:
    """The images that the flags name, and their labels [N, H, W], if any."""
    if _is_demonstration():
        command.refuse(("labels", "names"), "without --images")
        stack = load_default()
        return without_truth(stack), stack.truth
    if FLAGS.images is None:
        stack_flags.check_named(("stack",))
        if FLAGS.truth:
            stack = read_stack(FLAGS.stack)
            return without_truth(stack), stack.truth
        return read_images(FLAGS.stack), None
    stack_flags.check_named(("images", "names"))
    if FLAGS.labels is None:
        if FLAGS.truth:
            raise InputError("--truth needs --labels; give them, or leave it out")
        return stack_flags.read_unlabelled(FLAGS.images, FLAGS.names), None
    stack = stack_flags.read_files(FLAGS.images, FLAGS.labels, FLAGS.names, partial=not FLAGS.truth)
    if FLAGS.truth:
        return without_truth(stack), stack.truth
    # The labels show a part of the classes, of which the table has all.
    table = read_table(FLAGS.names, FLAGS.grouping, FLAGS.outside_id)
    number = np.array([table.names.index(name) for name in stack.names] + [UNLABELLED])
    whole = dataclasses.replace(stack, names=table.names, colours=table.colours)
    return without_truth(whole), number[stack.truth].astype(np.int16)


def simulated_start(folder: pathlib.Path, truth: np.ndarray) -> int:
    """The first answers of the simulation of the same seed, of what is not known; how many."""
    with sessions.open_session(folder) as session:
        keys = make_keys(jax.random.key(session.settings.seed))
        key = jax.random.split(keys.start)[0]
        present = _present(truth, session.images)
        chosen = np.asarray(initial_queries(key, jnp.asarray(present)))
        for structure in np.flatnonzero(chosen >= 0).tolist():
            if not session.annotations.known(structure):
                answer_truly(session, int(chosen[structure]), structure)
        return len(session.events)


def answer_truly(
    session: Session,
    section: int,
    structure: int,
    question: Question | None = None,
    *,
    seconds: float | None = None,
    widen: bool = False,
) -> sessions.Stored:
    """The truth answers a pair; see `Session.store_answer` for the arguments."""
    mask = sessions.true_mask(session.folder, section, structure)
    mask &= np.asarray(session.images.inside[section])
    if not mask.any():
        return session.store_absent(section, structure, question=question, seconds=seconds)
    return session.store_answer(
        section, structure, mask, question=question, seconds=seconds, widen=widen
    )


def suggest(session: Session) -> tuple[str, dict[str, Any]]:
    """What to trace next, as files."""
    if FLAGS.wait:
        learn(session)
    if (FLAGS.section is None) != (FLAGS.structure is None):
        raise InputError("--section and --structure name a pair together; give both or none")
    if FLAGS.section is None:
        question = session.next_question()
    else:
        section, structure = pair_of_flags(session)
        question = session.next_question(section=section, structure=structure)
    if question is None:
        return "nothing is left to ask", {"found": False}
    name = re.sub(r"[^\w.-]+", "_", f"{question.section:04}_{question.name}")
    folder = session.folder / QUESTIONS / name
    classes = make_classes(session.images.names, session.images.colours)
    affine = affine_on(session.images.place, question.section)
    written = write_question(folder, question, classes, FLAGS.formats, affine=affine)
    shown: dict[str, Any] = {} if question.proposal is None else {"proposal": question.proposal}
    shown |= {
        "network": question.network,
        "asked": question.asked,
        "events": len(session.events),
    }
    write_npz(folder / SHOWN, shown)
    result = {
        "found": True,
        "section": question.section,
        "section_name": question.section_name,
        "structure": question.name,
        "example": question.example,
        "why": question.why,
        "runner_up": question.runner_up,
        "left": question.left,
        "network": question.network,
        "behind": session.behind(),
        "files": [str(path) for path in written],
    }
    return f"{question.why}; files in {folder}", result


def ingest(session: Session) -> tuple[str, dict[str, Any]]:
    """Stores the answer to a question, from a file, the proposal or the truth."""
    given = [name for name in ("answer", "accept", "truth") if FLAGS[name].value]
    if len(given) != 1:
        raise InputError("give one of --answer=FILE, --accept and --truth")
    command.refuse(("section", "structure"), "with ingest, which answers what was asked (suggest)")
    folder, question = latest_question(session)
    section, structure = question.section, question.structure
    if FLAGS.truth:
        stored = answer_truly(
            session, section, structure, question, seconds=FLAGS.seconds, widen=FLAGS.widen
        )
    elif FLAGS.accept:
        if question.proposal is None:
            raise InputError(f"{folder}: has no proposal to accept; trace it")
        if not question.proposal.any():
            raise InputError(f"{folder}: the proposal is empty; say absent, or trace it")
        stored = _stored(session, question, question.proposal, "accepted")
    else:
        mask = read_answer(FLAGS.answer, read_manifest(folder))
        how = "corrected" if FLAGS.corrected else "traced"
        stored = _stored(session, question, mask, how)
    if FLAGS.wait:
        learn(session)
    return stored.message, dict(stored.event)


def _stored(session: Session, question: Question, mask: np.ndarray, how: str) -> sessions.Stored:
    return session.store_answer(
        question.section,
        question.structure,
        mask,
        question=question,
        how=how,
        seconds=FLAGS.seconds,
        widen=FLAGS.widen,
    )


def latest_question(session: Session) -> tuple[pathlib.Path, Question]:
    """The folder of the question that the flags name, or of the latest, and what was shown."""
    if FLAGS.question is not None:
        folder = pathlib.Path(FLAGS.question)
    else:
        asked = list((session.folder / QUESTIONS).glob(f"*/{MANIFEST}"))
        if not asked:
            raise InputError(
                f"{session.folder}: nothing was asked yet; run: {_typed('suggest', session.folder)}"
            )
        folder = max(asked, key=lambda path: path.stat().st_mtime_ns).parent
    asked_of = read_manifest(folder)
    with reading(folder / SHOWN, "what was shown"), np.load(folder / SHOWN) as archive:
        shown = dict(archive)
    if asked_of.names != session.images.names:
        raise InputError(
            f"{folder}: is a question of another session; run: {_typed('suggest', session.folder)}"
        )
    question = session.next_question(
        section=asked_of.section, structure=asked_of.structure, propose=False
    )
    assert question is not None  # a pair that was named is always asked
    if array_digest(question.image) != asked_of.image_digest:
        raise InputError(
            f"{folder}: is a question of another session; run: {_typed('suggest', session.folder)}"
        )
    before = int(shown.get("events", len(session.events)))
    if FLAGS.question is None and _answered_since(session, question, before):
        raise InputError(
            f"{folder}: has been answered; run: {_typed('suggest', session.folder)}, or name it by "
            "--question to correct its answer"
        )
    return folder, dataclasses.replace(
        question,
        proposal=shown.get("proposal"),
        network=int(shown["network"]),
        asked=float(shown["asked"]),
    )


def _answered_since(session: Session, question: Question, events: int) -> bool:
    """Whether its pair was answered after so many events."""
    return any(
        event["event"] in ("answer", "absent")
        and (event["section"], event["structure"]) == (question.section, question.name)
        for event in session.events[events:]
    )


def train(session: Session) -> tuple[str, dict[str, Any]]:
    """Trains until the network has learnt from every answer."""
    began = time.monotonic()
    done, loss = learn(session)
    if not done:
        line = "the network has learnt from every answer"
        if not session.network.trained:
            line = "there is nothing to learn from yet: answer the first examples"
        return line, {"pieces": 0, "behind": session.behind()}
    seconds = time.monotonic() - began
    line = f"learnt from event {session.network.through} on: loss {loss:.4f}, {seconds:.1f} s"
    return line.replace(" on:", ":"), {
        "pieces": done,
        "loss": loss,
        "seconds": round(seconds, 2),
        "through": session.network.through,
        "behind": session.behind(),
    }


def learn(session: Session) -> tuple[int, float]:
    """All training that there is to do: how many pieces, and the loss of the last."""
    pieces, loss = 0, float("nan")
    while (trained := session.train_step()) is not None:
        pieces, loss = pieces + 1, trained.loss
    return pieces, loss


def status(session: Session) -> tuple[str, dict[str, Any]]:
    """Where the session stands."""
    now = session.progress()
    parts = [f"{now.answers} answers ({now.absent} absent, {now.skipped} skipped)"]
    parts.append(f"{now.traced:.0f} px traced ({now.drawn:.0f} drawn)")
    if now.left is not None:
        parts[-1] += f", {now.left:.0f} px left"
    if now.dice is not None:
        parts.append(f"Dice of proposals {now.dice:.3f}")
    if now.error is not None:
        parts.append(
            f"of outlines {now.predicted:.0f} px predicted, {now.actual:.0f} traced, typically "
            f"{now.error:.0%} off"
        )
    if now.seconds is not None and now.seconds_left is not None:
        parts.append(f"{now.seconds:.0f} s an answer, {now.seconds_left / 60:.0f} min to trace all")
    if now.training < 1:
        parts.append(f"first training {now.training:.0%} done")
    parts.append(f"network {now.behind} answers behind")
    return "; ".join(parts), now._asdict()


def undo(session: Session) -> tuple[str, dict[str, Any]]:
    """Takes back the last event."""
    event = session.undo()
    if event is None:
        return "there is nothing to take back", {"undone": None}
    where = f" of '{event['structure']}'"
    if "section" in event:
        where += f" on section {session.images.sections[event['section']]}"
    return f"took back the {event['event']}{where}", {"undone": event}


def skip(session: Session) -> tuple[str, dict[str, Any]]:
    """Leaves a pair for later."""
    section, structure = pair(session)
    event = session.skip(section, structure, FLAGS.reason)
    return f"{_named(session, section, structure)}: skipped", dict(event)


def absent(session: Session) -> tuple[str, dict[str, Any]]:
    """Says that a structure is not on a section."""
    question = None
    if FLAGS.section is None and FLAGS.structure is None:
        question = latest_question(session)[1]
        section, structure = question.section, question.structure
    else:
        section, structure = pair_of_flags(session)
    stored = session.store_absent(section, structure, question=question, seconds=FLAGS.seconds)
    return stored.message, dict(stored.event)


def change_range(session: Session) -> tuple[str, dict[str, Any]]:
    """Another first or last section of a structure; an end that is not named stays."""
    if FLAGS.structure is None or (FLAGS.first is None and FLAGS.last is None):
        raise InputError("range needs --structure, and --first or --last")
    structure = structure_number(FLAGS.structure, session.images)
    where = np.flatnonzero(session.annotations.state.in_range[:, structure])
    ends = []
    for text, now in ((FLAGS.first, where[:1]), (FLAGS.last, where[-1:])):
        if text is None:
            ends.append(int(now[0]) if len(now) else None)
        else:
            ends.append(section_number(text, session.images) if text else None)
    event = session.set_range(structure, (ends[0], ends[1]))
    shown = [
        session.images.sections[open_end if end is None else end]
        for end, open_end in zip(ends, (0, -1), strict=True)
    ]
    return f"'{FLAGS.structure}': from section {shown[0]} to {shown[1]}", dict(event)


def export(session: Session) -> tuple[str, dict[str, Any]]:
    """Writes the annotations, what the network adds, and tables."""
    images = session.images
    out = session.folder / "export" if FLAGS.out is None else pathlib.Path(FLAGS.out)
    segmentation = confidence = None
    if session.network.proposes:
        segmentation = np.empty(images.inside.shape, np.int16)
        confidence = np.empty(images.inside.shape, np.float32)
        for section in range(images.num_sections):
            found = session.segment_section(section)
            assert found is not None
            segmentation[section], confidence[section] = found
    content = Export(
        traced=session.labels(),
        segmentation=segmentation,
        confidence=confidence,
        names=images.names,
        sections=images.sections,
        colours=images.colours,
        place=images.place,
        answers=session.answered(),
    )
    written = export_stack(out, content, FLAGS.formats)
    write_report(out / "report.html", images, content, left=session.progress().left)
    write_atomic(
        out / "ranges.csv", table_of_ranges(np.asarray(session.annotations.state.in_range), images)
    )
    what = "traced and segmented" if segmentation is not None else "traced (no network yet)"
    written += [out / "ranges.csv", out / "report.html"]
    if segmentation is not None:
        write_experience(out / EXPERIENCE, session.experience())
        written.append(out / EXPERIENCE)
    return f"{out}: {len(written)} files, {what}; report.html tells how it went", {
        "files": [str(path) for path in written],
        "segmented": segmentation is not None,
    }


def pair(session: Session) -> tuple[int, int]:
    """The pair of the flags, or of the latest question."""
    if FLAGS.section is None and FLAGS.structure is None:
        question = latest_question(session)[1]
        return question.section, question.structure
    return pair_of_flags(session)


def pair_of_flags(session: Session) -> tuple[int, int]:
    """The pair that --section and --structure name."""
    if FLAGS.section is None or FLAGS.structure is None:
        raise InputError("--section and --structure name a pair together; give both or none")
    return (
        section_number(FLAGS.section, session.images),
        structure_number(FLAGS.structure, session.images),
    )


def _named(session: Session, section: int, structure: int) -> str:
    images = session.images
    return f"'{images.names[structure]}' on section {images.sections[section]}"


def _present(truth: np.ndarray, images: Images) -> np.ndarray:
    return np.asarray(presence(truth, np.asarray(images.inside), images.num_classes))


def _is_demonstration() -> bool:
    return FLAGS.images is None and FLAGS.stack is None


def without_truth(stack: Stack) -> Images:
    """The images of a stack."""
    return make_images(
        stack.images,
        stack.names,
        stack.inside,
        sections=stack.sections,
        colours=stack.colours,
        place=stack.place,
    )
