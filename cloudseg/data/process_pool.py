"""Starts the processes of a pool with stop signals blocked, as their parent ends them."""

from __future__ import annotations

import multiprocessing
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess

from cloudseg.core.signals import blocked


class _Process(SpawnProcess):
    def start(self) -> None:
        # Ctrl-C and `timeout` signal the whole process group. A worker that the signal kills would look like one that
        # was killed for lack of memory.
        with blocked():
            resource_tracker.ensure_running()  # it unblocks signals, and would be started with the first process
        with blocked():
            super().start()


class Context(SpawnContext):
    """Spawns processes: a forked child may wait without end for a lock that an OpenCV thread held."""

    Process = _Process


def kill_all() -> None:
    """Kill all processes that this process has started, and wait until they have ended."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
