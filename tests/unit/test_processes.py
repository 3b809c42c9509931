"""Processes that tests fork are like those that start afresh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes

SEEN = """
import os, signal, subprocess, sys, tempfile
print(sys.argv, os.getcwd(), sys.path, sorted(os.environ.items()), tempfile.gettempdir(), __name__, __file__)
print([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)])
print(sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering, sys.stdout.write_through)
print(sys.stderr.encoding, sys.stderr.errors, sys.stderr.line_buffering, sys.stderr.write_through)
print(sorted(os.listdir("/proc/self/fd"))[:3], signal.pthread_sigmask(signal.SIG_BLOCK, []))
print("to stderr", file=sys.stderr)
print(repr(sys.stdin.read()))
if sys.argv[1:] == ["parent"]:
    os.open("/", os.O_RDONLY)
    signal.signal(signal.SIGTERM, print)
    child = subprocess.run([sys.executable, "-u", sys.argv[0], "child"], env={"LC_ALL": "C.UTF-8"}, input="", text=True)
    print("child", child.returncode)
"""
ENDS = {
    "end": "",
    "code": "import sys; sys.exit(75)",
    "words": "import sys; sys.exit('words')",
    "error": "raise ValueError('no')",
    "signal": "import os; os.kill(os.getpid(), 9)",
    "atexit": "import atexit; atexit.register(print, 'at exit')",
    "thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()",
}
LIBRARIES = ("json",)


def both(folder: Path, program: str, *words: str) -> tuple[tuple[int, str, str], ...]:
    """Exit code and output of a program as a forked process and as a fresh one."""
    (folder / "program.py").write_text(program)
    found = []
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, for fresh processes only
    for fresh in (False, True):
        done = processes.run(
            [sys.executable, str(folder / "program.py"), *words], cwd=folder, capture_output=True, text=True,
            input="in",
            env={"PYTHONPATH": "/some:/where", "LC_ALL": "C.UTF-8", "TMPDIR": str(folder)},
            libraries=LIBRARIES, fresh=fresh,
        )  # fmt: skip
        found.append((done.returncode, done.stdout, done.stderr))
    signal.signal(signal.SIGHUP, hangup)
    return tuple(found)


@pytest.mark.parametrize("role", ["alone", "parent"])
def test_a_forked_process_sees_what_a_fresh_one_sees(tmp_path, role):
    forked, fresh = both(tmp_path, SEEN, role)
    assert forked == fresh
    assert forked[0] == 0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_forked_process_ends_as_a_fresh_one(tmp_path, end, nested):
    program, words = ENDS[end], []
    if nested:
        (tmp_path / "ends.py").write_text(program)
        program = "import subprocess, sys; print(subprocess.call([sys.executable, sys.argv[1]]))"
        words = [str(tmp_path / "ends.py")]
    forked, fresh = both(tmp_path, program, *words)
    assert forked[:2] == fresh[:2]
    assert forked[2].splitlines()[-1:] == fresh[2].splitlines()[-1:]


def test_a_forked_process_is_a_child_that_signals_reach_and_nothing_is_left_of_it(tmp_path):
    (tmp_path / "waits.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    command = [sys.executable, str(tmp_path / "waits.py")]
    with processes.Popen(command, stdout=subprocess.PIPE, text=True, libraries=LIBRARIES) as process:
        assert process.stdout.readline() == "here\n"
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        assert str(process.pid) in children
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    assert not Path(f"/proc/{process.pid}").exists()
