"""What to change when sbatch refuses a job. Pure."""

from __future__ import annotations

from cloudseg.core.run import EVALUATE, PREPROCESS

# A part of the error messages in src/common/slurm_errno.c of Slurm 22.05 to 26.05, in lower case -> what to change in
# the site file, and the option of launch that changes it for stages ("" if there is none). The first match applies.
CAUSES = (
    ("invalid partition", "partition", "--partition"),
    ("partition configuration", "partition, nodes or time", "--partition"),
    ("not permitted to use this partition", "partition", "--partition"),
    ("reservation", "--reservation in sbatch", "--reservation"),
    ("begin specification", "--begin in sbatch", "--begin"),
    ("node name", "--exclude or --nodelist in sbatch", "--exclude"),
    ("accounting/qos policy", "nodes, time or --qos in sbatch, to the limits of your account and QOS", "--nodes"),
    ("qos", "--qos in sbatch", ""),
    ("time limit", "time", "--time"),
    ("node count", "nodes", "--nodes"),
    ("feature", "--constraint in sbatch", ""),
    ("gres", "gpus_per_node or gpu_type", "--tasks-per-node"),
    ("node configuration", "nodes, the CPUs, GPUs and mem of a node, or --constraint in sbatch", "--nodes"),
    ("memory", "mem", ""),
    ("processors", "tasks_per_node or cpus_per_task", "--tasks-per-node"),
    ("cpu count", "tasks_per_node or cpus_per_task", "--tasks-per-node"),
)  # fmt: skip


def table(name: str) -> str:
    """The table of the site file that a job with this name has its resources from."""
    return {EVALUATE: EVALUATE, PREPROCESS: PREPROCESS, "study-table": PREPROCESS}.get(name, "train")


def advice(said: str, kind: str, file: str) -> str:
    """What to change when sbatch has `said` why it refuses a job of the table `kind` of the site `file`."""
    message = said.lower()
    if "contact slurm controller" in message or "socket timed out" in message:
        return "Slurm does not answer; type the same again when sinfo does"
    if "account" in message and "policy" not in message:
        return "name your project: export SBATCH_ACCOUNT=PROJECT (sacctmgr show associations user=$USER)"
    what, option = next(((what, option) for part, what, option in CAUSES if part in message), ("its values", ""))
    with_option = f", or type another {option}" if option and kind != PREPROCESS else ""
    return f"change {what} under [{kind}] in {file}{with_option}"
