"""Peak memory of a process and its descendants.

It is read from the kernel's high-water mark (VmHWM) of every process while the processes run. Unlike ru_maxrss, VmHWM
is not inherited by child processes, and workers that have ended are included.
"""

from __future__ import annotations

from pathlib import Path

import psutil


class Peak:
    """`total_mib` is the largest sum over the processes of one update, `process_mib` the largest value of each process.

    Pages of a mapped file count in every process that has read them, though they are in memory once.
    """

    def __init__(self, pid: int, without_first: bool = False) -> None:
        self._root, self._without_first = psutil.Process(pid), without_first
        self.total_mib = 0.0
        self.process_mib: dict[int, float] = {}

    def update(self) -> None:
        """Read the high-water marks of all running processes."""
        try:
            alive = [] if self._without_first else [self._root.pid]
            alive += [child.pid for child in self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        now = {pid: mib for pid in alive if (mib := _high_water_mib(pid))}
        self.process_mib |= now
        self.total_mib = max(self.total_mib, sum(now.values()))


def _high_water_mib(pid: int) -> float:
    """VmHWM of a process in MiB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)
