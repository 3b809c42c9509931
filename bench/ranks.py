"""Starts the ranks of a benchmark, and exchanges job and answer as JSON files. No TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cloudseg.core.errors import CloudsegError
from cloudseg.job import launcher

T = TypeVar("T")
JOB, ANSWER = "job.json", "answer.json"


def run_ranks(module: str, job: Any, kind: Callable[..., T], ranks: int, folder: Path) -> T:
    """Start ranks that call `measure(folder)` of `module` with `job`; returns rank 0's answer, a `kind`.

    Job and answer are dataclasses with JSON-serializable fields. Raises CloudsegError if a rank fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / JOB, job)
    code = launcher.local(["-m", "bench.rank", module, str(folder)], ranks)
    if code:
        raise CloudsegError(f"the ranks failed with exit code {code}; the reason is above")
    return _read(folder / ANSWER, kind)


def read_job(folder: Path, kind: Callable[..., T]) -> T:
    """Read the job, a `kind`. Called by ranks."""
    return _read(folder / JOB, kind)


def write_answer(folder: Path, value: Any) -> None:
    """Write the answer. Called by rank 0."""
    _write(folder / ANSWER, value)


def _read(path: Path, kind: Callable[..., T]) -> T:
    return kind(**json.loads(path.read_text()))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(dataclasses.asdict(value)))
