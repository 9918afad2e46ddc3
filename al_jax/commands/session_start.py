"""A new session of what the flags name, and the truth that answers in a demonstration."""

import os
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax import session as sessions
from al_jax.commands import command, simulate, stack_flags
from al_jax.commands import config_flags as configuration
from al_jax.commands.earlier import true_ranges
from al_jax.core.metrics import presence
from al_jax.core.stack import Images, InputError, Stack, make_images
from al_jax.core.strategies import STRATEGIES
from al_jax.files.inputs import read_images
from al_jax.files.stacks import load_default, read_stack
from al_jax.learner.config import make_keys
from al_jax.learner.transfer import describe_experience
from al_jax.session import Question, Session, Settings
from al_jax.session.ranges import described, read_in_range
from al_jax.session.storage import LOST_AND_FOUND
from al_jax.simulation.annotator import initial_queries

FLAGS = flags.FLAGS


def init(folder: pathlib.Path) -> tuple[str, dict[str, Any]]:
    """A new session of what the flags name."""
    images, labels = load()
    truth = labels if FLAGS.truth or _is_demonstration() else None
    if truth is None and FLAGS.simulated_start:
        raise InputError("--simulated_start needs a truth that answers; give --truth")

    def ranges_with(margin: int) -> np.ndarray:
        if FLAGS.ranges is not None:
            return read_in_range(FLAGS.ranges, images, margin)
        if truth is not None:
            return true_ranges(images, truth, margin)
        return np.ones((images.num_sections, images.num_classes), bool)

    weights, earlier, config = simulate.read_setting(images, ranges_with)
    if config.query.length != "crack":
        raise InputError("--length has no effect in a session, which counts cracks; leave it out")
    refuse_annotators()
    simulate.check_strategies([FLAGS.strategy])
    in_range = ranges_with(config.query.margin)
    settings = Settings(FLAGS.seed, config, STRATEGIES[FLAGS.strategy], FLAGS.cost)
    existed = os.path.lexists(folder)
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
                given = session.take_over(labels, background=True)
        elif truth is not None and FLAGS.simulated_start:
            given = simulated_start(folder, truth)
    except BaseException:
        _empty(folder, existed)
        raise
    size = "x".join(map(str, images.inside.shape[1:]))
    limits = described(in_range, images) if FLAGS.ranges is not None else ""
    begun = f"; ranges: {limits}" if limits else ""
    begun += "" if earlier is None else f"; {describe_experience(earlier, images.names)}"
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


def refuse_annotators() -> None:
    """Refuses flags of how the truth answers a simulation."""
    command.refuse((*configuration.ANNOTATOR, "start"), "in a session, where a person answers")
    command.refuse(("dice_over", "count_background"), "in a session")


def _empty(folder: pathlib.Path, stays: bool) -> None:
    """Takes back a session that was just made; a folder that was there before stays, empty."""
    for path in folder.iterdir() if stays else [folder]:
        if path.name == LOST_AND_FOUND:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def load() -> tuple[Images, np.ndarray | None]:
    """The images that the flags name, and their labels [N, H, W], if any.

    Without --truth these are `UNLABELLED` where nothing is known.
    """
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
    if not FLAGS.truth:
        return stack_flags.read_begun_files(FLAGS.images, FLAGS.labels, FLAGS.names)
    stack = stack_flags.read_files(FLAGS.images, FLAGS.labels, FLAGS.names)
    return without_truth(stack), stack.truth


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


def true_answer(session: Session, section: int, structure: int) -> np.ndarray:
    """[H, W] bool, where a structure truly is within the image."""
    return session.true_mask(section, structure) & np.asarray(session.images.inside[section])


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
    mask = true_answer(session, section, structure)
    if not mask.any():
        return session.store_absent(section, structure, question=question, seconds=seconds)
    return session.store_answer(
        section, structure, mask, question=question, seconds=seconds, widen=widen
    )


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


def _present(truth: np.ndarray, images: Images) -> np.ndarray:
    return np.asarray(presence(truth, np.asarray(images.inside), images.num_classes))


def _is_demonstration() -> bool:
    return FLAGS.images is None and FLAGS.stack is None
