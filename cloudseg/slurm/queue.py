"""What Slurm knows of jobs: one call of squeue and one of sacct, however many there are. Parsing is pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from cloudseg.core.errors import CloudsegError
from cloudseg.slurm import commands

SQUEUE = ("%i", "%T", "%r", "%M", "%L", "%N", "%E")
SACCT = ("JobID", "State", "ExitCode", "Eligible", "Start", "End", "ElapsedRaw", "AllocTRES")

# The states of a job: `job_state_string` in src/common/slurm_protocol_defs.c of Slurm 26.05, and the manuals of squeue
# and sacct.
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
)  # fmt: skip
"""Slurm has nothing to do for such a job any more. A job in a state that is in none of these lists is alive."""
WAITING = (
    "EXPEDITING", "LAUNCH_FAILED", "PENDING", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
    "RESV_DEL_HOLD", "SPECIAL_EXIT",
)  # fmt: skip
RUNNING = {
    "RUNNING": "",
    "COMPLETING": "Slurm is ending its job",
    "CONFIGURING": "its nodes are being made ready",
    "POWER_UP_NODE": "its nodes are being powered up",
    "RESIZING": "Slurm is changing the number of its nodes",
    "SIGNALING": "a signal is on its way to it",
    "STAGE_OUT": "Slurm is copying its files out of the burst buffer",
    "STOPPED": "stopped by SIGSTOP, while it keeps its nodes; to let it go on: scancel --signal=CONT JOB",
    "SUSPENDED": "suspended by Slurm or an operator, and goes on when it is resumed",
}
"""States of jobs that have nodes, and what they mean for the user."""


@dataclasses.dataclass(frozen=True)
class Queued:
    """A job that the controller knows: pending, running, or ended some minutes ago."""

    state: str
    reason: str
    elapsed: str
    """As Slurm writes times: 1-02:03:04."""
    left: str
    nodes: str
    dependency: str

    @property
    def held(self) -> bool:
        """Whether Slurm still has something to do for it."""
        return self.state not in ENDED

    @property
    def running(self) -> bool:
        """Whether it has nodes; a state that is not known counts by the nodes that Slurm names."""
        known = self.state in RUNNING or self.state in WAITING
        return self.state in RUNNING or (self.held and not known and bool(self.nodes))

    @property
    def waiting(self) -> bool:
        return self.held and not self.running


@dataclasses.dataclass(frozen=True)
class Account:
    """One try at a job, as accounting has it; a job that was requeued has several."""

    state: str
    exit_code: str
    eligible: str
    """Since when it could have started: 2026-11-25T22:11:24, or Unknown; `start` and `end` too."""
    start: str
    end: str
    seconds: int
    gpus: int

    @property
    def queued_s(self) -> float:
        """Seconds in the queue since it could have started; 0 if it never did."""
        try:
            waited = datetime.datetime.fromisoformat(self.start) - datetime.datetime.fromisoformat(self.eligible)
        except ValueError:
            return 0.0
        return max(0.0, waited.total_seconds())


def squeue(ids: Sequence[str]) -> dict[str, Queued] | None:
    """What the controller says of jobs; None if it does not answer. It does not know those that ended long ago."""
    if not ids:
        return {}
    said = commands.ask(["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}",
                         f"--format={'|'.join(SQUEUE)}"])  # fmt: skip
    return None if said is None else parse_squeue(said)


def active(ids: Sequence[str]) -> dict[str, Queued]:
    """Those of these jobs that Slurm still has something to do for. Raises CloudsegError if it does not answer."""
    jobs = squeue(ids)
    if jobs is None:
        raise CloudsegError("squeue does not answer, so nothing was queued; type the same again")
    return {number: job for number, job in jobs.items() if job.held}


def sacct(ids: Sequence[str]) -> dict[str, list[Account]] | None:
    """All tries at jobs, oldest first; None where there is no accounting."""
    if not ids:
        return {}
    said = commands.ask(["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates",
                         f"--jobs={','.join(ids)}", f"--format={','.join(SACCT)}"])  # fmt: skip
    return None if said is None else parse_sacct(said)


def reconciled(jobs: Mapping[str, Queued], accounts: Mapping[str, Sequence[Account]]) -> dict[str, Queued]:
    """`jobs` as the controller has them, but for a job in a state that is not known and of which accounting says that
    it has ended: it has."""

    def settled(number: str, job: Queued) -> Queued:
        tries = accounts.get(number)
        known = job.state in (*ENDED, *WAITING, *RUNNING)
        return (
            job
            if known or not tries or tries[-1].state not in ENDED
            else dataclasses.replace(job, state=tries[-1].state)
        )

    return {number: settled(number, job) for number, job in jobs.items()}


def parse_squeue(text: str) -> dict[str, Queued]:
    """Lines of `SQUEUE` fields, by job id."""
    rows = (line.split("|") for line in text.splitlines())
    return {row[0].strip(): Queued(*(field.strip() for field in row[1:])) for row in rows if len(row) == len(SQUEUE)}


def parse_sacct(text: str) -> dict[str, list[Account]]:
    """Lines of `SACCT` fields, by job id."""
    found: dict[str, list[Account]] = {}
    for line in text.splitlines():
        row = line.split("|")
        if len(row) != len(SACCT):
            continue
        job, state, exit_code, eligible, start, end, seconds, tres = row
        short = state.partition(" ")[0]  # of "CANCELLED by 1000"
        account = Account(short, exit_code, eligible, start, end, _number(seconds), gpus(tres))
        found.setdefault(job, []).append(account)
    return found


def gpus(tres: str) -> int:
    """GPUs in a list of allocated resources, as "cpu=8,gres/gpu=4,gres/gpu:v100=4,node=1". Sites that account only for
    types have no untyped entry."""
    numbers = {name: _number(number) for name, _, number in (part.partition("=") for part in tres.split(","))}
    typed = sum(number for name, number in numbers.items() if name.startswith("gres/gpu:"))
    return numbers.get("gres/gpu", typed)


def remark(job: Queued) -> str:
    """What a user should know of a job that has nodes; "" if it simply runs."""
    return RUNNING.get(job.state, f"Slurm says {job.state} of its job")


def reason(job: Queued, names: dict[str, str]) -> str:
    """Why a job waits, in words; `names` are those of jobs by id."""
    key = job.reason.partition("(")[0].strip()
    if key == "Dependency":
        waits = [names.get(number, f"job {number}") for number in _numbers(job.dependency)]
        return f"waits for {' and '.join(waits) or 'other jobs'}"
    words = next((words for known, words in REASONS.items() if key.lower().startswith(known.lower())), "")
    said = words or f"waits: {job.reason}"
    return said if job.state == "PENDING" else f"{said} ({job.state})"


# By the beginning of a reason, in the order in which they are tried. Every reason in src/common/job_state_reason.c of
# Slurm 26.05 that a pending job may have begins with one of these; those in lower case are sentences of its controller.
REASONS = {
    "None": "waits for the scheduler to look at it",
    "Prolog": "waits for the prolog of its nodes",
    "Priority": "waits: others come first",
    "Resources": "waits for nodes to become free",
    "Nodes required for job are DOWN": "waits: nodes that it needs are down, drained or reserved",
    "NvidiaImexChannels": "waits for a channel between NVIDIA nodes to become free",
    "BeginTime": "waits out the pause that Slurm makes before a requeued job",
    "DependencyNeverSatisfied": "can never start: what it waits for failed; cancel it",
    "JobHoldMaxRequeue": "held: it was requeued as often as the cluster allows; scontrol release JOB lets it go on",
    "JobHeldAdmin": "held by an administrator; ask the site's support",
    "JobHeld": "held; scontrol release JOB lets it go",
    "launch failed requeued held": "held: a node failed to start it; scontrol release JOB lets it go on",
    "JobLaunchFailure": "could not be started, for example because a node or the folder of its log was not there",
    "job requeued in held state": "held; scontrol release JOB lets it go",
    "JobArrayTaskLimit": "waits for other tasks of its array",
    "InvalidAccount": "can never start: its account is not valid; name another: export SBATCH_ACCOUNT=PROJECT",
    "AccountNotAllowed": "can never start: the account may not use this partition",
    "AccountingPolicy": "waits: your account is at a limit",
    "InvalidQOS": "can never start: its quality of service is not valid; name another in `sbatch` of the site file",
    "QOSNotAllowed": "can never start: its quality of service may not be used in this partition or by this account",
    "QOSMin": "can never start: it asks for less than this quality of service demands",
    "QOSUsageThreshold": "can never start: your account has used too much for this quality of service",
    "QOSGrp": "waits: all users together are at a limit of this quality of service",
    "QOS": "waits: you are at a limit of this quality of service",
    "AssocMaxWallDurationPerJobLimit": "can never start: it asks for more time than your account may",
    "Association": "waits: your account is at a limit",
    "Assoc": "waits: your account is at a limit",
    "MaxMemPerLimit": "can never start: it asks for more memory than the partition gives",
    "MaxPoweredUpNodes": "waits: as many nodes are powered up as the cluster allows",
    "MaxGRESPer": "waits: you are at the limit of GPUs",
    "Max": "waits: you are at a limit of this quality of service",
    "PartitionTimeLimit": "can never start: it asks for more time than the partition gives",
    "PartitionNodeLimit": "can never start: it asks for more nodes than the partition gives or has up",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is closed",
    "PartitionConfig": "can never start: it asks for more than the partition gives (nodes, time, or its account)",
    "ReqNodeNotAvail": "waits: nodes are down or reserved, often for maintenance",
    "NodeDown": "waits: a node is down",
    "ReservationDeleted": "held: its reservation was deleted; scontrol release JOB lets it go",
    "ReservationInvalid": "can never start: its reservation is not valid",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "BadConstraints": "can never start: no node is as it asks",
    "Constraints": "waits: no node that is up is as it asks",
    "BurstBuffer": "waits for the burst buffer",
    "Cleaning": "waits: what it left on its nodes is being cleared",
    "DeadLine": "can never start: it could not end before its deadline",
    "FedJobLock": "waits: clusters of the federation agree on where it runs",
    "MpiPortsBusy": "waits for network ports that its tasks need",
    "SchedDefer": "waits: it was not to start at once",
    "SystemFailure": "waits: Slurm or a node had a fault; see scontrol show job JOB",
    "NonZeroExitCode": "ended with an error",
    "RaisedSignal": "was ended by a signal",
    "TimeLimit": "has come to the end of its time",
    "InactiveLimit": "was ended, as it did nothing",
    "OutOfMemory": "was ended, as it wanted more memory than it had",
}


def _numbers(dependency: str) -> list[str]:
    """'afterok:12(unfulfilled),afterok:13_*(unfulfilled)' -> ['12', '13']."""
    parts = (part.rpartition(":")[2].partition("(")[0].partition("_")[0] for part in dependency.split(","))
    return [part for part in parts if part.isdecimal()]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
