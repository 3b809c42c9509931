"""Train one stage, with one rank or many: `train_stage`, then the methods of `Trainer` in the order of their calls."""

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

from cloudseg.core.atomic import link, with_retries, write_json
from cloudseg.core.errors import CloudsegError, DataError, Stopped
from cloudseg.core.run import Run
from cloudseg.data import pseudo_labels
from cloudseg.data.labels import CLASSES
from cloudseg.data.sample_order import epoch_order, rank_share
from cloudseg.data.shards import Shards, joined
from cloudseg.nets import freeze, scores
from cloudseg.training import averaging, build, checkpoint, history, optimizers, placement, restore, schedule
from cloudseg.training.events import Events
from cloudseg.training.log import log_line, with_progress
from cloudseg.training.rank import Rank
from cloudseg.training.speed import Speed
from cloudseg.training.stage_lease import hold_stage
from cloudseg.training.step import Batch, Outcome, Step
from cloudseg.training.validation import Validation, Validator

CURVES_S = 30.0
"""Minimum seconds between two drawings of the curves in a stage, as all ranks wait for rank 0 to draw."""


def train_stage(run: Run, stage: str, rank: Rank, prepare: Callable[[], None] = lambda: None) -> None:
    """Train `stage` of `run` from its last checkpoint to its end, and write DONE.json. All ranks call `prepare` first.

    Raises Stopped after a stop signal, with the state saved; UsageError if the previous stage is not done, others work
    on this stage or the number of ranks changed; DataError for damaged weights; CloudsegError if the loss diverges, or
    if every gradient of an epoch overflows in float16.
    """
    with hold_stage(run, stage, rank) as fence:
        if rank.comm.gather(run.done(stage) is not None)[0]:
            log_line(rank.comm, f"stage {stage} is done: {run.done_file(stage)}")
            return
        prepare()
        trainer = Trainer(run, stage, rank, fence)
        with trainer.deferred_signals:
            with trainer.feed:
                while not trainer.finished():
                    trainer.train_epoch()
                    trainer.validate_epoch()
                trainer.validate_mean()
            trainer.write_done()


