"""The program of an installed al_jax: `al-jax`, which is `python -m al_jax` too."""

import importlib
import sys

from al_jax import __version__
from al_jax.commands import command

COMMANDS = {
    "annotate": "a person traces a stack, in a window or by subcommands: init, suggest, ingest ...",
    "export": "writes what was traced and segmented; short for `annotate export`",
    "simulate": "shows how little tracing reaches a given Dice, on a stack with labels",
}


def main() -> None:
    """Runs the command that is named first; only its flags are defined."""
    program = command.program()
    name, *given = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        lines = "".join(f"  {each:10}{what}\n" for each, what in COMMANDS.items())
        usage = (
            f"{program} COMMAND [--flag=value ...]\n\n{lines}\n{program} COMMAND --help: its flags"
        )
        return command.show(f"{usage}\n{program} --version")
    if name == "--version":
        return command.show(f"al_jax {__version__}")
    if name not in COMMANDS:
        line = f"'{name}' is not one of {', '.join(COMMANDS)}; see {program} --help"
        raise SystemExit(command.complain(line))
    if name == "export":
        name, given = "annotate", ["export", *given]
    module = importlib.import_module(f"al_jax.commands.{name}")
    sys.argv = [f"{program} {name}", *given]
    module.define_flags()
    command.run(module.main, getattr(module, "COMMANDS", ()))


if __name__ == "__main__":
    main()
