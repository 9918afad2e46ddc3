"""How far a stage is, on a terminal or in a log."""

import io
import sys
import time

from tqdm import tqdm

LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal
# What compiles, or resumes, first goes at another pace: no time left is said before so much of the
# stage is done, or so many seconds have gone by.
KNOWN, PATIENCE = 0.1, 600.0


class Progress:
    """A bar that shows how far a stage is; where there is no terminal, a line a minute."""

    def __init__(self, name: str):
        """The bar opens when `show` is first called; time left counts from there."""
        self._terminal = sys.stderr.isatty()
        self._name, self._bar = name, None

    def show(self, fraction: float, **values: str) -> None:
        """Moves the bar to `fraction` of its length."""
        if self._bar is None:
            self._bar = tqdm(
                total=1.0,
                initial=fraction,
                desc=f"{self._name:>9}",
                smoothing=0,
                bar_format=layout(fraction, 0.0, 0.0),
                postfix=self._listed(values),
                file=sys.stderr if self._terminal else io.StringIO(),
            )
            self._logged = self._begun = time.monotonic()
            return
        spent = time.monotonic() - self._begun
        self._bar.n = fraction
        self._bar.bar_format = layout(fraction, fraction - self._bar.initial, spent)
        self._bar.set_postfix_str(self._listed(values))
        if not self._terminal and time.monotonic() - self._logged >= LOG_SECONDS:
            self._log()

    def _log(self) -> None:
        print(self._bar, file=sys.stderr, flush=True)
        self._logged = time.monotonic()

    @staticmethod
    def _listed(values: dict[str, str]) -> str:
        return ", ".join(f"{key} {value}" for key, value in values.items())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Leaves the bar on the screen."""
        if self._bar is None:
            return
        self._bar.close()
        if not self._terminal and failure is None:
            self._log()


def layout(fraction: float, here: float, seconds: float) -> str:
    """The format of a bar: the time left by the pace of this process, once there is one.

    Args:
      fraction: of the stage that is done.
      here: the part of it that this process did.
      seconds: what that took.
    """
    told = fraction < 1 and here > 0 and (here >= KNOWN or seconds >= PATIENCE)
    time_of = "{remaining} left" if told else "{elapsed}"
    return "{desc} {percentage:3.0f}%|{bar:10}| " + time_of + "{postfix}"
