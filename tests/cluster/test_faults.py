"""Each fault: the stage goes on by itself, once, and its next checkpoint is that of a stage that nothing happened to.

One stage is struck by one fault after the other, as a start of its ranks takes longer than what a fault does to them.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cloudseg.core.atomic import process_start
from tests.cluster.chain import (
    ONE_NODE,
    SILENCE_S,
    TWO_NODES,
    Chain,
    ask,
    crash,
    cut,
    differing,
    full_disk,
    kill_accounting,
    node_is_down,
    preempt,
    revive,
    slurm,
)
from tests.cluster.lab import CHAIN, CHAIN_STEPS, EPOCH_STEPS, ONE_EPOCH, accounts, lab

EPOCHS = 7
STEPS = EPOCHS * EPOCH_STEPS
SHARD = "shard-00000-of-00003.h5"
ROOM = 36
"""Steps that must be left to a stage that a fault is to strike."""


@pytest.fixture(scope="module")
def disk(mounts):
    """A file system that can be filled."""
    folder = mounts / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def long_stage(shell, project, data) -> Callable[..., Chain]:
    """Makes runs of one stage that are the same but for their name."""

    def make(run: object, settings: str = "", feed_workers: str = "0") -> Chain:
        return Chain(shell, project, data, str(run), f"stage.frozen.epochs={EPOCHS} {settings}", feed_workers)

    return make


@pytest.fixture(scope="module")
def undisturbed_stage(long_stage) -> Chain:
    """Its checkpoints are all there."""
    run = long_stage("runs/undisturbed-stage", "checkpoint.keep=1000")
    run.launch("frozen")
    assert run.states() == ["COMPLETED"]
    assert run.steps("frozen") == STEPS
    return run


class Struck:
    """The run that faults strike: always the same one, as long as it has steps left."""

    def __init__(self, start: Callable[[int], Chain]) -> None:
        self._start, self._count, self.last = start, 0, start(0)

    def get(self) -> Chain:
        if self.last.is_over("frozen") or self.last.steps("frozen") > STEPS - ROOM:
            self.close()
            self._count += 1
            self.last = self._start(self._count)
        # Its ranks train, and have made a checkpoint since they were started.
        self.last.until_step("frozen", 4)
        return self.last

    def close(self) -> None:
        self.last.cancel()
        shutil.rmtree(self.last.path)


@pytest.fixture(scope="module")
def struck(long_stage, disk) -> Iterator[Struck]:
    def start(number: int) -> Chain:
        run = long_stage(disk / f"struck-{number}", feed_workers="")
        run.launch("frozen", f"{TWO_NODES} --partition low")
        return run

    runs = Struck(start)
    yield runs
    runs.close()


@pytest.fixture
def run(struck, undisturbed_stage) -> Chain:
    """A stage that trains."""
    return struck.get()


def assert_goes_on(run: Chain, undisturbed: Chain, restarts: int, or_more: bool = False) -> None:
    """`run` has started again `restarts` times in all, and makes the checkpoints of `undisturbed`."""
    run.until_requeued("frozen", restarts)
    results = list(run.path.glob("jobs/submitit/*_result.pkl"))
    assert not results or (run.stage("frozen") / "DONE.json").exists(), "a stage that goes on has no result yet"
    saved = run.steps("frozen")
    run.until_step("frozen", saved + 1)
    found = run.restarts("frozen")
    assert found == restarts or (or_more and found > restarts), run.log("frozen")
    assert_same_checkpoint(run, undisturbed)


def assert_same_checkpoint(run: Chain, undisturbed: Chain) -> None:
    step = run.steps("frozen")
    assert differing(run.arrays("frozen", step), undisturbed.arrays("frozen", step)) == [], run.log("frozen")
    assert len(run.checkpoints("frozen")) <= 4  # one more than are kept while one is made


def strike(run: Chain, undisturbed: Chain, fault: Callable[[], object]) -> str:
    """Let `fault` happen to `run`, which is to go on; returns what its log says from then on."""
    restarts, said = run.restarts("frozen"), len(run.log("frozen"))
    fault()
    assert_goes_on(run, undisturbed, restarts + 1)
    return run.log("frozen")[said:]


def take_down(run: Chain, how: Callable[[str], None]) -> None:
    """Let the node of rank 1 be lost until Slurm has noticed."""
    node = run.heartbeat(1)["host"]
    how(node)
    run.until(lambda: node_is_down(node))
    revive(node)


@pytest.fixture(scope="module")
def standing_still(long_stage) -> Chain:
    """A stage of two minutes' walltime whose ranks stand still from its first checkpoint on."""
    run = long_stage("runs/out-of-time")
    run.launch("frozen", f"{TWO_NODES} --time 00:02:00", silence_s=600)
    run.until_step("frozen", 4)
    run.saved = run.restarts("frozen")
    for rank in (0, 1):
        run.kill(rank, signal.SIGSTOP)
    return run


