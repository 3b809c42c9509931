"""Batches into TensorFlow: one module a contender, each with `contender(job) -> measure`, in samples/s."""
