"""Slurm's side as text: an sbatch script from a Job."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

from cloudseg.core.attempt import OWN_JOB
from cloudseg.core.errors import UsageError
from cloudseg.core.run import DEFAULT, EVALUATE
from cloudseg.slurm import durations
from cloudseg.slurm.sites import Resources, Site

SIGNAL_LEAD_S = 120
"""Seconds before the walltime at which ranks are told to save and leave. Slurm looks every 30 s."""
PLANNED_RANKS = "CLOUDSEG_RANKS"
"""The environment variable that tells how many ranks' work a job does that may have fewer."""
LAST_CALL_S = 15
"""Seconds before the walltime at which a job whose ranks have not left by then is requeued all the same."""

HANDWRITTEN_STAGES = 3
"""How many stages there are files in jobs/ for; the recipe `paper` has as many."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One batch job; `script` gives its text."""

    name: str
    resources: Resources
    command: str
    """Started once, on the first node; it starts the ranks."""
    log: str
    sbatch: tuple[str, ...] = ()
    exports: tuple[tuple[str, str], ...] = ()
    dependency: str = ""
    array: str = ""
    comment: tuple[str, ...] = ()
    elastic: bool = False
    """Whether fewer nodes may do the work, and one of them is enough to start."""

    @property
    def ranks(self) -> int:
        return self.resources.nodes * self.resources.tasks_per_node


def script(job: Job) -> str:
    """The text that sbatch is given. Raises UsageError for paths that sbatch could not be told."""
    need = job.resources
    walltime = durations.seconds(need.time)
    # Of a range of nodes Slurm takes the most there are, but only one if it is told of one task a node.
    elastic = job.elastic and need.nodes > 1
    lead = SIGNAL_LEAD_S if walltime is None else min(SIGNAL_LEAD_S, int(walltime // 4))
    for option in job.sbatch:  # sbatch heeds the last one
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
        *([f"--gres=gpu:{need.gpus_per_node}"] if need.gpus_per_node else []),
        f"--time={need.time}",
        *([f"--array={job.array}"] if job.array else []),
        f"--output={job.log}",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR2@{lead}",
        *job.sbatch,
        *([f"--dependency={job.dependency}", "--kill-on-invalid-dep=yes"] if job.dependency else []),
    ]
    for option in options:
        if not option.isprintable() or set(option) & set(" \"'\\"):
            way = "choose another value"
            if option.startswith("--output="):
                way = "choose another folder, with --run (of doctor: --folder)"
            raise UsageError(f"sbatch takes no blanks, quotes or control characters in {option!r}; {way}")
    lines = [
        "#!/usr/bin/env bash",
        *(f"# {line}".rstrip() for line in job.comment),
        *(f"#SBATCH {option}" for option in options),
        "",
        "set -euo pipefail",
        f"export {OWN_JOB}=$SLURM_JOB_ID",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports),
        'cd "${CLOUDSEG_HOME:-$SLURM_SUBMIT_DIR}"',
        "source env/activate.sh",
        f"exec {job.command}",
    ]
    return "\n".join(lines) + "\n"


def stage_job(stage: str, site: Site, run: str, log: str, **changes: int | str) -> Job:
    """The job of one stage, or of the evaluation; `changes` replace what the site says of its resources."""
    resources = site.evaluate if stage == EVALUATE else site.train
    return Job(
        name=stage,
        resources=dataclasses.replace(resources, **changes),  # type: ignore[arg-type]
        command=f"python -m cloudseg.job --run {run} --stage {stage}",
        log=log,
        sbatch=site.sbatch,
    )


def preprocess_job(site: Site, array: str) -> Job:
    """One array task a shard; what it needs to know comes from environment variables."""
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
        sbatch=site.sbatch,
        array=array,
    )


def handwritten(site: Site) -> dict[str, str]:
    """The files of jobs/, by name: what people sbatch without the launcher, told by environment variables."""
    run = f'"${{CLOUDSEG_RUN:-{DEFAULT}}}"'
    stages = {f"train_stage{number}.slurm": str(number) for number in range(1, HANDWRITTEN_STAGES + 1)}
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
    "As many shards as array tasks; to do single ones again: CLOUDSEG_SHARDS=32 sbatch --array=5,9 ...",
    "CLOUDSEG_SIZE (default 320x480) is height x width. Submitted again, it makes what is missing.",
)


def afterok(job_id: str) -> str:
    return f"afterok:{job_id}"


def submitit_command(folder: Path) -> str:
    """What submitit lets a job run: it unpickles a function from `folder` and calls it."""
    return f"python -u -m submitit.core._submit {shlex.quote(str(folder))}"
