"""Train a stage as `cloudseg.train` does, with epochs that end as told, and with rank 0 killed at a moment.

training_of_ranks.py ENDS KILL OPTIONS...

ENDS is for each epoch the classes that its weights then predict everywhere, as 0001,1111: what differs between two
runs of the same epoch, as on GPUs, only much. An empty entry leaves the epoch as it is. KILL is an epoch, whose best
weights are written and whose checkpoint is not; or "done", when only DONE.json is missing; or "never".
"""

from __future__ import annotations

import os
import signal
import sys

from cloudseg import train
from cloudseg.core.errors import run_command
from cloudseg.training import loop

ends, kill, options = sys.argv[1].split(","), sys.argv[2], sys.argv[3:]
append, write_json = loop.history.append, loop.write_json


class Trainer(loop.Trainer):
    def train_epoch(self) -> None:
        super().train_epoch()
        if end := ends[self.progress.epoch]:
            *_, kernel, bias = self.network.model.trainable_variables
            kernel.assign(kernel * 0)
            bias.assign([20.0 if everywhere == "1" else -20.0 for everywhere in end])


def append_unless_killed(path, row) -> None:
    if str(row["epoch"]) == kill:
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, row)


def write_unless_killed(path, table) -> None:
    if kill == "done":
        os.kill(os.getpid(), signal.SIGKILL)
    write_json(path, table)


loop.Trainer, loop.history.append, loop.write_json = Trainer, append_unless_killed, write_unless_killed
sys.argv = ["train", *options]
run_command(train.main)
