"""What Slurm knows of jobs: one call of squeue and one of sacct, however many there are. Parsing is pure."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
from collections.abc import Sequence

SQUEUE = ("%i", "%T", "%r", "%M", "%L", "%N", "%E")
SACCT = ("JobID", "State", "ExitCode", "Eligible", "Start", "End", "ElapsedRaw", "AllocTRES")
TIMEOUT_S = 60
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT")
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")


@dataclasses.dataclass(frozen=True)
class Queued:
    """A job that the controller holds: pending, running, or ended some minutes ago."""

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
        return self.state in (*RUNNING, *PENDING)


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
    said = _ask(["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}",
                 f"--format={'|'.join(SQUEUE)}"])  # fmt: skip
    return None if said is None else parse_squeue(said)


def sacct(ids: Sequence[str]) -> dict[str, list[Account]] | None:
    """All tries at jobs, oldest first; None where there is no accounting."""
    if not ids:
        return {}
    said = _ask(["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={','.join(ids)}",
                 f"--format={','.join(SACCT)}"])  # fmt: skip
    return None if said is None else parse_sacct(said)


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
        gpus = next((part.partition("=")[2] for part in tres.split(",") if part.startswith("gres/gpu=")), "0")
        short = state.partition(" ")[0]  # of "CANCELLED by 1000"
        account = Account(short, exit_code, eligible, start, end, _number(seconds), _number(gpus))
        found.setdefault(job, []).append(account)
    return found


def reason(job: Queued, names: dict[str, str]) -> str:
    """Why a job waits, in words; `names` are those of jobs by id."""
    key = job.reason.partition("(")[0].strip()
    if key == "Dependency":
        waits = [names.get(number, f"job {number}") for number in _numbers(job.dependency)]
        return f"waits for {' and '.join(waits) or 'other jobs'}"
    for known, words in REASONS.items():
        if key.startswith(known):
            return words
    return f"waits: {job.reason}"


REASONS = {
    "None": "waits for the scheduler to look at it",
    "Priority": "waits: others come first",
    "Resources": "waits for nodes to become free",
    "BeginTime": "waits out the pause that Slurm makes before a requeued job",
    "DependencyNeverSatisfied": "can never start: what it waits for failed; cancel it",
    "JobHeld": "held; scontrol release lets it go",
    "JobArrayTaskLimit": "waits for other tasks of its array",
    "QOSMax": "waits: you are at a limit of this quality of service",
    "QOSGrp": "waits: all users together are at a limit of this quality of service",
    "Assoc": "waits: your account is at a limit",
    "MaxGRES": "waits: you are at the limit of GPUs",
    "PartitionTimeLimit": "can never start: it asks for more time than the partition gives",
    "PartitionNodeLimit": "can never start: it asks for more nodes than the partition gives",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is closed",
    "ReqNodeNotAvail": "waits: nodes are down or reserved, often for maintenance",
    "NodeDown": "waits: a node is down",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "BadConstraints": "can never start: no node is as it asks",
    "AccountNotAllowed": "can never start: the account may not use this partition",
}


def _numbers(dependency: str) -> list[str]:
    """'afterok:12(unfulfilled),afterok:13_*(unfulfilled)' -> ['12', '13']."""
    parts = (part.rpartition(":")[2].partition("(")[0].partition("_")[0] for part in dependency.split(","))
    return [part for part in parts if part.isdecimal()]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _ask(command: list[str]) -> str | None:
    """What a command says; None if it is not there, fails or takes too long. A single job that squeue has forgotten is
    no failure."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    return answer.stdout
