"""`python -m experiments.simulate`: see `al_jax.commands.simulate`."""

from al_jax.commands import command, simulate

if __name__ == "__main__":
    simulate.define_flags()
    command.run(simulate.main)