@pytest.fixture(scope="module")
def out_of_time(standing_still, undisturbed_stage) -> Chain:
    """It goes on after the signal that Slurm sends before the walltime ends, which wakes the ranks."""
    run = standing_still
    run.until(lambda: run.restarts("frozen") > run.saved)
    slurm("scontrol", "update", f"jobid={run.ids['frozen']}", "TimeLimit=60")
    return run


def test_a_walltime_of_two_minutes(out_of_time, undisturbed_stage):
    # On a busy machine its next two minutes may be over before the next step.
    assert_goes_on(out_of_time, undisturbed_stage, out_of_time.saved + 1, or_more=True)
    assert "stopped on a signal" in out_of_time.past_attempts("frozen")[-1]["reason"]


@pytest.fixture(scope="module")
def launched_anew(out_of_time) -> Chain:
    """A stage that was cancelled and launched again, in a partition whose jobs get no grace."""
    run = out_of_time
    slurm("scancel", run.ids["frozen"])
    assert run.states() == ["CANCELLED"]
    run.saved = run.steps("frozen")
    run.launch("frozen", f"{TWO_NODES} --partition low0")
    run.until_step("frozen", run.saved + 1)
    return run


def test_a_cancelled_job_stays_cancelled_and_a_new_launch_goes_on(launched_anew, undisturbed_stage):
    assert f"step {launched_anew.saved}\n" in launched_anew.log("frozen")
    assert launched_anew.restarts("frozen") == 0
    assert_same_checkpoint(launched_anew, undisturbed_stage)


def test_preemption_without_grace(launched_anew, undisturbed_stage):
    strike(launched_anew, undisturbed_stage, preempt)
    launched_anew.cancel()


def test_a_killed_rank(run, undisturbed_stage):
    said = strike(run, undisturbed_stage, lambda: run.kill(1))
    assert "rank 0 ends because another rank ended: rank 1 on node2" in said


def test_rank_0_killed_while_it_writes_a_checkpoint(run, undisturbed_stage):
    said = strike(run, undisturbed_stage, lambda: run.kill_while_saving("frozen"))
    assert "rank 1 ends because another rank ended: rank 0 on node1" in said


def stop_rank(run: Chain, rank: int) -> None:
    """Stop it and wait until the other one has left."""
    other = run.heartbeat(1 - rank)["pid"]
    stopped_at = time.monotonic()
    run.kill(rank, signal.SIGSTOP)
    run.until(lambda: not process_start(other))
    assert time.monotonic() - stopped_at < SILENCE_S + 60


def test_a_stopped_rank_is_named_and_the_others_leave(run, undisturbed_stage):
    said = strike(run, undisturbed_stage, lambda: stop_rank(run, 1))
    assert f"no progress for {SILENCE_S:.0f} s: rank 1 on node2" in said


def test_a_stopped_rank_0_and_a_damaged_newest_checkpoint(run, undisturbed_stage):
    damaged = []

    def fault() -> None:
        stop_rank(run, 0)  # which writes no other checkpoint
        damaged.append(run.damage_newest("frozen"))

    said = strike(run, undisturbed_stage, fault)
    assert f"no progress for {SILENCE_S:.0f} s: rank 0 on node1" in said
    assert f"{damaged[0].name} has another sha256 than written" in said


@pytest.mark.parametrize("how", [crash, cut])
def test_a_lost_node(run, undisturbed_stage, how):
    strike(run, undisturbed_stage, lambda: take_down(run, how))


def test_preemption_with_grace(run, undisturbed_stage):
    strike(run, undisturbed_stage, preempt)


def test_a_cancelled_step(run, undisturbed_stage):
    strike(run, undisturbed_stage, lambda: slurm("scancel", f"{run.ids['frozen']}.0"))


def test_a_full_disk(run, undisturbed_stage):
    restarts, saved = run.restarts("frozen"), run.steps("frozen")
    with full_disk(run.path.parent):
        run.until(lambda: "(see df" in run.log("frozen"))  # for a checkpoint, or for the best weights
    run.until_step("frozen", saved + 1)
    assert run.restarts("frozen") == restarts
    assert_same_checkpoint(run, undisturbed_stage)


def test_after_all_of_it_the_stage_ends_as_if_nothing_had_happened(struck, undisturbed_stage):
    run = struck.last
    assert run.states() == ["COMPLETED"], run.log("frozen")
    assert run.steps("frozen") == STEPS
    assert_same_checkpoint(run, undisturbed_stage)
    assert run.weights("frozen") == undisturbed_stage.weights("frozen")
    assert len(run.checkpoints("frozen")) <= 3


