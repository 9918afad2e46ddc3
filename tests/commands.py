"""What tests of commands share: a command's flags for a while, and a call in this process."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import pytest
from absl import flags
from absl.testing import flagsaver

from al_jax.commands import command

FLAGS = flags.FLAGS


@contextlib.contextmanager
def flags_of(module) -> Iterator[None]:
    """The flags that a module defines, until the end of the block."""
    before = set(FLAGS)
    module.define_flags()
    yield
    for name in set(FLAGS) - before:
        delattr(FLAGS, name)


def caller(module, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; exit status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [module.__name__.rpartition(".")[2], *arguments])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
            command.run(module.main, getattr(module, "COMMANDS", ()))
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run
