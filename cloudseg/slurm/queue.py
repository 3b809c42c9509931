"""States of jobs, from one call of squeue and one of sacct for any number of jobs. Parsing is pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from cloudseg.core.errors import CloudsegError
from cloudseg.slurm import commands

SQUEUE = ("%i", "%T", "%r", "%M", "%L", "%N", "%E")
EPOCH = {"SLURM_TIME_FORMAT": "%s"}
"""Has sacct print times as seconds since 1970: its default is local time, in which an hour occurs twice in autumn."""
SACCT = ("JobID", "State", "ExitCode", "Eligible", "Start", "End", "ElapsedRaw", "AllocTRES")

# Sources of the job states: `job_state_string` in src/common/slurm_protocol_defs.c of Slurm 26.05, and the manuals of
# squeue and sacct.
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
)  # fmt: skip
"""States of jobs that have ended. A job in a state that is in none of these three collections counts as active."""
WAITING = (
    "EXPEDITING", "LAUNCH_FAILED", "PENDING", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
    "RESV_DEL_HOLD", "SPECIAL_EXIT",
)  # fmt: skip
"""States of jobs without nodes that have not ended."""
RUNNING = {
    "RUNNING": "",
    "COMPLETING": "Slurm is ending the job",
    "CONFIGURING": "Slurm is preparing its nodes",
    "POWER_UP_NODE": "its nodes are powering up",
    "RESIZING": "Slurm is changing its number of nodes",
    "SIGNALING": "Slurm is sending it a signal",
    "STAGE_OUT": "Slurm is copying its files out of the burst buffer",
    "STOPPED": "stopped by SIGSTOP, keeps its nodes; to continue it: scancel --signal=CONT JOB",
    "SUSPENDED": "suspended by Slurm or an operator; continues when it is resumed",
}
"""States of jobs that have nodes -> explanation for the user; "" if there is nothing to explain."""


@dataclasses.dataclass(frozen=True)
class QueuedJob:
    """A job that the Slurm controller knows: pending, running, or ended some minutes ago; fields as in squeue."""

    state: str
    reason: str
    elapsed: str
    """Duration in Slurm's format, for example 1-02:03:04; `left` too."""
    left: str
    nodes: str
    dependency: str

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self.state not in ENDED

    @property
    def running(self) -> bool:
        """Whether the job has nodes; in an unknown state, whether Slurm names nodes."""
        known = self.state in RUNNING or self.state in WAITING
        return self.state in RUNNING or (self.active and not known and bool(self.nodes))

    @property
    def waiting(self) -> bool:
        """Whether the job has not ended and has no nodes."""
        return self.active and not self.running


@dataclasses.dataclass(frozen=True)
class AccountingRecord:
    """Accounting record of one start of a job; a requeued job has several records."""

    state: str
    exit_code: str
    eligible: str
    """Time from which the job could have started, in seconds since 1970 or as 2026-11-25T22:11:24 (local time); or
    Unknown or None; `start` and `end` likewise."""
    start: str
    end: str
    seconds: int
    """Elapsed seconds."""
    gpus: int

    @property
    def queued_s(self) -> float:
        """Seconds in the queue between `eligible` and `start`; 0 if the job never started."""
        eligible, start = seconds_since_1970(self.eligible), seconds_since_1970(self.start)
        return 0.0 if eligible is None or start is None else max(0.0, start - eligible)


def squeue(ids: Sequence[str]) -> dict[str, QueuedJob] | None:
    """Job id -> state from the controller, without jobs that ended long ago; None if squeue does not answer."""
    if not ids:
        return {}
    output = commands.query(["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}",
                           f"--format={'|'.join(SQUEUE)}"])  # fmt: skip
    return None if output is None else parse_squeue(output)


def active(ids: Sequence[str]) -> dict[str, QueuedJob]:
    """The jobs among `ids` that have not ended. Raises CloudsegError if squeue does not answer."""
    jobs = squeue(ids)
    if jobs is None:
        raise CloudsegError("squeue does not answer, so nothing was queued; type the same command again")
    return {number: job for number, job in jobs.items() if job.active}


