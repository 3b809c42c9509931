"""Starts Streamlit in this process, with the app only and fixed options."""

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
from cloudseg.showcase.upload import MAX_MB

SCRIPT = Path(__file__).with_name("main.py")


def serve(runs: Sequence[Path], address: str, port: int, token: str | None) -> None:
    """Serve the app until Ctrl-C or SIGTERM, to clients with the `token`; to all clients if it is None.

    Raises UsageError if the address or port cannot be used.
    """
    check(address, port)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)  # the server's handlers stop it, and then raise the signal again
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    # Not in another process: every user of the machine can read a command line, which would hold the token.
    middleware = [Middleware(access.RequireToken, token=token)] if token else []
    app = App(SCRIPT, middleware=middleware)
    print(announcement(address, port, token), flush=True)
    sys.argv = [str(SCRIPT), *map(str, runs)]  # the arguments of main.py
    app.run(config=options(address, port))


def announcement(address: str, port: int, token: str | None) -> str:
    """The lines to print at the start: the URL, and how to reach it from another machine."""
    local = address in ("127.0.0.1", "localhost", "::1")
    host = "localhost" if local else f"[{address}]" if ":" in address else address
    lines = [f"open http://{host}:{port}/" + (f"?{access.PARAMETER}={token}" if token else "")]
    if local:
        lines.append(
            f"from another machine, first: ssh -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}"
        )
    if not token:
        lines.append("--no-token: everybody who can connect to this port can view the runs and upload pictures")
    return "\n".join([*lines, "Ctrl-C ends it"])


def check(address: str, port: int) -> None:
    """Raises UsageError, with what to type, if the address or port cannot be used."""
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
    """A port that is free now."""
    family, kind, protocol, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.bind(place)
        return int(probe.getsockname()[1])


def options(address: str, port: int) -> dict[str, Any]:
    """Streamlit's options by name. They take precedence over Streamlit's configuration files."""
    return {
        "server.address": address,
        "server.port": port,
        "server.headless": True,
        "server.maxUploadSize": MAX_MB,
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "runner.magicEnabled": False,  # it would print docstrings on the page
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": True,  # for that message Streamlit looks up this machine's address on the internet
        "theme.base": "light",
        "theme.primaryColor": "#0072B2",
    }


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(DONE)
