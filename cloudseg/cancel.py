"""Take the whole chain of a run out of the queue. What is saved stays; `resume` goes on from there.

python -m cloudseg.cancel runs/NAME
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import CloudsegError, run_command, to_type
from cloudseg.monitor import state
from cloudseg.slurm import commands, queue


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.cancel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    opened = run.open_run(parser.parse_args().run)
    ids = {f"{member.path.name} {stage}": state.job_ids(member, stage) for member, stage in state.parts(opened)}
    jobs = queue.squeue([number for numbers in ids.values() for number in numbers])
    if jobs is None:
        raise CloudsegError("squeue does not answer, so nothing was cancelled; try again")
    held = {number for number, job in jobs.items() if job.active}
    held |= {number.split("_")[0] for number in held}  # an array is cancelled as one
    active = [(name, number) for name, numbers in ids.items() for number in numbers if number in held]
    if not active:
        print(f"{opened.path}: none of its jobs is queued or running")
        return
    # From the end, so that no dependent starts because the one before is gone.
    answer = commands.run(["scancel", *(number for _, number in reversed(active))])
    if answer.returncode:
        raise CloudsegError(f"scancel: {answer.stderr.strip()}")
    print(f"cancelled: {', '.join(f'{name} {number}' for name, number in active)}")
    print(f"go on later: {to_type('cloudseg.resume', opened.path)}")


if __name__ == "__main__":
    run_command(main)
