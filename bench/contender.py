"""Contenders: each in a fresh process of its own, so that none heats or bloats another, measured in turns."""

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
"""Between two looks at the memory of a contender that measures."""
GRACE_S = 10.0
"""How long a contender may take to end."""
Measure = Callable[[], float]
"""One measurement; what a contender's module gives: `contender(job) -> Measure`."""


class Measurable(Protocol):
    def measure(self) -> float: ...


class Contender:
    """The function `contender` of `module`, called with `job` in a new process that idles between measurements.

    `missing` names a package that it needs and this environment has not. Raises CloudsegError if it fails.
    """

    def __init__(self, module: str, job: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._module = module
        self._process = context.Process(target=_serve, args=(theirs, module, job))
        self._process.start()
        theirs.close()
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
        """One measurement that does not count."""
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
                self.peak.look()
            self.peak.look()
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise CloudsegError(f"{self._module}: its process died (out of memory?)") from error
        if kind == "failed":
            raise CloudsegError(f"{self._module} failed:\n{value}")
        return value


def _serve(pipe: Connection, module: str, job: Any) -> None:
    """What the contender's process does, until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the benchmark, which ends this
    # Of TensorFlow's messages errors are enough; a GPU takes no part, and contenders would fight for its memory.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
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
    """Name -> (module, job) as running contenders, warmed up; those whose packages are missing become a note."""
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
    """Baseline -> pairs: in every round each baseline is measured right after a measurement of ours of its own."""
    pairs: dict[str, list[Pair]] = {name: [] for name in baselines}
    for done in range(rounds):
        for name, baseline in baselines.items():
            pair = ours.measure(), baseline.measure()
            pairs[name].append(pair)
            say(f"round {done + 1} of {rounds}, {name}: {pair[0]:.5g} to {pair[1]:.5g}")
    return pairs


def between(before: Measurable, ours: Measurable, after: Measurable, rounds: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs of ours with each of two baselines: in every round one is measured right before ours, one right after."""
    pairs: tuple[list[Pair], list[Pair]] = ([], [])
    for done in range(rounds):
        first, middle, last = before.measure(), ours.measure(), after.measure()
        pairs[0].append((middle, first))
        pairs[1].append((middle, last))
        say(f"round {done + 1} of {rounds}: {first:.5g}, ours {middle:.5g}, {last:.5g}")
    return pairs


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
