"""What others on a node or on its network can do to the ranks of a job: nothing, while these meet too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests import processes
from tests.cases.conftest import ROOT, clean_environment

PATIENCE_S = 300


@pytest.fixture
def start(tmp_path):
    """Starts a rank of two."""
    ranks: list[subprocess.Popen] = []
    environ = {**clean_environment(), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "CLOUDSEG_SIZE": "2"}

    def start(rank: int) -> subprocess.Popen:
        ranks.append(
            processes.Popen(
                [sys.executable, ROOT / "tests" / "train" / "met_of_ranks.py", tmp_path],
                env={**environ, "CLOUDSEG_ATTEMPT": "met", "CLOUDSEG_RANK": str(rank)},
            )
        )
        return ranks[-1]

    yield start
    for rank in ranks:
        rank.kill()
        rank.wait()


def ports_of(rank: subprocess.Popen, server: int) -> list[int]:
    """Those at which the rank waits for others, once it does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and rank.poll() is None:
        listening = [
            each.laddr.port for each in psutil.Process(rank.pid).net_connections("tcp") if each.status == "LISTEN"
        ]
        if ports := [port for port in listening if port != server]:
            return ports
        time.sleep(0.1)
    raise AssertionError("the rank never listened")


def connected(port: int, says: bytes) -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", port), timeout=30)
    stranger.sendall(says)
    return stranger


def closed(stranger: socket.socket) -> bool:
    try:
        return stranger.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_stranger_who_connects_first_does_not_take_the_place_of_a_rank(start, tmp_path):
    first, meeting = start(0), tmp_path / "attempts" / "met" / "rendezvous.json"
    while not meeting.exists():
        assert first.poll() is None
        time.sleep(0.1)
    (port,) = ports_of(first, json.loads(meeting.read_text())["port"])
    silent = [connected(port, b"") for _ in range(20)]
    talking = [connected(port, says) for says in (b"x", bytes(4096), os.urandom(4096), b"0" * 64)]
    assert [closed(stranger) for stranger in talking] == [True] * 4
    second = start(1)
    assert (first.wait(PATIENCE_S), second.wait(PATIENCE_S)) == (0, 0)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [[1.5, 1.5]] * 2
    assert len(silent) == 20
