"""A person at work: what is asked of them, and what becomes of their answers."""
