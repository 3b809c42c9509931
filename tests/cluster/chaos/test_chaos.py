"""Chains to which things happen at random end with the weights of one to which nothing happened.

Two in every test run; more with `make chaos SEEDS=20`, or one again with `make chaos SEEDS=7-7`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import numpy as np
import pytest

from tests.cluster.chain import STAGES, TWO_NODES, Chain, differing
from tests.cluster.chaos.schedule import schedule
from tests.cluster.chaos.strike import strike
from tests.cluster.lab import CHAIN, CHAIN_STEPS


def seeds(text: str) -> list[int]:
    """'20' -> 1 to 20; '7-9' -> 7, 8, 9; '3,5' -> 3, 5."""
    if "," in text:
        return [int(part) for part in text.split(",")]
    first, _, last = text.rpartition("-")
    return list(range(int(first or 1), int(last) + 1))


STANDARD_SEEDS = "40,91"
"""Their chains meet eight of the ten kinds of faults; those that they do not meet are in `test_faults.py` too."""
SEEDS = seeds(os.environ.get("CLOUDSEG_CHAOS_SEEDS", STANDARD_SEEDS))


@pytest.fixture(scope="module")
def disk(mounts):
    """A file system that can be filled."""
    folder = mounts / "chaos"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def make(shell, project, data, disk):
    return lambda name: Chain(shell, project, data, str(disk / name), f"{CHAIN} checkpoint.keep=2", feed_workers="")


@pytest.fixture(scope="module")
def expected(undisturbed):
    """Weights and arrays of each stage."""
    return {stage: (undisturbed.weights(stage), undisturbed.arrays(stage)) for stage in STAGES}


@pytest.fixture(scope="module")
def table():
    rows = ["| seed | partition | faults | restarts | steps done again | seconds | weights |", "| --- " * 7 + "|"]
    yield rows
    print("\n" + "\n".join(rows))


def differences(chain: Chain, stage: str, weights: str, arrays: dict[str, np.ndarray]) -> list[str]:
    """What is not bit for bit as it must be: the weights that the stage hands on, and every variable of network and
    optimizer, if the disk had room for the last checkpoint."""
    handed_on = [] if chain.weights(stage) == weights else [f"weights of {stage}"]
    return handed_on + (differing(chain.arrays(stage), arrays) if chain.steps(stage) == CHAIN_STEPS else [])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chain_to_which_things_happen(make, expected, table, seed):
    plan, chain = schedule(seed), make(f"seed-{seed}")
    began = time.monotonic()
    chain.launch(",".join(STAGES), f"{TWO_NODES} --partition {plan.partition}")
    try:
        struck = [f"{fault}{'' if strike(chain, fault) else ' (too late)'}" for fault in plan.faults]
        states = chain.states()
    finally:  # the next chain has the cluster for itself
        subprocess.run(["scancel", *chain.ids.values()], check=False, capture_output=True)
    logs = "\n".join(f"--- {stage}\n{chain.log(stage)}" for stage in STAGES if chain.past_attempts(stage))
    assert states == ["COMPLETED"] * 3, f"seed {seed}: {struck}\n{logs}"
    seconds = time.monotonic() - began
    wrong = [name for stage in STAGES for name in differences(chain, stage, *expected[stage])]
    restarts = sum(chain.restarts(stage) for stage in STAGES)
    again = sum(end["reached"] - end["to_step"] for stage in STAGES for end in chain.past_attempts(stage))
    table.append(
        f"| {seed} | {plan.partition} | {'; '.join(struck)} | {restarts} | {again} | {seconds:.0f} | "
        f"{'identical' if not wrong else 'DIFFERENT'} |"
    )
    assert wrong == [], f"seed {seed}: {struck}\n{logs}"
    assert all(np.isfinite(array).all() for stage in STAGES for array in chain.arrays(stage).values())
    shutil.rmtree(chain.path)
