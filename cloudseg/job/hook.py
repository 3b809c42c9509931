"""Runs the hook: a command of the user when a stage has ended, for example to send a message or to copy results."""

from __future__ import annotations

import os
import subprocess
import sys

from cloudseg.core import output
from cloudseg.core.run import Run

VARIABLE = "CLOUDSEG_HOOK"
TIMEOUT_S = 60.0
"""A hook that takes longer is killed, because the job occupies GPUs while it runs."""


def run(of: Run, stage: str, how: str, reason: str = "") -> None:
    """Run the command in CLOUDSEG_HOOK, if it is set, in a shell. A failure of the hook prints a warning only.

    The command gets the variables CLOUDSEG_RUN, CLOUDSEG_STAGE, CLOUDSEG_ENDED (done or failed) and CLOUDSEG_REASON.
    """
    command = os.environ.get(VARIABLE)
    if not command:
        return
    variables = {"RUN": str(of.path), "STAGE": stage, "ENDED": how, "REASON": reason}
    environment = {**os.environ, **{f"CLOUDSEG_{name}": value for name, value in variables.items()}}
    output.redirect_closed_output()
    try:
        code = subprocess.run(["bash", "-c", command], env=environment, timeout=TIMEOUT_S, check=False).returncode
        fault = f"exit code {code}" if code else ""
    except KeyboardInterrupt:
        print(f"warning: the hook was stopped on a signal: {command}", file=sys.stderr, flush=True)
        raise
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = f"killed after {TIMEOUT_S:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    if fault:
        print(f"warning: the hook failed ({fault}): {command}", file=sys.stderr, flush=True)
