"""The keys of the window, what they do, and the labels of their buttons."""

from typing import NamedTuple


class Action(NamedTuple):
    """What a key does: a method of `Controller`, and the label of its button."""

    key: str
    name: str
    label: str

    @property
    def cap(self) -> str:
        """The key as it is written."""
        arrows = {"Left": "←", "Right": "→"}
        return arrows.get(self.key, self.key.replace("Shift+", "⇧"))

    @property
    def character(self) -> str:
        """What the key types."""
        return self.key.removeprefix("Shift+")


BIG = (
    Action("a", "accept", "Accept proposal"),
    Action("s", "store", "Store traced"),
    Action("n", "absent", "Not here"),
)
"""What a question is answered by."""

BUTTONS = (
    Action("t", "take", "Start from proposal"),
    Action("5", "cut", "Scissors"),
    Action("Shift+T", "from_neighbour", "From the neighbour"),
    Action("u", "undo", "Undo last answer"),
    Action("k", "skip", "Ask later"),
    Action("q", "back", "Back to question"),
)
MORE = (
    Action("7", "smart_brush", "Smart brush"),
    Action("i", "toggle_proposal", "Show or hide proposal"),
    Action("Shift+I", "zoom", "Zoom to it, and back"),
    Action("o", "fill", "Fill the outline"),
    Action("y", "take_pixels", "Take from the others"),
    Action("c", "pick", "Go to what is pointed at"),
    Action("h", "previous", "Previous section"),
    Action("j", "following", "Next section"),
    Action("w", "widen", "Store, widen range"),
    Action("r", "begins_here", "Is first section"),
    Action("g", "ends_here", "Is last section"),
)
"""In the menu."""

ACTIONS = (*BIG, *BUTTONS, *MORE)
PANEL = (Action("Shift+C", "table", "Table"), Action("?", "keys", "Keys"))
"""What the panel opens beside itself."""

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

LOOK = {
    -1: Action("Left", "look", "Section before, while held"),
    1: Action("Right", "look", "Section after, while held"),
}
"""Keys without buttons that show another section while they are down, by the step to it."""

ANSWERS = ("accept", "store", "take_pixels", "widen", "absent", "let_truth_answer")
