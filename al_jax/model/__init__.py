"""The network: what it is made of, how it is trained, what it predicts of a stack."""
