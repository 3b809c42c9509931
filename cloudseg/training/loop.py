"""One stage of training, the same for one rank and for many: read it from `train_stage` down."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
from cloudseg.errors import CloudsegError, Stopped
from cloudseg.nets import freeze, models, scores
from cloudseg.nets.losses import LOSSES, Loss
from cloudseg.nets.masks import unpack
from cloudseg.run import Run
from cloudseg.training import checkpoint, history, placement, start
from cloudseg.training.comm import Comm
from cloudseg.training.schedule import learning_rate
from cloudseg.training.signals import StopFlag
from cloudseg.training.validation import Validator

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
        for epoch in range(trainer.progress.epoch, trainer.recipe.epochs):
            trainer.train_epoch(epoch)
            trainer.close_epoch(epoch)
    trainer.finish()


class Trainer:
    """The network of a stage, its optimizer and its progress, equal on all ranks after every step."""

    def __init__(self, run: Run, stage: str, comm: Comm, stop: StopFlag) -> None:
        self._began = time.monotonic()
        self.run, self.stage, self.comm, self.stop = run, stage, comm, stop
        self.settings, self.recipe = run.settings, run.settings.stage[stage]
        self.shards = open_shards(self.settings.data, comm)
        self.feed = open_feed(self.shards, self.settings, comm)
        self.training = self.shards.manifest.indices(self.settings.fold, training=True)
        held_out = self.shards.manifest.indices(self.settings.fold, training=False)

        tf.keras.utils.set_random_seed(self.settings.seed)
        self.network = models.build(
            self.settings.network, self.shards.manifest.size, self.settings.weights != "none", self.settings.batchnorm
        )
        self.origin = start.fill(run, stage, self.network)
        self.plan = freeze.freeze(self.network, self.recipe.encoder)
        self.optimizer = tf.keras.optimizers.Adam(self.recipe.lr)
        self.optimizer.build(self.network.model.trainable_variables)
        self.progress = start.resume(run, stage, comm, self.network.model, self.optimizer)
        comm.broadcast([*self.network.model.variables, *self.optimizer.variables])

        loss = LOSSES[self.settings.loss]
        self._step = make_step(self.network, self.optimizer, loss, comm)
        self._validate = Validator(
            self.network, loss, self.shards, held_out, self.settings.batch, comm, thresholds=[0.5]
        )
        self._images_per_s, self._epoch_began = 0.0, 0.0
        run.stage(stage).mkdir(parents=True, exist_ok=True)
        say(
            comm,
            f"stage {stage}, {self.settings.network}: trains {self.plan}; {len(self.training)} images, "
            f"{len(held_out)} to validate; ranks: {comm.size}, each with {comm.device}; "
            f"from epoch {self.progress.epoch + 1} of {self.recipe.epochs}, step {self.progress.step}",
        )

    def train_epoch(self, epoch: int) -> None:
        """The steps of `epoch` that are not done yet."""
        self._epoch_began = time.monotonic()
        global_batch = self.settings.batch * self.comm.size
        order = epoch_order(self.training, self.settings.seed, epoch, global_batch)
        self._steps_per_epoch = len(order)
        share = rank_share(order, self.comm.rank, self.comm.size)[self.progress.step - epoch * len(order) :]
        title = f"{self.stage} {epoch + 1}/{self.recipe.epochs}"
        for images, masks in shown(self.feed.batches(share, epoch), self.comm, title, len(order), len(share)):
            rate = learning_rate(self.recipe, self.progress.step, len(order))
            loss, stopping = self._step(images, masks, tf.constant(rate), tf.constant(self.stop.asked))
            self._advance(epoch, float(loss))
            if stopping or self.progress.step % self.settings.checkpoint.every_steps == 0:
                self._save()
            if stopping:
                raise Stopped(f"stage {self.stage} stopped on a signal at step {self.progress.step}; all is saved")
        self._images_per_s = len(share) * global_batch / (time.monotonic() - self._epoch_began)

    def close_epoch(self, epoch: int) -> None:
        """Validate, keep the weights if they are the best, add to the history, save a checkpoint."""
        val_loss, counts = self._validate()
        dice = scores.dice(counts[:, :, 0]).mean(axis=0)
        row = {
            "epoch": epoch + 1,
            "step": self.progress.step,
            "lr": learning_rate(self.recipe, self.progress.step - 1, self._steps_per_epoch),
            "loss": self.progress.loss_sum / self._steps_per_epoch,
            "val_loss": val_loss,
            "dice": float(dice.mean()),
            **{f"dice_{name.lower()}": float(value) for name, value in zip(CLASSES, dice, strict=True)},
            "images_per_s": self._images_per_s,
            "seconds": time.monotonic() - self._epoch_began,
        }
        self.progress = dataclasses.replace(self.progress, epoch=epoch + 1, loss_sum=0.0)
        if row["dice"] > self.progress.best_dice:
            self.progress = dataclasses.replace(self.progress, best_dice=row["dice"], best_epoch=epoch + 1)
            if self.comm.rank == 0:
                checkpoint.save_weights(self.run.best_weights(self.stage), self.network.model)
        if self.comm.rank == 0:
            history.append(self.run.history(self.stage), row)
        self._save()
        say(
            self.comm,
            f"{self.stage} {epoch + 1}/{self.recipe.epochs}: loss {row['loss']:.4f}, validation loss "
            f"{val_loss:.4f}, dice {row['dice']:.4f}, {row['images_per_s']:.1f} images/s",
        )

    def finish(self) -> None:
        """Write what says that the stage is done, and from what to what it went."""
        if self.comm.rank == 0:
            best = self.run.best_weights(self.stage)
            write_json(
                self.run.done_file(self.stage),
                {
                    "stage": self.stage,
                    "dice": self.progress.best_dice,
                    "best_epoch": self.progress.best_epoch,
                    "epochs": self.recipe.epochs,
                    "steps": self.progress.step,
                    "ranks": self.comm.size,
                    "weights": best.name,
                    "weights_sha256": checkpoint.sha256(best),
                    "started_from": self.origin,
                    "settings_sha256": self.run.settings_digest(),
                    "encoder_layers_trained": list(self.plan.encoder_layers),
                    "encoder_share_trained": self.plan.encoder_share,
                    "seconds": round(time.monotonic() - self._began, 1),
                },
            )
        self.comm.barrier()

    def _advance(self, epoch: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise CloudsegError(
                f"stage {self.stage}, epoch {epoch + 1}, step {self.progress.step}: the loss is {loss}; try a "
                f"lower rate in a new run: --run runs/OTHER --set stage.{self.stage}.lr={self.recipe.lr / 10:g}"
            )
        self.progress = dataclasses.replace(
            self.progress, step=self.progress.step + 1, loss_sum=self.progress.loss_sum + loss
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


def make_step(
    network: models.Network, optimizer: tf.keras.optimizers.Optimizer, loss: Loss, comm: Comm
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """One optimizer step on one batch a rank, as a traced function.

    It takes images uint8 (b, H, W, 3), masks uint8 (b, H, W), the learning rate and this rank's wish to stop,
    and gives the mean loss over the ranks and whether any rank wants to stop. Gradients, BatchNorm's moving
    statistics, loss and wish travel in one message, so after every step all ranks hold the same state and a
    checkpoint of rank 0 is one of all.
    """
    variables = network.model.trainable_variables
    statistics = freeze.moving_statistics(network.model)

    @tf.function
    def step(images: tf.Tensor, masks: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        targets, valid = unpack(masks)
        with tf.GradientTape() as tape:
            own_loss = loss(network.logits(images, training=True), targets, valid)
        gradients = tape.gradient(own_loss, variables)
        sent = [*gradients, *[s.read_value() for s in statistics], own_loss, tf.cast(stop, tf.float32)]
        received = comm.mean(sent)
        gradients, means = received[: len(variables)], received[len(variables) : -2]
        for variable, mean in zip(statistics, means, strict=True):
            variable.assign(mean)
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return received[-2], received[-1] > 0

    return step


def open_shards(folder: str, comm: Comm) -> Shards:
    """The data set, from a copy on this node's own disk where CLOUDSEG_NODE_FOLDER names a folder for it."""
    manifest = Manifest.load(folder)
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


def shown(batches: Iterable[Any], comm: Comm, title: str, total: int, left: int) -> Iterable[Any]:
    """The batches, with rank 0's progress: a bar on a terminal, a line now and then in a log."""
    if comm.rank == 0 and sys.stdout.isatty():
        yield from tqdm(batches, title, total, initial=total - left, unit="step", leave=False, file=sys.stdout)
        return
    last = time.monotonic()
    for done, batch in enumerate(batches, total - left):
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            say(comm, f"{title}: step {done} of {total}")
        yield batch
