"""Records the window while a scripted hand annotates the shipped stack; an animated GIF.

    xvfb-run -a -s '-screen 0 1280x800x24' python tests/record_window.py OUT.gif

A frame stands as long as a person needs to see what happened: the first training, for which the
hand waits, is left out. Needs the extra `window`.
"""

import pathlib
import sys
import tempfile
from collections.abc import Iterator

import hands
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours, label

from al_jax.files.stacks import load_default
from al_jax.learner.config import DEFAULT
from al_jax.session import Settings
from al_jax.window.layers import held, zoom_to
from experiments.bench import truth

SIZE = 1280, 800
SHOWN = 960, 600
BAR = 40  # pixels of the caption
COLOURS = 64
PATIENCE = 900  # seconds


def screen(hand: hands.Hand) -> np.ndarray:
    """The whole screen as it is, [H, W, 3] uint8."""
    pixels = hand.application.primaryScreen().grabWindow(0).toImage()
    pixels = pixels.convertToFormat(pixels.Format.Format_RGB888)
    rows = np.frombuffer(pixels.constBits(), np.uint8).reshape(pixels.height(), -1)
    return rows[:, : 3 * pixels.width()].reshape(pixels.height(), pixels.width(), 3).copy()


class Film:
    """Frames of the whole screen with a caption each, and for how many milliseconds."""

    def __init__(self) -> None:
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []

    def add(self, hand: hands.Hand, caption: str, seconds: float) -> None:
        """The screen as it is."""
        hand.wait(0.1)
        frame = Image.new("RGB", (SHOWN[0], SHOWN[1] + BAR), "black")
        frame.paste(Image.fromarray(screen(hand)).resize(SHOWN, Image.Resampling.LANCZOS))
        font = ImageFont.load_default(18)
        ImageDraw.Draw(frame).text((12, SHOWN[1] + 9), caption, "white", font)
        self.frames.append(frame)
        self.durations.append(round(1000 * seconds))

    def save(self, path: pathlib.Path) -> None:
        """Of one palette, so that what stays is stored once."""
        chosen = self.frames[:: max(1, len(self.frames) // 16)]
        strip = Image.fromarray(np.concatenate([np.asarray(frame) for frame in chosen]))
        palette = strip.quantize(COLOURS)
        plain = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in self.frames]
        first, *others = plain
        times = self.durations
        first.save(path, save_all=True, append_images=others, duration=times, loop=0, optimize=True)


def outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Around each piece of a mask [H, W], the pixels [K, 2] of its edge within it."""
    pieces = label(mask, connectivity=1)
    for piece in range(1, pieces.max() + 1):
        own = np.pad(pieces == piece, 1).astype(float)
        line = max(find_contours(own, 0.99), key=len) - 1
        if (pieces == piece).sum() >= 12:
            yield line


def main(path: pathlib.Path) -> None:
    """Records, and writes the film."""
    import napari

    from al_jax import window
    from al_jax.window.widget import in_window

    window.start_computing()
    stack, film = load_default(), Film()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "my_stack"
        truth.make_session(workdir, stack, Settings(0, DEFAULT))
        viewer = napari.Viewer(show=False)
        widget = in_window(viewer)
        widget.open(workdir)
        viewer.window._qt_window.setGeometry(0, 0, *SIZE)
        for dock in (
            viewer.window._qt_viewer.dockLayerList,
            viewer.window._qt_viewer.dockLayerControls,
        ):
            dock.hide()  # more room for the section
        hand = hands.Hand(viewer, widget)
        hand.settle()
        hand.wait(1)
        act(film, hand, widget, np.asarray(stack.truth))
        widget.close_session()
        viewer.close()
    film.save(path)
    print(f"{path}: {len(film.frames)} frames, {sum(film.durations) / 1000:.0f} s")


def act(film: Film, hand: hands.Hand, widget, labels: np.ndarray) -> None:
    """What the person does."""

    def asked() -> tuple[np.ndarray, str]:
        question = widget.controller.question
        mask = (labels[question.section] == question.structure) & question.inside
        return mask, widget.controller.session.images.names[question.structure]

    def by_truth() -> None:
        widget.controller.do("let_truth_answer")
        hand.settle()

    film.add(hand, "al_jax asks for one structure on one section at a time", 4)
    drawn = 0
    while not widget.controller.session.network.trained:
        if widget.controller.question is None or not widget.controller.missing:
            break
        mask, name = asked()
        if drawn < 2 and 40 < mask.sum() < 1500:
            trace(film, hand, mask, name, scissors=drawn == 1)
            drawn += 1
        else:
            by_truth()
            film.add(hand, "The other first examples (here drawn by the ground truth)", 1.5)
    hand.until(lambda: widget.controller.session.network.trained, PATIENCE)
    hand.until(lambda: not widget.controller.busy, PATIENCE)
    hand.key("q")
    film.add(hand, "The network has trained; from now on each question comes with its proposal", 5)
    for _ in range(8):
        mask, name = asked()
        film.add(hand, f"The proposal for '{name}': toggled with i, zoomed to with Shift+I", 2.5)
        if widget.controller.question.proposal is not None:
            hand.press_shift("I")
            film.add(hand, "Zoomed to the proposal", 1.5)
            hand._viewer.reset_view()
            hand.wait(0.2)
        hand.key("t")
        hand.until(lambda: not widget.controller.doing, PATIENCE)
        proposal = held(widget.controller.layer)
        wrong = (proposal ^ mask).sum()
        if not mask.any():
            hand.key("n")
            film.add(hand, "n: not on this section", 2)
            hand.key("n")
        elif wrong <= 0.08 * mask.sum():
            film.add(
                hand, "t takes the proposal into one's own layer; it is right: s stores it", 2.5
            )
            hand.key("s")
        else:
            film.add(hand, "t takes the proposal into one's own layer, to correct it", 2.5)
            widget.controller.layer.brush_size = 1
            correct(film, hand, widget, mask)
            hand.key("s")
            if "same key again" in widget.controller.message:
                film.add(hand, "What looks odd is asked about: the same key again stores it", 2)
                hand.key("s")
        hand.until(lambda: not widget.controller.doing, PATIENCE)
        hand._viewer.reset_view()
        hand.wait(0.2)
        film.add(hand, "s: stored on the disk; the next question", 1.5)
    hand.press_shift("C")
    hand.wait(0.5)
    film.add(hand, "Shift+C: all pairs; traced, accepted, absent, or the Dice that is expected", 6)
    hand.press_shift("C")
    film.add(hand, "The panel says what Dice to expect if one stopped now", 6)


def trace(film: Film, hand: hands.Hand, mask: np.ndarray, name: str, *, scissors: bool) -> None:
    """Draws an outline by hand, or by a click every 15 px."""
    film.add(hand, f"Where is '{name}'?", 2.5)
    viewer = hand._viewer
    zoom_to(viewer, mask)
    viewer.camera.zoom *= 0.6
    hand.wait(0.3)
    film.add(hand, "Zoomed in with the wheel", 1)
    if scissors:
        hand.key("5")
        hand.wait(3)
    for line in outlines(mask):
        if scissors:
            clicks = line[:: max(1, min(15, len(line) // 4))][:-1]
            for place in clicks:
                hand.click(place)
                hand.wait(0.4)
                film.add(hand, "The scissors (5) follow the edge from click to click", 0.7)
            hand.click(clicks[0])
            hand.settle()
            film.add(hand, "A click on the first one closes and fills", 1.5)
            continue
        hand.press(line[0])
        for at, place in enumerate(line):
            hand.move(place)
            if at % 12 == 0:
                film.add(hand, "The brush: along the inner edge", 0.25)
        hand.release(line[-1])
        hand.settle()
        film.add(hand, "Let go near the start: closed and filled", 1.5)
    hand.key("s")
    viewer.reset_view()
    hand.wait(0.3)
    film.add(hand, "s stores the answer; the next question is there at once", 2)


def correct(film: Film, hand: hands.Hand, widget, mask: np.ndarray) -> None:
    """Paints what is missing, erases what is too much."""
    for key, caption, wanted in (
        ("1", "The eraser takes away what is too much", False),
        ("2", "The brush adds what is missing", True),
    ):
        now = held(widget.controller.layer)
        rows = mask & ~now if wanted else now & ~mask
        if not rows.any():
            continue
        hand.key(key)
        for at, row in enumerate(np.flatnonzero(rows.any(1))):
            columns = np.flatnonzero(rows[row])
            place = np.full_like(columns, row), columns
            widget.controller.layer.data_setitem(place, int(wanted))  # faster than by the mouse
            if at % 4 == 3:
                film.add(hand, caption, 0.3)
        film.add(hand, caption, 1)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
