"""Starts Slurm's commands, all of them here. What they do is decided by their options, not by variables of the shell in
which cloudseg was typed: that may belong to an interactive job, or hold a user's own defaults."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

TIMEOUT_S = 60.0

PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_")
KEPT = frozenset(("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SBATCH_ACCOUNT"))
"""Which controller is asked, as whom, and the one variable that the documentation tells users to set."""

STEP_OPTIONS = frozenset((
    # Memory: at most one of them may be set, and the batch job's own is in its allocation.
    "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE",
    # Binding to CPUs and GPUs that another job was given.
    "SLURM_CPU_BIND", "SLURM_CPU_BIND_LIST", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_VERBOSE",
    "SLURM_MEM_BIND", "SLURM_MEM_BIND_LIST", "SLURM_MEM_BIND_PREFER", "SLURM_MEM_BIND_SORT", "SLURM_MEM_BIND_TYPE",
    "SLURM_MEM_BIND_VERBOSE", "SLURM_GPU_BIND", "SLURM_TRES_BIND",
    # What a step gets of the allocation: all of it, unless told otherwise.
    "SLURM_CORE_SPEC", "SLURM_CPUS_PER_GPU", "SLURM_EXACT", "SLURM_EXCLUSIVE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_SOCKET", "SLURM_GPUS_PER_TASK", "SLURM_GRES", "SLURM_GRES_FLAGS", "SLURM_NCORES_PER_SOCKET",
    "SLURM_NSOCKETS_PER_NODE", "SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_GPU", "SLURM_NTASKS_PER_SOCKET",
    "SLURM_NTASKS_PER_TRES", "SLURM_OVERCOMMIT", "SLURM_OVERLAP", "SLURM_RELATIVE", "SLURM_THREAD_SPEC",
    "SLURM_TIMELIMIT", "SLURM_TRES_PER_TASK",
    # What the ranks are told, where they run and where they print.
    "SLURM_EXPORT_ENV", "SLURM_EXTERNAL_LAUNCHER", "SLURM_REMOTE_CWD", "SLURM_SRUN_MULTI", "SLURM_STDERRMODE",
    "SLURM_STDINMODE", "SLURM_STDOUTMODE", "SLURM_WORKING_DIR", "SRUN_CONTAINER", "SRUN_CONTAINER_ID",
    "SRUN_CPUS_PER_TASK", "SRUN_ERROR", "SRUN_EXPORT_ENV", "SRUN_INPUT", "SRUN_NTASKS_PER_TRES", "SRUN_OUTPUT",
    "SRUN_RUNTIME",
))  # fmt: skip
"""Variables from which srun takes options, and which a job that is submitted from within another inherits from it. From
the table `env_vars` in src/srun/opt.c of Slurm 26.05, and the manual of 22.05's srun; without those that tell of the
job itself (its nodes and tasks) or that sbatch sets from a site's own options (SLURM_HINT, SLURM_CPU_FREQ_REQ)."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What Slurm's commands but srun are given: `environ` without the variables that they take options from."""
    return {name: value for name, value in environ.items() if name in KEPT or not name.startswith(PREFIXES)}


def step_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What srun and the ranks that it starts are given: `environ`, as a batch job has it, without `STEP_OPTIONS`."""
    return {name: value for name, value in environ.items() if name not in STEP_OPTIONS}


def ignored(environ: Mapping[str, str]) -> list[str]:
    """The variables of sbatch that a user has set and that do not reach it, sorted."""
    return sorted(name for name in environ if name.startswith("SBATCH_") and name not in KEPT)


def run(command: Sequence[str], timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm's to its end, its output as text. Raises OSError if it cannot be started, and
    subprocess.TimeoutExpired."""
    return subprocess.run(
        command, env=environment(os.environ), capture_output=True, text=True, check=False, timeout=timeout_s
    )


def ask(command: Sequence[str]) -> str | None:
    """What a command of Slurm's says; None if it is not there, fails, or takes longer than a minute. That squeue has
    forgotten the one job that it is asked for is an answer."""
    try:
        answer = run(command, TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    return answer.stdout.strip()


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs whose dependents could not be submitted; that they have ended by themselves is no error."""
    if ids:
        run(["scancel", *ids])


def without_options(command: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """`command` for somebody else to start, who gives it `environ`: it is then started in `environment(environ)`."""
    removed = sorted(environ.keys() - environment(environ).keys())
    return [*(["env", *(f"--unset={name}" for name in removed)] if removed else []), *command]
