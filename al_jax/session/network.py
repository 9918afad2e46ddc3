"""A session's network, and its checkpoints: what they lack is learnt again from the events."""

import functools
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from orbax.checkpoint import CheckpointManager

from al_jax.core.stack import Images, InputError
from al_jax.files import checkpoints
from al_jax.learner.learner import Learner
from al_jax.session.events import CHANGES, Event, pair_of
from al_jax.session.trials import Trials, from_array, start_from, to_array

SECONDS = 10.0  # least time between two checkpoints of the long training
BY_SECTION = ("fit", "labelled", "uncertainty", "proposed")
"""What a learner knows of each section."""

NETWORK = "network"


class Network(NamedTuple):
    """A network, and how far it is.

    Attributes:
      learner: weights and Dice history; None before the first training, unless the weights are
        those of earlier stacks.
      steps: of the long training before the first query that are done.
      trained: that training is complete.
      through: number of the last event that it has seen.
      warm_start: it began with what earlier stacks taught.
      downsampling: of sections for it; settled when it begins to learn.
      trials: what it showed before the answers that it has learnt from.
    """

    learner: Learner | None
    steps: int
    trained: bool
    through: int
    warm_start: bool
    downsampling: int
    trials: Trials

    @property
    def dice(self) -> jax.Array | None:
        """[2, C], the history of Eq. 6; None where nothing is known."""
        return None if self.learner is None else self.learner.dice

    @property
    def proposes(self) -> bool:
        """Whether its proposals are worth showing."""
        return self.learner is not None and (self.trained or self.warm_start)

    @property
    def begun(self) -> bool:
        """Whether it has learnt anything."""
        return self.steps > 0


class Checkpoints:
    """Of a session's folder; for one thread at a time."""

    def __init__(self, folder: pathlib.Path, images: Images) -> None:
        """Nothing is read or written yet."""
        self._folder, self._images = folder / NETWORK, images
        self._saved, self._when = (-1, -1), time.monotonic()

    def latest(
        self, nothing: Network, likes: Sequence[Learner], events: Sequence[Event], *, held: bool
    ) -> tuple[Network, list[str]]:
        """The newest network that can be read, and what was wrong with newer ones.

        Only who holds the session removes those; another process may be writing one.

        Args:
          nothing: the network where none can be read.
          likes: shapes of its learner, for each number of classes that there has been.
          events: of the ledger.
          held: nobody else has the session open.
        """
        notices = list[str]()
        if not self._folder.exists():
            return nothing, notices
        # A number of each class is in the second axis, whose length a checkpoint must have.
        forms = [(like, _counts(nothing), to_array(nothing.trials)) for like in likes]
        reopen = functools.partial(checkpoints.open_checkpoints, self._folder, read_only=not held)
        try:
            saved = reopen()
        except InputError as error:
            return nothing, [f"{error}; the network learns again"]
        steps = sorted(saved.all_steps(), reverse=True)
        saved.close()
        for step in steps:
            saved = reopen()  # as Orbax takes all for what the first one was
            try:
                found = self._read(saved, step, nothing, forms, events)
            except InputError as error:
                notices.append(f"{error}; the network learns again what it misses")
                if held:
                    shutil.rmtree(self._folder / str(step), ignore_errors=True)
                continue
            finally:
                saved.close()
            self._saved = _mark(found)
            return found, notices
        return nothing, notices

    def _read(
        self,
        saved: CheckpointManager,
        step: int,
        nothing: Network,
        forms: Sequence[tuple],
        events: Sequence[Event],
    ) -> Network:
        """A checkpoint, of older versions too.

        Raises:
          InputError: it is damaged, or does not fit this session.
        """
        refused: InputError | None = None
        changed = any(event["event"] in CHANGES for event in events)
        for form in [*forms, *(form[:2] for form in forms)]:  # the latter: of before trials
            try:
                restored = checkpoints.restore(saved, form, step)
                assert restored is not None
                learner, counts, *rows = restored[1]
                # Before sections were downsampled as suits what is traced there were three counts,
                # and those with a longer side than this were seen otherwise.
                if len(counts) == 3 and max(self._images.inside.shape[1:]) <= 400:
                    counts = [*counts, 1]
                place = self._folder / str(step)
                _check_fits(place, form[0], learner, counts, rows)
                if len(learner.fit) != self._images.num_sections and not changed:
                    raise InputError(f"{place}: this checkpoint is of another session")
                break
            except InputError as error:
                refused = refused or error
        else:
            assert refused is not None
            raise refused
        done, trained, through, downsampling = (int(number) for number in counts)
        # A ledger taken from an older copy has fewer events.
        through = min(through, len(events))
        if rows:
            trials = from_array(rows[0], np.shape(learner.dice)[1])
        elif changed:
            trials = start_from(learner)
        else:  # of a version that did not tell trials apart
            answers = [e for e in events[:through] if e["event"] in ("answer", "absent")]
            trials = start_from(learner, [pair_of(e, self._images) for e in answers])
        return Network(
            learner, done, bool(trained), through, nothing.warm_start, downsampling, trials
        )

    def save(self, network: Network, *, always: bool = False) -> None:
        """Writes a checkpoint, if it is time for one.

        Raises:
          InputError: it cannot be written.
        """
        if network.learner is None or _mark(network) == self._saved:
            return
        if not always and time.monotonic() - self._when < SECONDS:
            return
        saved = checkpoints.open_checkpoints(self._folder)
        try:
            step = (saved.latest_step() or 0) + 1
            tree = (network.learner, _counts(network), to_array(network.trials))
            checkpoints.save(saved, step, tree)
        finally:
            saved.close()
        self._saved, self._when = _mark(network), time.monotonic()


def _check_fits(
    place: pathlib.Path, like: Learner, learner: Learner, counts: Sequence, rows: Sequence
) -> None:
    """Refuses a checkpoint of another number of classes, or with what cannot be."""
    shapes, own = (
        [np.shape(leaf) for leaf in jax.tree.leaves(one.replace(**dict.fromkeys(BY_SECTION)))]
        for one in (like, learner)
    )
    short = bool(rows) and len(rows[0]) < np.shape(learner.dice)[1]
    if shapes != own or len(counts) != 4 or counts[3] < 1 or short:
        raise InputError(f"{place}: this checkpoint is of another session")


def _counts(network: Network) -> np.ndarray:
    return np.array(
        [network.steps, network.trained, network.through, network.downsampling], np.int64
    )


def _mark(network: Network) -> tuple[int, int]:
    return network.steps, network.through