def sacct(ids: Sequence[str]) -> dict[str, list[AccountingRecord]] | None:
    """Job id -> accounting records, oldest first; None without accounting."""
    if not ids:
        return {}
    output = commands.query(["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates",
                           f"--jobs={','.join(ids)}", f"--format={','.join(SACCT)}"], EPOCH)  # fmt: skip
    return None if output is None else parse_sacct(output)


def reconciled(
    jobs: Mapping[str, QueuedJob], accounts: Mapping[str, Sequence[AccountingRecord]]
) -> dict[str, QueuedJob]:
    """`jobs` of the controller; a job in an unknown state gets its ended state from accounting if there is one."""

    def reconcile(number: str, job: QueuedJob) -> QueuedJob:
        records = accounts.get(number)
        known = job.state in (*ENDED, *WAITING, *RUNNING)
        if known or not records or records[-1].state not in ENDED:
            return job
        return dataclasses.replace(job, state=records[-1].state)

    return {number: reconcile(number, job) for number, job in jobs.items()}


def parse_squeue(text: str) -> dict[str, QueuedJob]:
    """Job id -> job, from lines with the fields `SQUEUE`."""
    rows = (line.split("|") for line in text.splitlines())
    return {row[0].strip(): QueuedJob(*(field.strip() for field in row[1:])) for row in rows if len(row) == len(SQUEUE)}


def parse_sacct(text: str) -> dict[str, list[AccountingRecord]]:
    """Job id -> accounting records, from lines with the fields `SACCT`."""
    records: dict[str, list[AccountingRecord]] = {}
    for line in text.splitlines():
        row = line.split("|")
        if len(row) != len(SACCT):
            continue
        job, state, exit_code, eligible, start, end, seconds, tres = row
        short = state.partition(" ")[0]  # of "CANCELLED by 1000"
        account = AccountingRecord(short, exit_code, eligible, start, end, _number(seconds), gpus(tres))
        records.setdefault(job, []).append(account)
    return records


def seconds_since_1970(time: str) -> float | None:
    """The seconds since 1970 of a time that sacct printed; None for Unknown and None.

    A local time, of a Slurm that does not know the format EPOCH, is the first of the two that it may be in autumn.
    """
    if time.isdecimal():
        return float(time)
    try:
        return datetime.datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None


def gpus(tres: str) -> int:
    """Number of GPUs in a list of allocated resources, for example "cpu=8,gres/gpu=4,gres/gpu:v100=4,node=1".

    Sites that account only for GPU types have no entry without a type.
    """
    numbers = {name: _number(number) for name, _, number in (part.partition("=") for part in tres.split(","))}
    typed = sum(number for name, number in numbers.items() if name.startswith("gres/gpu:"))
    return numbers.get("gres/gpu", typed)


def remark(job: QueuedJob) -> str:
    """Explanation of the state of a job that has nodes; "" for RUNNING."""
    return RUNNING.get(job.state, f"its job is in the Slurm state {job.state}")


def reason(job: QueuedJob, names: Mapping[str, str]) -> str:
    """Explanation why a job waits. `names`: job id -> name of the job in the explanation."""
    key = job.reason.partition("(")[0].strip()
    if key == "Dependency":
        waits = [names.get(number, f"job {number}") for number in _numbers(job.dependency)]
        return f"waits for {' and '.join(waits) or 'other jobs'}"
    words = next((words for known, words in REASONS.items() if key.lower().startswith(known.lower())), "")
    text = words or f"waits: {job.reason}"
    return text if job.state == "PENDING" else f"{text} ({job.state})"


