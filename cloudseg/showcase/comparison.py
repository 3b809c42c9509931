"""Table of the scores of stages and runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloudseg.data.labels import CLASSES

COLUMNS = ("run", "stage", "dice", "low", "high", "untuned", "untuned low", "untuned high", *CLASSES)


def titles(runs: Sequence[Path]) -> list[str]:
    """The names of runs; their paths if two names are equal."""
    names = [path.name for path in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in runs]


def table(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """One row per stage with COLUMNS, from the names of runs and their metrics.json. `low` and `high` are the bounds of
    the intervals."""
    rows = [
        (
            name,
            stage,
            scores["dice"],
            *scores["dice_interval"],
            scores["dice_untuned"],
            *scores["dice_untuned_interval"],
            *(scores["dice_per_class"][label] for label in CLASSES),
        )
        for name, metrics in runs
        for stage, scores in metrics["per_stage"].items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
