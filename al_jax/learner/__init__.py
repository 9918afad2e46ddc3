"""The network in the loop: its settings, training on answers, and reuse of prior stacks."""
