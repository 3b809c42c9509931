"""One stage of training, the same for one rank and for many: read it from `train_stage` down."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cloudseg.atomic import write_json
from cloudseg.config import Settings
from cloudseg.data import staging
from cloudseg.data.augment import Augmenter
from cloudseg.data.feed import Feed
from cloudseg.data.labels import CLASSES
from cloudseg.data.order import epoch_order, rank_share
from cloudseg.data.shards import Manifest, Shards
from cloudseg.errors import CloudsegError, Stopped, UsageError
from cloudseg.nets import freeze, losses, models, scores
from cloudseg.run import Run
from cloudseg.training import checkpoint, curves, history, optimizers, placement, schedule, start
from cloudseg.training.comm import Comm
from cloudseg.training.events import Events
from cloudseg.training.signals import StopFlag
from cloudseg.training.step import Batch, Step
from cloudseg.training.validation import Validation, Validator

LOG_EVERY_S = 30.0
"""Between two lines of progress in a log; a terminal has a bar instead."""


def train_stage(run: Run, stage: str, comm: Comm, stop: StopFlag) -> None:
    """Train `stage` of `run` from where it stands to its end, and leave DONE.json.

    Raises Stopped when a signal asked for it and the state is saved; UsageError if the stage before is not
    done or the number of ranks changed; DataError for damaged weights; CloudsegError if the loss diverges.
    """
    if run.done(stage):
        say(comm, f"stage {stage} is done: {run.done_file(stage)}")
        return
    trainer = Trainer(run, stage, comm, stop)
    with trainer.feed:
        while not trainer.at_end():
            trainer.train_epoch()
            trainer.close_epoch()
    trainer.finish()


class Trainer:
    """The network of a stage, its optimizer and its progress, equal on all ranks after every step."""

    def __init__(self, run: Run, stage: str, comm: Comm, stop: StopFlag) -> None:
        self._started = time.monotonic()
        self.run, self.stage, self.comm, self.stop = run, stage, comm, stop
        self.settings, self.recipe = run.settings, run.settings.stage[stage]
        self.shards = open_shards(run, comm)
        self.feed = open_feed(self.shards, self.settings, comm)
        self.training = self.shards.manifest.indices(self.settings.fold, training=True)
        held_out = self.shards.manifest.indices(self.settings.fold, training=False)

        tf.keras.utils.set_random_seed(self.settings.seed)
        self.network = build_network(self.settings, self.shards.manifest)
        self.origin = start.fill(run, stage, self.network)
        self.plan = freeze.freeze(self.network, self.recipe.encoder, self.recipe.train_bn)
        self.trainable = self.network.model.trainable_variables
        self.optimizer = optimizers.build(self.recipe, self.trainable, self.settings.precision == "mixed")
        self.progress = start.resume(run, stage, comm, self.network.model, self.optimizer)
        comm.broadcast([*self.network.model.variables, *optimizers.state(self.optimizer)])

        loss = build_loss(self.settings, self.shards.manifest)
        self._step = Step(self.network, self.optimizer, loss, comm, self.recipe.accumulate)
        self._validate = Validator(
            self.network, loss, self.shards, held_out, self.settings.batch, comm, thresholds=[0.5]
        )
        self._speed, self._events = Speed(), Events(run.events(stage))
        run.stage(stage).mkdir(parents=True, exist_ok=True)
        if comm.rank == 0:
            start.record(run, stage, comm, self.plan, self.network)
        say(
            comm,
            f"stage {stage}, {self.settings.network}: trains {self.plan}; {len(self.training)} images, "
            f"{len(held_out)} to validate; ranks: {comm.size}, each with {comm.device}; "
            f"from epoch {self.progress.epoch + 1} of {self.recipe.epochs}, step {self.progress.step}",
        )

    def at_end(self) -> bool:
        """Whether no epoch is left, or validation says that more would be in vain."""
        done = self.progress.epoch >= self.recipe.epochs
        return done or schedule.stops_early(self.recipe, self.progress.dices)

    def train_epoch(self) -> None:
        """The steps of the current epoch that are not done yet."""
        self._speed = Speed()
        epoch, batch = self.progress.epoch, self.settings.batch
        own = batch * self.recipe.accumulate
        order = epoch_order(self.training, self.settings.seed, epoch, own * self.comm.size)
        self._steps_per_epoch = len(order)
        share = rank_share(order, self.comm.rank, self.comm.size)[self.progress.step - epoch * len(order) :]
        batches = self._speed.timed(self.feed.batches(share.reshape(-1, batch), epoch))
        title = f"{self.stage} {epoch + 1}/{self.recipe.epochs}"
        for _ in shown(self.comm, title, len(order), len(share)):
            self.network.seed_dropout(self.settings.seed, self.comm.rank, self.progress.step)
            outcome = self._step(batches, self._rate(self.progress.step), self.stop.asked)
            self._advance(outcome.loss, outcome.sums)
            if outcome.stopping or self.progress.step % self.settings.checkpoint.every_steps == 0:
                self._save()
            if outcome.stopping:
                raise Stopped(f"stage {self.stage} stopped on a signal at step {self.progress.step}; all is saved")
        self._speed.images = len(share) * own * self.comm.size
        self._speed.trained()

    def close_epoch(self) -> None:
        """Validate, keep the weights if they are the best, add to the history, save a checkpoint."""
        epoch = self.progress.epoch + 1
        with optimizers.averaged(self.optimizer, self.trainable):
            validation = self._validate()
            row = self._row(epoch, validation)
            best = row["dice"] > max(self.progress.dices, default=-1.0)
            if best and self.comm.rank == 0:
                checkpoint.save_weights(self.run.best_weights(self.stage), self.network.model)
        self.progress = dataclasses.replace(
            self.progress,
            epoch=epoch,
            loss_sum=0.0,
            sums=(),
            dices=[*self.progress.dices, row["dice"]],
            val_losses=[*self.progress.val_losses, validation.loss],
        )
        if self.comm.rank == 0:
            history.append(self.run.history(self.stage), row)
            self._events.add(row)
            curves.draw(self.run, self.stage)
        self._save()
        say(
            self.comm,
            f"{self.stage} {epoch}/{self.recipe.epochs}: loss {row['loss']:.4f}, validation loss "
            f"{validation.loss:.4f}, dice {row['dice']:.4f}, {row['images_per_s']:.1f} images/s",
        )

    def _row(self, epoch: int, validation: Validation) -> dict[str, float]:
        """What history.csv says of an epoch."""
        counts = validation.counts[:, :, 0]
        dice = scores.dice(counts).mean(axis=0)
        sums = np.array(self.progress.sums).reshape(validation.sums.shape)
        return {
            "epoch": epoch,
            "step": self.progress.step,
            "lr": self._rate(self.progress.step - 1),
            "loss": self.progress.loss_sum / self._steps_per_epoch,
            **scores.pooled(sums),
            "val_loss": validation.loss,
            **{f"val_{name}": value for name, value in scores.pooled(validation.sums).items()},
            "dice": float(dice.mean()),
            **{f"dice_{name.lower()}": float(value) for name, value in zip(CLASSES, dice, strict=True)},
            "iou": float(scores.iou(counts).mean()),
            **self._speed.row(),
        }

    def _rate(self, step: int) -> float:
        cuts = schedule.cuts(self.recipe, self.progress.val_losses)
        return schedule.learning_rate(self.recipe, step, self._steps_per_epoch, self.comm.size, cuts)

    def finish(self) -> None:
        """Write what says that the stage is done, and from what to what it went."""
        if self.comm.rank == 0:
            best = self.run.best_weights(self.stage)
            write_json(
                self.run.done_file(self.stage),
                {
                    "stage": self.stage,
                    "dice": max(self.progress.dices),
                    "best_epoch": self.progress.dices.index(max(self.progress.dices)) + 1,
                    "epochs": self.progress.epoch,
                    "steps": self.progress.step,
                    "ranks": self.comm.size,
                    "weights": best.name,
                    "weights_sha256": checkpoint.sha256(best),
                    "started_from": self.origin,
                    "settings_sha256": self.run.settings_digest(),
                    "encoder_layers_trained": list(self.plan.encoder_layers),
                    "encoder_share_trained": self.plan.encoder_share,
                    "seconds": round(time.monotonic() - self._started, 1),
                },
            )
        self.comm.barrier()

    def _advance(self, loss: float, sums: np.ndarray) -> None:
        if not math.isfinite(loss):
            raise CloudsegError(
                f"stage {self.stage}, epoch {self.progress.epoch + 1}, step {self.progress.step}: the loss is {loss}; "
                f"try a lower rate in a new run: --run runs/OTHER --set stage.{self.stage}.lr={self.recipe.lr / 10:g}"
            )
        before = np.array(self.progress.sums or np.zeros(sums.size))
        self.progress = dataclasses.replace(
            self.progress,
            step=self.progress.step + 1,
            loss_sum=self.progress.loss_sum + loss,
            sums=(before + sums.ravel()).tolist(),
        )

    def _save(self) -> None:
        if self.comm.rank == 0:
            checkpoint.save(
                self.run.checkpoints(self.stage),
                self.network.model,
                self.optimizer,
                self.progress,
                self.settings.checkpoint.keep,
            )


class Speed:
    """Where the time of an epoch goes."""

    def __init__(self) -> None:
        self._began, self._trained, self._waited = time.monotonic(), 0.0, 0.0
        self.images = 0
        """Those that all ranks trained with."""

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; waiting for them is counted."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def trained(self) -> None:
        """All steps are done; what follows is validation."""
        self._trained = time.monotonic() - self._began

    def row(self) -> dict[str, float]:
        return {
            "images_per_s": self.images / max(self._trained, 1e-9),
            "seconds": time.monotonic() - self._began,
            "waiting_s": self._waited,
        }


def build_network(settings: Settings, manifest: Manifest) -> models.Network:
    """The network of a run, with random weights."""
    return models.build(
        settings.network, manifest.size, settings.weights != "none", settings.batchnorm, settings.precision == "mixed"
    )


def build_loss(settings: Settings, manifest: Manifest) -> losses.Loss:
    """The loss of a run; where it needs to know how often classes occur, the training images tell."""
    training = [manifest.samples[i] for i in manifest.indices(settings.fold, training=True)]
    height, width = manifest.size
    pixels = sum(height * width - sample.no_data for sample in training)
    areas = [sum(sample.areas[i] for sample in training) for i in range(len(CLASSES))]
    return losses.by_name(settings.loss, settings.positive_weight or losses.balanced(areas, pixels))


def open_shards(run: Run, comm: Comm) -> Shards:
    """The data set, from a copy on this node's own disk where CLOUDSEG_NODE_FOLDER names a folder for it.

    Raises UsageError if it is not the one that the run began with.
    """
    manifest = Manifest.load(run.settings.data)
    if run.made.get("data_sha256", manifest.digest) != manifest.digest:
        raise UsageError(
            f"{run.settings.data} is not what it was when {run.path} began; begin another: --run runs/OTHER"
        )
    if node_folder := os.path.expandvars(os.environ.get("CLOUDSEG_NODE_FOLDER", "")):
        if comm.local_rank == 0:
            say(comm, staging.copy_to_node(manifest, Path(node_folder)))
        comm.barrier()
        manifest = staging.on_node(manifest, Path(node_folder))
    return Shards(manifest)


def open_feed(shards: Shards, settings: Settings, comm: Comm) -> Feed:
    """This rank's training batches, made by as many processes as it has CPUs to spare."""
    augment = Augmenter(shards.manifest.size, settings.augment) if settings.augment != "none" else None
    cpus = placement.threads_per_rank(os.environ, len(os.sched_getaffinity(0)), comm.local_size)
    return Feed(shards, settings.batch, augment, settings.seed, placement.feed_workers(os.environ, cpus))


def say(comm: Comm, line: str) -> None:
    """A line of the log, from rank 0 only."""
    if comm.rank == 0:
        tqdm.write(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout)
        sys.stdout.flush()


def shown(comm: Comm, title: str, total: int, left: int) -> Iterator[int]:
    """The numbers of the steps of an epoch that are left, with rank 0's progress: a bar on a terminal, a line now and
    then in a log."""
    steps = range(total - left, total)
    if comm.rank == 0 and sys.stdout.isatty():
        yield from tqdm(steps, title, total, initial=total - left, unit="step", leave=False, file=sys.stdout)
        return
    last = time.monotonic()
    for step in steps:
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            say(comm, f"{title}: step {step} of {total}")
        yield step
