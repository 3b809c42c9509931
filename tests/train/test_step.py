"""One optimizer step: batches that are put together, gradients that are clipped, weights that are averaged."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.core.errors import CloudsegError
from cloudseg.core.recipes import Stage
from cloudseg.nets import freeze, losses, models, names
from cloudseg.training import averaging, optimizers
from cloudseg.training.comm import Solo
from cloudseg.training.step import Step
from tests import processes
from tests.train.conftest import ROOT, assert_identical, environment

SIZE = (32, 32)


class Counting(Solo):
    """Counts the messages between ranks."""

    def __init__(self) -> None:
        # Claims no device: TensorFlow may be at work in this process already.
        self.messages = tf.Variable(0)

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.messages.assign_add(1)
        return super().mean(tensors)


@pytest.fixture(scope="module")
def comm() -> Counting:
    return Counting()


def build(
    comm: Solo, stage: Stage, compressed: bool = False
) -> tuple[models.Network, tf.keras.optimizers.Optimizer, Step]:
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Conv2D(8, 3, padding="same", activation="relu", input_shape=(*SIZE, 3)),
            tf.keras.layers.Conv2D(4, 1),
        ]
    )
    network = models.Network(model, (), lambda images: tf.cast(images, tf.float32) / 127.5 - 1)
    optimizer = optimizers.build(stage, network.model.trainable_variables, mixed=False)
    return network, optimizer, Step(network, optimizer, losses.bce, comm, stage.accumulate, compressed)


def batches(size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    random = np.random.default_rng(0)
    images, masks = random.integers(0, 256, (8, *SIZE, 3)), random.choice([0, 1, 6, 128], (8, *SIZE))
    for i in range(0, 8, size):
        yield tf.constant(images[i : i + size], tf.uint8), tf.constant(masks[i : i + size], tf.uint8)


def test_four_batches_make_the_step_of_one_four_times_as_large_with_one_message(comm):
    found = {}
    for accumulate in (1, 4):
        network, _, step = build(comm, Stage(1.0, 1, 0.5, optimizer="sgd", accumulate=accumulate))
        comm.messages.assign(0)
        feed = batches(4 // accumulate)
        outcomes = [step(feed, 0.5, number, stop=False) for number in range(2)]
        assert int(comm.messages) == 2
        found[accumulate] = outcomes, [v.numpy() for v in network.model.trainable_variables]
    for whole, parts in zip(found[1][0], found[4][0], strict=True):
        assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
        np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(found[1][1], found[4][1], strict=True)) < 1e-6


def test_gradients_that_travelled_as_float16_make_nearly_the_same_step(comm):
    found = {}
    for compressed in (False, True):
        network, _, step = build(comm, Stage(1.0, 1, 0.5, optimizer="sgd"), compressed)
        before = [v.numpy() for v in network.model.trainable_variables]
        step(batches(4), 0.5, 0, stop=False)
        found[compressed] = [v.numpy() - b for v, b in zip(network.model.trainable_variables, before, strict=True)]
    exact, rounded = (np.concatenate([moved.ravel() for moved in found[way]]) for way in (False, True))
    assert 0 < np.linalg.norm(rounded - exact) < 1e-3 * np.linalg.norm(exact)


def test_a_clipped_gradient_moves_the_weights_by_its_limit(comm):
    network, _, step = build(comm, Stage(1.0, 1, 1.0, optimizer="sgd", momentum=0.0, clip=1e-3))
    before = [v.numpy() for v in network.model.trainable_variables]
    step(batches(4), 1.0, 0, stop=False)
    moved = [v.numpy() - b for v, b in zip(network.model.trainable_variables, before, strict=True)]
    assert np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in moved)) == pytest.approx(1e-3, rel=1e-2)


def test_averaged_weights_are_the_running_mean_and_leave_again(comm):
    network, optimizer, step = build(comm, Stage(1.0, 1, 0.1, optimizer="sgd", momentum=0.0, ema=0.75))
    variable = network.model.trainable_variables[0]
    feed, seen = batches(4), [variable.numpy()]
    for _ in range(2):
        step(feed, 0.1, 0, stop=False)
        seen.append(variable.numpy())
    expected = 0.75 * (0.75 * seen[0] + 0.25 * seen[1]) + 0.25 * seen[2]
    with optimizers.averaged(optimizer, network.model.trainable_variables):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(variable.numpy(), seen[2])


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("sgd", 0.0), ("adamw", 0.1)])
def test_every_optimizer_learns_at_the_rate_it_is_given(comm, name, decay):
    _, optimizer, step = build(comm, Stage(1.0, 1, 1e-4, optimizer=name, weight_decay=decay))
    same = next(batches(4))
    found = [step(iter([same]), 1e-4, number, stop=False).loss for number in range(3)]
    assert found[0] > found[2]
    assert float(optimizer.learning_rate) == pytest.approx(1e-4)


RATE, SHARE = 1e-2, 0.1


def after_three_steps(stage: Stage, mixed: bool, rate: tf.Tensor, encoder: bool) -> dict[str, np.ndarray]:
    """Variables and state of the optimizer by name; with `encoder` it is told which variables are the encoder's."""
    random = np.random.default_rng(0)
    shapes = {"encoder/kernel": (3, 3, 3, 8), "encoder/bias": (8,), "decoder/kernel": (1, 1, 8, 4)}
    variables = [tf.Variable(random.normal(size=s), dtype=tf.float32, name=name) for name, s in shapes.items()]
    optimizer = optimizers.build(stage, variables, mixed, variables[:2] if encoder else ())

    @tf.function(autograph=False)
    def step(*gradients: tf.Tensor) -> None:
        scale = optimizer.loss_scale if mixed else 1.0
        optimizers.apply(optimizer, [gradient * scale for gradient in gradients], variables, rate)

    for _ in range(3):
        step(*(tf.constant(random.normal(size=shape), tf.float32) for shape in shapes.values()))
    assert float(optimizer.learning_rate) == float(rate)
    found = {f"{i} {v.name}": v.numpy() for i, v in enumerate(variables)}
    return found | {f"{i} {v.name}": v.numpy() for i, v in enumerate(optimizers.state(optimizer), len(found))}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    "stage",
    [
        Stage(1.0, 1, RATE, optimizer="adam", clip=1.0),
        Stage(1.0, 1, RATE, optimizer="adamw", weight_decay=0.1, ema=0.9),
        Stage(1.0, 1, RATE, optimizer="sgd", clip=1.0, ema=0.9),
    ],
    ids=lambda stage: stage.optimizer,
)
def test_the_encoder_learns_at_its_share_of_the_rate_and_the_rest_at_the_rate_to_the_last_bit(stage, mixed):
    found = after_three_steps(dataclasses.replace(stage, encoder_lr=SHARE), mixed, tf.constant(RATE), True)
    slow, fast = (after_three_steps(stage, mixed, tf.constant(RATE) * share, False) for share in (SHARE, 1.0))
    assert found.keys() == slow.keys()  # a checkpoint has the same form
    assert_identical(found, {name: (slow if "encoder" in name else fast)[name] for name in found})
    assert not np.array_equal(slow["0 encoder/kernel:0"], fast["0 encoder/kernel:0"])


