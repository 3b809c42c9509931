"""doctor's checks on one rank of its job: node, GPUs, disks, network to the other ranks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from cloudseg.core import atomic, attempt, provenance
from cloudseg.training import comm

PROBE_BYTES = 64_000_000
"""Bytes written to disks and reduced over ranks: about the size of the gradients of a U-Net with ResNet-18."""
ROUNDS = 5
"""Repetitions of the allreduce."""
PATIENCE_S = 3.0
"""Seconds to wait for the internet; disks and nvidia-smi get ten times as long."""


def check(folder: Path) -> None:
    """Measure together with the other ranks, and write rank-N.json into the shared `folder`."""
    began = time.monotonic()
    ranks = comm.start(attempt.current(folder))
    rendezvous = time.monotonic() - began
    gpus = tf.config.get_visible_devices("GPU")
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    created = atomic.create(folder / "contested", str(ranks.rank).encode())
    (folder / f".moving-{ranks.rank}").write_text("x")
    (folder / f".moving-{ranks.rank}").rename(folder / f"seen-{ranks.rank}")
    ranks.barrier()
    facts: dict[str, Any] = {
        "rank": ranks.rank,
        "ranks": ranks.size,
        "host": socket.gethostname(),
        "versions": provenance.versions(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
        "gpu_memory": _gpu_memory(),
        "meeting_s": rendezvous,
        "allreduce_bytes": PROBE_BYTES,
        "allreduce_bytes_per_s": _allreduce(ranks),
        "won": created,
        "sees": sum(_appears(folder / f"seen-{rank}") for rank in range(ranks.size)),
        "shared_bytes_per_s": _write_speed(folder),
        "tmpdir": str(temporary),
        "tmpdir_free_bytes": shutil.disk_usage(temporary).free,
        "tmpdir_bytes_per_s": _write_speed(temporary),
        "internet": _internet(),
    }
    atomic.write_json(folder / f"rank-{ranks.rank}.json", facts)
    ranks.barrier()


def _gpu_memory() -> list[str]:
    """Memory of each GPU of this rank, as nvidia-smi prints it; [] without nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []


def _allreduce(ranks: comm.Comm) -> float | None:
    """Bytes per second of an allreduce (mean) of PROBE_BYTES, the best of ROUNDS; None for one rank."""
    if ranks.size == 1:
        return None
    tensor, times = tf.ones(PROBE_BYTES // 4), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ranks.mean([tensor])[0].numpy()
        times.append(time.perf_counter() - began)
    return PROBE_BYTES / min(times)


def _appears(file: Path) -> bool:
    """Whether a file that another node renamed appears here; a file server may need some seconds."""
    deadline = time.monotonic() + 10 * PATIENCE_S
    while time.monotonic() < deadline:
        if file in file.parent.iterdir():
            return True
        time.sleep(0.2)
    return False


def _write_speed(folder: Path) -> float:
    """Bytes per second written to a file in `folder`, including fsync."""
    content = os.urandom(1_000_000)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
        began = time.perf_counter()
        for _ in range(PROBE_BYTES // len(content)):
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return PROBE_BYTES / (time.perf_counter() - began)


def _internet() -> bool:
    """Whether this node reaches a public host."""
    try:
        socket.create_connection(("github.com", 443), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True
