"""Renders sbatch scripts from jobs. Pure."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

from cloudseg.core.attempt import JOB_VARIABLE
from cloudseg.core.errors import UsageError
from cloudseg.core.run import DEFAULT, EVALUATE
from cloudseg.slurm import durations
from cloudseg.slurm.sites import Resources, Site

SIGNAL_LEAD_S = 120
"""Seconds before the walltime at which Slurm signals the ranks to save and exit; Slurm checks every 30 s."""
PLANNED_RANKS = "CLOUDSEG_RANKS"
"""Environment variable: the number of ranks whose work a job does; the job may have fewer ranks."""
REQUEUE_LEAD_S = 15
"""Seconds before the walltime at which a job is requeued even if its ranks have not exited."""

STAGES_WITH_FILE = 3
"""Number of stages with a file in jobs/; the recipe `paper` has this many."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One batch job; `script` renders its text."""

    name: str
    resources: Resources
    command: str
    """Shell command that runs once, on the first node, and starts the ranks."""
    log: str
    """Path of the log; sbatch replaces %j, %A and %a in it."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch."""
    exports: tuple[tuple[str, str], ...] = ()
    """Environment variables: pairs of (name, value)."""
    dependency: str = ""
    """Value of sbatch --dependency."""
    array: str = ""
    """Value of sbatch --array, without the throttle."""
    throttle: int = 0
    """Maximum number of tasks of the array that run at the same time; 0 for no limit."""
    comment: tuple[str, ...] = ()
    """Comment lines at the top of the script."""
    elastic: bool = False
    """Whether the job may start with fewer nodes, at least one."""

    @property
    def ranks(self) -> int:
        return self.resources.nodes * self.resources.tasks_per_node

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the tasks of the array; () if the job is none."""
        parts = [part.partition("-") for part in self.array.split(",") if part]
        return tuple(index for first, _, last in parts for index in range(int(first), int(last or first) + 1))

    @property
    def tasks(self) -> int:
        """Number of jobs that Slurm counts: the tasks of an array, else 1."""
        return len(self.indices) or 1


def script(job: Job) -> str:
    """The text of the sbatch script. Raises UsageError for option values that a #SBATCH line cannot hold."""
    need = job.resources
    walltime = durations.seconds(need.time)
    # For a range of nodes Slurm allocates as many as are free, but only one if --ntasks-per-node=1 is given.
    elastic = job.elastic and need.nodes > 1
    lead = SIGNAL_LEAD_S if walltime is None else min(SIGNAL_LEAD_S, int(walltime // 4))
    for option in job.sbatch:  # the last --signal applies
        if match := re.fullmatch(r"--signal=\S+@(\d+)", option):
            lead = int(match[1])
    exports = [*job.exports, ("CLOUDSEG_LEAD_S", str(lead))]
    if elastic and PLANNED_RANKS not in dict(job.exports):
        exports.append((PLANNED_RANKS, str(job.ranks)))
    options = [
        f"--job-name=cloudseg-{job.name}",
        f"--partition={need.partition}",
        f"--nodes={'1-' * elastic}{need.nodes}",
        *([] if elastic and need.tasks_per_node == 1 else [f"--ntasks-per-node={need.tasks_per_node}"]),
        f"--cpus-per-task={need.cpus_per_task}",
        *([f"--gres=gpu:{need.gpu_type and f'{need.gpu_type}:'}{need.gpus_per_node}"] if need.gpus_per_node else []),
        *([f"--mem={need.mem}"] if need.mem else []),
        f"--time={need.time}",
        *([f"--array={job.array}{f'%{job.throttle}' if job.throttle else ''}"] if job.array else []),
        f"--output={job.log}",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR2@{lead}",
        *job.sbatch,
        *([f"--dependency={job.dependency}", "--kill-on-invalid-dep=yes"] if job.dependency else []),
    ]
    for option in options:
        if not option.isprintable() or set(option) & set(" \"'\\"):
            advice = "choose another value"
            if option.startswith("--output="):
                advice = "choose another folder, with --run (of doctor: --folder)"
            raise UsageError(f"sbatch takes no blanks, quotes or control characters in {option!r}; {advice}")
    lines = [
        "#!/usr/bin/env bash",
        *(f"# {line}".rstrip() for line in job.comment),
        *(f"#SBATCH {option}" for option in options),
        "",
        "set -euo pipefail",
        f"export {JOB_VARIABLE}=$SLURM_JOB_ID",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports),
        'cd "${CLOUDSEG_HOME:-$SLURM_SUBMIT_DIR}"',
        "source env/activate.sh",
        f"exec {job.command}",
    ]
    return "\n".join(lines) + "\n"


def stage_job(stage: str, site: Site, run: str, log: str, **changes: int | str) -> Job:
    """The job of one stage, or of the evaluation; `changes` replace fields of the site's resources."""
    resources = site.evaluate if stage == EVALUATE else site.train
    return Job(
        name=stage,
        resources=dataclasses.replace(resources, **changes),  # type: ignore[arg-type]
        command=f"python -m cloudseg.job --run {run} --stage {stage}",
        log=log,
        sbatch=site.options(resources),
    )


def preprocess_job(site: Site, array: str) -> Job:
    """The preprocessing array with one task per shard; environment variables name its input and output."""
    return Job(
        name="preprocess",
        resources=site.preprocess,
        command=(
            "python -m preprocess \\\n"
            '  --csv "${CLOUDSEG_CSV:?the train.csv}" --images "${CLOUDSEG_IMAGES:?the folder of its JPEGs}" \\\n'
            '  --out "${CLOUDSEG_DATA:?the folder for the shards}" --size "${CLOUDSEG_SIZE:-320x480}" \\\n'
            '  --shards "${CLOUDSEG_SHARDS:-$SLURM_ARRAY_TASK_COUNT}" --shard-index "$SLURM_ARRAY_TASK_ID"'
        ),
        log="cloudseg-preprocess-%A_%a.log",
        sbatch=site.options(site.preprocess),
        array=array,
    )


def jobs_files(site: Site) -> dict[str, str]:
    """File name -> text of the scripts in jobs/, which users submit with sbatch and configure by variables."""
    run = f'"${{CLOUDSEG_RUN:-{DEFAULT}}}"'
    stages = {f"train_stage{number}.slurm": str(number) for number in range(1, STAGES_WITH_FILE + 1)}
    files = {}
    for name, stage in {**stages, "evaluate.slurm": EVALUATE}.items():
        title = stage if stage == EVALUATE else f"stage{stage}"
        job = stage_job(stage, site, run, f"cloudseg-{title}-%j.log")
        files[name] = script(dataclasses.replace(job, name=title, comment=_usage(name, stage)))
    preprocess = dataclasses.replace(preprocess_job(site, array="0-31"), comment=_PREPROCESS_USAGE)
    return {**files, "preprocess.slurm": script(preprocess)}


def _usage(name: str, stage: str) -> tuple[str, ...]:
    task = "Scores of a trained run" if stage == EVALUATE else f"Stage {stage} of a run"
    return (
        f"{task}, submitted by hand from the project's folder; more or fewer GPUs by sbatch's own options:",
        "",
        f"  CLOUDSEG_DATA=DATA sbatch jobs/{name}",
        f"  CLOUDSEG_DATA=DATA sbatch --nodes=1 --ntasks-per-node=2 --gres=gpu:2 jobs/{name}",
        "",
        f"CLOUDSEG_RUN (default {DEFAULT}) is the run; if it is new, its settings come from CLOUDSEG_DATA,",
        "CLOUDSEG_CONFIG (a TOML file) and CLOUDSEG_SET (as in 'network=unet-resnet18 seed=1').",
        "CLOUDSEG_SITE names the file in env/sites. Submitted again, it goes on from the last checkpoint.",
    )


_PREPROCESS_USAGE = (
    "JPEGs and train.csv to shards, one array task a shard, submitted by hand from the project's folder:",
    "",
    "  CLOUDSEG_CSV=train.csv CLOUDSEG_IMAGES=train_images CLOUDSEG_DATA=DATA sbatch jobs/preprocess.slurm",
    "",
    "As many shards as array tasks; to do single ones again: CLOUDSEG_SHARDS=32 sbatch --array=5,9 ...;",
    "to do at most 8 at the same time: sbatch --array=0-31%8 ...",
    "CLOUDSEG_SIZE (default 320x480) is height x width. Submitted again, it makes what is missing.",
)


def afterok(job_id: str) -> str:
    """The dependency on the success of a job."""
    return f"afterok:{job_id}"


def submitit_command(folder: Path) -> str:
    """The shell command of a job of submitit, which unpickles a function from `folder` and calls it."""
    return f"python -u -m submitit.core._submit {shlex.quote(str(folder))}"
