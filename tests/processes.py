"""Python processes for tests: `run` and `Popen` of `subprocess`, without the seconds that TensorFlow takes to import.

A command line that begins with `sys.executable` becomes a process of its own, a child of this one, with its own exit
code, signals, pipes, environment and working directory. It is forked by a process that has imported `libraries`, and
nothing of cloudseg (tests/process_server.py). Give `fresh=True` where the start of the interpreter is what is
tested: what a command imports, a signal while it imports. With CLOUDSEG_TESTS_FRESH=1 every process is fresh.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudseg.core.libraries import VARIABLES

LIGHT = ("numpy", "pandas", "h5py", "cv2", "PIL.Image", "tqdm")
"""What is imported in a second."""
HEAVY = (*LIGHT, "matplotlib.pyplot", "submitit", "tensorflow", "horovod.tensorflow", "segmentation_models")
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2): processes below this one whose parent ended become its children."""


class Popen(subprocess.Popen):
    """As `subprocess.Popen`, which also starts commands that are not of Python."""

    def __init__(
        self, *arguments: Any, fresh: bool = False, libraries: tuple[str, ...] = HEAVY, **options: Any
    ) -> None:
        self._libraries, self._fresh = libraries, fresh or os.environ.get("CLOUDSEG_TESTS_FRESH") == "1"
        super().__init__(*arguments, **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more) -> None:  # type: ignore
        words = [os.fspath(word) for word in args] if isinstance(args, list | tuple) else [args]
        pipes, session = more[3:9], more[14]
        program = next((word for word in words[1:] if word != "-u"), "")
        of_python = words[0] == sys.executable and (program == "-m" or program.endswith(".py"))
        if self._fresh or not of_python or preexec_fn or pass_fds:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)
            return
        job = {
            "words": words[1:],
            "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": session,
        }
        files = [number if given == -1 else given for number, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = _server(self._libraries).start(job, files)
        self._child_created = True
        self._close_pipe_fds(*pipes)


def run(
    command: list[Any], *, input: str | None = None, timeout: float | None = None, check: bool = False,
    capture_output: bool = False, **options: Any,
) -> subprocess.CompletedProcess:  # fmt: skip
    """As `subprocess.run`."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            said, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, said, errors)
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


class _Server:
    """The process that forks the others."""

    def __init__(self, libraries: tuple[str, ...]) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        script = str(Path(__file__).with_name("process_server.py"))
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, script, str(theirs.fileno()), *libraries], pass_fds=[theirs.fileno()], cwd="/",
            env=environ | VARIABLES | {"CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL, start_new_session=True,  # Ctrl-C is for pytest and what it tests
        )  # fmt: skip
        theirs.close()
        atexit.register(self.end)

    def start(self, job: dict[str, Any], files: list[int]) -> int:
        """Start a process; returns its id."""
        message = json.dumps(job).encode()
        with _adopting():
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())]
            self.ours.sendmsg([len(message).to_bytes(8, "big")], control)
            self.ours.sendall(message)
            answer = self.ours.recv(8, socket.MSG_WAITALL)
        assert len(answer) == 8, "the server of test processes has ended"
        return int.from_bytes(answer, "big")

    def end(self) -> None:
        self.ours.close()
        self.process.wait()


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Within, a process that the server starts becomes a child of this process."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_SUBREAPER, 0)


@functools.cache
def _server(libraries: tuple[str, ...]) -> _Server:
    """Started with the first process that it is asked for."""
    return _Server(libraries)