class Trainer:
    """Network, optimizer and progress of a stage, equal on all ranks after every step.

    `fence` is called before rank 0 writes, and raises Lost if other ranks have taken the stage over.
    """

    def __init__(self, run: Run, stage: str, rank: Rank, fence: Callable[[], None] = lambda: None) -> None:
        self._started = self._last_save = self._curves_drawn = time.monotonic()
        self.run, self.stage, self.comm, self.rank = run, stage, rank.comm, rank
        self.settings, self.recipe = run.settings, run.settings.stage[stage]
        self.shards, pseudo = build.open_shards(run, self.comm), build.pseudo_labels_of(run, stage)
        data = self.shards.manifest.digest
        self._pseudo, self._weights = {}, None
        if pseudo:
            self._pseudo = {"pseudo": pseudo_labels.summary(pseudo)}
            restore.check_pseudo_labels(run, stage, pseudo.digest)
            self.shards = Shards(joined(self.shards.manifest, build.open_data(pseudo, self.comm).manifest))
            self._weights = np.array([sample.weight for sample in self.shards.manifest.samples], np.float32)
        self.feed = build.open_feed(self.shards, self.settings, self.comm)
        labelled = build.training_samples(self.settings, self.shards.manifest)
        self.training_samples = np.concatenate([labelled, self.shards.manifest.without_fold()])
        validation_samples = self.shards.manifest.indices(self.settings.fold, training=False)
        ranks = placement.planned_ranks(os.environ, self.comm.size)
        self._lead_s = placement.signal_lead_s(os.environ)
        self._micro_batches = self.recipe.accumulate * ranks // self.comm.size

        tf.keras.utils.set_random_seed(self.settings.seed)
        self.network = build.build_network(self.settings, self.shards.manifest)
        self.origin = restore.load_initial_weights(run, stage, self.network)
        self.plan = freeze.freeze(self.network, self.recipe.encoder, self.recipe.train_bn)
        self.trainable = self.network.model.trainable_variables
        self.optimizer = optimizers.build(
            self.recipe, self.trainable, self.settings.precision == "mixed", freeze.encoder_variables(self.network)
        )
        self._mean = averaging.EpochMean(self.recipe, self.network.model)
        digest = self.shards.manifest.digest
        restore.check_agreement(run, stage, self.comm, digest, self.trainable, ranks)
        self.progress = restore.resume(
            run, stage, self.comm, self.network.model, self.optimizer, ranks, self._mean.variables
        )
        self.comm.broadcast([*self.network.model.variables, *optimizers.state(self.optimizer), *self._mean.variables])

        loss = build.build_loss(self.settings, self.shards.manifest)
        compressed = self.settings.compression == "fp16"
        self._step = Step(
            self.network, self.optimizer, loss, self.comm, self._micro_batches, compressed,
            self.settings.presence_weight,
        )  # fmt: skip
        self._validate = Validator(
            self.network, loss, self.shards, validation_samples, self.settings.batch, self.comm, [0.5],
            rank.heartbeat.progressed, rank.stop.received, self.settings.presence_weight,
        )  # fmt: skip
        self._speed, self._events = Speed(), Events(run.events(stage))
        self._saving_s = 0.0
        self._saver, self._fence = None, fence
        self.deferred_signals = ExitStack()
        """Context around training. After the first step, stop signals are deferred to the end of a step, where all
        ranks save."""
        run.stage(stage).mkdir(parents=True, exist_ok=True)
        if self.comm.rank == 0:
            # Temporary files of a killed process: nobody else writes here while this process holds the stage.
            for leftover in run.stage(stage).glob(".tmp-*"):
                leftover.unlink(missing_ok=True)
            self._saver = checkpoint.Saver(run.checkpoints(stage), self.settings.checkpoint.keep, fence)
            with_retries(
                lambda: restore.write_stage_file(run, stage, self.comm, self.plan, self.network, data, self._pseudo)
            )
        labelled_here = f", {len(pseudo.samples)} of them with pseudo-labels" if pseudo else ""
        log_line(
            self.comm,
            f"stage {stage}, {self.settings.network}: trains {self.plan}; {len(self.training_samples)} images for "
            f"training{labelled_here}, {len(validation_samples)} for validation; ranks: {self.comm.size}, each on "
            f"{self.comm.device}; from epoch {self.progress.epoch + 1} of {self.recipe.epochs}, "
            f"step {self.progress.step}",
        )

    def finished(self) -> bool:
        """Whether all epochs are done, or early stopping ends the stage."""
        done = self.progress.epoch >= self.recipe.epochs
        return done or schedule.stops_early(self.recipe, self.progress.dices)

    def train_epoch(self) -> None:
        """Do the remaining steps of the current epoch."""
        self._speed = Speed()
        epoch, batch, size = self.progress.epoch, self.settings.batch, self.comm.size
        rank_batch = batch * self._micro_batches
        order = epoch_order(self.training_samples, self.settings.seed, epoch, rank_batch * size)
        self._steps_per_epoch = len(order)
        share = rank_share(order, self.comm.rank, size)[self.progress.step - epoch * len(order) :]
        rows = share.reshape(-1, batch)
        batches = self._prepare(self._speed.timed(self._with_weights(self.feed.batches(rows, epoch), rows)))
        title = f"{self.stage} {epoch + 1}/{self.recipe.epochs}"
        all_overflowed = len(share) > 0
        for _ in with_progress(self.comm, title, len(order), len(share)):
            rate = self._learning_rate(self.progress.step)
            outcome = self._step(batches, rate, self.progress.step, self.rank.stop.requested)
            self._count_step(outcome)
            if not self.rank.stop.deferring:
                self.deferred_signals.enter_context(self.rank.stop.deferred())
            all_overflowed = all_overflowed and optimizers.overflowed_unscaled(self.optimizer)
            if outcome.stopping:
                self._save_and_stop()
            if self._checkpoint_due():
                self._save_checkpoint()
        if all_overflowed:
            # Every step was skipped, so the weights do not change, and the loss does not show it.
            raise CloudsegError(
                f"stage {self.stage}, epoch {epoch + 1}: the gradients of every step overflow in float16 and nothing "
                f"trains; begin a new run: {self.run.relaunch('precision=float32')}"
            )
        self._speed.images = len(share) * rank_batch * size
        self._speed.steps_done()

    def _with_weights(self, batches: Iterator[Batch], rows: np.ndarray) -> Iterator[Batch]:
        """`batches` of the samples `rows`, int (n, b), with their weights if the stage has pseudo-labels."""
        if self._weights is None:
            return batches
        weights = self._weights[rows]
        return ((*batch, tf.constant(row)) for batch, row in zip(batches, weights, strict=True))

    def _prepare(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the micro-batches; before each, seed dropout by its number and report the step to the heartbeat."""
        step, first = self.progress.step, self.comm.rank * self._micro_batches
        for index, batch in enumerate(batches):
            steps_done, number = divmod(index, self._micro_batches)
            self.network.seed_dropout(self.settings.seed, first + number, step + steps_done)
            self.rank.heartbeat.report_step(f"step {step + steps_done} of stage {self.stage}", step + steps_done)
            yield batch

    def _learning_rate(self, step: int) -> float:
        cuts = schedule.cuts(self.recipe, self.progress.val_losses)
        return schedule.learning_rate(self.recipe, step, self._steps_per_epoch, self.progress.ranks, cuts)

    def _count_step(self, outcome: Outcome) -> None:
        """Add a step to the progress. Raises CloudsegError if its loss is not finite."""
        if not math.isfinite(outcome.loss):
            lower = self.run.relaunch(f"stage.{self.stage}.lr={self.recipe.lr / 10:g}")
            raise CloudsegError(
                f"stage {self.stage}, epoch {self.progress.epoch + 1}, step {self.progress.step}: the loss is "
                f"{outcome.loss}; try a lower learning rate in a new run: {lower}"
            )
        before = np.array(self.progress.sums or np.zeros(outcome.sums.size))
        self.progress = dataclasses.replace(
            self.progress,
            step=self.progress.step + 1,
            loss_sum=self.progress.loss_sum + outcome.loss,
            sums=(before + outcome.sums.ravel()).tolist(),
        )

    def _checkpoint_due(self) -> bool:
        """Whether rank 0 is to write a checkpoint. Ranks may differ here, as only rank 0 writes."""
        every = self.settings.checkpoint
        minutes = (time.monotonic() - self._last_save) / 60
        return self.progress.step % every.every_steps == 0 or minutes > every.every_minutes

    def validate_epoch(self) -> None:
        """End an epoch: validate, save the weights if they are the best, append to history.csv, save a checkpoint."""
        epoch = self.progress.epoch + 1
        self.rank.heartbeat.report_step(f"validation of epoch {epoch}", self.progress.step)
        began = time.monotonic()
        with self._save_if_stopped(), optimizers.averaged(self.optimizer, self.trainable):
            validation = self._validate()
            validation_s = time.monotonic() - began
            row = self._history_row(epoch, validation)
            self._saving_s = 0.0
            best = {}
            if row["dice"] > self.progress.best_dice:
                best = {"best_epoch": epoch, **self._save_best(epoch)}
            self._mean.add(epoch)
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
            with_retries(lambda: history.append(self.run.history(self.stage), row))
            self._add_events(row)
            if time.monotonic() - self._curves_drawn > CURVES_S:
                self._draw_curves()
        self._save_checkpoint()
        log_line(
            self.comm,
            f"{self.stage} {epoch}/{self.recipe.epochs}: loss {row['loss']:.4f}, validation loss "
            f"{validation.loss:.4f}, dice {row['dice']:.4f}, {row['images_per_s']:.1f} images/s",
        )
        if self._saver is not None and (
            warning := placement.late_signal_warning(self._lead_s, validation_s, self._saver.seconds)
        ):
            log_line(self.comm, warning)

    def validate_mean(self) -> None:
        """Validate the mean of the last `swa` epochs, save it if it is the best, and save a checkpoint."""
        if not self.recipe.swa or self.progress.swa_dice >= 0:
            return
        self.rank.heartbeat.report_step("validation of averaged weights", self.progress.step)
        epochs = self.recipe.epochs
        with self._save_if_stopped(), self._mean.held():
            dice = float(scores.dice(self._validate().counts[:, :, 0]).mean(axis=0).mean())
            better = dice > self.progress.best_dice
            best = self._save_best(epochs, epochs - self.recipe.swa + 1) if better else {}
        self.progress = dataclasses.replace(self.progress, swa_dice=dice, **best)
        self._save_checkpoint()
        log_line(
            self.comm,
            f"{self.stage}: the mean of the last {self.recipe.swa} epochs has dice {dice:.4f}, "
            f"{'above' if better else 'not above'} the best epoch's",
        )

    def _history_row(self, epoch: int, validation: Validation) -> dict[str, float]:
        """The row of history.csv of an epoch, see `history.COLUMNS`."""
        counts = validation.counts[:, :, 0]
        dice = scores.dice(counts).mean(axis=0)
        sums = np.array(self.progress.sums).reshape(validation.sums.shape)
        return {
            "epoch": epoch,
            "step": self.progress.step,
            "lr": self._learning_rate(self.progress.step - 1),
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

    def _save_best(self, epoch: int, first: int = 0) -> dict[str, Any]:
        """Write the weights of `epoch`, from 1, or the mean of the epochs `first` to `epoch`; returns the fields of
        Progress that name them."""
        saver, name, digest = self._saver, "", ""
        if saver is not None:
            with self._count_saving_time():
                name, digest = with_retries(lambda: saver.save_best(epoch, self.network.model, first))
        return {"weights": name, "weights_sha256": digest}

    def _add_events(self, row: dict[str, float]) -> None:
        """Write TensorBoard events; print a warning if they cannot be written."""
        try:
            self._events.add(row)
        except (CloudsegError, OSError, tf.errors.OpError) as error:
            log_line(self.comm, f"warning: no events of epoch {row['epoch']}: {error}")

    def _draw_curves(self) -> None:
        """Write curves.png; print a warning if they cannot be written."""
        # Only rank 0 imports matplotlib: hundreds of imports at once load the shared file system.
        from cloudseg.training import curves

        try:
            curves.draw(self.run, self.stage)
        except (CloudsegError, OSError) as error:
            log_line(self.comm, f"warning: no curves: {error}")
        self._curves_drawn = time.monotonic()

    def _save_checkpoint(self) -> None:
        """Start to write a checkpoint in the background."""
        self._last_save = time.monotonic()
        if self._saver is not None:
            with self._count_saving_time():
                self._saver.start(self._snapshot(self._saver), self.progress)

    def _snapshot(self, saver: checkpoint.Saver) -> checkpoint.Arrays:
        return checkpoint.snapshot(self.network.model, self.optimizer, saver.spare(), self._mean.variables)

    @contextmanager
    def _count_saving_time(self) -> Iterator[None]:
        """Context whose duration is added to the time that training waits for checkpoints."""
        began = time.monotonic()
        yield
        self._saving_s += time.monotonic() - began

    @contextmanager
    def _save_if_stopped(self) -> Iterator[None]:
        """Context that saves if validation is stopped. After a resume, validation starts again; the steps are kept."""
        try:
            yield
        except Stopped:
            self._save_and_stop()

    def _save_and_stop(self) -> NoReturn:
        """Save, wait until everything is written, and raise Stopped."""
        self.rank.heartbeat.report_step("saving before it stops", self.progress.step)
        if self._saver is not None:
            self._saver.write(self._snapshot(self._saver), self.progress)
        self.comm.barrier()  # a rank that exits may end the others, also rank 0 while it writes
        raise Stopped(f"stage {self.stage} stopped on a signal at step {self.progress.step}; all is saved")

    def write_done(self) -> None:
        """Publish the best weights and write DONE.json."""
        if self._saver is not None:
            self._saver.wait()
            self._draw_curves()
            best = self._publish_best_weights()
            table = {
                "stage": self.stage,
                "dice": self.progress.best_dice,
                "best_epoch": self.progress.best_epoch,
                **({"swa": self.recipe.swa, "swa_dice": self.progress.swa_dice} if self.recipe.swa else {}),
                "epochs": self.progress.epoch,
                "steps": self.progress.step,
                "ranks": self.progress.ranks,
                "weights": best.name,
                "weights_sha256": self.progress.weights_sha256,
                "started_from": self.origin,
                **self._pseudo,
                "settings_sha256": self.run.settings_digest(),
                "encoder_layers_trained": list(self.plan.encoder_layers),
                "encoder_share_trained": self.plan.encoder_share,
                "seconds": round(time.monotonic() - self._started, 1),
            }
            with_retries(lambda: write_json(self.run.done_file(self.stage), table))
        self.comm.barrier()

    def _publish_best_weights(self) -> Path:
        """Link the best weights to the stage's best.weights.h5; returns its path.

        Raises DataError if they are damaged, or if a checkpoint of an earlier version does not name them.
        """
        checkpoints, best = self.run.checkpoints(self.stage), self.run.best_weights(self.stage)
        if not self.progress.best_epoch:
            raise DataError(
                f"all epochs of stage {self.stage} are done, but {best} is not of its last checkpoint; delete "
                f"{checkpoints}/step-{self.progress.step:07d}.json, and the same command resumes from the previous one"
            )
        self._fence()
        with_retries(lambda: link(checkpoints / self.progress.weights, best))
        if checkpoint.sha256(best) != self.progress.weights_sha256:
            raise DataError(
                f"{checkpoints / self.progress.weights} has another sha256 than written; the same command resumes from "
                "the newest checkpoint with intact weights"
            )
        return best
