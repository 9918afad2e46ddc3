"""The answers that a change of classes writes anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from al_jax.core.stack import Images
from al_jax.session import ledger
from al_jax.session.annotations import Annotations
from al_jax.session.changes import Translated
from al_jax.session.events import Event, effective_answers
from al_jax.session.turns import turned_back


class Restated(NamedTuple):
    """Answers that a change writes anew, and masks that they name.

    Attributes:
      answers: by number, what takes the place of its keys; None: it counts no longer.
      masks: [H, W] bool by name, as they are to be stored.
      absent: permanent numbers of the sections where no part of the structures is.
      reopened: how many pairs are to be asked for again.
    """

    answers: dict[str, Event | None]
    masks: dict[str, np.ndarray]
    absent: list[int]
    reopened: int


def restated(
    whole: Translated, now: Annotations, images: Images, structures: Sequence[int], *, split: bool
) -> Restated:
    """The answers of sections where structures were answered that a change takes together or apart.

    All answers there keep the pixels that they have, whatever becomes of their neighbours. Of a
    merge, a pair is answered where no part of it is open; its outline is that of all parts.

    Args:
      whole: the ledger, with all sections.
      now: what it says.
      images: of it.
      structures: the classes c that are merged, or the one that is split.
      split: its outlines count no longer.
    """
    answers: dict[str, Event | None] = {}
    masks: dict[str, np.ndarray] = {}
    absent, reopened, state = [], 0, now.state
    by_section: dict[int, list[Event]] = {}
    for event in effective_answers(whole.events):
        by_section.setdefault(event["section"], []).append(event)
    parts = {images.names[c] for c in structures}
    for section, own in by_section.items():
        mine = [event for event in own if event["structure"] in parts]
        if not mine:
            continue
        permanent = whole.view.sections[section]
        turns, labels = whole.view.turns.get(permanent, ""), now.labels_of(section, images)

        def kept(mask: np.ndarray, turns: str = turns) -> str:
            mask = turned_back(mask, turns)
            name = ledger.digest(mask)
            masks[name] = mask
            return name

        for event in own:
            if event["event"] == "answer" and event not in mine:
                traced = labels == images.names.index(event["structure"])
                answers[str(event["number"])] = Event(mask=kept(traced))
        for event in mine:
            answers[str(event["number"])] = None
        there = np.isin(labels, structures)
        open_parts = state.in_range[section, list(structures)]
        open_parts = open_parts & ~state.annotated[section, list(structures)]
        if split or open_parts.any():
            reopened += bool(there.any()) or not split
            if split and not there.any():
                absent.append(permanent)
            continue
        first = next((event for event in mine if event["event"] == "answer"), mine[0])
        one = Event(length=sum(event["length"] for event in mine))
        seconds = [event["seconds"] for event in mine if "seconds" in event]
        if seconds:
            one["seconds"] = sum(seconds)
        if first["event"] == "answer":
            one["mask"], one["how"] = kept(there), "traced"
        answers[str(first["number"])] = one
    return Restated(answers, masks, absent, reopened)
