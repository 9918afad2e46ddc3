"""The keys of the window, what they do, and the labels of their buttons."""

from typing import NamedTuple


class Action(NamedTuple):
    """What a key does: a method of `Controller`, and the label of its button."""

    key: str
    name: str
    label: str


ACTIONS = (
    Action("a", "accept", "Accept proposal"),
    Action("s", "store", "Store what is traced"),
    Action("t", "take", "Start from proposal"),
    Action("5", "cut", "Scissors"),
    Action("o", "fill", "Fill the outline"),
    Action("y", "take_pixels", "Take from the others"),
    Action("n", "absent", "Not on this section"),
    Action("k", "skip", "Ask later"),
    Action("u", "undo", "Undo last answer"),
    Action("q", "back", "Back to question"),
    Action("c", "pick", "Go to what is pointed at"),
    Action("w", "widen", "Store, widen range"),
    Action("h", "previous", "Previous section"),
    Action("j", "following", "Next section"),
    Action("r", "begins_here", "Is first section"),
    Action("g", "ends_here", "Is last section"),
)
DEMONSTRATION = Action("d", "let_truth_answer", "Let truth answer")
VIEW = (
    Action(",", "less_contrast", "Less contrast"),
    Action(".", "more_contrast", "More contrast"),
    Action(";", "darker", "Darker"),
    Action("'", "brighter", "Brighter"),
    Action("9", "fainter", "What is traced, fainter"),
    Action("0", "stronger", "What is traced, stronger"),
)
"""Keys without buttons, for how the section is seen."""
UNDER_WAY = (
    Action("Backspace", "corner_back", "Take a corner back"),
    Action("Enter", "close_path", "Close the outline"),
    Action("Escape", "drop_path", "Drop the outline"),
)
"""Keys without buttons, of a polygon or an outline of the scissors that is not closed."""

ANSWERS = ("accept", "store", "take_pixels", "widen", "absent", "let_truth_answer")
