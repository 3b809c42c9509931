"""How processes of a pool are started: they leave stop signals to their parent, which ends them."""

from __future__ import annotations

import multiprocessing
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess

from cloudseg.core.signals import blocked


class _Process(SpawnProcess):
    def start(self) -> None:
        # Ctrl-C and `timeout` signal the whole group; a worker that died of it would look like one out of memory.
        with blocked():
            resource_tracker.ensure_running()  # which unblocks some, and else is started with the first process
        with blocked():
            super().start()


class Context(SpawnContext):
    """Spawned, not forked: a forked child can wait for ever for a lock that one of OpenCV's threads held."""

    Process = _Process


def kill_all() -> None:
    """End the processes that this one has started, whatever they are at, and wait until they are gone."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
