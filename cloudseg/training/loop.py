"""One stage of training, the same for one rank and for many: read it from `train_stage` down."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from cloudseg.core.atomic import link, patiently, write_json
from cloudseg.core.errors import CloudsegError, DataError, Stopped
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.data.sample_order import epoch_order, rank_share
from cloudseg.nets import freeze, scores
from cloudseg.training import build, checkpoint, history, optimizers, placement, restore, schedule
from cloudseg.training.events import Events
from cloudseg.training.log import say, shown
from cloudseg.training.rank import Rank
from cloudseg.training.speed import Speed
from cloudseg.training.stage_lease import held
from cloudseg.training.step import Batch, Step
from cloudseg.training.validation import Validation, Validator


def train_stage(run: Run, stage: str, rank: Rank) -> None:
    """Train `stage` of `run` from where it stands to its end, and leave DONE.json.

    Raises Stopped when a signal asked for it and the state is saved; UsageError if the stage before is not
    done, others are at work on this one or the number of ranks changed; DataError for damaged weights; CloudsegError if
    the loss diverges, or no gradient of an epoch fits into float16.
    """
    with held(run, stage, rank) as fence:
        if rank.comm.gather(run.done(stage) is not None)[0]:
            say(rank.comm, f"stage {stage} is done: {run.done_file(stage)}")
            return
        trainer = Trainer(run, stage, rank, fence)
        with trainer.unsaved:
            with trainer.feed:
                while not trainer.at_end():
                    trainer.train_epoch()
                    trainer.close_epoch()
            trainer.finish()


class Trainer:
    """The network of a stage, its optimizer and its progress, equal on all ranks after every step."""

    def __init__(self, run: Run, stage: str, rank: Rank, fence: Callable[[], None] = lambda: None) -> None:
        self._started = self._saved_at = time.monotonic()
        self.run, self.stage, self.comm, self.rank = run, stage, rank.comm, rank
        self.settings, self.recipe = run.settings, run.settings.stage[stage]
        self.shards = build.open_shards(run, self.comm)
        self.feed = build.open_feed(self.shards, self.settings, self.comm)
        self.training = self.shards.manifest.indices(self.settings.fold, training=True)
        held_out = self.shards.manifest.indices(self.settings.fold, training=False)
        ranks = placement.planned_ranks(os.environ, self.comm.size)
        self._micro_batches = self.recipe.accumulate * ranks // self.comm.size

        tf.keras.utils.set_random_seed(self.settings.seed)
        self.network = build.build_network(self.settings, self.shards.manifest)
        self.origin = restore.fill(run, stage, self.network)
        self.plan = freeze.freeze(self.network, self.recipe.encoder, self.recipe.train_bn)
        self.trainable = self.network.model.trainable_variables
        self.optimizer = optimizers.build(self.recipe, self.trainable, self.settings.precision == "mixed")
        digest = self.shards.manifest.digest
        restore.agree(run, stage, self.comm, digest, self.trainable, ranks)
        self.progress = restore.resume(run, stage, self.comm, self.network.model, self.optimizer, ranks)
        self.comm.broadcast([*self.network.model.variables, *optimizers.state(self.optimizer)])

        loss = build.build_loss(self.settings, self.shards.manifest)
        compressed = self.settings.compression == "fp16"
        self._step = Step(self.network, self.optimizer, loss, self.comm, self._micro_batches, compressed)
        self._validate = Validator(
            self.network, loss, self.shards, held_out, self.settings.batch, self.comm, [0.5], rank.heartbeat.moves,
            rank.stop.received,
        )  # fmt: skip
        self._speed, self._events = Speed(), Events(run.events(stage))
        self._saving_s = 0.0
        self._saver, self._fence = None, fence
        self.unsaved = ExitStack()
        """To be entered. From the first step on, a stop signal waits for the end of a step, where all ranks save."""
        run.stage(stage).mkdir(parents=True, exist_ok=True)
        if self.comm.rank == 0:
            # Of a process that was killed: nobody else writes here while the stage is claimed.
            for leftover in run.stage(stage).glob(".tmp-*"):
                leftover.unlink(missing_ok=True)
            self._saver = checkpoint.Saver(run.checkpoints(stage), self.settings.checkpoint.keep, fence)
            patiently(lambda: restore.record(run, stage, self.comm, self.plan, self.network, digest))
        say(
            self.comm,
            f"stage {stage}, {self.settings.network}: trains {self.plan}; {len(self.training)} images, "
            f"{len(held_out)} to validate; ranks: {self.comm.size}, each with {self.comm.device}; "
            f"from epoch {self.progress.epoch + 1} of {self.recipe.epochs}, step {self.progress.step}",
        )

    def at_end(self) -> bool:
        """Whether no epoch is left, or validation says that more would be in vain."""
        done = self.progress.epoch >= self.recipe.epochs
        return done or schedule.stops_early(self.recipe, self.progress.dices)

    def train_epoch(self) -> None:
        """The steps of the current epoch that are not done yet."""
        self._speed = Speed()
        epoch, batch, size = self.progress.epoch, self.settings.batch, self.comm.size
        own = batch * self._micro_batches
        order = epoch_order(self.training, self.settings.seed, epoch, own * size)
        self._steps_per_epoch = len(order)
        share = rank_share(order, self.comm.rank, size)[self.progress.step - epoch * len(order) :]
        batches = self._met(self._speed.timed(self.feed.batches(share.reshape(-1, batch), epoch)))
        title = f"{self.stage} {epoch + 1}/{self.recipe.epochs}"
        in_vain = len(share) > 0
        for _ in shown(self.comm, title, len(order), len(share)):
            rate = self._rate(self.progress.step)
            outcome = self._step(batches, rate, self.progress.step, self.rank.stop.asked)
            self._advance(outcome.loss, outcome.sums)
            if not self.rank.stop.deferring:
                self.unsaved.enter_context(self.rank.stop.noted())
            in_vain = in_vain and optimizers.overflowed_unscaled(self.optimizer)
            if outcome.stopping:
                self._stop()
            if self._due():
                self._save()
        if in_vain:
            # Each such step is left out, so that this would go on to the end with a loss that looks well.
            raise CloudsegError(
                f"stage {self.stage}, epoch {epoch + 1}: the gradients of every step overflow in float16 and nothing "
                f"trains; begin a new run: {self.run.relaunch('precision=float32')}"
            )
        self._speed.images = len(share) * own * size
        self._speed.trained()

    def close_epoch(self) -> None:
        """Validate, keep the weights if they are the best, add to the history, save a checkpoint."""
        epoch = self.progress.epoch + 1
        self.rank.heartbeat.beat(f"validation of epoch {epoch}", self.progress.step)
        began = time.monotonic()
        with self._saved_if_stopped(), optimizers.averaged(self.optimizer, self.trainable):
            validation = self._validate()
            validating = time.monotonic() - began
            row = self._row(epoch, validation)
            self._saving_s = 0.0
            best = self._save_best(epoch) if row["dice"] > self.progress.best_dice else {}
        self.progress = dataclasses.replace(
            self.progress,
            epoch=epoch,
            loss_sum=0.0,
            sums=(),
            dices=[*self.progress.dices, row["dice"]],
            val_losses=[*self.progress.val_losses, validation.loss],
            **best,
        )
        if self.comm.rank == 0:
            self._fence()
            patiently(lambda: history.append(self.run.history(self.stage), row))
            self._picture(row)
        self._save()
        say(
            self.comm,
            f"{self.stage} {epoch}/{self.recipe.epochs}: loss {row['loss']:.4f}, validation loss "
            f"{validation.loss:.4f}, dice {row['dice']:.4f}, {row['images_per_s']:.1f} images/s",
        )
        if self._saver is not None and (
            warning := placement.short_of_time(os.environ, validating, self._saver.seconds)
        ):
            say(self.comm, warning)

    def finish(self) -> None:
        """Write what says that the stage is done, and from what to what it went."""
        if self._saver is not None:
            self._saver.wait()
            best = self._hand_on()
            table = {
                "stage": self.stage,
                "dice": self.progress.best_dice,
                "best_epoch": self.progress.best_epoch,
                "epochs": self.progress.epoch,
                "steps": self.progress.step,
                "ranks": self.progress.ranks,
                "weights": best.name,
                "weights_sha256": self.progress.weights_sha256,
                "started_from": self.origin,
                "settings_sha256": self.run.settings_digest(),
                "encoder_layers_trained": list(self.plan.encoder_layers),
                "encoder_share_trained": self.plan.encoder_share,
                "seconds": round(time.monotonic() - self._started, 1),
            }
            patiently(lambda: write_json(self.run.done_file(self.stage), table))
        self.comm.barrier()

    def _met(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The micro-batches as they come, all ranks alike; of each, what dropout drops is decided by its number."""
        step, first = self.progress.step, self.comm.rank * self._micro_batches
        for index, batch in enumerate(batches):
            done, number = divmod(index, self._micro_batches)
            self.network.seed_dropout(self.settings.seed, first + number, step + done)
            self.rank.heartbeat.beat(f"step {step + done} of stage {self.stage}", step + done)
            yield batch

    def _picture(self, row: dict[str, float]) -> None:
        """Events and curves, without which training can do: where they cannot be written, a warning says so."""
        # Only rank 0 draws; a shared file system feels it if hundreds load matplotlib at once.
        from cloudseg.training import curves

        try:
            self._events.add(row)
            curves.draw(self.run, self.stage)
        except (CloudsegError, OSError, tf.errors.OpError) as error:
            say(self.comm, f"warning: no curves of epoch {row['epoch']}: {error}")

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
            "saving_s": self._saving_s,
        }

    def _rate(self, step: int) -> float:
        cuts = schedule.cuts(self.recipe, self.progress.val_losses)
        return schedule.learning_rate(self.recipe, step, self._steps_per_epoch, self.progress.ranks, cuts)

    def _advance(self, loss: float, sums: np.ndarray) -> None:
        if not math.isfinite(loss):
            raise CloudsegError(
                f"stage {self.stage}, epoch {self.progress.epoch + 1}, step {self.progress.step}: the loss is {loss}; "
                f"try a lower rate in a new run: {self.run.relaunch(f'stage.{self.stage}.lr={self.recipe.lr / 10:g}')}"
            )
        before = np.array(self.progress.sums or np.zeros(sums.size))
        self.progress = dataclasses.replace(
            self.progress,
            step=self.progress.step + 1,
            loss_sum=self.progress.loss_sum + loss,
            sums=(before + sums.ravel()).tolist(),
        )

    def _due(self) -> bool:
        """Whether it is time for a checkpoint; rank 0 decides alone, as it writes them alone."""
        every = self.settings.checkpoint
        return (
            self.progress.step % every.every_steps == 0 or time.monotonic() - self._saved_at > 60 * every.every_minutes
        )

    def _save(self) -> None:
        """Start to write a checkpoint; training goes on."""
        self._saved_at = time.monotonic()
        if self._saver is not None:
            with self._saving():
                self._saver.start(self._snapshot(self._saver), self.progress)

    def _snapshot(self, saver: checkpoint.Saver) -> checkpoint.Arrays:
        return checkpoint.snapshot(self.network.model, self.optimizer, saver.spare())

    def _save_best(self, epoch: int) -> dict[str, Any]:
        """Write the weights of `epoch`, from 1; returns what the checkpoints from now on say of them."""
        saver, name, digest = self._saver, "", ""
        if saver is not None:
            with self._saving():
                name, digest = patiently(lambda: saver.save_best(epoch, self.network.model))
        return {"best_epoch": epoch, "weights": name, "weights_sha256": digest}

    def _hand_on(self) -> Path:
        """Give the best weights the name under which users find them.

        Raises DataError if they are damaged, or if a checkpoint of an earlier version does not tell which they are.
        """
        checkpoints, best = self.run.checkpoints(self.stage), self.run.best_weights(self.stage)
        if not self.progress.best_epoch:
            raise DataError(
                f"all epochs of stage {self.stage} are done, but {best} is not of its last checkpoint; delete "
                f"{checkpoints}/step-{self.progress.step:07d}.json, and the same command goes on from the one before"
            )
        self._fence()
        patiently(lambda: link(checkpoints / self.progress.weights, best))
        if checkpoint.sha256(best) != self.progress.weights_sha256:
            raise DataError(
                f"{checkpoints / self.progress.weights} has another sha256 than written; the same command goes on from "
                "the newest checkpoint whose weights are whole"
            )
        return best

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Count the time for which training stands still."""
        began = time.monotonic()
        yield
        self._saving_s += time.monotonic() - began

    @contextmanager
    def _saved_if_stopped(self) -> Iterator[None]:
        """Validation that stops begins anew when the stage goes on; the steps of its epoch are kept."""
        try:
            yield
        except Stopped:
            self._stop()

    def _stop(self) -> NoReturn:
        """Save, wait until all is written, and leave."""
        self.rank.heartbeat.beat("saving before it stops", self.progress.step)
        if self._saver is not None:
            self._saver.write(self._snapshot(self._saver), self.progress)
        self.comm.barrier()  # a rank that has left may end the others, rank 0 in the middle of writing
        raise Stopped(f"stage {self.stage} stopped on a signal at step {self.progress.step}; all is saved")