def test_an_encoder_at_the_full_rate_needs_no_optimizer_of_our_own():
    variables = [tf.Variable(tf.zeros((2, 2)))]
    assert type(optimizers.build(Stage(1.0, 1, RATE), variables, False, variables)) is tf.keras.optimizers.Adam


@pytest.mark.parametrize("share", [1.0, SHARE])
def test_weight_decay_leaves_out_what_is_no_kernel_if_it_is_told_to(share):
    variables = [tf.Variable(tf.ones(shape)) for shape in ((3, 3, 3, 8), (8,))]
    found = {}
    for on in ("all", "kernels"):
        stage = Stage(1.0, 1, RATE, optimizer="adamw", weight_decay=0.5, decay_on=on, encoder_lr=share)
        given = [tf.Variable(variable) for variable in variables]
        optimizer = optimizers.build(stage, given, False, given)
        optimizers.apply(optimizer, [tf.zeros_like(variable) for variable in given], given, tf.constant(RATE))
        found[on] = [float(tf.reduce_max(variable)) for variable in given]
    decayed = pytest.approx(1 - RATE * share * 0.5, abs=1e-7)
    assert found == {"all": [decayed, decayed], "kernels": [decayed, 1.0]}


def test_a_network_names_the_variables_of_its_encoder_that_train():
    network = models.build("vanilla", SIZE, pretrained=False)
    freeze.freeze(network, 0.2)
    assert [v.name for v in freeze.encoder_variables(network)] == [
        "down4_conv2/kernel:0",
        "down4_bn2/gamma:0",
        "down4_bn2/beta:0",
    ]


