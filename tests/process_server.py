"""Forks Python processes that begin with libraries imported: process_server.py SOCKET LIBRARIES, see processes.py.

Each request is 8 bytes of length with three open files (standard input, output and error), then JSON: `words` after
`python`, `cwd`, `env`, `session`. The answer is 8 bytes, the id of the process.

cloudseg is not imported here: every process imports it anew, as after a fresh start. Nor does TensorFlow run anything:
it starts its threads in the process that uses it. What all processes have in common is what Python decides once, as the
seed of its hashes.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from multiprocessing import process, resource_tracker
from typing import Any, NoReturn

OURS = ("cloudseg", "preprocess", "bench", "tests")
"""Imported anew by every process."""

libraries_files: set[int] = set()
"""Numbers of the files that imported libraries have opened and go on to use, as /dev/urandom."""

kept: list[Any] = []
"""What must not be collected, as files would be closed whose numbers others have by then."""


def main() -> None:
    """Serve until the other end of the socket is closed. Returns in each process that was started, to run it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run under nohup
    connection = socket.socket(fileno=int(sys.argv[1]))
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):  # noqa: PTH123
        before = open_files()
        for name in sys.argv[2:]:
            importlib.import_module(name)
        libraries_files.update(open_files() - before)
    gc.collect()
    gc.freeze()  # else the first collection of a process would copy all this memory
    while True:
        head, control, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(12))
        if not head:
            sys.exit()
        files = array.array("i", control[0][2]).tolist()
        job = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            between = os.getpid()
            child = os.fork()
            if child:
                # The process that asked adopts it, see processes._adopting.
                os.write(writing, child.to_bytes(8, "big"))
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0.001)
            if job["session"]:
                os.setsid()
            connection.detach()  # its number will be that of another file
            become(job["words"], files, job["cwd"], job["env"])
            execute()
            return
        os.waitpid(between, 0)
        connection.sendall(os.read(reading, 8))
        for file in (reading, writing, *files):
            os.close(file)


def become(words: list[str], files: list[int], cwd: str, environ: dict[str, str]) -> None:
    """Make this process what `python WORDS` would be once it has started, with these files as its first three."""
    kept.append({name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in OURS})
    kept.extend((sys.stdout, sys.stderr, sys.stdin, sys.modules.get("__main__")))
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    copies = [os.dup(file) for file in files]
    for number, file in enumerate(copies):
        os.dup2(file, number)
    for number in open_files() - {0, 1, 2} - libraries_files:
        os.close(number)
    os.chdir(cwd)
    for name in set(os.environ) - set(environ):
        del os.environ[name]
    os.environ.update(environ)

    unbuffered = words[0] == "-u" or bool(environ.get("PYTHONUNBUFFERED"))
    words = words[words[0] == "-u" :]
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)))
    sys.stdout = sys.__stdout__ = output(1, unbuffered, sys.stdout.errors)
    sys.stderr = sys.__stderr__ = output(2, unbuffered, "backslashreplace")
    sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
    first = [cwd] if words[0] == "-m" else [os.path.dirname(os.path.abspath(words[0]))]  # noqa: PTH100, PTH120
    sys.path[:] = [*first, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep)), *PATH]
    sys.path_importer_cache.clear()
    sys.argv = words
    sys.modules["__main__"] = types.ModuleType("__main__")
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    random.seed()
    tempfile.tempdir = None
    # Processes of multiprocessing that the parent has started.
    process._children.clear()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._fd = resource_tracker._resource_tracker._pid = None  # type: ignore[attr-defined]


def open_files() -> set[int]:
    """Numbers of the files that this process has open."""
    found = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    return {number for number in found if os.path.exists(f"/proc/self/fd/{number}")}  # noqa: PTH110


def output(number: int, unbuffered: bool, errors: str) -> io.TextIOWrapper:
    """Standard output or error as Python opens it."""
    raw = io.FileIO(number, "w", closefd=False)
    buffered = raw if unbuffered else io.BufferedWriter(raw)
    lines = not unbuffered and (number == 2 or os.isatty(number))
    return io.TextIOWrapper(buffered, "utf-8", errors, line_buffering=lines, write_through=unbuffered)


def execute() -> None:
    """Run what sys.argv says."""
    subprocess.Popen._execute_child = fork_python  # type: ignore[attr-defined]
    if sys.argv[0] == "-m":
        name, sys.argv = sys.argv[1], ["-m", *sys.argv[2:]]
        runpy._run_module_as_main(name)  # type: ignore[attr-defined]
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


start_fresh = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def fork_python(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more) -> None:  # type: ignore
    """In place of `subprocess.Popen._execute_child`: a process that starts Python forks, too."""
    words = [os.fspath(word) for word in args] if isinstance(args, list | tuple) else [args]
    program = next((word for word in words[1:] if word != "-u"), "")
    of_python = words[0] == sys.executable and (program == "-m" or program.endswith(".py"))
    if not of_python or pass_fds:
        start_fresh(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)
        return
    pipes = more[3:9]
    files = [number if given == -1 else given for number, given in enumerate((pipes[0], pipes[3], pipes[5]))]
    self.pid = os.fork()
    if not self.pid:
        leave(words[1:], files, os.fspath(cwd or os.getcwd()), dict(os.environ if env is None else env), preexec_fn)  # noqa: PTH109
    self._child_created = True
    self._close_pipe_fds(*pipes)


def leave(words: list[str], files: list[int], cwd: str, environ: dict[str, str], prepare: Any) -> NoReturn:
    """Be another process to its end: what called this is of its parent, and must not go on here."""
    code = 120
    try:
        gc.freeze()
        if prepare:
            prepare()
        become(words, files, cwd, environ)
        try:
            execute()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if ended.code is not None and not isinstance(ended.code, int):
                print(ended.code, file=sys.stderr)
        except BaseException:
            code = 1
            traceback.print_exc()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = 120  # as of Python when it cannot write what is left
        traceback.print_exc()
    finally:
        os._exit(code & 0xFF)


if __name__ == "__main__":
    PATH = sys.path[1:]
    main()
