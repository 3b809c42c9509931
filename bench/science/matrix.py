"""The matrix of a science benchmark: named settings, seeds, and the pairs to compare. Pure, but for reading the file.

seeds = [0, 1, 2]
compare = [["staged", "one_stage"]]

[settings]                     # of every run, as in a settings file of `cloudseg.launch`
network = "unet-mobilenetv2"
train_images = 1500

[runs.staged]                  # what is different in a run
[runs.one_stage]
stages = ["full"]
[runs.one_stage.stage.full]
epochs = 10
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudseg.core import config
from cloudseg.core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Training:
    """One training: settings under a name, with one seed."""

    name: str
    seed: int
    settings: Mapping[str, Any]
    """Settings table, without `data`."""

    @property
    def id(self) -> str:
        return f"{self.name}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Matrix:
    about: str
    trainings: tuple[Training, ...]
    """Seed by seed, so that the first comparisons are there early."""
    compare: tuple[tuple[str, str], ...]
    """Pairs of names: the difference is first minus second."""


def read(path: Path, weights: str, rounds: int) -> Matrix:
    """Read the matrix of a TOML file, with its first `rounds` seeds; `weights` is used by runs that name none.

    Raises UsageError, naming file and key, for a file that is not a matrix.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    for key in table:
        if key not in ("about", "seeds", "compare", "settings", "runs"):
            raise UsageError(f"{path}: there is no key {key!r}; there are about, seeds, compare, settings, runs")
    runs, seeds = table.get("runs"), table.get("seeds")
    if not isinstance(runs, dict) or not runs:
        raise UsageError(f"{path}: no runs; add a table [runs.NAME]")
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise UsageError(f"{path}: seeds must be a list of whole numbers, for example seeds = [0, 1, 2]")
    for pair in table.get("compare", []):
        if len(pair) != 2 or not set(pair) <= set(runs):
            raise UsageError(f"{path}: compare: {pair} must be two of the runs {', '.join(runs)}")
    base = config.merge({"weights": weights}, table.get("settings", {}))
    return Matrix(
        table.get("about", ""),
        tuple(
            Training(name, seed, {**config.merge(base, changes), "seed": seed})
            for seed in seeds[:rounds]
            for name, changes in runs.items()
        ),
        tuple((first, second) for first, second in table.get("compare", [])),
    )
