"""What becomes of the answers: training, numbers, undo, ranges, export."""

import time
from typing import Any

import numpy as np
from absl import flags

from al_jax.core.stack import InputError
from al_jax.exchange.session_export import describe, export_session
from al_jax.plotting.session_report import write_report
from al_jax.session import Session
from al_jax.session.ranges import section_number, structure_number

FLAGS = flags.FLAGS


def train(session: Session) -> tuple[str, dict[str, Any]]:
    """Trains until the network has learnt from every answer."""
    began = time.monotonic()
    done, loss = learn(session)
    if not done:
        line = "the network has learnt from every answer"
        if not session.network.trained:
            line = "there is nothing to learn from yet: answer the first examples"
        return line, {"pieces": 0, "behind": session.behind()}
    session.save_network()
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
        if now.seconds_error is not None:
            parts[-1] += f" (times typically {now.seconds_error:.0%} off)"
    if now.training < 1:
        parts.append(f"first training {now.training:.0%} done")
    parts.append(f"network {now.behind} answers behind")
    return "; ".join(parts), now._asdict()


def undo(session: Session) -> tuple[str, dict[str, Any]]:
    """Takes back the last event."""
    event = session.undo()
    if event is None:
        return "there is nothing to take back", {"undone": None}
    if "text" in event:
        return f"took back: {event['text']}", {"undone": event}
    where = f" of '{event['structure']}'"
    if "section" in event:
        where += f" on section {session.images.sections[event['section']]}"
    return f"took back the {event['event']}{where}", {"undone": event}


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
    name = session.images.names[structure]
    return f"'{name}': from section {shown[0]} to {shown[1]}", dict(event)


def export(session: Session) -> tuple[str, dict[str, Any]]:
    """Writes the annotations, what the network adds, and tables."""
    found = export_session(session, FLAGS.out, FLAGS.formats, write_report)
    files, removed, kept = ([str(path) for path in paths] for paths in found.written)
    return describe(found), {
        "files": files,
        "removed": removed,
        "kept": kept,
        "segmented": found.segmented,
    }
