"""`python -m experiments.annotate COMMAND ...`: see `al_jax.commands.annotate`.

COMMANDS: init, suggest, ingest, train, status, undo, skip, absent, range, export, classes and
sections; without one, the window.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.annotate")

from al_jax.commands import annotate, command

if __name__ == "__main__":
    annotate.define_flags()
    command.run(annotate.main, annotate.COMMANDS)
