"""Each fault alone: the stage goes on by itself, once, and ends with the weights of one that nothing happened to."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cloudseg.core.atomic import process_start
from tests.cluster.chain import (
    SILENCE_S,
    Chain,
    ask,
    crash,
    cut,
    differing,
    full_disk,
    node_is_down,
    preempt,
    revive,
    slurm,
)
from tests.cluster.conftest import accounts

EPOCHS, STEPS = 8, 8 * 6
LONG = "stage.frozen.epochs=200 checkpoint.keep=1000"
"""Far more than there is time for."""


@pytest.fixture(scope="module")
def chain(shell, project, data, request):
    """Makes chains of one stage."""

    def make(name: str, settings: str = "") -> Chain:
        return Chain(shell, project, data, f"runs/{name}", f"stage.frozen.epochs={EPOCHS} {settings}")

    return make


@pytest.fixture(scope="module")
def undisturbed(chain):
    run = chain("undisturbed")
    run.launch("frozen")
    assert run.states() == ["COMPLETED"]
    assert run.steps("frozen") == STEPS
    return run


def assert_same_end(run: Chain, undisturbed: Chain, restarts: int = 1) -> None:
    if restarts:
        run.until_requeued("frozen", restarts)
        results = list(run.path.glob("jobs/submitit/*_result.pkl"))
        assert not results or (run.stage("frozen") / "DONE.json").exists(), "a stage that goes on has no result yet"
    assert run.states() == ["COMPLETED"], run.log("frozen")
    assert run.restarts("frozen") == restarts, run.log("frozen")
    assert differing(run.arrays("frozen"), undisturbed.arrays("frozen")) == []
    assert len(run.checkpoints("frozen")) <= 3


def assert_same_end_but_for_rounding(run: Chain, undisturbed: Chain) -> None:
    """One node did the end of it."""
    assert run.past_attempts("frozen")[-1]["nodes"] in ("node1", "node2")
    assert "ranks: 1, each" in run.log("frozen")
    assert run.steps("frozen") == STEPS
    one, two = run.arrays("frozen"), undisturbed.arrays("frozen")
    assert all(np.allclose(one[name], two[name], rtol=1e-3, atol=1e-3) for name in two)


def started(run: Chain, options: str = "--nodes 2 --tasks-per-node 1") -> Chain:
    """`run`, with its first checkpoints made."""
    run.launch("frozen", options)
    run.until_step("frozen", 8)
    return run


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank(chain, undisturbed, rank):
    run = started(chain(f"killed-{rank}"))
    run.kill(rank)
    assert_same_end(run, undisturbed)
    assert f"rank {1 - rank} ends because another rank ended: rank {rank} on node{rank + 1}" in run.log("frozen")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_rank_is_named_and_the_others_leave(chain, undisturbed, rank):
    run = started(chain(f"stopped-{rank}"))
    other = run.heartbeat(1 - rank)["pid"]
    stopped_at = time.monotonic()
    run.kill(rank, signal.SIGSTOP)
    run.until(lambda: not process_start(other))
    assert time.monotonic() - stopped_at < SILENCE_S + 60
    assert_same_end(run, undisturbed)
    assert f"no progress for {SILENCE_S:.0f} s: rank {rank} on node{rank + 1}" in run.log("frozen")


def test_a_crashed_node(chain, undisturbed):
    run = started(chain("crashed"))
    crash("node2")
    run.until(lambda: node_is_down("node2"))
    revive("node2")
    assert_same_end(run, undisturbed)


def test_a_cut_network(chain, undisturbed):
    run = started(chain("cut"))
    cut("node2")
    run.until(lambda: node_is_down("node2"))
    revive("node2")
    assert_same_end(run, undisturbed)


@pytest.mark.parametrize("partition", ["low", "low0"])
def test_preemption_with_grace_and_without(chain, undisturbed, partition):
    run = started(chain(f"preempted-{partition}"), f"--nodes 2 --tasks-per-node 1 --partition {partition}")
    preempt()
    assert_same_end(run, undisturbed)


def test_a_walltime_of_a_minute(chain, undisturbed):
    run = chain("walltime", LONG)
    run.launch("frozen", "--nodes 2 --tasks-per-node 1 --time 00:01:00")
    run.until(lambda: run.restarts("frozen") >= 1 and run.steps("frozen") >= STEPS)
    # Cancelled in the middle of being requeued, it would be REQUEUED in Slurm's accounting for ever.
    run.until(lambda: ask("squeue", "-h", "-j", run.ids["frozen"], "-o", "%T") in ("PENDING", "RUNNING"))
    slurm("scancel", run.ids["frozen"])
    assert run.states() == ["CANCELLED"]
    assert "stopped on a signal" in run.log("frozen")
    assert differing(run.arrays("frozen", STEPS), undisturbed.arrays("frozen")) == []


def test_a_kill_while_a_checkpoint_is_written(chain, undisturbed):
    run = started(chain("killed-saving"))
    run.kill_while_saving("frozen")
    assert_same_end(run, undisturbed)


def test_a_damaged_newest_checkpoint(chain, undisturbed):
    run = started(chain("damaged"))
    run.kill(0, signal.SIGSTOP)  # writes no other meanwhile
    damaged = run.damage_newest("frozen")
    run.kill(0)
    assert_same_end(run, undisturbed)
    assert f"{damaged.name} has another sha256 than written" in run.log("frozen")


def test_a_full_disk(chain, undisturbed, mounts, shell, data):
    folder = mounts / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", folder], check=True)
    run = Chain(shell, mounts, data, str(folder / "run"), f"stage.frozen.epochs={EPOCHS}")
    started(run)
    with full_disk(folder):
        run.until(lambda: "(see df" in run.log("frozen"))  # for a checkpoint, or for the best weights
    assert_same_end(run, undisturbed, restarts=0)


def test_a_cancelled_step(chain, undisturbed):
    run = started(chain("step-cancelled"))
    slurm("scancel", f"{run.ids['frozen']}.0")
    assert_same_end(run, undisturbed)


def test_a_cancelled_job_stays_cancelled_and_a_new_launch_goes_on(chain, undisturbed):
    run = started(chain("cancelled"))
    slurm("scancel", run.ids["frozen"])
    assert run.states() == ["CANCELLED"]
    done = run.steps("frozen")
    assert done >= 8
    run.launch("frozen")
    assert_same_end(run, undisturbed, restarts=0)
    assert run.past_attempts("frozen")[-1]["from_step"] == done


def test_an_elastic_job_goes_on_with_the_nodes_there_are(chain, undisturbed):
    run = chain("elastic")
    run.until(lambda: ask("sinfo", "-h", "-p", "gpu", "-o", "%T %D") == "idle 2")
    started(run, "--nodes 2 --tasks-per-node 1 --elastic")
    slurm("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    run.kill(1)
    try:
        assert run.states() == ["COMPLETED"], run.log("frozen")
    finally:
        slurm("scontrol", "update", "nodename=node2", "state=resume")
    assert_same_end_but_for_rounding(run, undisturbed)


def test_a_cancelled_stage_goes_on_with_one_node_that_does_the_work_of_two(chain, undisturbed):
    run = started(chain("fewer"))
    slurm("scancel", run.ids["frozen"])
    assert run.states() == ["CANCELLED"]
    run.launch("frozen", "--nodes 1 --tasks-per-node 1")
    assert run.states() == ["COMPLETED"], run.log("frozen")
    assert_same_end_but_for_rounding(run, undisturbed)


def test_a_poisoned_shard_fails_its_stage_for_good_and_after_the_repair_the_chain_starts_there(shell, project, data):
    poisoned = project / "poisoned"
    shutil.copytree(data, poisoned)
    run = Chain(shell, project, poisoned, "runs/poisoned", "stage.frozen.epochs=1 stage.partial.epochs=1")
    run.settings += " stage.full.epochs=1 stage.full.hold_epochs=0"
    run.launch("frozen,partial,full")
    run.until(lambda: list(run.path.glob("1-frozen/DONE.json")))
    shard = poisoned / "shard-00000-of-00003.h5"
    whole = shard.read_bytes()
    # Most of a shard is pixels.
    shard.write_bytes(whole[: len(whole) // 4] + bytes(byte ^ 1 for byte in whole[len(whole) // 4 :]))
    run.until(lambda: accounts(run.ids["partial"])[0]["State"] == "FAILED")
    failed_at = time.monotonic()
    assert run.states() == ["COMPLETED", "FAILED", "CANCELLED"]
    assert time.monotonic() - failed_at < 30
    assert "shard-00000-of-00003.h5" in run.past_attempts("partial")[-1]["reason"]
    shard.write_bytes(whole)
    run.launch("frozen,partial,full")
    assert list(run.ids) == ["partial", "full"]
    assert run.states() == ["COMPLETED", "COMPLETED"]


def test_of_two_launches_at_once_one_queues_the_chain(chain, shell):
    run = chain("twice")
    with ThreadPoolExecutor(2) as both:
        launches = [both.submit(run.launch, "frozen,partial,full") for _ in range(2)]
    refused = [error for launch in launches if (error := launch.exception())]
    queued = slurm("squeue", "-h", "-o", "%i").split()
    try:
        assert len(refused) == 1
        assert sorted(run.ids.values()) == sorted(queued)
    finally:
        slurm("scancel", *queued)
    assert "CANCELLED" in run.states()
