"""Runs Slurm's commands. All calls of them are in this module.

Only their options decide what they do. Environment variables of the user's shell that act as options are removed,
because the shell may belong to an interactive job or hold the user's defaults.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

TIMEOUT_S = 60.0

PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_")
KEPT = frozenset(("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SBATCH_ACCOUNT"))
"""Variables that name the controller, the identity and the account; the documentation tells users to set the last."""

STEP_OPTIONS = frozenset((
    # Memory: at most one of them may be set, and the allocation of the batch job sets its own.
    "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE",
    # Binding to CPUs and GPUs of another job.
    "SLURM_CPU_BIND", "SLURM_CPU_BIND_LIST", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_VERBOSE",
    "SLURM_MEM_BIND", "SLURM_MEM_BIND_LIST", "SLURM_MEM_BIND_PREFER", "SLURM_MEM_BIND_SORT", "SLURM_MEM_BIND_TYPE",
    "SLURM_MEM_BIND_VERBOSE", "SLURM_GPU_BIND", "SLURM_TRES_BIND",
    # Share of the allocation that a step gets; the default is all of it.
    "SLURM_CORE_SPEC", "SLURM_CPUS_PER_GPU", "SLURM_EXACT", "SLURM_EXCLUSIVE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_SOCKET", "SLURM_GPUS_PER_TASK", "SLURM_GRES", "SLURM_GRES_FLAGS", "SLURM_NCORES_PER_SOCKET",
    "SLURM_NSOCKETS_PER_NODE", "SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_GPU", "SLURM_NTASKS_PER_SOCKET",
    "SLURM_NTASKS_PER_TRES", "SLURM_OVERCOMMIT", "SLURM_OVERLAP", "SLURM_RELATIVE", "SLURM_THREAD_SPEC",
    "SLURM_TIMELIMIT", "SLURM_TRES_PER_TASK",
    # Environment, working directory and output of the ranks.
    "SLURM_EXPORT_ENV", "SLURM_EXTERNAL_LAUNCHER", "SLURM_REMOTE_CWD", "SLURM_SRUN_MULTI", "SLURM_STDERRMODE",
    "SLURM_STDINMODE", "SLURM_STDOUTMODE", "SLURM_WORKING_DIR", "SRUN_CONTAINER", "SRUN_CONTAINER_ID",
    "SRUN_CPUS_PER_TASK", "SRUN_ERROR", "SRUN_EXPORT_ENV", "SRUN_INPUT", "SRUN_NTASKS_PER_TRES", "SRUN_OUTPUT",
    "SRUN_RUNTIME",
))  # fmt: skip
"""Variables that act as options of srun, and that a job submitted from within another job inherits. Sources: the table
`env_vars` in src/srun/opt.c of Slurm 26.05, and the manual of srun 22.05. Not included are variables that describe the
job itself (its nodes and tasks), and those that sbatch sets from a site's options (SLURM_HINT, SLURM_CPU_FREQ_REQ)."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of Slurm's commands except srun: `environ` without the variables that act as options."""
    return {name: value for name, value in environ.items() if name in KEPT or not name.startswith(PREFIXES)}


def step_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of srun and its ranks: `environ` of the batch job without `STEP_OPTIONS`."""
    return {name: value for name, value in environ.items() if name not in STEP_OPTIONS}


def ignored(environ: Mapping[str, str]) -> list[str]:
    """The SBATCH_ variables of the user that sbatch does not get, sorted."""
    return sorted(name for name in environ if name.startswith("SBATCH_") and name not in KEPT)


def run(
    command: Sequence[str],
    timeout_s: float | None = None,
    stdin: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a Slurm command to its end, with `stdin` as its input, further `variables`, and its output as text.

    Raises OSError if it cannot be started, subprocess.TimeoutExpired if it takes longer than `timeout_s`.
    """
    return subprocess.run(
        command,
        env={**environment(os.environ), **(variables or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def query(command: Sequence[str], variables: Mapping[str, str] | None = None) -> str | None:
    """The standard output of a Slurm command; None if it does not exist, fails, or takes longer than TIMEOUT_S.

    If squeue does not know the only job in its options any more, it fails with "Invalid job id"; the result is "".
    """
    try:
        answer = run(command, TIMEOUT_S, variables=variables)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    return answer.stdout.strip()


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs whose dependents could not be submitted; a job that has ended already is no error."""
    if ids:
        run(["scancel", *ids])


def without_options(command: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """`command` with a prefix that removes variables, for a caller that starts it in `environ`.

    The command then runs in `environment(environ)`.
    """
    removed = sorted(environ.keys() - environment(environ).keys())
    return [*(["env", *(f"--unset={name}" for name in removed)] if removed else []), *command]
