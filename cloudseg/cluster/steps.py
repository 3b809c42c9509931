"""Starts the ranks of a step, and waits for them: with srun inside a Slurm job, as child processes elsewhere."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from cloudseg import attempt
from cloudseg.cluster import commands
from cloudseg.errors import DONE, STOPPED, UsageError

GRACE_S = 30
"""How long the other ranks may take to end when one has ended."""


def srun(arguments: Sequence[str], extra: Sequence[str], key: str, timeout: float | None = None) -> int | None:
    """Run `python ARGUMENTS` as every task of this Slurm job, as the attempt `key`; returns the step's exit code, or
    None if it runs on after `timeout` seconds."""
    command = [*srun_command(os.environ, extra), sys.executable, "-u", *arguments]
    with _Forwarding():  # to nobody: Slurm signals its tasks itself, and srun takes a SIGTERM as "kill them"
        process = subprocess.Popen(command, env={**commands.step_environment(os.environ), attempt.VARIABLE: key})
        try:
            return _exit_code(process.wait(timeout))
        except subprocess.TimeoutExpired:
            return None


def srun_command(environ: Mapping[str, str], extra: Sequence[str]) -> list[str]:
    """srun and its options; the layout comes from the job."""
    command = [
        "srun",
        # Ranks that stop leave one after the other, rank 0 last, after the checkpoint: no rank's exit kills the rest
        # at once, and a rank's death does after a while if they do not notice it themselves.
        "--kill-on-bad-exit=0",
        f"--wait={GRACE_S}",
        "--distribution=block",
        "--label",  # which rank said it, see cloudseg.logs
        "--export=ALL",  # a job's SLURM_EXPORT_ENV may say otherwise
        # Horovod's ranks find each other without PMI; a site's default plugin may not even load.
        "--mpi=none",
    ]
    # Since Slurm 22.05 srun no longer takes this from the job by itself.
    if "SLURM_CPUS_PER_TASK" in environ:
        command.append(f"--cpus-per-task={environ['SLURM_CPUS_PER_TASK']}")
    if planned := int(environ.get("CLOUDSEG_RANKS") or 0):
        nodes, each = int(environ["SLURM_JOB_NUM_NODES"]), int(environ.get("SLURM_NTASKS_PER_NODE", 1))
        used = usable_nodes(planned, nodes, each)
        command += [f"--nodes={used}", f"--ntasks={used * each}"]
    return [*command, *extra]


def usable_nodes(planned: int, nodes: int, tasks_per_node: int) -> int:
    """The most of `nodes` to whose ranks the work of `planned` ranks can be dealt evenly.

    Raises UsageError if there is no such number.
    """
    for used in range(nodes, 0, -1):
        if planned % (used * tasks_per_node) == 0:
            return used
    raise UsageError(f"the work of {planned} ranks cannot be dealt evenly to nodes of {tasks_per_node} ranks")


def local(arguments: Sequence[str], ranks: int, key: str | None = None) -> int:
    """Run `python ARGUMENTS` as `ranks` processes of this machine, as the attempt `key`; returns 0, 75 if all stopped,
    else the first failure's exit code. If one dies, the others get GRACE_S to end by themselves."""
    step = {attempt.VARIABLE: key or attempt.new_key({}), "CLOUDSEG_SIZE": str(ranks)}
    with _Forwarding() as forwarding:
        forwarding.to = [
            subprocess.Popen(
                [sys.executable, "-u", *arguments],
                env={**os.environ, **step, "CLOUDSEG_RANK": str(rank)},
                preexec_fn=_die_with_parent,
                stdin=subprocess.DEVNULL,
            )
            for rank in range(ranks)
        ]
        return _wait(forwarding.to)


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    failed_at, failure = None, DONE
    while None in (codes := [process.poll() for process in processes]):
        bad = [code for code in codes if code not in (None, DONE, STOPPED)]
        if bad and failed_at is None:
            # Of several at once a signal is the cause, and an error of Horovod's the consequence.
            failed_at, failure = time.monotonic(), _exit_code(min(bad))
        if failed_at is not None and time.monotonic() - failed_at > GRACE_S:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    ended = [_exit_code(process.returncode) for process in processes]
    return failure or next((code for code in ended if code not in (DONE, STOPPED)), max(ended))


def _exit_code(returncode: int) -> int:
    """What a shell would say: 128 + the signal's number for a process that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


def _die_with_parent() -> None:
    """Ranks must not train on, unseen, when what started them is killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class _Forwarding:
    """While entered, stop signals do not end this process but go to those in `to`, which save and leave."""

    def __init__(self) -> None:
        self.to: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Forwarding:
        self._before = {
            number: signal.signal(number, self._forward)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        # A terminal's Ctrl-C reaches the processes of the terminal by itself.
        if number == signal.SIGINT and sys.stdin.isatty():
            return
        for process in self.to:
            if process.poll() is None:
                process.send_signal(number)
