"""Flags that name what a session began with: with one that exists they must say the same."""

import contextlib
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import flags

from al_jax.commands import command, runs, session_start, stack_flags
from al_jax.commands import config_flags as configuration
from al_jax.commands.earlier import read_earlier
from al_jax.core.settings import leaves
from al_jax.core.stack import Images, InputError
from al_jax.core.strategies import STRATEGIES
from al_jax.files.tables import read_table
from al_jax.files.weights import read_weights
from al_jax.learner.config import Config, changed, preset
from al_jax.session import ledger, storage
from al_jax.session.ranges import read_in_range
from al_jax.session.storage import Content

FLAGS = flags.FLAGS


def check_begun(folder: pathlib.Path) -> None:
    """Refuses flags that say otherwise than what the session of a folder began with.

    Files are read and compared: those of the session lie in its folder.

    Raises:
      InputError: names the flags; or a file that is named does not exist or cannot be read.
    """
    session_start.refuse_annotators()
    command.refuse(("simulated_start",), "with a session that exists")
    begun = storage.read(folder)
    differing = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name in (*_files(folder, begun), *_settings(begun), *_earlier(begun))
        for value in [FLAGS[name].value]
    ]
    if differing:
        raise InputError(
            f"{folder}: its session began with something else than {', '.join(differing)}; leave "
            "that out, or choose another --workdir"
        )


def _files(folder: pathlib.Path, begun: Content) -> Iterator[str]:
    """The flags that name other files than those of the beginning."""
    options = [name for name in stack_flags.OPTION_FLAGS if FLAGS[name].present]
    with contextlib.redirect_stdout(io.StringIO()):  # notes were given at the beginning
        if FLAGS.stack is not None or FLAGS.images is not None:
            yield from _stack(folder, begun)
        elif FLAGS.labels is not None:
            command.refuse(("labels",), "without --images")
        elif FLAGS.names is not None:
            table = read_table(FLAGS.names, FLAGS.grouping, FLAGS.outside_id)
            if table.names != begun.images.names:
                yield "names"
        else:
            command.refuse(tuple(options), "without --images")
    if FLAGS.ranges is not None:
        margin = begun.settings.config.query.margin
        given = read_in_range(FLAGS.ranges, begun.images, margin)
        if not np.array_equal(given, begun.in_range):
            yield "ranges"
    if FLAGS.truth and not (folder / storage.TRUTH).exists():
        yield "truth"


def _stack(folder: pathlib.Path, begun: Content) -> Iterator[str]:
    """The same of images, labels and names, read as `init` reads them."""
    own = "images" if FLAGS.stack is None else "stack"
    if FLAGS.stack is None and FLAGS.names is None and FLAGS.labels is None:
        images, labels = (
            stack_flags.read_unlabelled(FLAGS.images, str(folder / storage.CLASSES)),
            None,
        )
    else:
        images, labels = session_start.load()
    if not _same_sections(images, begun.images):
        yield own
    elif images.names != begun.images.names:
        yield "names" if own == "images" else own
    elif labels is not None and not _same_labels(folder, begun, images, labels):
        yield "labels" if own == "images" else own


def _same_sections(images: Images, begun: Images) -> bool:
    """One at a time: those of the session are mapped."""
    return (
        images.sections == begun.sections
        and images.images.shape == begun.images.shape
        and images.images.dtype == begun.images.dtype
        and all(map(np.array_equal, images.images, begun.images))
    )


def _same_labels(folder: pathlib.Path, begun: Content, images: Images, labels: np.ndarray) -> bool:
    """Whether labels are the truth of a demonstration, or what was taken over as answers."""
    inside = np.asarray(begun.images.inside)
    if not np.array_equal(images.inside, inside):
        return False
    truth = folder / storage.TRUTH
    if truth.exists():
        return np.array_equal(labels, np.load(truth, mmap_mode="r"))
    given = {
        (event["section"], event["structure"], event["mask"])
        for event in ledger.read_ledger(folder)[0]
        if event.get("how") == "given"
    }
    shown = {
        (section, images.names[structure], ledger.digest(own == structure))
        for section, own in enumerate(labels)
        for structure in np.unique(own[inside[section]]).tolist()
        if structure >= 0
    }
    # Sessions of before took no background over.
    return given in (shown, {pair for pair in shown if pair[1] != images.names[0]})


def _settings(begun: Content) -> Iterator[str]:
    """The flags that give settings other values than those of the beginning."""
    settings, config = begun.settings, begun.settings.config
    if FLAGS["seed"].present and FLAGS.seed != settings.seed:
        yield "seed"
    if FLAGS["strategy"].present and STRATEGIES.get(FLAGS.strategy) != settings.strategy:
        yield "strategy"
    if FLAGS["cost"].present and FLAGS.cost != settings.cost:
        yield "cost"
    given = configuration.given()
    if not _fits(config, given):
        yield from (name for name, value in given.items() if not _fits(config, {name: value}))
    elif FLAGS["preset"].present:
        # Sessions from before it was the default go on without neighbours.
        kept = ("neighbours", *(configuration.OF_WARM_START if begun.earlier else ()))
        values = {field.name: value for field, value in leaves(config) if field.name in kept}
        values |= given | {"convention": config.training.convention}
        if changed(preset(FLAGS.preset, begun.images.num_sections), values) != config:
            yield "preset"


def _fits(config: Config, values: Mapping[str, Any]) -> bool:
    try:
        return changed(config, values) == config
    except ValueError as error:
        raise InputError(str(error)) from error


def _earlier(begun: Content) -> Iterator[str]:
    """The flags that name other weights or prior stacks."""
    if FLAGS.weights is not None:
        weights, own = read_weights(FLAGS.weights)[0], begun.weights or {}
        same = weights.keys() == own.keys()
        if not (same and all(np.array_equal(weights[name], own[name]) for name in own)):
            yield "weights"
    if (earlier := read_earlier(FLAGS["from"].value)) is not None:
        own_earlier = begun.earlier
        digest = runs.digest_experience
        if own_earlier is None or digest(earlier) != digest(own_earlier):
            yield "from"