@pytest.fixture(scope="module")
def elastic(shell, project, data, undisturbed) -> Iterator[Chain]:
    """An elastic stage of two nodes that lost a rank, and then a node."""
    run = Chain(shell, project, data, "runs/elastic", CHAIN)
    run.until(lambda: ask("sinfo", "-h", "-p", "gpu", "-o", "%T %D") == "idle 2")
    run.launch("frozen", f"{TWO_NODES} --elastic")
    run.until_step("frozen", 4)
    slurm("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    try:
        run.kill(1)
        run.until_requeued("frozen")
        saved = run.steps("frozen")
        run.until_step("frozen", saved + 1)
        yield run
    finally:
        slurm("scontrol", "update", "nodename=node2", "state=resume")


def test_an_elastic_job_goes_on_with_the_nodes_there_are(elastic):
    assert ask("squeue", "-h", "-j", elastic.ids["frozen"], "-o", "%N") == "node1"
    assert "ranks: 1, each" in elastic.log("frozen")


def test_a_cancelled_stage_goes_on_with_one_node_that_does_the_work_of_two(elastic, undisturbed):
    slurm("scancel", elastic.ids["frozen"])
    assert elastic.states() == ["CANCELLED"]
    elastic.launch("frozen", ONE_NODE)
    assert elastic.states() == ["COMPLETED"], elastic.log("frozen")
    assert elastic.past_attempts("frozen")[-1]["nodes"] == "node1"
    assert elastic.steps("frozen") == CHAIN_STEPS
    one, two = elastic.arrays("frozen"), undisturbed.arrays("frozen")
    assert all(np.allclose(one[name], two[name], rtol=1e-3, atol=1e-3) for name in two)


@pytest.fixture(scope="module")
def poisoned(shell, project, data) -> Chain:
    """A chain of which a shard was damaged once its first stage had ended."""
    folder = project / "poisoned"
    shutil.copytree(data, folder)
    run = Chain(shell, project, folder, "runs/poisoned", ONE_EPOCH)
    run.launch("frozen,partial,full", ONE_NODE)
    run.until(lambda: list(run.path.glob("1-frozen/DONE.json")))
    shard = folder / SHARD
    whole = shard.read_bytes()
    # Most of a shard is pixels.
    shard.write_bytes(whole[: len(whole) // 4] + bytes(byte ^ 1 for byte in whole[len(whole) // 4 :]))
    (folder / "whole").write_bytes(whole)
    return run


@pytest.fixture(scope="module")
def repaired(poisoned) -> Chain:
    (poisoned.data / "whole").rename(poisoned.data / SHARD)
    poisoned.launch("frozen,partial,full", ONE_NODE)
    return poisoned


def test_a_poisoned_shard_fails_its_stage_for_good_and_those_after_it_are_cancelled(poisoned):
    poisoned.until(lambda: accounts(poisoned.ids["partial"])[0]["State"] == "FAILED")
    failed_at = time.monotonic()
    assert poisoned.states() == ["COMPLETED", "FAILED", "CANCELLED"]
    assert time.monotonic() - failed_at < 30
    assert SHARD in poisoned.past_attempts("partial")[-1]["reason"]


def test_after_the_repair_the_chain_starts_there_and_goes_on_without_accounting(repaired, shell):
    """What is done and what runs is told all the same."""
    assert list(repaired.ids) == ["partial", "full"]
    repaired.until(lambda: ask("squeue", "-h", "-j", repaired.ids["partial"], "-o", "%T") == "RUNNING")
    kill_accounting()
    try:
        shown = shell(f"python -m cloudseg.status {repaired.run}").stdout
    finally:
        lab("up")
    for line in ("frozen +done", "partial +running", "full +queued", "evaluate +to come"):
        assert re.search(rf"^{line}", shown, re.MULTILINE), shown
    assert "there is no accounting" in shown
    assert repaired.states() == ["COMPLETED", "COMPLETED"]


def test_of_two_launches_at_once_one_queues_the_chain(long_stage, shell):
    run = long_stage("runs/twice")
    with ThreadPoolExecutor(2) as both:
        launches = [both.submit(run.launch, "frozen,partial,full") for _ in range(2)]
    refused = [error for launch in launches if (error := launch.exception())]
    queued = slurm("squeue", "-h", "-o", "%i").split()
    try:
        assert len(refused) == 1
        assert sorted(run.ids.values()) == sorted(queued)
        again = shell(f"python -m cloudseg.launch --stages frozen,partial,full --run {run.run} {TWO_NODES}").stdout
        assert "queued already" in again
    finally:
        slurm("scancel", *queued)
    assert "CANCELLED" in run.states()
