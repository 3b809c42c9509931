"""A contender of several processes, which are measured together and suspended between measurements, so that they take
no CPU time from other contenders."""

from __future__ import annotations

import dataclasses
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil

from bench.contender import Contender
from bench.scaling.job import Job

T = TypeVar("T")


class Group:
    """One process of `module` per rank of `job`. Unless `awake`, they are suspended between measurements.

    `missing` is the name of a required package that is not installed, or "".
    """

    def __init__(self, module: str, job: Job, awake: bool = False) -> None:
        ports = _free_ports(job.ranks)
        self._awake = awake
        self._threads = ThreadPoolExecutor(job.ranks)
        jobs = [dataclasses.replace(job, rank=rank, ports=ports) for rank in range(job.ranks)]
        self._processes = list(self._threads.map(lambda each: Contender(module, each), jobs))
        self.missing = self._processes[0].missing
        self.values: list[float] = []
        if not self.missing:
            self._measure()  # discarded, as it traces the step
        self._signal(signal.SIGSTOP)

    def measure(self) -> float:
        """Images per second of all processes together."""
        self._signal(signal.SIGCONT)
        try:
            self.values.append(self._measure())
        finally:
            self._signal(signal.SIGSTOP)
        return self.values[-1]

    @property
    def peak_mib(self) -> float:
        return sum(process.peak.total_mib for process in self._processes)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._in_all(Contender.close)
        self._threads.shutdown()

    def _measure(self) -> float:
        return sum(self._in_all(Contender.measure))

    def _in_all(self, do: Callable[[Contender], T]) -> list[T]:
        return list(self._threads.map(do, self._processes))

    def _signal(self, number: signal.Signals) -> None:
        for process in () if self._awake else self._processes:
            if psutil.pid_exists(process.pid):
                psutil.Process(process.pid).send_signal(number)


def _free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()
