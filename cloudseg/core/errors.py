"""What can go wrong, as exceptions whose text is what the user reads, and the exit codes of every command."""

from __future__ import annotations

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
"""Stopped with work left, on a signal or because a rank was lost (EX_TEMPFAIL of sysexits.h): the same command goes
on."""


class CloudsegError(Exception):
    """The job cannot be done. The message says what is wrong, where, and what to type next."""

    exit_code = FAILED


class UsageError(CloudsegError):
    """The command, a setting or an input file is not what it must be."""

    exit_code = USAGE


class Stopped(CloudsegError):
    """A signal asked the stage to stop; its state is on disk and the same command goes on from there."""

    exit_code = STOPPED


class Lost(CloudsegError):
    """Another rank of the step died, hangs or has failed; the same command goes on from the last checkpoint."""

    exit_code = STOPPED


class DataError(CloudsegError):
    """A data file is damaged or does not belong to the others."""


def to_type(command: str, *words: object) -> str:
    """`python -m COMMAND WORDS`, quoted for the shell: how messages say what to type next."""
    return shlex.join(["python", "-m", command, *map(str, words)])


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line and leave with its exit code; a user's mistake is one line, not a traceback, and so is a
    stop signal. Whether somebody reads what it prints changes neither its work nor its exit code."""
    output.drop_unread()
    try:
        stop.interrupt()
        code = main() or DONE
    except CloudsegError as error:
        print(f"{'' if isinstance(error, Stopped) else 'error: '}{error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except (KeyboardInterrupt, Exception) as error:
        # Compiled modules that are interrupted while they are imported raise an ImportError.
        if not isinstance(error, KeyboardInterrupt) and not stop.interrupted:
            raise
        stop.ignore()
        print("stopped; the same command goes on from here", file=sys.stderr, flush=True)
        code = STOPPED
    finally:
        stop.ignore()  # Python takes its handlers away before it ends, and a signal would then decide the exit code
    sys.exit(code)
