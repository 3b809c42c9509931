"""Initial state of a stage: encoder weights, the best weights of the previous stage, or the last checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from cloudseg.core import provenance
from cloudseg.core.atomic import link, write_json
from cloudseg.core.attempt import cloudseg_job
from cloudseg.core.errors import CloudsegError, DataError, UsageError, to_type
from cloudseg.core.run import Run
from cloudseg.nets import names, weights
from cloudseg.nets.freeze import Plan
from cloudseg.nets.models import Network
from cloudseg.training import checkpoint
from cloudseg.training.checkpoint import Progress
from cloudseg.training.comm import Comm

STAGE_FILE = "stage.json"
"""File of a stage with what trains, and with which software."""


def load_initial_weights(run: Run, stage: str, network: Network) -> dict[str, Any]:
    """Load the weights that `stage` starts from into `network`; returns their origin, for DONE.json.

    Raises UsageError if the previous stage is not done, DataError if its weights are not those that it wrote.
    """
    before = run.previous_stage(stage)
    if before is None:
        chosen = run.settings.weights
        if chosen != "none":
            weights.load(network.model, network.encoder, names.parse(run.settings.network)[1], chosen)
        return {"stage": None, "weights": chosen}
    done = finished_before(run, stage)
    if done["settings_sha256"] != run.settings_digest():
        raise UsageError(
            f"{run.path}/run.toml is not what it was when stage {before} ended: restore it, or begin another run with "
            f"it: {run.relaunch()}"
        )
    digest = load_best(run, before, network.model)
    return {"stage": before, "weights_sha256": digest}


def finished_before(run: Run, stage: str) -> dict[str, Any]:
    """The content of DONE.json of the stage before `stage`. Raises UsageError if that is not done."""
    before = run.previous_stage(stage)
    done = run.done(before) if before else None
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
    return done


def load_best(run: Run, stage: str, model: tf.keras.Model) -> str:
    """Load the best weights of a finished stage into `model`; returns their sha256.

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


def check_agreement(run: Run, stage: str, comm: Comm, data: str, trainable: list[tf.Variable], ranks: int) -> None:
    """Raises CloudsegError, naming the rank, if ranks differ in stage, settings, data, variables, ranks or code: their
    averaged gradients would be invalid."""
    names = [f"{variable.name} {variable.shape}" for variable in trainable]
    facts = {
        "stage": stage,
        "settings": run.settings_digest(),
        "data": data,
        "trainable variables": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "planned number of ranks": ranks,
        "code or packages": str(provenance.versions()),
    }
    gathered = comm.gather([socket.gethostname(), facts])
    _, expected = gathered[0]
    for rank, (host, found) in enumerate(gathered):
        for fact, value in found.items():
            if value != expected[fact]:
                raise CloudsegError(
                    f"rank {rank} on {host} has another {fact} than rank 0: {value}, not {expected[fact]}"
                )


def resume(
    run: Run,
    stage: str,
    comm: Comm,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    ranks: int,
    swa: Sequence[tf.Variable] = (),
) -> Progress:
    """Load the newest checkpoint of `stage` on rank 0; returns its progress on all ranks.

    Only rank 0's `model`, `optimizer` and mean of weights `swa` are loaded: broadcast them.
    Raises UsageError on every rank if the checkpoint is of another number of ranks than `ranks`.
    """
    progress = Progress(stage=stage, epoch=0, step=0, seed=run.settings.seed, ranks=ranks)
    if comm.rank == 0:
        found = checkpoint.newest(run.checkpoints(stage))
        if found is not None:
            path, progress = found
            if progress.ranks == ranks:
                checkpoint.load(path, model, optimizer, swa)
                progress = _with_best(run, stage, path.with_suffix(".json"), progress)
    progress = Progress(**comm.gather(dataclasses.asdict(progress))[0])
    if progress.ranks != ranks:
        fewer = f", or let these ranks process the batches of all: export CLOUDSEG_RANKS={progress.ranks}"
        raise UsageError(
            f"{run.checkpoints(stage)} is of {progress.ranks} ranks and {ranks} were started; start it on as many "
            f"(on one machine: launch --tasks-per-node {progress.ranks}; in a Slurm job of your own: sbatch --nodes, "
            f"--ntasks-per-node){fewer if progress.ranks % comm.size == 0 else ''}"
        )
    return progress


def _with_best(run: Run, stage: str, record: Path, progress: Progress) -> Progress:
    """Return `progress` with its best weights, also if the checkpoint is of a version that did not record them."""
    if progress.best_epoch or not progress.dices:
        return progress
    best = run.best_weights(stage)
    # That version replaced the file in place: a file newer than the checkpoint is of a later epoch.
    if not best.exists() or best.stat().st_mtime_ns > record.stat().st_mtime_ns:
        print(
            f"warning: {best} is not of {record}, which is older; the best weights are chosen among the epochs from "
            f"{progress.epoch + 1} on",
            file=sys.stderr,
        )
        return progress
    epoch = progress.dices.index(max(progress.dices)) + 1
    weights_file = run.checkpoints(stage) / checkpoint.weights_name(epoch)
    link(best, weights_file)
    digest = checkpoint.sha256(weights_file)
    return dataclasses.replace(progress, best_epoch=epoch, weights=weights_file.name, weights_sha256=digest)


def check_pseudo_labels(run: Run, stage: str, digest: str) -> None:
    """Raises UsageError if `stage` has trained on other pseudo-labels than those whose manifest has this sha256."""
    try:
        recorded = json.loads((run.stage(stage) / STAGE_FILE).read_text())["pseudo"]["manifest_sha256"]
    except FileNotFoundError:
        return
    if run.saved_step(stage) and recorded != digest:
        raise UsageError(
            f"{run.pseudo_labels(stage)} is not what the checkpoints of stage {stage} were trained on; delete "
            f"{run.stage(stage)}, and the same command trains it anew"
        )


def write_stage_file(
    run: Run, stage: str, comm: Comm, plan: Plan, network: Network, data: str, more: Mapping[str, Any]
) -> None:
    """Write stage.json: the layers that train, the device, the software, `data`, the sha256 of the manifest, and
    `more`. Each start of the stage replaces it.
    """
    count = sum(int(tf.size(variable)) for variable in network.model.trainable_variables)
    write_json(
        run.stage(stage) / STAGE_FILE,
        {
            "stage": stage,
            "data_sha256": data,
            **more,
            "trains": str(plan),
            "encoder_layers": list(plan.encoder_layers),
            "encoder_share": plan.encoder_share,
            "trainable_parameters": count,
            "parameters": network.model.count_params(),
            "ranks": comm.size,
            "device": comm.device,
            "partition": os.environ.get("SLURM_JOB_PARTITION", "none"),
            "job": cloudseg_job(os.environ),
            "with": provenance.versions(),
        },
    )
