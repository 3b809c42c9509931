"""Starts the ranks of a step, and waits for them: with srun inside a Slurm job, as child processes elsewhere."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from cloudseg.core import attempt
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import DONE, STOPPED, UsageError
from cloudseg.core.signals import blocked, stop
from cloudseg.slurm import commands

GRACE_S = 30
"""How long the other ranks may take to end when one has ended, as srun's --wait has it."""


def srun(arguments: Sequence[str], extra: Sequence[str], key: str, timeout: float | None = None) -> int | None:
    """Run `python ARGUMENTS` as every task of this Slurm job, as the attempt `key`; returns the step's exit code, or
    None if it runs on after `timeout` seconds."""
    command = [*srun_command(os.environ, extra), sys.executable, "-u", *arguments]
    with stop.noted():  # and not passed on: Slurm signals its tasks itself, and srun takes a SIGTERM as "kill them"
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


def local(arguments: Sequence[str], ranks: int, meeting: Attempt | None = None) -> int:
    """Run `python ARGUMENTS` as `ranks` processes of this machine, as the attempt `meeting`; returns 0, 75 if all
    stopped, else the first failure's exit code. If one ends, the others get GRACE_S to end by themselves.

    A stop signal is passed on to all, and then the exit code is 75, whatever it did to them, unless all were done.
    Ranks begin with stop signals blocked; `cloudseg/__init__.py` unblocks them.
    """
    key = meeting.key if meeting else attempt.new_key({})
    step = {**os.environ, attempt.VARIABLE: key, "CLOUDSEG_SIZE": str(ranks)}
    return _run([(arguments, {**step, "CLOUDSEG_RANK": str(rank)}) for rank in range(ranks)], meeting)


def run_single(arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` as one process of this machine that is no rank; returns its exit code, as `local` does."""
    return _run([(arguments, dict(os.environ))])


def _run(wanted: Sequence[tuple[Sequence[str], dict[str, str]]], meeting: Attempt | None = None) -> int:
    """Run `python ARGUMENTS` for each pair of arguments and environment variables."""
    processes: list[subprocess.Popen[bytes]] = []
    with stop.noted():
        try:
            for arguments, environ in wanted:
                if stop.asked:
                    break
                processes.append(_start(arguments, environ))
            code = _wait(processes, meeting)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if stop.asked:
            codes = [process.returncode for process in processes]
            return DONE if len(codes) == len(wanted) and not any(codes) else STOPPED
    return code


def _start(arguments: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with blocked():  # until its handlers are there, a signal would kill it
        return subprocess.Popen(
            [sys.executable, "-u", *arguments], env=environ, preexec_fn=_die_with_parent, stdin=subprocess.DEVNULL
        )


def _wait(processes: list[subprocess.Popen[bytes]], meeting: Attempt | None) -> int:
    passed_on, ended_at, failure = False, None, DONE
    while None in (codes := [process.poll() for process in processes]):
        if not passed_on and (stop.asked or _stopped_early(codes, meeting)):
            passed_on = True
            for process in processes:
                process.terminate()
        if ended_at is None and any(code is not None for code in codes):
            ended_at = time.monotonic()
        if not failure and (bad := [code for code in codes if code not in (None, DONE, STOPPED)]):
            # Of several at once a signal is the cause, and an error of Horovod's the consequence.
            failure = _exit_code(min(bad))
        if ended_at is not None and time.monotonic() - ended_at > GRACE_S:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    ended = [_exit_code(process.returncode) for process in processes]
    return failure or next((code for code in ended if code not in (DONE, STOPPED)), max(ended, default=DONE))


def _stopped_early(codes: Sequence[int | None], meeting: Attempt | None) -> bool:
    """Whether a rank stopped on a signal before it could tell the others; one that is lost leaves its reason."""
    stopped = {rank for rank, code in enumerate(codes) if code == STOPPED}
    return meeting is not None and bool(stopped) and bool(stopped - {end.rank for end in meeting.ends()})


def _exit_code(returncode: int) -> int:
    """What a shell would say: 128 + the signal's number for a process that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


def _die_with_parent() -> None:
    """Ranks must not train on, unseen, when what started them is killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
