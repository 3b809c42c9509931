"""On each rank: three steps on one batch with each network and its losses, in float32 or mixed precision, the last of
them twice from the same checkpoint. Rank N writes OUT/rank-N.json: name -> what came out.

    networks_of_ranks.py OUT PRECISION SIZE WIDTHS NETWORK:LOSS,LOSS...

WIDTHS are the channels of the levels of vanilla, as 8,16; "-" leaves them as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np

out, precision, size, widths = Path(sys.argv[1]), sys.argv[2], (int(sys.argv[3]),) * 2, sys.argv[4]
logging.getLogger("tensorflow").setLevel(logging.ERROR)

import tensorflow as tf  # noqa: E402

from cloudseg.core import attempt  # noqa: E402
from cloudseg.core.recipes import Stage  # noqa: E402
from cloudseg.nets import losses, models, vanilla  # noqa: E402
from cloudseg.training import checkpoint, optimizers  # noqa: E402
from cloudseg.training import comm as ranks  # noqa: E402
from cloudseg.training.step import Step  # noqa: E402

RATE = 1e-3
STEADY = 3
"""Steps without an overflow before the test begins."""
comm = ranks.start(attempt.current(out))
random = np.random.default_rng(comm.rank)
images = tf.constant(random.integers(0, 256, (2, *size, 3)), tf.uint8)
masks = tf.constant(np.kron(random.choice([0, 1, 2, 5, 8, 128], (2, 4, 4)), np.ones((size[0] // 4,) * 2)), tf.uint8)


def digest(variables: list[tf.Variable]) -> str:
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in variables)).hexdigest()


def outcome(network: models.Network, loss: str) -> dict[str, object]:
    variables = network.model.trainable_variables
    optimizer = optimizers.build(Stage(encoder=1.0, epochs=1, lr=RATE, clip=1.0), variables, precision == "mixed")
    state = [*network.model.variables, *optimizers.state(optimizer)]
    # Makes gradients overflow on the rank where it is large.
    spoil = tf.Variable(1.0, trainable=False)
    plain = losses.by_name(loss, (3.0,))
    step = Step(network, optimizer, lambda *given: plain(*given) * spoil, comm)

    def take(number: int) -> float:
        network.seed_dropout(1, comm.rank, number)
        return step(iter([(images, masks)]), RATE, number, stop=False).loss

    if precision == "mixed":
        # The first scale is too large for some networks: steps that overflow are left out, and halve it.
        steady = 0
        while steady < STEADY:
            before = digest(variables)
            take(0)
            steady = steady + 1 if digest(variables) != before else 0
            assert steady or float(optimizer.loss_scale) > 1, "gradients overflow at any scale"
    first, second = take(0), take(1)
    folder = out / f"rank-{comm.rank}"
    progress = checkpoint.Progress(stage="full", epoch=0, step=2, seed=1, ranks=comm.size)
    checkpoint.Saver(folder, 1, lambda: None).write(checkpoint.snapshot(network.model, optimizer), progress)
    found: dict[str, object] = {"losses": [first, second, take(2)], "state": digest(state)}
    checkpoint.load(folder / "step-0000002.npz", network.model, optimizer)
    take(2)
    found["resumed"] = digest(state)
    if precision == "mixed":
        before, found["scale"] = digest(variables), float(optimizer.loss_scale)
        spoil.assign(1e36 if comm.rank == 1 else 1.0)
        take(3)
        found |= {"kept": digest(variables) == before, "scale_when_spoilt": float(optimizer.loss_scale)}
        spoil.assign(1.0)
        found["losses_after"] = [take(number) for number in (4, 5, 6)]
        found |= {"moved_after": digest(variables) != before, "scale_after": float(optimizer.loss_scale)}
        found["state_after"] = digest(state)
    return found


if widths != "-":
    vanilla.WIDTHS = tuple(map(int, widths.split(",")))
found = {}
for word in sys.argv[5:]:
    name, _, its_losses = word.partition(":")
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(1)
    network = models.build(name, size, pretrained=False, mixed=precision == "mixed")
    initial = network.model.get_weights()
    for loss in its_losses.split(","):
        network.model.set_weights(initial)
        found[f"{name} {loss}"] = outcome(network, loss)
(out / f"rank-{comm.rank}.json").write_text(json.dumps(found))
comm.barrier()
