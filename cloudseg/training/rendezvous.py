"""Connects Horovod's Gloo ranks without horovodrun, mpirun, PMIx or ssh: rank 0 publishes an address in a file.

Horovod reads its rank and the rendezvous server's address from HOROVOD_* variables, which `horovodrun` sets over ssh.
Ranks that srun has started need no ssh: rank 0 opens Horovod's rendezvous server on an address that the other nodes
reach, until all ranks are connected, and writes the address into the attempt's folder, which all nodes share and only
the user may read. The file also holds a secret, which ranks send to the server and to each other (env/patches,
gloo-secret).
"""

from __future__ import annotations

import contextlib
import hmac
import http
import ipaddress
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from cloudseg.core.atomic import with_retries, write_json
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import CloudsegError, Lost
from cloudseg.training.placement import Placement

TIMEOUT_S = 300.0
"""Seconds that ranks wait for rank 0; on a busy file system its imports may take minutes."""


class _Handler(RendezvousHandler):
    """Answers requests whose scope begins with the attempt's secret; the patched Horovod sends it."""

    server: _Server

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        given = self.path[1:].partition(".")[0]
        if hmac.compare_digest(given.encode(), self.server.secret.encode()):
            return True
        if not self.server.refused:
            print(
                f"warning: refused a rendezvous request of {self.client_address[0]} without the attempt's secret; if "
                "ranks do not connect, this environment's Horovod is older than the code: run env/setup.sh",
                file=sys.stderr,
                flush=True,
            )
        self.server.refused = True
        self.send_error(http.HTTPStatus.FORBIDDEN)
        return False


class _Server(RendezvousHTTPServer):
    """Horovod's rendezvous server, for the ranks of one attempt only.

    A client that writes to it decides where ranks connect to. So the server accepts only addresses that ranks have
    written into the attempt's folder, where only the user may write, and only requests with the secret.
    """

    def __init__(self, address: str, attempt: Attempt, secret: str) -> None:
        super().__init__((address, 0), _Handler, 0)
        self._attempt = attempt
        self.secret = secret
        self.refused = False
        """Whether a request without the secret was refused; it is logged once."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return client_address[0] in self._attempt.addresses()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: the death of a rank during a request is reported elsewhere."""


@contextlib.contextmanager
def joined(placement: Placement, attempt: Attempt) -> Iterator[None]:
    """Context in which `hvd.init()` finds the other ranks.

    Rank 0 runs the server until it leaves the context, so it must complete a first collective with all ranks before.
    Raises Lost if rank 0 does not publish its address within TIMEOUT_S.
    """
    server = thread = None
    if placement.rank == 0:
        server = _serve(placement, attempt, secrets.token_hex(32))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        host, port = server.server_address[:2]
        rendezvous = {"address": host, "port": port, "secret": server.secret}
        with_retries(lambda: write_json(attempt.rendezvous, rendezvous, sync=False))
    try:
        rendezvous = _wait_for(attempt.rendezvous)
        address = _address_towards(rendezvous["address"])
        with_retries(lambda: write_json(attempt.address(placement.rank), {"address": address}, sync=False))
        os.environ.update(horovod_environment(placement, rendezvous, _interface(address, rendezvous["address"])))
        yield
    finally:
        if server is not None and thread is not None:
            attempt.rendezvous.unlink(missing_ok=True)
            server.shutdown()
            thread.join()
            server.server_close()


def horovod_environment(placement: Placement, rendezvous: Mapping[str, Any], interface: str) -> dict[str, str]:
    """Variables that configure Horovod's Gloo controller; `rendezvous` is the table that rank 0 published."""
    return {
        "HOROVOD_RANK": str(placement.rank),
        "HOROVOD_SIZE": str(placement.size),
        "HOROVOD_LOCAL_RANK": str(placement.local_rank),
        "HOROVOD_LOCAL_SIZE": str(placement.local_size),
        "HOROVOD_CROSS_RANK": str(placement.cross_rank),
        "HOROVOD_CROSS_SIZE": str(placement.cross_size),
        # Any name that differs between nodes.
        "HOROVOD_HOSTNAME": f"node{placement.node}",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": rendezvous["address"],
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(rendezvous["port"]),
        "HOROVOD_GLOO_SECRET": rendezvous["secret"],
        "HOROVOD_GLOO_IFACE": interface,
        # Both are needed: with the first alone, a Horovod built with MPI aborts at its first operation.
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }


def own_address(nodes: int) -> str:
    """Return an IPv4 address of this host that the other nodes reach. CLOUDSEG_INTERFACE selects the interface.

    Raises CloudsegError if this host has no such interface, or no address except loopback.
    """
    if nodes == 1:
        return "127.0.0.1"
    addresses = _ipv4_by_interface()
    wanted = os.environ.get("CLOUDSEG_INTERFACE")
    if wanted:
        if wanted not in addresses:
            raise CloudsegError(
                f"CLOUDSEG_INTERFACE={wanted}: this node has {', '.join(sorted(addresses))}; "
                "name one of them as CLOUDSEG_INTERFACE under [environment] in the site file"
            )
        return addresses[wanted]
    with contextlib.suppress(OSError):
        by_name = socket.gethostbyname(socket.gethostname())
        # Debian maps a host's own name to 127.0.1.1, which other nodes do not reach.
        if not ipaddress.ip_address(by_name).is_loopback and by_name in addresses.values():
            return by_name
    for name in sorted(addresses):
        if not ipaddress.ip_address(addresses[name]).is_loopback:
            return addresses[name]
    raise CloudsegError("this node has no network address except loopback; the other nodes cannot reach it")


def _address_towards(address: str) -> str:
    """The address of this host from which `address` is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing: connecting a datagram socket only picks the route
        return str(probe.getsockname()[0])


def _interface(own: str, towards: str) -> str:
    """The network interface of this host that holds its address `own`."""
    for name, candidate in _ipv4_by_interface().items():
        if candidate == own:
            return name
    raise CloudsegError(f"no network interface holds {own}, from which {towards} is reached")


def _ipv4_by_interface() -> dict[str, str]:
    return {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET
    }


def _serve(placement: Placement, attempt: Attempt, secret: str) -> _Server:
    hosts = [HostInfo(f"node{i}", tasks) for i, tasks in enumerate(placement.tasks_per_node)]
    server = _Server(own_address(len(placement.tasks_per_node)), attempt, secret)
    server.init(get_host_assignments(hosts, placement.size, placement.size))
    return server


def _wait_for(file: Path) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            # Listing the folder makes network file systems ask the server instead of their cache.
            list(file.parent.iterdir())
            return json.loads(file.read_text())
        time.sleep(0.05)
    raise Lost(f"rank 0 did not publish its address in {file} within {TIMEOUT_S:.0f} s; see its log")
