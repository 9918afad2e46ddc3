"""Sweeps: from a grid of flags to units of work, and the workers that do them."""
