"""`python -m experiments.annotate`: see `al_jax.commands.annotate`."""

from al_jax.commands import annotate, command

if __name__ == "__main__":
    annotate.define_flags()
    command.run(annotate.main, annotate.COMMANDS)
