"""Exceptions whose text the user reads, and the exit codes of all commands."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn

from cloudseg.core import output
from cloudseg.core.signals import stop

DONE = 0
FAILED = 1
USAGE = 2
STOPPED = 75
"""Stopped by a signal or because a rank was lost, with work left (EX_TEMPFAIL of sysexits.h). The same command
resumes."""


class CloudsegError(Exception):
    """The command failed. The message says what is wrong, where, and what to type next."""

    exit_code = FAILED


class UsageError(CloudsegError):
    """The command line, a setting or an input file is wrong."""

    exit_code = USAGE


class Stopped(CloudsegError):
    """The stage received a stop signal; its state is saved and the same command resumes."""

    exit_code = STOPPED


class Lost(CloudsegError):
    """Another rank died, hangs or has failed; the same command resumes from the last checkpoint."""

    exit_code = STOPPED


class DataError(CloudsegError):
    """A data file is damaged or does not belong to its data set."""


def to_type(command: str, *words: object) -> str:
    """The command line `python -m COMMAND WORDS`, quoted for the shell, for messages that say what to type next."""
    return shlex.join(["python", "-m", command, *map(str, words)])


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with its exit code.

    A user's mistake and a stop signal print one line and no traceback. A closed standard output changes neither the
    work nor the exit code.
    """
    output.ignore_closed_output()
    stopped = False

    def exit_as_stopped() -> None:
        # If a KeyboardInterrupt has passed through exec of a string, as imports do, Python ends itself with SIGINT at
        # its exit, whatever the exit code.
        if stopped:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(STOPPED)

    atexit.register(exit_as_stopped)  # the first to be registered is the last to run
    try:
        stop.interrupt()
        code = main() or DONE
    except CloudsegError as error:
        print(f"{'' if isinstance(error, Stopped) else 'error: '}{error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except (KeyboardInterrupt, Exception) as error:
        # A compiled module raises ImportError if a signal interrupts its import.
        if not isinstance(error, KeyboardInterrupt) and not stop.interrupted:
            raise
        stop.ignore()
        print("stopped; the same command resumes from here", file=sys.stderr, flush=True)
        code, stopped = STOPPED, True
    finally:
        stop.ignore()  # Python removes its signal handlers before it exits; a signal would then set the exit code
    sys.exit(code)
