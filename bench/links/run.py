"""The benchmark `links`."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contender import say
from bench.links import namespaces, picture
from bench.links.job import Round, Took
from bench.links.picture import Point
from bench.report import Report, ratio
from bench.report import figure as spread
from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError
from cloudseg.nets import layer_cost, names
from cloudseg.nets.layer_cost import Layer
from cloudseg.performance import links, model
from cloudseg.performance.links import Measured
from cloudseg.performance.model import Link, Machine, Step
from cloudseg.training import buckets

STAGES = {"frozen": 0.0, "full": 1.0}
"""Name -> share of the encoder that trains."""
COMPUTE_S = 1.0
"""Computing time of a step of the full stage, during which ranks sleep."""
PAYLOAD = 1448 / 1514
"""Share of the payload in a link's traffic; the rest is headers of Ethernet, IP and TCP."""
TINY = Round(sleeps=[0.0], sizes=[4], steps=20)
PROBE = Round(sleeps=[0.0], sizes=[64_000_000], steps=1)
"""The allreduce that doctor measures, see `cloudseg.checks.rank`."""
PATIENCE_S = 600.0


def run(rounds: int, nodes: list[int], gigabits: list[float], network: str, figure: Path | None) -> Report:
    names.parse(network)
    stages = {name: _layers(network, share) for name, share in STAGES.items()}
    flops = 3 * layer_cost.forward(stages["full"]) / COMPUTE_S
    report = Report()
    points = [point for count in nodes for point in _measure(report, count, gigabits, stages, flops, rounds)]
    if figure:
        title = f"{network}: simulated steps over links of a given bandwidth"
        picture.draw(points, title).savefig(figure, dpi=90)
    report.notes += [
        f"simulated {network}: in a step of the full stage ranks sleep {COMPUTE_S:g} s, so that a few cores can "
        "simulate many nodes; messages, their overlap with the sleep, Horovod, Gloo and TCP are real",
        "nodes are network namespaces, links token buckets; over_predicted: measured seconds per step over those that "
        f"cloudseg.performance.model predicts from one allreduce of {PROBE.sizes[0] / 1e6:.0f} MB over the same nodes, "
        "as doctor measures it, and from the latency of small ones",
        f"over_nominal: the same, predicted from the bandwidth of the links, {PAYLOAD:.1%} of which is payload",
    ]
    return report


def _measure(
    report: Report, count: int, gigabits: list[float], stages: dict[str, list[Layer]], flops: float, rounds: int
) -> Iterator[Point]:
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder, _ranks(count, Path(folder)) as ask:
        tiny = statistics.median(ask(TINY).seconds)
        for gigabit in gigabits:
            namespaces.shape(count, gigabit * 1e9)
            link = Link(gigabit * 1e9 / 8 * PAYLOAD, tiny / (2 * (count - 1)))
            nominal = Machine(flops, 1, link, link)
            probe = Measured(count, 1, PROBE.sizes[0], statistics.median(ask(PROBE).seconds), "")
            machine = links.with_measured_links(nominal, [probe])
            for stage, layers in stages.items():
                expected, by_rate = (_seconds(model.step(layers, 1, count, each)) for each in (machine, nominal))
                took = ask(_round(layers, flops, rounds)).seconds
                name = f"{stage}, {count} nodes, {gigabit:g} Gb/s"
                say(f"{name}: predicted {expected:.3g} s, took {statistics.median(took):.3g} s")
                report.figures[f"predicted: {name}"] = spread([expected], "s")
                report.figures[name] = spread(took, "s")
                report.ratios[f"over_predicted: {name}"] = ratio([(seconds, expected) for seconds in took])
                report.ratios[f"over_nominal: {name}"] = ratio([(seconds, by_rate) for seconds in took])
                yield Point(stage, count, gigabit, expected, statistics.median(took))


def _seconds(step: Step) -> float:
    return step.compute_s + step.waiting_s


def _layers(name: str, share: float) -> list[Layer]:
    from cloudseg.nets import count_cost as network_cost
    from cloudseg.nets import freeze, models

    built = models.build(name, (320, 480), pretrained=False)
    freeze.freeze(built, share)
    return network_cost.layers(built)


def _round(layers: list[Layer], flops: float, steps: int) -> Round:
    """The job for these layers, as in `performance.model.step`: a message is sent when its gradients are ready."""
    sizes, backward = layer_cost.message(layers), layer_cost.backward(layers)
    parts = buckets.split(sizes, buckets.LIMIT)
    ready = [(layer_cost.forward(layers) + sum(backward[part.start :])) / flops for part in parts]
    sleeps = [after - before for before, after in zip([0.0, *ready], ready, strict=False)]
    return Round(sleeps, [sum(sizes[part]) for part in parts], steps)


@contextmanager
def _ranks(count: int, folder: Path) -> Iterator[Asker]:
    """Context with one rank on each of `count` nodes, and an Asker that sends them jobs."""
    with namespaces.nodes(count) as hosts:
        say(f"{count} nodes: starting one rank on each")
        processes = [
            subprocess.Popen(
                [*namespaces.inside(host), sys.executable, "-m", "bench.rank", "bench.links.standin", str(folder)],
                env={**os.environ, **_slurm_environment(rank, count), "CLOUDSEG_ATTEMPT": "links"},
            )
            for rank, host in enumerate(hosts)
        ]
        asker = Asker(folder, processes)
        try:
            yield asker
            asker.tell(Round([], [], 0))
            for process in processes:
                process.wait(PATIENCE_S)
        finally:
            for process in processes:
                process.kill()
                process.wait()


class Asker:
    """Sends jobs to running ranks by files."""

    def __init__(self, folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
        self._folder, self._processes, self._number = folder, processes, 0

    def __call__(self, round_: Round) -> Took:
        """Send a job; returns rank 0's answer. Raises CloudsegError if a rank ends or the answer takes too long."""
        answer = self._folder / f"took-{self._number}.json"
        self.tell(round_)
        deadline = time.monotonic() + PATIENCE_S
        while not answer.exists():
            if any(process.poll() is not None for process in self._processes) or time.monotonic() > deadline:
                raise CloudsegError("a rank ended, or did not answer; the reason is above")
            time.sleep(0.1)
        return Took(**json.loads(answer.read_text()))

    def tell(self, round_: Round) -> None:
        atomic.write_json(self._folder / f"round-{self._number}.json", dataclasses.asdict(round_))
        self._number += 1


def _slurm_environment(rank: int, count: int) -> dict[str, str]:
    return {
        "SLURM_STEP_TASKS_PER_NODE": f"1(x{count})",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(rank),
        "CLOUDSEG_INTERFACE": namespaces.INTERFACE,
    }
