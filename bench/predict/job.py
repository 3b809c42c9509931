"""Job of the contenders of the benchmark. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    pictures: Path
    """Folder of pictures."""
    temporary: Path
    size: tuple[int, int]
    network: str
    batch: int

    def paths(self) -> list[Path]:
        return sorted(self.pictures.iterdir())
