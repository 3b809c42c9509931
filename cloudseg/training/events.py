"""Writes the rows of history.csv for TensorBoard: `tensorboard --logdir runs/NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf


class Events:
    """Writes the event files of one stage. If an epoch is repeated after a resume, TensorBoard shows the later row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def add(self, row: Mapping[str, float]) -> None:
        """Write the row of an epoch and flush it to disk."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
