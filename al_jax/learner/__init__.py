"""The network in the loop: its settings, how it learns from answers, and from earlier stacks."""
