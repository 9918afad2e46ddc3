"""The annotation window: a napari plugin, and `run`, which opens it on a session.

Needs the extra `window` (napari and Qt). README.md in this folder is the guide.
"""

import os
import sys

from al_jax.core.stack import InputError
from al_jax.window.background import leave as leave
from al_jax.window.background import start_computing as start_computing


def run(workdir: str | os.PathLike, *, wait: bool = False) -> None:
    """Opens a session in a window, and returns when the window is closed.

    Args:
      workdir: folder of the session.
      wait: ask only when the network has learnt from all answers, as in the paper.

    Raises:
      InputError: there is no such session, it is in use, napari is not installed, there is no
        display, or Qt's binding would end the program.
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
    check_qt()
    viewer = napari.Viewer(title=f"al_jax - {os.fspath(workdir)}", show=False)
    widget = in_window(viewer)
    try:
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


def check_qt() -> None:
    """Refuses a binding of Qt that ends the process after some thousand calls.

    PySide6 6.12.0 gives away a reference of None with each call that returns none; before Python
    3.12 they are counted.

    Raises:
      InputError: it is that one.
    """
    import qtpy

    if (
        sys.version_info < (3, 12)
        and qtpy.API_NAME == "PySide6"
        and qtpy.PYSIDE_VERSION == "6.12.0"
    ):
        raise InputError(
            "PySide6 6.12.0 ends programs of Python 3.11 sooner or later; run: python -m pip "
            "install 'PySide6-Essentials<6.12'"
        )
