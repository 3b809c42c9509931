"""The training step with the real feed, beside the same step on a constant batch."""
