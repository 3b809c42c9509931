"""Contenders of a benchmark, each in a process of its own, and their alternating measurements."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, Protocol

import psutil

from bench.memory import Peak
from bench.report import Pair
from cloudseg.core.errors import CloudsegError

LOOK_S = 2.0
"""Seconds between two samples of the memory of a contender that measures."""
GRACE_S = 10.0
"""Seconds that a contender may take to end."""
Measure = Callable[[], float]
"""One measurement. A contender's module has a function `contender(job) -> Measure`."""


class Measurable(Protocol):
    def measure(self) -> float: ...


class Contender:
    """Calls the function `contender` of `module` with `job` in a new process, which is idle between measurements.

    `missing` is the name of a required package that is not installed, or "". Raises CloudsegError if it fails.
    """

    def __init__(self, module: str, job: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, process_end = context.Pipe()
        self._module = module
        self._process = context.Process(target=_serve, args=(process_end, module, job))
        self._process.start()
        process_end.close()
        self.peak = Peak(self.pid)
        self.values: list[float] = []
        self.missing: str = self._answer()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def measure(self) -> float:
        self._pipe.send("measure")
        self.values.append(self._answer())
        return self.values[-1]

    def warm_up(self) -> None:
        """Do one measurement and discard it."""
        self.measure()
        self.values.clear()

    def close(self) -> None:
        self._pipe.close()
        self._process.join(GRACE_S)
        if self._process.is_alive():
            for process in [*psutil.Process(self.pid).children(recursive=True), self._process]:
                process.kill()

    def _answer(self) -> Any:
        try:
            while not self._pipe.poll(LOOK_S):
                self.peak.update()
            self.peak.update()
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise CloudsegError(f"{self._module}: its process died (out of memory?)") from error
        if kind == "failed":
            raise CloudsegError(f"{self._module} failed:\n{value}")
        return value


def _serve(pipe: Connection, module: str, job: Any) -> None:
    """Main function of a contender's process: measure on request until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the benchmark, which ends this process
    # Contenders run on CPUs: on a GPU they would compete for its memory.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    try:
        try:
            measure: Measure = importlib.import_module(module).contender(job)
        except ModuleNotFoundError as error:
            pipe.send(("missing", error.name))
            return
        pipe.send(("ready", ""))
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send(("measured", measure()))
    except Exception:
        pipe.send(("failed", traceback.format_exc()))


@contextmanager
def contenders(modules: Mapping[str, tuple[str, Any]], notes: list[str]) -> Iterator[dict[str, Contender]]:
    """Context with a running, warmed-up contender for each (module, job), by name.

    A contender whose packages are missing is left out, with a note in `notes`.
    """
    with ExitStack() as stack:
        running = {}
        for name, (module, job) in modules.items():
            say(f"{name}: starts")
            contender = Contender(module, job)
            stack.callback(contender.close)
            if contender.missing:
                notes.append(f"{name} is left out: {contender.missing} is not installed (env/setup.sh brings it)")
                continue
            contender.warm_up()
            running[name] = contender
        yield running


def alternate(ours: Measurable, baselines: Mapping[str, Measurable], rounds: int) -> dict[str, list[Pair]]:
    """Measure pairs for each baseline: in every round `ours` is measured before each baseline."""
    pairs: dict[str, list[Pair]] = {name: [] for name in baselines}
    for done in range(rounds):
        for name, baseline in baselines.items():
            pair = ours.measure(), baseline.measure()
            pairs[name].append(pair)
            say(f"round {done + 1} of {rounds}, {name}: {pair[0]:.5g} to {pair[1]:.5g}")
    return pairs


def between(before: Measurable, ours: Measurable, after: Measurable, rounds: int) -> tuple[list[Pair], list[Pair]]:
    """Measure pairs for two baselines: in every round one is measured before `ours`, and one after it."""
    pairs: tuple[list[Pair], list[Pair]] = ([], [])
    for done in range(rounds):
        first, middle, last = before.measure(), ours.measure(), after.measure()
        pairs[0].append((middle, first))
        pairs[1].append((middle, last))
        say(f"round {done + 1} of {rounds}: {first:.5g}, ours {middle:.5g}, {last:.5g}")
    return pairs


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
