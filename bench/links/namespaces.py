"""Nodes on one machine: network namespaces on a bridge, whose links are as slow as one wants. Needs root, ip and tc."""

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
    """The names of as many nodes, whose links have no limit yet; they are gone afterwards.

    Raises UsageError where they cannot be made.
    """
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        raise UsageError("nodes with links of their own need root, and ip and tc (Debian: apt install iproute2)")
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
    """From now on every one of the nodes receives so much at most: a token bucket of 2 ms, and a queue of a second, so
    that nothing is lost, as on a cluster's links."""
    burst = max(65536, int(bits_per_s / 8 / 500))
    for i in range(count):
        _do(f"tc qdisc replace dev {_link(i)} root tbf rate {bits_per_s:.0f}bit burst {burst} latency 1s")


def inside(node: str) -> list[str]:
    """What comes before a command that is to run on the node; it bears this machine's name."""
    return ["ip", "netns", "exec", node]


def _link(number: int) -> str:
    return f"csbench{number}"


def _remove(names: list[str]) -> None:
    for i, name in enumerate(names):
        _do(f"ip link del {_link(i)}", check=False)  # at once; with its namespace it would go some time later
        _do(f"ip netns del {name}", check=False)
    _do(f"ip link del {BRIDGE}", check=False)


def _do(command: str, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=not check)
