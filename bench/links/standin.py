"""One rank that simulates a GPU: it sleeps as long as a GPU would compute, and sends the same messages by Horovod.

Jobs are in round-0.json, round-1.json and so on, until one has no steps; rank 0 writes the answers took-0.json and so
on.
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

POLL_S = 0.05


def measure(folder: Path) -> None:
    comm = ranks.start(attempt.current(folder))
    number = 0
    while (job := _wait_for(folder / f"round-{number}.json")).steps:
        comm.barrier()
        seconds = _steps(job, comm)
        if comm.rank == 0:
            atomic.write_json(folder / f"took-{number}.json", dataclasses.asdict(Took(seconds)))
        number += 1
    comm.barrier()


def _wait_for(file: Path) -> Round:
    while not file.exists():
        time.sleep(POLL_S)
    return Round(**json.loads(file.read_text()))


def _steps(job: Round, comm: Comm) -> list[float]:
    messages = [_message(size, number) for number, size in enumerate(job.sizes)]
    seconds = []
    # One thread per message: as on a GPU, messages are sent while the next gradients are computed.
    with ThreadPoolExecutor(len(messages)) as threads:
        for _ in range(job.steps + 1):  # the first one is traced
            comm.barrier()
            began, sent = time.perf_counter(), []
            for pause, message in zip(job.sleeps, messages, strict=True):
                time.sleep(pause)
                sent.append(threads.submit(message))
            for each in sent:
                each.result()
            seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _message(size: int, number: int) -> tf.types.experimental.GenericFunction:
    """A message like those of `Comm.mean`, except that several may be in flight."""
    import horovod.tensorflow as hvd  # it reads environment variables that the rendezvous sets

    tensor = tf.zeros(max(1, size // 4))
    return tf.function(lambda: hvd.grouped_allreduce([tensor], op=hvd.Average, name=f"message.{size}.{number}"))
