"""`python -m experiments.annotate`: see `al_jax.commands.annotate`."""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.annotate")

from al_jax.commands import annotate, command

if __name__ == "__main__":
    annotate.define_flags()
    command.run(annotate.main, annotate.COMMANDS)
