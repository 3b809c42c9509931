"""Simulates nodes on one machine: network namespaces on a bridge, with limited links. Needs root, ip and tc."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cloudseg.core.errors import UsageError

BRIDGE = "cloudsegbench"
SUBNET = "10.213.78"
INTERFACE = "eth0"


@contextmanager
def nodes(count: int) -> Iterator[list[str]]:
    """Context with the names of `count` nodes, whose links are not limited yet.

    Raises UsageError if they cannot be created.
    """
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        raise UsageError("simulated nodes need root, and the commands ip and tc (Debian: apt install iproute2)")
    names = [f"{BRIDGE}{i}" for i in range(count)]
    _remove(names)
    try:
        _do(f"ip link add {BRIDGE} type bridge")
        _do(f"ip link set {BRIDGE} up")
        for i, name in enumerate(names):
            _do(f"ip netns add {name}")
            _do(f"ip link add {_link(i)} master {BRIDGE} type veth peer name {INTERFACE} netns {name}")
            _do(f"ip link set {_link(i)} up")
            _do(f"ip -n {name} addr add {SUBNET}.{i + 1}/24 dev {INTERFACE}")
            _do(f"ip -n {name} link set {INTERFACE} up")
            _do(f"ip -n {name} link set lo up")
        yield names
    finally:
        _remove(names)


def shape(count: int, bits_per_s: float) -> None:
    """Limit the rate at which each node receives. The limit is a token bucket of 2 ms with a queue of a second, so no
    packet is lost, as on a cluster's links."""
    burst = max(65536, int(bits_per_s / 8 / 500))
    for i in range(count):
        _do(f"tc qdisc replace dev {_link(i)} root tbf rate {bits_per_s:.0f}bit burst {burst} latency 1s")


def inside(node: str) -> list[str]:
    """Prefix of a command that is to run on the node. Its host name is this machine's."""
    return ["ip", "netns", "exec", node]


def _link(number: int) -> str:
    return f"csbench{number}"


def _remove(names: list[str]) -> None:
    for i, name in enumerate(names):
        _do(f"ip link del {_link(i)}", check=False)  # otherwise it is removed some time after its namespace
        _do(f"ip netns del {name}", check=False)
    _do(f"ip link del {BRIDGE}", check=False)


def _do(command: str, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=not check)
