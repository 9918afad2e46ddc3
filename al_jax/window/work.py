"""What the session computes for a person: beside the window, one thing at a time."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from al_jax.session import Progress, Session
from al_jax.window.background import beside
from al_jax.window.text import without_outline


class Pending(NamedTuple):
    """What is done beside the window: what it is, what comes of it, and what follows."""

    words: str
    result: Future
    then: Callable[[Any], None]


class Known(NamedTuple):
    """What came of a call, and what is known of the session then; see `Controller`."""

    result: Any
    progress: Progress
    missing: list[str]


class Work:
    """Calls of a session whose results the window's thread goes on with.

    Attributes:
      session: what is worked on.
      doing: what is done beside the window, a few words, or ''.
      progress: where the session stands.
      missing: structures that may be there and of which no outline is known yet.
    """

    def __init__(self, session: Session, patience: float | None) -> None:
        """Nothing is done yet; for `patience` see `Controller`."""
        self.session = session
        self._patience = patience
        self._pending: Pending | None = None
        self.progress: Progress = session.progress()
        self.missing = without_outline(session)

    @property
    def doing(self) -> str:
        """What is done beside the window, a few words, or ''."""
        return "" if self._pending is None else self._pending.words

    def _work(self, words: str, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Does `call` beside the window, and `then` with what comes of it on the window's thread.

        Args:
          words: what is done.
          call: touches the session alone.
          then: may call this again.
        """

        def measured() -> Known:
            before = len(self.session.events)
            result = call()
            if len(self.session.events) == before:
                return Known(result, self.progress, self.missing)
            return Known(result, self.session.progress(), without_outline(self.session))

        def known(found: Known) -> None:
            self.progress, self.missing = found.progress, found.missing
            then(found.result)

        self._pending = Pending(words, self._beside(measured), known)
        if not self._poll(self._patience):
            self._hold()

    def _beside(self, call: Callable[[], Any]) -> Future:
        if self._patience is not None:
            return beside(call)
        future: Future = Future()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future

    def _poll(self, seconds: float | None) -> bool:
        """Waits so long for what is done beside the window, and goes on; whether it did."""
        pending = self._pending
        if pending is None:
            return False
        try:
            pending.result.exception(seconds)
        except TimeoutError:
            return False
        self._pending = None
        self._release()
        pending.then(pending.result.result())
        return True

    def _hold(self) -> None:
        """Before the window goes on without what is pending."""

    def _release(self) -> None:
        """When what was pending is there."""
