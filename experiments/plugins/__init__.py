"""Examples of what a researcher adds without a change to al_jax: see `--plugin`."""
