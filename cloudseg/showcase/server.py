"""Streamlit, started so that it serves the app and nothing else."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cloudseg.errors import UsageError
from cloudseg.showcase.upload import MOST_MB

SCRIPT = Path(__file__).with_name("main.py")
ROOT = SCRIPT.parents[2]


def serve(runs: Sequence[Path], address: str, port: int) -> NoReturn:
    """Become the server. Raises UsageError if it could not listen there."""
    check(address, port)
    local = address in ("127.0.0.1", "localhost", "::1")
    print(f"open http://{'localhost' if local else address}:{port}")
    if local:
        print(f"from another machine, first: ssh -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}")
    print("Ctrl-C ends it", flush=True)
    paths = os.environ.get("PYTHONPATH")
    # Streamlit puts the script's folder on the path, not the one that the package is in.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *([paths] if paths else [])])}
    os.execve(sys.executable, command(runs, address, port), environment)


def check(address: str, port: int) -> None:
    """Raises UsageError, with what to type, if nobody can listen there."""
    if not 0 < port < 65536:
        raise UsageError(f"--port {port}: give one from 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise UsageError(f"{address}:{port}: {error.strerror}; try another: --port {port % 65535 + 1}") from error


def command(runs: Sequence[Path], address: str, port: int) -> list[str]:
    """The command line of the server. Its options win over any file of settings that Streamlit may find."""
    options = {
        "server.address": address,
        "server.port": port,
        "server.headless": "true",
        "server.maxUploadSize": MOST_MB,
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "server.enableStaticServing": "false",
        "browser.gatherUsageStats": "false",
        "runner.magicEnabled": "false",  # it would show docstrings
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": "true",  # to print it, Streamlit asks the internet for this machine's address
        "theme.base": "light",
        "theme.primaryColor": "#0072B2",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(SCRIPT), *flags, "--", *map(str, runs)]
