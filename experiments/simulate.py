"""`python -m experiments.simulate`: see `al_jax.commands.simulate`."""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.simulate")

from al_jax.commands import command, simulate

if __name__ == "__main__":
    simulate.define_flags()
    command.run(simulate.main)
