"""The truth in place of the annotator, and the loop around it (Algorithm 1)."""
