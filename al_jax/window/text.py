"""What the window says in words, of an open session; no window is needed."""

from al_jax.session import Progress, Session, asking, behind
from al_jax.window.controller import Desk, pair


def without_outline(session: Session) -> list[str]:
    """Structures that may be there and of which no outline is known yet."""
    missing = asking.without_outline(session.annotations)
    return [name for name, one in zip(session.images.names, missing, strict=True) if one]


def headline(desk: Desk) -> str:
    """What is to be done now."""
    if desk.waiting:
        return "The network learns; the next question comes after that"
    if desk.question is None:
        return "All is answered. Export, or go to a pair to correct it"
    verb = "Correct" if desk.correcting else "Trace"
    return f"{verb} {pair(desk.question)}"


def reasons(desk: Desk) -> str:
    """Why that pair, and what would be asked otherwise."""
    question = desk.question
    if question is None or desk.waiting:
        return ""
    why = question.why.removeprefix(f"{pair(question)}: ")
    lines = [why[:1].upper() + why[1:]]
    if question.runner_up is not None and not desk.chosen:
        lines.append(f"Next best: {question.runner_up}")
    if desk.chosen:
        lines = ["You chose this pair; q goes back to the question", *lines]
    if not desk.in_range:
        first, last = (desk.session.images.sections[n] for n in desk.span(question.structure))
        lines.append(f"Outside its range, {first} to {last}; w stores it and widens that")
    return "\n".join(lines)


def progress_in_words(found: Progress) -> str:
    """How far a session is, some lines."""
    answers = "1 answer" if found.answers == 1 else f"{found.answers} answers"
    lines = [f"{answers}, {found.traced:.0f} px of outline traced"]
    if found.left is not None:
        lines[0] += f", about {found.left:.0f} px left"
    if found.seconds is not None:
        lines.append(f"{duration(found.seconds)} an answer")
        if found.seconds_left is not None:
            lines[-1] += f", about {duration(found.seconds_left)} left"
    if found.error is not None and found.last is not None:
        predicted, traced = found.last
        lines.append(
            f"The last outline: {predicted:.0f} px predicted, {traced:.0f} traced; "
            f"typically {found.error:.0%} off"
        )
    if found.kept is not None:
        lines.append(f"{found.kept:.0%} of corrected outlines were the network's (to 1 px)")
    return "\n".join(lines)


def network_in_words(desk: Desk) -> str:
    """How the network stands."""
    session = desk.session
    if desk.failure is not None:
        return f"The network does not learn: {desk.failure}. The questions go on without it"
    number = behind(session)
    if not session.network.trained:
        if desk.learnt is not None and desk.busy:
            return f"First training of the network: {desk.learnt.fraction:.0%}"
        missing = without_outline(session)
        if not missing and desk.busy:
            return "The network prepares its first training, a minute or two"
        which = "each structure" if session.earlier is None else "each new structure"
        line = f"The network learns once it has seen an example of {which}"
        return line + (f"; of {', '.join(missing)} it has none" if 0 < len(missing) < 4 else "")
    late = {0: "up to date", 1: "one answer behind"}.get(number, f"{number} answers behind")
    return f"Network {late}" + (", learning" if desk.busy and number else "")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads well.

    Example:
      >>> duration(45), duration(600), duration(9000)
      ('45 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
