"""What the ranks of the step benchmark are told, and what rank 0 answers; both travel as JSON. No TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    shards: str
    network: str
    batch: int
    steps: int
    rounds: int


@dataclass(frozen=True)
class Answer:
    """Of each block, in turns constant and fed: mean seconds of a step, and how much of a fed one was waiting."""

    constant: list[float]
    fed: list[float]
    waited: list[float]
    peak_mib: list[float]
    """Of each rank, with the processes of its feed."""
    device: str


def read_job(path: Path) -> Job:
    return Job(**json.loads(path.read_text()))


def read_answer(path: Path) -> Answer:
    return Answer(**json.loads(path.read_text()))


def write(path: Path, value: Job | Answer) -> None:
    path.write_text(json.dumps(dataclasses.asdict(value)))
