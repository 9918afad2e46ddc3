"""A new session of what the flags name."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from al_jax.commands import command, simulate, stack_flags
from al_jax.commands import config_flags as configuration
from al_jax.core.metrics import presence
from al_jax.core.stack import Images, InputError, parted
from al_jax.core.state import true_ranges
from al_jax.core.strategies import STRATEGIES
from al_jax.files.inputs import read_images
from al_jax.files.stacks import load_default, read_stack
from al_jax.learner.config import make_keys
from al_jax.learner.transfer import describe_experience
from al_jax.session import Session, Settings
from al_jax.session.beginning import begin
from al_jax.session.demonstration import answer_truly
from al_jax.session.ranges import described, read_in_range
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
    first: Callable[[Session], int] | None = None
    if labels is not None and truth is None:
        first = functools.partial(Session.take_over, labels=labels, background=True)
    elif truth is not None and FLAGS.simulated_start:
        first = functools.partial(simulated_start, truth=truth)
    given = begin(
        folder,
        images,
        in_range,
        settings,
        truth=truth,
        weights=weights,
        earlier=earlier,
        first=first,
    )
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


def load() -> tuple[Images, np.ndarray | None]:
    """The images that the flags name, and their labels [N, H, W], if any.

    Without --truth these are `UNLABELLED` where nothing is known.
    """
    if _is_demonstration():
        command.refuse(("labels", "names"), "without --images")
        return parted(load_default())
    if FLAGS.images is None:
        stack_flags.check_named(("stack",))
        if FLAGS.truth:
            return parted(read_stack(FLAGS.stack))
        return read_images(FLAGS.stack), None
    stack_flags.check_named(("images", "names"))
    if FLAGS.labels is None:
        if FLAGS.truth:
            raise InputError("--truth needs --labels; give them, or leave it out")
        return stack_flags.read_unlabelled(FLAGS.images, FLAGS.names), None
    if not FLAGS.truth:
        return stack_flags.read_begun_files(FLAGS.images, FLAGS.labels, FLAGS.names)
    return parted(stack_flags.read_files(FLAGS.images, FLAGS.labels, FLAGS.names))


def simulated_start(session: Session, truth: np.ndarray) -> int:
    """The first answers of the simulation of the same seed, of what is not known; how many."""
    keys = make_keys(jax.random.key(session.settings.seed))
    key = jax.random.split(keys.start)[0]
    present = _present(truth, session.images)
    chosen = np.asarray(initial_queries(key, jnp.asarray(present)))
    for structure in np.flatnonzero(chosen >= 0).tolist():
        if not session.annotations.known(structure):
            answer_truly(session, int(chosen[structure]), structure)
    return len(session.events)


def _present(truth: np.ndarray, images: Images) -> np.ndarray:
    return np.asarray(presence(truth, np.asarray(images.inside), images.num_classes))


def _is_demonstration() -> bool:
    return FLAGS.images is None and FLAGS.stack is None
