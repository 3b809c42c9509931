"""Launcher: starts the ranks and waits for them, with srun in a Slurm job, as child processes elsewhere."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from cloudseg.core import attempt, variables
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import DONE, STOPPED, UsageError
from cloudseg.core.signals import blocked, stop
from cloudseg.slurm import commands

GRACE_S = 30
"""Seconds that the other ranks may run on when one rank has exited, as srun --wait."""


def srun(arguments: Sequence[str], extra: Sequence[str], key: str, timeout: float | None = None) -> int | None:
    """Run `python ARGUMENTS` as each task of this Slurm job, in the attempt `key`.

    `extra`: further options of srun. Returns the exit code of the step, or None if it still runs after `timeout`
    seconds.
    """
    command = [*srun_command(os.environ, extra), sys.executable, "-u", *arguments]
    with stop.deferred():  # not forwarded: Slurm signals the tasks itself, and on SIGTERM srun kills them
        process = subprocess.Popen(command, env={**commands.step_environment(os.environ), attempt.KEY_VARIABLE: key})
        try:
            return _exit_code(process.wait(timeout))
        except subprocess.TimeoutExpired:
            return None


def srun_command(environ: Mapping[str, str], extra: Sequence[str]) -> list[str]:
    """srun and its options; nodes and tasks come from the job. Raises UsageError if CLOUDSEG_RANKS is no number."""
    command = [
        "srun",
        # Ranks that stop exit one after the other, rank 0 last, after the checkpoint. So the exit of a rank must not
        # kill the others at once; srun kills them after GRACE_S if they do not notice that a rank died.
        "--kill-on-bad-exit=0",
        f"--wait={GRACE_S}",
        "--distribution=block",
        "--label",  # prefixes each line with the rank, see cloudseg.logs
        "--export=ALL",  # overrides SLURM_EXPORT_ENV of the job
        # Horovod with Gloo needs no PMI, and the default MPI plugin of a site may fail to load.
        "--mpi=none",
    ]
    # Since Slurm 22.05 srun does not inherit this option from the job.
    if "SLURM_CPUS_PER_TASK" in environ:
        command.append(f"--cpus-per-task={environ['SLURM_CPUS_PER_TASK']}")
    if planned := variables.whole_number(environ, "CLOUDSEG_RANKS"):
        nodes, per_node = int(environ["SLURM_JOB_NUM_NODES"]), int(environ.get("SLURM_NTASKS_PER_NODE", 1))
        used = usable_nodes(planned, nodes, per_node)
        command += [f"--nodes={used}", f"--ntasks={used * per_node}"]
    return [*command, *extra]


def usable_nodes(planned: int, nodes: int, tasks_per_node: int) -> int:
    """The largest number of nodes, at most `nodes`, whose number of ranks divides `planned`.

    Raises UsageError if there is no such number.
    """
    for used in range(nodes, 0, -1):
        if planned % (used * tasks_per_node) == 0:
            return used
    raise UsageError(f"the work of {planned} ranks cannot be divided evenly among nodes with {tasks_per_node} ranks")


def local(arguments: Sequence[str], ranks: int, current: Attempt | None = None) -> int:
    """Run `python ARGUMENTS` as `ranks` processes of this machine, in the attempt `current`.

    Returns 0 if all succeeded, 75 if all stopped, else the exit code of the first failure. When one rank exits, the
    others have GRACE_S to exit before they are killed. A stop signal is forwarded to all ranks; the exit code is then
    75, unless all ranks succeeded. Ranks start with stop signals blocked; `cloudseg/__init__.py` unblocks them.
    """
    key = current.key if current else attempt.new_key({})
    step = {**os.environ, attempt.KEY_VARIABLE: key, "CLOUDSEG_SIZE": str(ranks)}
    return _run([(arguments, {**step, "CLOUDSEG_RANK": str(rank)}) for rank in range(ranks)], current)


def run_single(arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` as one process of this machine, which is no rank; returns its exit code, as `local`."""
    return _run([(arguments, dict(os.environ))])


def _run(programs: Sequence[tuple[Sequence[str], dict[str, str]]], current: Attempt | None = None) -> int:
    """Run `python ARGUMENTS` for each pair (arguments, environment) at once; returns the exit code, as `local`."""
    processes: list[subprocess.Popen[bytes]] = []
    with stop.deferred():
        try:
            for arguments, environ in programs:
                if stop.requested:
                    break
                processes.append(_start(arguments, environ))
            code = _wait(processes, current)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if stop.requested:
            codes = [process.returncode for process in processes]
            return DONE if len(codes) == len(programs) and not any(codes) else STOPPED
    return code


def _start(arguments: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with blocked():  # a signal would kill the process before it has installed its handlers
        return subprocess.Popen(
            [sys.executable, "-u", *arguments], env=environ, preexec_fn=_die_with_parent, stdin=subprocess.DEVNULL
        )


def _wait(processes: list[subprocess.Popen[bytes]], current: Attempt | None) -> int:
    """Wait for all processes, forward a stop signal and kill those that exceed GRACE_S; returns the exit code."""
    forwarded, first_exit, failure = False, None, DONE
    while None in (codes := [process.poll() for process in processes]):
        if not forwarded and (stop.requested or _stopped_early(codes, current)):
            forwarded = True
            for process in processes:
                process.terminate()
        if first_exit is None and any(code is not None for code in codes):
            first_exit = time.monotonic()
        if not failure and (failed := [code for code in codes if code not in (None, DONE, STOPPED)]):
            # If several failed, a signal (negative code) is the cause, and an error of Horovod the consequence.
            failure = _exit_code(min(failed))
        if first_exit is not None and time.monotonic() - first_exit > GRACE_S:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    exit_codes = [_exit_code(process.returncode) for process in processes]
    return failure or next((code for code in exit_codes if code not in (DONE, STOPPED)), max(exit_codes, default=DONE))


def _stopped_early(codes: Sequence[int | None], current: Attempt | None) -> bool:
    """Whether a rank stopped on a signal without an end reason, so that the other ranks do not know of it."""
    stopped = {rank for rank, code in enumerate(codes) if code == STOPPED}
    return current is not None and bool(stopped) and bool(stopped - {end.rank for end in current.ends()})


def _exit_code(returncode: int) -> int:
    """The exit code as in a shell: 128 + signal number for a process that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that ranks do not continue without a launcher."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
