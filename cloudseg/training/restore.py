"""What a stage starts from: the encoder's weights, the stage before, or its own last checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from cloudseg.core import provenance
from cloudseg.core.atomic import link, write_json
from cloudseg.core.attempt import own_job
from cloudseg.core.errors import CloudsegError, DataError, UsageError, to_type
from cloudseg.core.run import Run
from cloudseg.nets import names, weights
from cloudseg.nets.freeze import Plan
from cloudseg.nets.models import Network
from cloudseg.training import checkpoint
from cloudseg.training.checkpoint import Progress
from cloudseg.training.comm import Comm


def fill(run: Run, stage: str, network: Network) -> dict[str, Any]:
    """Give `network` the weights that `stage` starts from, and say which, for its DONE.json.

    Raises UsageError if the stage before is not done, DataError if its weights are not those it wrote.
    """
    before = run.before(stage)
    if before is None:
        chosen = run.settings.weights
        if chosen != "none":
            weights.load(network.model, network.encoder, names.parse(run.settings.network)[1], chosen)
        return {"stage": None, "weights": chosen}
    done = run.done(before)
    if done is None:
        raise UsageError(
            f"stage {stage} starts from stage {before}, which is not done; type: "
            + to_type(
                "cloudseg.launch",
                "--stages",
                ",".join([*reversed(run.unfinished_before(stage)), stage]),
                "--run",
                run.path,
            )
        )
    if done["settings_sha256"] != run.settings_digest():
        raise UsageError(
            f"{run.path}/run.toml is not what it was when stage {before} ended: put it back, or begin another run with "
            f"it: {run.relaunch()}"
        )
    digest = load_best(run, before, network.model)
    return {"stage": before, "weights_sha256": digest}


def load_best(run: Run, stage: str, model: tf.keras.Model) -> str:
    """Fill `model` with the best weights of a finished stage; returns their sha256.

    Raises DataError if they are not those that the stage wrote.
    """
    done = run.done(stage)
    if done is None:
        raise DataError(f"{run.done_file(stage)} is not there: stage {stage} has no best weights yet")
    path = run.stage(stage) / Path(done["weights"]).name
    digest = checkpoint.sha256(path)
    if digest != done["weights_sha256"]:
        raise DataError(f"{path} is not what stage {stage} wrote: its sha256 is {digest}, not that of DONE.json")
    checkpoint.load_weights(path, model)
    return digest


def agree(run: Run, stage: str, comm: Comm, data: str, trainable: list[tf.Variable], ranks: int) -> None:
    """Raises CloudsegError, naming the rank, if the ranks would not train the same: what they put together would be
    worth nothing."""
    names = [f"{variable.name} {variable.shape}" for variable in trainable]
    facts = {
        "stage": stage,
        "settings": run.settings_digest(),
        "data": data,
        "trainable variables": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "planned number of ranks": ranks,
        "code or packages": str(provenance.versions()),
    }
    everyone = comm.gather([socket.gethostname(), facts])
    for rank, (host, theirs) in enumerate(everyone):
        for fact, value in theirs.items():
            if value != everyone[0][1][fact]:
                raise CloudsegError(
                    f"rank {rank} on {host} has another {fact} than rank 0: {value}, not {everyone[0][1][fact]}"
                )


def resume(
    run: Run, stage: str, comm: Comm, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, ranks: int
) -> Progress:
    """Where `stage` goes on; rank 0 looks, loads, and tells the others.

    Only rank 0's `model` and `optimizer` are filled: broadcast them.
    Raises UsageError on every rank if the checkpoint is of another number of ranks than `ranks`.
    """
    progress = Progress(stage=stage, epoch=0, step=0, seed=run.settings.seed, ranks=ranks)
    if comm.rank == 0:
        found = checkpoint.newest(run.checkpoints(stage))
        if found is not None:
            path, progress = found
            if progress.ranks == ranks:
                checkpoint.load(path, model, optimizer)
                progress = _with_best(run, stage, path.with_suffix(".json"), progress)
    progress = Progress(**comm.gather(dataclasses.asdict(progress))[0])
    if progress.ranks != ranks:
        fewer = f", or have these do their work: export CLOUDSEG_RANKS={progress.ranks}"
        raise UsageError(
            f"{run.checkpoints(stage)} is of {progress.ranks} ranks and this step has {ranks}; start it on as many "
            f"(on one machine: launch --tasks-per-node {progress.ranks}; in a Slurm job of your own: sbatch --nodes, "
            f"--ntasks-per-node){fewer if progress.ranks % comm.size == 0 else ''}"
        )
    return progress


def _with_best(run: Run, stage: str, record: Path, progress: Progress) -> Progress:
    """`progress` with its best weights, also if its checkpoint is of a version that did not name them."""
    if progress.best_epoch or not progress.dices:
        return progress
    best = run.best_weights(stage)
    # That version replaced the file in place: one that is newer than the checkpoint is of an epoch after it.
    if not best.exists() or best.stat().st_mtime_ns > record.stat().st_mtime_ns:
        print(
            f"warning: {best} is not of {record}, which is older; the best weights are chosen among the epochs from "
            f"{progress.epoch + 1} on",
            file=sys.stderr,
        )
        return progress
    epoch = progress.dices.index(max(progress.dices)) + 1
    own = run.checkpoints(stage) / checkpoint.weights_name(epoch)
    link(best, own)
    digest = checkpoint.sha256(own)
    return dataclasses.replace(progress, best_epoch=epoch, weights=own.name, weights_sha256=digest)


def record(run: Run, stage: str, comm: Comm, plan: Plan, network: Network, data: str) -> None:
    """Write stage.json: what trains, by name, on what, and on which `data`, the manifest's sha256. A later start of the
    stage writes it again."""
    count = sum(int(tf.size(variable)) for variable in network.model.trainable_variables)
    write_json(
        run.stage(stage) / "stage.json",
        {
            "stage": stage,
            "data_sha256": data,
            "trains": str(plan),
            "encoder_layers": list(plan.encoder_layers),
            "encoder_share": plan.encoder_share,
            "trainable_parameters": count,
            "parameters": network.model.count_params(),
            "ranks": comm.size,
            "device": comm.device,
            "partition": os.environ.get("SLURM_JOB_PARTITION", "none"),
            "job": own_job(os.environ),
            "with": provenance.versions(),
        },
    )
