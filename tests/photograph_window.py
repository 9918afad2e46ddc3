"""Photographs each state of the window on the shipped stack, as a person sees it at one size.

    xvfb-run -a -s '-screen 0 1280x720x24' python tests/photograph_window.py 1280x720 FOLDER

The states are brought about by mouse and keys; the network trains as it does for a person, so that
it takes some minutes. Needs the extra `window`.
"""

import pathlib
import sys
import tempfile

import hands
import numpy as np
from record_window import PATIENCE, outlines, screen

from al_jax.files.stacks import load_default
from al_jax.learner.config import DEFAULT
from al_jax.session import Settings
from al_jax.window.layers import zoom_to
from experiments.bench import truth


def main(size: tuple[int, int], out: pathlib.Path) -> None:
    """Photographs, and writes a PNG a state."""
    import napari
    from PIL import Image

    from al_jax import window
    from al_jax.window.widget import in_window

    window.start_computing()
    out.mkdir(parents=True, exist_ok=True)
    stack = load_default()
    labels, count = np.asarray(stack.truth), 0
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "my_stack"
        truth.make_session(workdir, stack, Settings(0, DEFAULT))
        viewer = napari.Viewer(show=False)
        widget = in_window(viewer)
        viewer.window._qt_window.setGeometry(0, 0, *size)
        hand = hands.Hand(viewer)

        def photograph(name: str) -> None:
            nonlocal count
            hand.wait(0.4)
            count += 1
            Image.fromarray(screen(hand)).save(out / f"{count:02}_{name}.png")
            print(f"{count:02}_{name}: {shown()}", flush=True)

        def shown() -> str:
            return "" if widget.controller is None else widget.controller.message

        def asked() -> np.ndarray:
            question = widget.controller.question
            return (labels[question.section] == question.structure) & question.inside

        photograph("no_session")
        widget.open(workdir)
        hand = hands.Hand(viewer, widget)
        hand.settle()
        photograph("first_question")
        hand.key("?")
        photograph("keys")
        hand.key("?")
        while not 100 < asked().sum() < 3000:
            hand.key("d")
        zoom_to(viewer, asked())
        line = next(outlines(asked()))
        hand.press(line[0])
        for place in line[: len(line) // 2]:
            hand.move(place)
        photograph("brush_in_hand")
        hand.release(line[len(line) // 2])
        hand.key("s")
        photograph("a_line_is_asked_about")
        hand.special("Z", control=True)
        hand.key("3")
        for place in line[:: len(line) // 6][:4]:
            hand.click(place)
        photograph("polygon_under_way")
        hand.special("Escape")
        hand.key("5")
        hand.wait(2)
        for place in line[:: len(line) // 6][:4]:
            hand.click(place)
        photograph("scissors_under_way")
        hand.special("Escape")
        viewer.reset_view()
        hand.key("n")
        hand.key("2")
        hand.stroke([(40, 40), (60, 80), (80, 60), (40, 40)])
        hand.key("n")
        photograph("not_here_with_something_traced")
        hand.key("k")
        while widget.controller.missing and widget.controller.question is not None:
            hand.key("d")
        photograph("trains")
        hand.until(lambda: widget.controller.session.network.trained, PATIENCE)
        hand.until(lambda: not widget.controller.busy, PATIENCE)
        hand.key("q")
        hand.settle()
        photograph("proposal")
        hand.press_shift("I")
        photograph("proposal_zoomed")
        viewer.reset_view()
        hand.key("t")
        photograph("proposal_to_correct")
        hand.key("d")
        photograph("answered")
        hand.press_shift("C")
        photograph("table")
        hand.press_shift("C")
        hand.key("j")
        photograph("another_section")
        hand.key("q")
        hand.press_shift("T")
        hand.settle()
        photograph("from_the_neighbour")
        while widget.controller.question is not None and asked().any():
            hand.key("d")
        hand.key("a")
        photograph("accept_where_nothing_is")
        for name, opened in (
            ("changes", widget.change_session),
            ("export", widget.export_session),
            ("new_session", widget.new_session),
        ):
            dialog = opened()
            photograph(name)
            dialog.close()
        while widget.controller.question is not None:
            hand.key("d")
        photograph("finished")
        widget.close_session()
        viewer.close()


if __name__ == "__main__":
    width, height = map(int, sys.argv[1].split("x"))
    main((width, height), pathlib.Path(sys.argv[2]))
