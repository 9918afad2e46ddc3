"""The annotation window: a napari plugin, and `run`, which opens it on a session.

Needs the extra `window` (napari and Qt). README.md in this folder is the guide.
"""

import os
import sys

from al_jax.core.stack import InputError
from al_jax.window.background import leave as leave
from al_jax.window.background import start_computing as start_computing


def run(workdir: str | os.PathLike | None = None, *, wait: bool = False) -> None:
    """Opens a session in a window, and returns when the window is closed.

    Args:
      workdir: folder of the session; None: the window offers to make or to open one.
      wait: ask only when the network has learnt from all answers, as in the paper.

    Raises:
      InputError: there is no such session, it is in use, napari is not installed, or there is no
        display.
    """
    check_display()
    try:
        import napari

        from al_jax.window.widget import in_window
    except ImportError as error:
        raise InputError(
            f"the window needs napari and Qt ({error}); pip install 'al_jax[window]', or answer "
            "with suggest and ingest"
        ) from error
    named = "" if workdir is None else f" - {os.fspath(workdir)}"
    viewer = napari.Viewer(title=f"al_jax{named}", show=False)
    widget = in_window(viewer)
    try:
        if workdir is not None:
            widget.open(workdir, wait=wait)
        napari.run()
    except InputError:
        viewer.close()
        raise
    finally:
        widget.close_session()


def check_display() -> None:
    """Refuses where Qt would end the process: a system with X11 or Wayland, but no display.

    Raises:
      InputError: there is none.
    """
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in named):
        raise InputError(
            "there is no display to open a window on; answer with suggest and ingest instead, or "
            "give one (ssh -X, xvfb-run)"
        )
