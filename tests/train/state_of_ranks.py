"""Train one epoch of the full stage and write a digest of every variable of this rank: OUT/rank-N.json.

state_of_ranks.py RUN OUT BUCKET_BYTES
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

from cloudseg.core.run import open_run
from cloudseg.core.signals import StopFlag
from cloudseg.training import rank

run, out = open_run(Path(sys.argv[1])), Path(sys.argv[2])
# The first stage starts from nothing; here it trains the encoder too, so that all BatchNorm statistics move.
full = dataclasses.replace(run.settings.stage["full"], epochs=1)
run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, stages=("frozen",), stage={"frozen": full}))
with rank.started(run, StopFlag()) as own:
    from cloudseg.training import optimizers
    from cloudseg.training.loop import Trainer

    own.comm.bucket_bytes = float(sys.argv[3])
    trainer = Trainer(run, "frozen", own)
    trainer.train_epoch()
    variables = [*trainer.network.model.variables, *optimizers.state(trainer.optimizer)]
    state = {f"{i} {v.name}": hashlib.sha256(v.numpy().tobytes()).hexdigest() for i, v in enumerate(variables)}
    (out / f"rank-{own.comm.rank}.json").write_text(json.dumps({"rank": own.comm.rank, **state}))
    own.comm.barrier()
