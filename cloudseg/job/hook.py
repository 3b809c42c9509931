"""A command of the user's, run when a stage has ended: to write to a chat, or to copy results away."""

from __future__ import annotations

import os
import subprocess
import sys

from cloudseg.core import output
from cloudseg.core.run import Run

VARIABLE = "CLOUDSEG_HOOK"
MOST_S = 60.0
"""A hook that takes longer is ended: a job costs GPUs while it runs."""


def run(of: Run, stage: str, how: str, reason: str = "") -> None:
    """Run the command in CLOUDSEG_HOOK, if there is one, in a shell; what goes wrong with it is a warning, as the stage
    is what it is.

    It is told CLOUDSEG_RUN, CLOUDSEG_STAGE, CLOUDSEG_ENDED (done or failed) and CLOUDSEG_REASON.
    """
    command = os.environ.get(VARIABLE)
    if not command:
        return
    told = {"RUN": str(of.path), "STAGE": stage, "ENDED": how, "REASON": reason}
    environment = {**os.environ, **{f"CLOUDSEG_{name}": value for name, value in told.items()}}
    output.spare_children()
    try:
        code = subprocess.run(["bash", "-c", command], env=environment, timeout=MOST_S, check=False).returncode
        fault = f"exit code {code}" if code else ""
    except KeyboardInterrupt:
        print(f"warning: the hook was stopped on a signal: {command}", file=sys.stderr, flush=True)
        raise
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = f"ended after {MOST_S:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    if fault:
        print(f"warning: the hook failed ({fault}): {command}", file=sys.stderr, flush=True)
