"""Commands: they parse flags and call `al_jax`."""