def test_the_mean_of_the_last_epochs_is_that_of_their_ends_and_leaves_again(comm):
    network, _, _ = build(comm, Stage(1.0, 1, 0.1))
    mean = averaging.EpochMean(Stage(1.0, epochs=5, lr=0.1, swa=3), network.model)
    random, seen = np.random.default_rng(0), []
    for epoch in range(1, 6):
        for variable in network.model.variables:
            variable.assign(random.normal(size=variable.shape))
        seen.append([variable.numpy() for variable in network.model.variables])
        mean.add(epoch)
    with mean.held():
        held = [variable.numpy() for variable in network.model.variables]
    for found, ends, last in zip(held, zip(*seen[2:], strict=True), network.model.variables, strict=True):
        np.testing.assert_allclose(found, np.mean(ends, axis=0), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(last.numpy(), ends[-1])


class OutOfStep(Counting):
    """As if another rank were two steps further."""

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        *rest, number, stop = super().mean(tensors)
        return [*rest, number + 1, stop]


def test_ranks_that_are_not_at_the_same_step_are_an_error():
    _, _, step = build(OutOfStep(), Stage(1.0, 1, 0.1, optimizer="sgd"))
    with pytest.raises(CloudsegError, match="rank 0 is at step 7 and the mean over all ranks is 8"):
        step(batches(4), 0.1, 7, stop=False)


def test_gradients_that_meet_are_summed_in_an_order_that_does_not_follow_the_clock():
    """TensorFlow rewrites sums of many large tensors into a variable to which each is added once it is ready."""
    process = processes.run(
        [sys.executable, str(Path(__file__).with_name("graph_of_a_step.py"))],
        cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    operations = process.stdout.split()
    assert "AddN" in operations and "TemporaryVariable" not in operations


def weighted_batches(size: int, weights: tuple[float, ...]) -> Iterator[tuple[tf.Tensor, ...]]:
    """The images of `batches`, each with its weight."""
    for number, batch in enumerate(batches(size)):
        yield (*batch, tf.constant(weights[number * size :][:size], tf.float32))


def after_a_step(comm: Solo, feed: Iterator[tuple[tf.Tensor, ...]], accumulate: int = 1) -> tuple[float, np.ndarray]:
    """Loss of a step, and how far it moved the weights at a rate of 1: the gradient."""
    network, _, step = build(comm, Stage(1.0, 1, 1.0, optimizer="sgd", momentum=0.0, accumulate=accumulate))
    before = np.concatenate([v.numpy().ravel() for v in network.model.trainable_variables])
    loss = step(feed, 1.0, 0, stop=False).loss
    return loss, before - np.concatenate([v.numpy().ravel() for v in network.model.trainable_variables])


def test_the_loss_is_the_mean_of_the_losses_of_the_images_times_their_weights(comm):
    weights = (1.0, 0.25, 0.0, 0.5)
    images = [after_a_step(comm, itertools.islice(batches(1), i, None)) for i in range(4)]
    loss, gradient = after_a_step(comm, weighted_batches(4, weights))
    expected = sum(weight * of_image for weight, (of_image, _) in zip(weights, images, strict=True)) / 4
    assert loss == pytest.approx(expected, rel=1e-5)
    expected = sum(weight * of_image for weight, (_, of_image) in zip(weights, images, strict=True)) / 4
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_weights_are_divided_among_batches_as_in_one_large_batch(comm):
    weights = (1.0, 0.25, 0.125, 0.5)
    whole, parts = (after_a_step(comm, weighted_batches(4 // n, weights), n) for n in (1, 4))
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-6)


def test_weights_of_one_change_nothing(comm):
    plain, ones = after_a_step(comm, batches(4)), after_a_step(comm, weighted_batches(4, (1.0,) * 4))
    assert ones[0] == pytest.approx(plain[0], rel=1e-6)
    np.testing.assert_allclose(ones[1], plain[1], atol=1e-6)


@pytest.mark.parametrize("name", names.LOSSES)
@pytest.mark.parametrize("empty_pairs", names.EMPTY_PAIRS)
def test_every_loss_is_a_mean_over_images_that_can_be_weighted(name, empty_pairs):
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(3, 8, 8, 4)), tf.float32)
    targets = tf.constant(random.integers(0, 2, (3, 8, 8, 4)) * [[[[1, 1, 0, 1]]]], tf.float32)
    valid = tf.constant(random.integers(0, 2, (3, 8, 8, 1)), tf.float32)
    loss = losses.by_name(name, (2.0,), empty_pairs=empty_pairs)
    found = losses.weighted(loss, tf.ones(3), logits, targets, valid)
    assert float(found) == pytest.approx(float(loss(logits, targets, valid)), rel=1e-5)
