"""What a stop signal does, by what the process is at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BEGIN = "import os, signal, sys, time\nfrom cloudseg.core.signals import blocked, stop\n"
READY = "print('ready', flush=True)\n"


def after(code: str, *numbers: signal.Signals) -> tuple[int, str]:
    """Exit code and output of a process that is sent signals once it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # tests may run under nohup
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)  # two at once would count as one
    said = process.communicate(timeout=60)[0]
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_command_that_imports_ends_at_once(number):
    said = "stopped; the same command resumes from here\n"
    assert after("stop.exit_at_once()\n" + READY + "time.sleep(60)", number) == (75, said)


def test_a_signal_from_before_the_first_line_is_not_lost():
    code = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nos.kill(os.getpid(), signal.SIGTERM)\n"
    assert after(code + READY + "stop.exit_at_once()\ntime.sleep(60)")[0] == 75


def test_a_command_at_work_ends_with_one_line():
    code = (
        f"from cloudseg.core.errors import run_command\ndef main():\n    {READY}    time.sleep(60)\nrun_command(main)"
    )
    assert after(code, signal.SIGTERM) == (75, "stopped; the same command resumes from here\n")


def test_a_command_that_is_stopped_within_exec_ends_with_its_exit_code(tmp_path):
    """Imports execute strings, and Python remembers a KeyboardInterrupt that passed through there."""
    code = "from cloudseg.core.errors import run_command\nrun_command(lambda: exec('raise KeyboardInterrupt'))\n"
    (tmp_path / "command.py").write_text(code)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-m", "command"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (75, "stopped; the same command resumes from here\n")


def test_the_second_sigterm_of_timeout_does_not_break_the_clearing_up():
    code = f"stop.interrupt()\ntry:\n    {READY}    time.sleep(60)\nexcept KeyboardInterrupt:\n"
    assert after(code + "    time.sleep(1)\n    print('cleared')", signal.SIGTERM, signal.SIGTERM) == (0, "cleared\n")


def test_what_is_not_saved_is_saved_first():
    code = f"with stop.deferred():\n    {READY}    time.sleep(1)\n    print('saved', stop.requested)"
    assert after(code, signal.SIGTERM) == (0, "saved True\n")


def test_a_second_ctrl_c_does_not_wait_for_it():
    code = f"with stop.deferred():\n    {READY}    time.sleep(60)"
    code, said = after(code, signal.SIGINT, signal.SIGINT)
    assert code != 0
    assert "KeyboardInterrupt" in said


def test_nohup_has_sighup_ignored():
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nstop.interrupt()\n"
    assert after(code + READY + "time.sleep(1)\nprint('on')", signal.SIGHUP) == (0, "on\n")


def test_a_signal_while_the_main_thread_runs_no_python_is_heard_by_others():
    code = (
        "import hashlib, threading\n"
        "def listen():\n    while not stop.received(): time.sleep(0.05)\n    os._exit(7)\n"
        "stop.interrupt()\n"
        "with stop.watching():\n    threading.Thread(target=listen).start()\n"
        f"    {READY}    hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)\n"  # minutes in C
    )
    assert after(code, signal.SIGTERM)[0] == 7


def test_a_compiled_module_that_makes_another_error_of_it_does_not_print_a_traceback():
    code = (
        "from cloudseg.core.errors import run_command\ndef main():\n"
        f"    try:\n        {READY}        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('numpy')\n"
        "run_command(main)"
    )
    assert after(code, signal.SIGTERM) == (75, "stopped; the same command resumes from here\n")


def test_a_stop_that_python_drops_in_a_callback_is_not_lost():
    code = (
        "import weakref\nfrom cloudseg.core.errors import run_command\n"
        "class Thing: pass\n"
        f"def callback(_):\n    {READY}    time.sleep(60)\n"
        "def main():\n    thing = Thing()\n    reference = weakref.ref(thing, callback)\n"
        "    del thing\n    time.sleep(60)\n"
        "run_command(main)"
    )
    assert after(code, signal.SIGTERM) == (75, "stopped; the same command resumes from here\n")
