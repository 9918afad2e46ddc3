"""Compiles what training needs in a process of its own, whose programs the disk keeps.

XLA compiles one program after the other, some for minutes: in the window's own process, whatever
the window needs meanwhile would wait for them, and so would its end.
"""

import contextlib
import os
import subprocess
import sys

import jax

from al_jax.session import read_session
from al_jax.window.background import step_back
from al_jax.xla import use_compilation_cache


class Compiler:
    """Calls compile what a session needs; the caller loads it from JAX's cache then.

    Where that cannot be (there is no cache, or a GPU belongs to the window's process), nothing is
    done, and the caller compiles for itself.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Nothing is compiled yet; `folder` is that of the session."""
        self._folder, self._ended = os.fspath(folder), False
        self._process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Compiles, and returns when that is done."""
        cache: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        if cache is None or jax.default_backend() != "cpu" or self._ended:
            return
        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._folder],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
        )
        if self._ended:
            self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ends the process, wherever it is; from another thread than that which waits for it."""
        self._ended = True
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()


def main(folder: str) -> None:
    """What the process does."""
    step_back()
    use_compilation_cache()
    read_session(folder).warm_up()


if __name__ == "__main__":
    main(sys.argv[1])