# Start of Slurm's reason -> explanation; the first match is taken. Every reason of a pending job in
# src/common/job_state_reason.c of Slurm 26.05 starts with one of these; those in lower case are sentences of the
# controller.
REASONS = {
    "None": "waits for the scheduler to consider it",
    "Prolog": "waits for the prolog of its nodes",
    "Priority": "waits: other jobs have a higher priority",
    "Resources": "waits for nodes to become free",
    "Nodes required for job are DOWN": "waits: nodes that it needs are down, drained or reserved",
    "NvidiaImexChannels": "waits for a channel between NVIDIA nodes to become free",
    "BeginTime": "waits for the delay of Slurm before a requeued job starts, or for the time of --begin",
    "DependencyNeverSatisfied": "can never start: a job that it depends on failed; cancel it",
    "JobHoldMaxRequeue": "held: it was requeued as often as the cluster allows; to release it: scontrol release JOB",
    "JobHeldAdmin": "held by an administrator; ask the site's support",
    "JobHeld": "held; to release it: scontrol release JOB",
    "launch failed requeued held": "held: a node failed to start it; to release it: scontrol release JOB",
    "JobLaunchFailure": "could not be started, for example because a node or the folder of its log does not exist",
    "job requeued in held state": "held; to release it: scontrol release JOB",
    "JobArrayTaskLimit": "waits for other tasks of its array",
    "InvalidAccount": "can never start: its account is not valid; name another: export SBATCH_ACCOUNT=PROJECT",
    "AccountNotAllowed": "can never start: the account may not use this partition",
    "AccountingPolicy": "waits: your account is at a limit",
    "InvalidQOS": "can never start: its quality of service is not valid; name another in `sbatch` of the site file",
    "QOSNotAllowed": "can never start: its quality of service may not be used in this partition or by this account",
    "QOSMin": "can never start: it asks for less than this quality of service requires",
    "QOSUsageThreshold": "can never start: your account has used too much for this quality of service",
    "QOSGrp": "waits: the jobs of all users together are at a limit of this quality of service",
    "QOS": "waits: you are at a limit of this quality of service",
    "AssocMaxWallDurationPerJobLimit": "can never start: it asks for more time than your account allows",
    "Association": "waits: your account is at a limit",
    "Assoc": "waits: your account is at a limit",
    "MaxMemPerLimit": "can never start: it asks for more memory than the partition allows",
    "MaxPoweredUpNodes": "waits: as many nodes are powered up as the cluster allows",
    "MaxGRESPer": "waits: you are at the limit of GPUs",
    "Max": "waits: you are at a limit of this quality of service",
    "PartitionTimeLimit": "can never start: it asks for more time than the partition allows",
    "PartitionNodeLimit": "can never start: it asks for more nodes than the partition allows or has up",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is inactive",
    "PartitionConfig": "can never start: it asks for more than the partition allows (nodes, time, or its account)",
    "ReqNodeNotAvail": "waits: nodes are down or reserved, often for maintenance",
    "NodeDown": "waits: a node is down",
    "ReservationDeleted": "held: its reservation was deleted; to release it: scontrol release JOB",
    "ReservationInvalid": "can never start: its reservation is not valid",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "BadConstraints": "can never start: no node meets its constraints",
    "Constraints": "waits: no node that is up meets its constraints",
    "BurstBuffer": "waits for the burst buffer",
    "Cleaning": "waits: Slurm is cleaning up its previous start",
    "DeadLine": "can never start: it could not end before its deadline",
    "FedJobLock": "waits: the clusters of the federation decide where it runs",
    "MpiPortsBusy": "waits for network ports that its tasks need",
    "SchedDefer": "waits: the scheduler defers new jobs",
    "SystemFailure": "waits: Slurm or a node had a fault; see scontrol show job JOB",
    "NonZeroExitCode": "ended with an error",
    "RaisedSignal": "was ended by a signal",
    "TimeLimit": "reached its walltime",
    "InactiveLimit": "was ended because it was inactive",
    "OutOfMemory": "was ended because it exceeded its memory",
}


def _numbers(dependency: str) -> list[str]:
    """Job ids in a dependency: 'afterok:12(unfulfilled),afterok:13_*(unfulfilled)' -> ['12', '13']."""
    parts = (part.rpartition(":")[2].partition("(")[0].partition("_")[0] for part in dependency.split(","))
    return [part for part in parts if part.isdecimal()]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
