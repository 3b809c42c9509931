"""Runs `python -m preprocess` with start-up and shutdown, each time into a new folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench import source
from bench.memory import Peak
from cloudseg.core.errors import CloudsegError

LOOK_S = 2.0


class Command:
    """Measures images/s per process. `out` holds the shards of the last measurement."""

    def __init__(self, images: source.Source, count: int, size: str, workers: int, temporary: Path) -> None:
        self._images, self._count, self._size, self._workers = images, count, size, workers
        self.out = temporary / "shards"
        self.values: list[float] = []
        self.total_mib, self.parent_and_largest_worker_mib = 0.0, 0.0

    def measure(self) -> float:
        shutil.rmtree(self.out, ignore_errors=True)
        command = source.preprocess_command(self._images, self._size, self._workers, self.out)
        with tempfile.TemporaryFile("w+") as output:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=output)
            peak = Peak(process.pid)
            while process.poll() is None:
                peak.update()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_S)
            seconds = time.perf_counter() - began
            if process.returncode:
                output.seek(0)
                raise CloudsegError(f"{' '.join(command)} failed:\n{output.read().strip()}")
        self._update_peaks(peak, process.pid)
        self.values.append(self._count / seconds / self._workers)
        return self.values[-1]

    def _update_peaks(self, peak: Peak, parent: int) -> None:
        workers = [mib for pid, mib in peak.process_mib.items() if pid != parent]
        both = peak.process_mib.get(parent, 0.0) + max(workers, default=0.0)
        self.total_mib = max(self.total_mib, peak.total_mib)
        self.parent_and_largest_worker_mib = max(self.parent_and_largest_worker_mib, both)
