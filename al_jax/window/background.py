"""Work behind the window: on threads of their own, which never touch a layer."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

import jax

from al_jax.xla import use_compilation_cache

Result = TypeVar("Result")


STEP_BACK = 10  # how much nicer than the window the threads are that compute
NICEST = 19
PATIENCE = 1.5  # seconds that the end waits for the piece that is being done
COMPUTING = "al_jax computes"  # the threads' name


class Outcome(NamedTuple, Generic[Result]):
    """How a piece of work ended: with a result, or with an error."""

    result: Result | None
    error: Exception | None


class Background(Generic[Result]):
    """Does one piece of work after the other, as long as there is some.

    `step` does a piece and returns what came of it, or None if there is nothing to do; it is called
    again after `wake`. An error ends the work until then. The thread of the window calls `collect`
    now and then: what was done arrives there, and only there.

    Example:
      training = Background(lambda: train_step(session), first=lambda: warm_up(session))
      training.wake()
      for outcome in training.collect(): ...
      training.end()
    """

    def __init__(
        self, step: Callable[[], Result | None], first: Callable[[], None] | None = None
    ) -> None:
        """Begins with `first`, at once."""
        self._step, self._first = step, first
        self._changed = threading.Condition()
        self._woken = self._busy = first is not None
        self._ended = False
        self._outcomes: list[Outcome[Result]] = []
        # A daemon: a window that crashes must not leave a process that trains on.
        self._thread = threading.Thread(target=self._run, name=COMPUTING, daemon=True)
        self._thread.start()
        atexit.register(self.end, None)  # no thread may compute when Python itself is gone

    @property
    def busy(self) -> bool:
        """Whether something is being done, or is about to be."""
        with self._changed:
            return self._busy or self._woken

    def wake(self) -> None:
        """Says that there may be something to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def collect(self) -> list[Outcome[Result]]:
        """What was finished since the last call."""
        with self._changed:
            found, self._outcomes = self._outcomes, []
            return found

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until there is nothing left to do; whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._busy or self._woken), seconds)

    def end(self, seconds: float | None = PATIENCE) -> bool:
        """Begins nothing more, and waits so long for the piece being done; whether it was."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        atexit.unregister(self.end)
        return True

    def _run(self) -> None:
        step_back()
        if self._first is not None:
            self._attempt(self._first)
            gc.freeze()  # looking through what JAX and Qt keep for good takes a third of a second
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._woken or self._ended)
                if self._ended:
                    return
                self._woken, self._busy = False, True
            while not self._ended and self._attempt(self._step):
                pass

    def _attempt(self, work: Callable[[], Result | None]) -> bool:
        """Whether there may be more to do."""
        try:
            result = work()
        except Exception as error:  # whatever it is: the window shows it, and the questions go on
            with self._changed:
                self._outcomes.append(Outcome(None, error))
            return False
        if result is None:
            return False
        with self._changed:
            self._outcomes.append(Outcome(result, None))
        return True


def beside(call: Callable[[], Result]) -> Future[Result]:
    """What a call returns or raises, made on a thread of its own; a process may end before it."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # whatever it is: it is raised where the result is read
            future.set_exception(error)
        finally:
            atexit.unregister(thread.join)

    thread = threading.Thread(target=run, name=COMPUTING, daemon=True)
    atexit.register(thread.join)
    thread.start()
    return future


def leave() -> None:
    """Ends the process at once if something still computes, as Python would end under its feet."""
    if any(thread.name == COMPUTING for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def start_computing() -> None:
    """Starts JAX, unless it runs, on threads that let the window's go first where cores are few."""

    def start() -> None:
        step_back()
        jax.devices()  # makes threads, which inherit the niceness of the one that makes them

    use_compilation_cache()
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()


def step_back() -> None:
    """Lets others go first before the thread that calls; only Linux has a niceness for each."""
    if sys.platform.startswith("linux"):
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())  # of the window's thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + STEP_BACK, NICEST))
