"""Means of ten tensors, in messages of two each: all ready at once, and each message when the one before has come.

messages_of_ranks.py OUT: rank 0 writes OUT/messages.json, which of the ten differ, and how far float16 is off.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from cloudseg.core import attempt
from cloudseg.training import comm as ranks

LENGTH = 1001  # no multiple of the ranks: where a tensor lies in a buffer decides in which order it is summed
out = Path(sys.argv[1])
comm = ranks.start(attempt.current(out))
comm.bucket_bytes = 2 * 4 * LENGTH
random = np.random.default_rng(comm.rank)
tensors = [tf.constant(random.normal(size=LENGTH), tf.float32) for _ in range(10)]
alone = [mean.numpy() for i in reversed(range(0, 10, 2)) for mean in reversed(comm.mean(tensors[i : i + 2]))][::-1]
together = tf.function(lambda: comm.mean(tensors))
found = [[mean.numpy() for mean in together()] for _ in range(5)]
differing = sorted({i for means in found for i in range(10) if not np.array_equal(means[i], alone[i])})

# Sums of these are beyond float16.
*halves, whole = comm.mean([*(tf.cast(10_000 * tensor, tf.float16) for tensor in tensors), tensors[0]])
error = max(float(np.abs(half.numpy() / 1e4 - mean).max()) for half, mean in zip(halves, alone, strict=True))
error_of_whole = float(np.abs(whole.numpy() - alone[0]).max())
if comm.rank == 0:
    found_out = {"differing": differing, "error": error, "error_of_whole": error_of_whole}
    (out / "messages.json").write_text(json.dumps(found_out))
comm.barrier()
