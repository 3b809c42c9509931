"""Starts the ranks of a benchmark; what they are told and what rank 0 answers travel as JSON. No TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cloudseg.core.errors import CloudsegError
from cloudseg.job import launcher

T = TypeVar("T")
JOB, ANSWER = "job.json", "answer.json"


def ask(module: str, job: Any, kind: Callable[..., T], ranks: int, folder: Path) -> T:
    """What rank 0 answers, a `kind`, when so many ranks call `measure(folder)` of `module` for `job`.

    Both are dataclasses of what JSON has.
    Raises CloudsegError if a rank fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / JOB, job)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    code = launcher.local(["-m", "bench.rank", module, str(folder)], ranks)
    if code:
        raise CloudsegError(f"the ranks failed with exit code {code}; the reason is above")
    return _read(folder / ANSWER, kind)


def told(folder: Path, kind: Callable[..., T]) -> T:
    """For a rank: what it shall do, a `kind`."""
    return _read(folder / JOB, kind)


def answer(folder: Path, value: Any) -> None:
    """For rank 0: what it found."""
    _write(folder / ANSWER, value)


def _read(path: Path, kind: Callable[..., T]) -> T:
    return kind(**json.loads(path.read_text()))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(dataclasses.asdict(value)))
