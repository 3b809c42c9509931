"""Validate a network on shards with as many samples as no number of ranks divides; rank 0 writes OUT/SIZE.json.

validation_of_ranks.py SHARDS OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from cloudseg.core import attempt
from cloudseg.data.shards import Manifest, Shards
from cloudseg.nets import losses, models, scores
from cloudseg.training import comm as ranks
from cloudseg.training.validation import Validator

out = Path(sys.argv[2])
comm = ranks.start(attempt.current(out))
gathered, gather = [], comm.gather
comm.gather = lambda value: gathered.append(value) or gather(value)
shards = Shards(Manifest.load(sys.argv[1]))
tf.keras.utils.set_random_seed(0)
network = models.build("vanilla", shards.manifest.size, pretrained=False)
found = Validator(network, losses.bce_dice, shards, np.arange(len(shards)), 2, comm, (0.3, 0.5))()
if comm.rank == 0:
    dice = scores.dice(found.counts).mean(axis=(0, 1)).tolist()
    numbers = [dice, found.loss, found.counts.tolist(), found.sums.tolist()]
    (out / f"{comm.size}.json").write_text(json.dumps([*numbers, len(gathered)]))
comm.barrier()
