"""What the window says in words, of an open session; no window is needed."""

import statistics
from typing import NamedTuple

from al_jax.session import Session, behind
from al_jax.session.asking import outline_left
from al_jax.session.ledger import standing
from al_jax.window.desk import Desk, pair


class Progress(NamedTuple):
    """How far a session is.

    Attributes:
      answers: that stand, "absent" among them.
      traced: outline traced so far, each crack once, pixels.
      left: outline that B predicts is left, pixels; None until every structure has an outline.
      typical: seconds an answer takes, the median; None if none was timed.
      time_left: seconds that what is left will take at the speed so far; None likewise.
      error: how far B was off, the median of |predicted - traced| / traced; None if unknown.
      last: outline that B predicted of the last answer, and what was traced; None likewise.
      kept: the share of accepted and corrected outlines that was the network's; None likewise.
    """

    answers: int
    traced: float
    left: float | None
    typical: float | None
    time_left: float | None
    error: float | None
    last: tuple[float, float] | None
    kept: float | None


def progress(session: Session) -> Progress:
    """Counts what the ledger holds."""
    answers = [e for e in standing(session.events) if e["event"] in ("answer", "absent")]
    left = None if without_outline(session) else outline_left(session.annotations)
    timed = [e for e in answers if "seconds" in e]
    seconds, length = (sum(e[name] for e in timed) for name in ("seconds", "length"))
    pairs, known = [], set()
    for event in answers:
        if event["event"] == "answer":
            if event["structure"] in known and event["length"]:
                pairs.append((event["predicted"], event["length"]))
            known.add(event["structure"])  # of a first example B could predict nothing
    helped = [e for e in answers if e.get("how") in ("accepted", "corrected") and e["length"]]
    drawn = sum(e["length"] for e in helped)
    return Progress(
        answers=len(answers),
        traced=float(session.annotations.state.traced.sum()),
        left=left,
        typical=statistics.median(e["seconds"] for e in timed) if timed else None,
        time_left=left * seconds / length if length and left is not None else None,
        error=statistics.median(abs(p - t) / t for p, t in pairs) if pairs else None,
        last=pairs[-1] if pairs else None,
        kept=sum(min(e["kept"][1], e["length"]) for e in helped) / drawn if drawn else None,
    )


def without_outline(session: Session) -> list[str]:
    """Structures of which no outline is known yet."""
    known = session.annotations.outlined
    return [name for name, one in zip(session.images.names, known, strict=True) if not one]


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
    why = question.why.partition(": ")[2]
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
    """`progress`, some lines."""
    answers = "1 answer" if found.answers == 1 else f"{found.answers} answers"
    lines = [f"{answers}, {found.traced:.0f} px of outline traced"]
    if found.left is not None:
        lines[0] += f", about {found.left:.0f} px left"
    if found.typical is not None:
        lines.append(f"{duration(found.typical)} an answer")
        if found.time_left is not None:
            lines[-1] += f", about {duration(found.time_left)} left"
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
