"""The program `al-jax`: its commands, their flags, and one line for whatever goes wrong."""
