"""One rank that stands in for a GPU: sleeps as long as that would compute, and sends what it would send, by Horovod.

Rounds come as round-0.json, round-1.json and so on; rank 0 answers took-0.json and so on, until one has no steps.
"""

from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from bench.links.job import Round, Took
from cloudseg.core import atomic, attempt
from cloudseg.training import comm as ranks
from cloudseg.training.comm import Comm

LOOK_S = 0.05


def measure(folder: Path) -> None:
    comm = ranks.start(attempt.own(folder))
    number = 0
    while (told := _told(folder / f"round-{number}.json")).steps:
        comm.barrier()
        seconds = _steps(told, comm)
        if comm.rank == 0:
            atomic.write_json(folder / f"took-{number}.json", dataclasses.asdict(Took(seconds)))
        number += 1
    comm.barrier()


def _told(file: Path) -> Round:
    while not file.exists():
        time.sleep(LOOK_S)
    return Round(**json.loads(file.read_text()))


def _steps(told: Round, comm: Comm) -> list[float]:
    messages = [_message(size, number) for number, size in enumerate(told.sizes)]
    seconds = []
    # A thread each: as on a GPU, sending goes on while the next layers are computed.
    with ThreadPoolExecutor(len(messages)) as threads:
        for _ in range(told.steps + 1):  # the first is traced
            comm.barrier()
            began, sent = time.perf_counter(), []
            for pause, message in zip(told.sleeps, messages, strict=True):
                time.sleep(pause)
                sent.append(threads.submit(message))
            for each in sent:
                each.result()
            seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _message(size: int, number: int) -> tf.types.experimental.GenericFunction:
    """As `Comm.mean` sends it, but that several may be on their way."""
    import horovod.tensorflow as hvd  # its import looks at the environment that the ranks' meeting leaves

    tensor = tf.zeros(max(1, size // 4))
    return tf.function(lambda: hvd.grouped_allreduce([tensor], op=hvd.Average, name=f"message.{size}.{number}"))
