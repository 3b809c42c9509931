"""Commands of Slurm as one script: they do what their manuals say of the options and variables that cases are about.

Called as one of them, in the folder `$STAND_IN`: `jobs` holds lines of id|state|reason|elapsed|left|nodes|dependency|
partition, `accounts` what sacct says; what is called is noted in `calls`, what sbatch is given in `script-ID` and
`environment-ID`.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN"])
FIELDS = ("%i", "%T", "%r", "%M", "%L", "%N", "%E", "%P")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
SLURMS = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_")


def main() -> int:
    command, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    with (FOLDER / "calls").open("a") as file:
        file.write(" ".join([command, *arguments]) + "\n")
    return {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "srun": srun}.get(command, lambda arguments: 0)(
        arguments
    )


def sbatch(arguments: list[str]) -> int:
    if "--test-only" in arguments:
        sys.stdin.read()
        print("sbatch: Job 7 to start at 2026-11-28T10:00:00 using 8 processors on nodes n1", file=sys.stderr)
        return 0
    number = 101 + len(list(FOLDER.glob("script-*")))
    (FOLDER / f"script-{number}").write_text(Path(arguments[-1]).read_text())
    (FOLDER / f"environment-{number}").write_text(json.dumps({k: v for k, v in os.environ.items() if given(k)}))
    print(number if "--parsable" in arguments else f"Submitted batch job {number}")
    with (FOLDER / "jobs").open("a") as file:
        file.write(f"{number}|PENDING|Priority|0:00|1:00:00||(null)|gpu\n")
    return 0


def given(name: str) -> bool:
    return name.startswith(SLURMS)


def squeue(arguments: list[str]) -> int:
    """Options win over variables."""
    states = option(arguments, "--states", os.environ.get("SQUEUE_STATES", "PENDING,RUNNING,COMPLETING"))
    partition = option(arguments, "--partition", os.environ.get("SQUEUE_PARTITION"))
    ids = option(arguments, "--jobs", None)
    for line in (FOLDER / "jobs").read_text().splitlines():
        row = dict(zip(FIELDS, line.split("|"), strict=True))
        if ids and row["%i"].split("_")[0] not in [each.split("_")[0] for each in ids.split(",")]:
            continue
        if states != "all" and row["%T"] not in states.split(","):
            continue
        if partition and row["%P"] != partition:
            continue
        print("|".join(row[field] for field in option(arguments, "--format", "").split("|")))
    return 0


def sacct(arguments: list[str]) -> int:
    """Times as SLURM_TIME_FORMAT has them: %s, or `relative`, which is no ISO time."""
    text, form = (FOLDER / "accounts").read_text(), os.environ.get("SLURM_TIME_FORMAT")
    if form == "%s":
        text = re.sub(TIME, lambda time: f"{datetime.datetime.fromisoformat(time[0]).timestamp():.0f}", text)
    print(text.replace("2026-11-25T", "") if form == "relative" else text, end="")
    return 0


def srun(arguments: list[str]) -> int:
    """Becomes its one task; refuses what a real one refuses."""
    count = next(i for i, argument in enumerate(arguments) if not argument.startswith("--"))
    options, command = arguments[:count], arguments[count:]
    memory = [name for name in ("SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE") if name in os.environ]
    if len(memory) > 1:
        print(f"srun: fatal: {', '.join(memory)} are mutually exclusive.", file=sys.stderr)
        return 1
    if "SLURM_CPU_BIND" in os.environ and not any(each.startswith("--cpu-bind") for each in options):
        print("srun: error: CPU binding outside of job step allocation", file=sys.stderr)
        return 1
    environ = dict(os.environ)
    if option(options, "--export", os.environ.get("SLURM_EXPORT_ENV", "ALL")) == "NONE":
        environ = {name: value for name, value in environ.items() if given(name) or name in ("PATH", "HOME")}
    step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1"}
    return os.execvpe(command[0], command, {**environ, **step, "SLURM_STEP_TASKS_PER_NODE": "1"})


def option(arguments: list[str], name: str, otherwise: str | None) -> str | None:
    return next((each.partition("=")[2] for each in arguments if each.startswith(f"{name}=")), otherwise)


sys.exit(main())
