"""A window in which somebody draws one stroke without an end; a test kills it.

    python window_person.py FOLDER

opens the session, presses the mouse and moves it for ever; prints how many pixels are drawn.
"""

import pathlib
import sys

import controllers


class _Patch:
    setattr = staticmethod(setattr)


def main(folder: pathlib.Path) -> None:
    controllers.no_training(_Patch)

    import napari
    from hands import Hand

    from al_jax.window.layers import held
    from al_jax.window.widget import in_window

    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
    widget.open(folder)
    hand = Hand(viewer, widget)
    hand.settle()
    hand.wait(0.3)
    hand.press((8, 8))
    turn = 0
    while True:
        turn += 1
        hand.move((8 + turn // 28 % 24, 8 + turn % 28))
        hand.wait(0.02)
        print(int(held(widget.controller.layer).sum()), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
