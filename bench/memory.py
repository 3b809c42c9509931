"""Peak memory of a process and of all that it started.

The kernel's own high-water mark (VmHWM) of every process, looked up while they live: unlike ru_maxrss it does
not pass from a parent to what it starts, and workers that came and went count.
"""

from __future__ import annotations

from pathlib import Path

import psutil


class Peak:
    """`total_mib` is the largest sum over the processes alive at one look, `process_mib` the largest of each process.

    Pages of a mapped file count in every process that touched them, though the page cache holds them once.
    """

    def __init__(self, pid: int, without_first: bool = False) -> None:
        self._root, self._without_first = psutil.Process(pid), without_first
        self.total_mib = 0.0
        self.process_mib: dict[int, float] = {}

    def look(self) -> None:
        try:
            alive = [] if self._without_first else [self._root.pid]
            alive += [child.pid for child in self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        now = {pid: mib for pid in alive if (mib := _high_water_mib(pid))}
        self.process_mib |= now
        self.total_mib = max(self.total_mib, sum(now.values()))


def _high_water_mib(pid: int) -> float:
    """0 for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)
