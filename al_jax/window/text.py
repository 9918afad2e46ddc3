"""Messages of the window, of an open session; no window is needed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from al_jax.core.stack import UNLABELLED
from al_jax.learner.transfer import describe_experience
from al_jax.session import Event, Progress, Question, Session
from al_jax.session import question as questions

if TYPE_CHECKING:
    from al_jax.window.controller import Controller


def without_outline(session: Session) -> list[str]:
    """Structures that may be there and of which no outline is known yet."""
    missing = questions.without_outline(session.annotations)
    return [name for name, one in zip(session.images.names, missing, strict=True) if one]


def headline(controller: "Controller") -> str:
    """What is to be done now."""
    if controller.doing:
        return f"One moment: {controller.doing} ..."
    if controller.waiting:
        return "The network learns; the next question comes after that"
    if controller.question is None:
        return "All is answered. Export, or go to a pair to correct it"
    verb = "Correct" if controller.correcting else "Trace"
    return f"{verb} {pair_name(controller.question)}"


def reasons(controller: "Controller") -> str:
    """Why that pair, and what would be asked otherwise."""
    question = controller.question
    if question is None or controller.waiting or controller.doing:
        return ""
    why = question.why.removeprefix(f"{pair_name(question)}: ")
    lines = [why[:1].upper() + why[1:]]
    if question.runner_up is not None and not controller.chosen:
        lines.append(f"Next best: {question.runner_up}")
    if controller.progress.seconds is not None:
        lines.append(f"About {duration(question.seconds)} for you, by your pace so far")
    if question.proposal is not None and question.segmentation is None:
        lines.append("All that is left of the section is it; a takes that")
    elif question.proposal is not None and not question.proposal.any():
        lines.append("The network sees nothing of it here")
    elif question.proposal is not None and not question.beside:
        lines.append("The proposal is the network's")
    if controller.chosen:
        lines = ["You chose this pair; q goes back to the question", *lines]
    if not controller.in_range:
        first, last = (
            controller.session.images.sections[n] for n in controller.span(question.structure)
        )
        lines.append(f"Outside its range, {first} to {last}; w stores it and widens that")
    return "\n".join(lines)


def progress_message(found: Progress) -> str:
    """How far a session is, some lines."""
    answers = "1 answer" if found.answers == 1 else f"{found.answers} answers"
    lines = [f"{answers}, {found.traced:.0f} px of outline traced"]
    if found.left is not None:
        lines[0] += f", about {found.left:.0f} px left"
    if found.seconds is not None:
        lines.append(f"{duration(found.seconds)} an answer")
        if found.seconds_left is not None:
            lines[-1] += f", {duration(found.seconds_left)} for all that may be asked"
    if found.seconds_error is not None:
        lines.append(
            f"Your time: {duration(found.seconds_predicted)} predicted, "
            f"{duration(found.seconds_actual)} spent; an answer is typically "
            f"{found.seconds_error:.0%} off"
        )
    if found.error is not None and found.last is not None:
        predicted, traced = found.last
        lines.append(
            f"The last outline: {predicted:.0f} px predicted, {traced:.0f} traced; "
            f"typically {found.error:.0%} off"
        )
    if found.kept is not None:
        lines.append(f"{found.kept:.0%} of corrected outlines were the network's (to 1 px)")
    return "\n".join(lines)


def network_message(controller: "Controller") -> str:
    """What the network does."""
    session, network = controller.session, controller.session.network
    if controller.failure is not None:
        return f"The network does not learn: {controller.failure}. The questions go on without it"
    number = session.behind()
    if not network.trained:
        if network.begun:
            done = network.steps / session.settings.config.training.initial_steps
            return f"First training of the network: {done:.0%}"
        missing = controller.missing
        if not missing and controller.busy:
            return "The network prepares its first training, a minute or two"
        which = "each structure" if session.earlier is None else "each new structure"
        line = f"The network learns once it has seen an example of {which}"
        return line + (f"; of {', '.join(missing)} it has none" if 0 < len(missing) < 4 else "")
    late = {0: "up to date", 1: "one answer behind"}.get(number, f"{number} answers behind")
    return f"Network {late}" + (", learning" if controller.busy and number else "")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads well.

    Example:
      >>> duration(45), duration(600), duration(9000)
      ('45 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def opening(session: Session) -> str:
    """What a person should know when a session opens."""
    lines = list(session.notices)
    if session.earlier is not None:
        line = describe_experience(session.earlier, session.images.names)
        lines.append(line[0].upper() + line[1:])
    return " ".join(lines)


def pair_name(question: Question) -> str:
    """A pair, as messages name it.

    Example:
      "'thalamus' on section 7"
    """
    return f"'{question.name}' on section {question.section_name}"


def name_at(question: Question, names: Sequence[str], row: int, column: int) -> str:
    """What is at a pixel of a question's section: traced before, or seen by the network.

    Example:
      "white matter, traced"
    """
    height, width = question.labels.shape
    if not (0 <= row < height and 0 <= column < width and question.inside[row, column]):
        return ""
    if (traced := int(question.labels[row, column])) != UNLABELLED:
        return f"{names[traced]}, traced"
    if question.segmentation is None or (seen := int(question.segmentation[row, column])) < 0:
        return ""
    return f"{names[seen]}, proposed"


def held_by(question: Question, mask: np.ndarray, names: Sequence[str]) -> str:
    """Which structures hold the pixels of a mask [H, W] on a section.

    Example:
      "'white matter' (212 px), 'pallidum' (3 px)"
    """
    labels = question.labels[mask & (question.labels != UNLABELLED)]
    counts = np.bincount(labels, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"'{names[c]}' ({counts[c]} px)" for c in order if counts[c])


def event_message(event: Event, sections: tuple[str, ...]) -> str:
    """An event of the ledger, one line."""
    if "text" in event:
        return event["text"]
    if event["event"] == "range":
        first, last = event["span"]
        begins = sections[0 if first is None else first]
        ends = sections[-1 if last is None else last]
        return f"'{event['structure']}' is on sections {begins} to {ends}"
    kinds = {"answer": event.get("how", "traced"), "absent": "absent", "skip": "to be asked later"}
    where = f"'{event['structure']}' on section {sections[event['section']]}"
    return f"{where}, {kinds[event['event']]}"
