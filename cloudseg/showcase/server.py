"""Streamlit, started in this process so that it serves the app and nothing else."""

from __future__ import annotations

import errno
import getpass
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from cloudseg.core.errors import DONE, UsageError
from cloudseg.showcase import access
from cloudseg.showcase.upload import MOST_MB

SCRIPT = Path(__file__).with_name("main.py")


def serve(runs: Sequence[Path], address: str, port: int, token: str | None) -> None:
    """Serve the app until a signal (Ctrl-C, SIGTERM) ends it, to whoever has the `token`; to everybody if it is None.

    Raises UsageError if it could not listen there.
    """
    check(address, port)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # the server's own handlers stop it, and then raise the signal again
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    # In this process, as every user of the machine can read the command line of another.
    middleware = [Middleware(access.RequireToken, token=token)] if token else []
    app = App(SCRIPT, middleware=middleware)
    print(announcement(address, port, token), flush=True)
    sys.argv = [str(SCRIPT), *map(str, runs)]  # what main.py gets
    app.run(config=options(address, port))


def announcement(address: str, port: int, token: str | None) -> str:
    """What the user is told: the URL, and how to reach it from another machine."""
    local = address in ("127.0.0.1", "localhost", "::1")
    host = "localhost" if local else f"[{address}]" if ":" in address else address
    lines = [f"open http://{host}:{port}/" + (f"?{access.PARAMETER}={token}" if token else "")]
    if local:
        lines.append(
            f"from another machine, first: ssh -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}"
        )
    if not token:
        lines.append("--no-token: everybody who can connect to this port can look and upload")
    return "\n".join([*lines, "Ctrl-C ends it"])


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
        advice = "name an address of this machine: --address 127.0.0.1"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            advice = f"try another: --port {_free_port(address)}"
        raise UsageError(f"{address}:{port}: {error.strerror}; {advice}") from error


def _free_port(address: str) -> int:
    """One at which nobody listens now."""
    family, kind, protocol, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.bind(place)
        return int(probe.getsockname()[1])


def options(address: str, port: int) -> dict[str, Any]:
    """Streamlit's, by name. They win over any file of settings that Streamlit may find."""
    return {
        "server.address": address,
        "server.port": port,
        "server.headless": True,
        "server.maxUploadSize": MOST_MB,
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "runner.magicEnabled": False,  # it would show docstrings
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": True,  # to print it, Streamlit asks the internet for this machine's address
        "theme.base": "light",
        "theme.primaryColor": "#0072B2",
    }


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(DONE)
