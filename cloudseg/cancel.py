"""Cancel all jobs of a run. Checkpoints and finished stages are kept; `cloudseg.resume` continues from them.

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
    ids = {f"{member.path.name} {stage}": state.job_ids(member, stage) for member, stage in state.all_stages(opened)}
    jobs = queue.squeue([number for numbers in ids.values() for number in numbers])
    if jobs is None:
        raise CloudsegError("squeue does not answer, so nothing was cancelled; try again")
    active_ids = {number for number, job in jobs.items() if job.active}
    active_ids |= {number.split("_")[0] for number in active_ids}  # the id of an array cancels all of its tasks
    active = [(name, number) for name, numbers in ids.items() for number in numbers if number in active_ids]
    if not active:
        print(f"{opened.path}: none of its jobs is queued or running")
        return
    # In reverse order, so that no job starts because the job that it depends on has ended.
    answer = commands.run(["scancel", *(number for _, number in reversed(active))])
    if answer.returncode:
        raise CloudsegError(f"scancel: {answer.stderr.strip()}")
    print(f"cancelled: {', '.join(f'{name} {number}' for name, number in active)}")
    print(f"to resume later: {to_type('cloudseg.resume', opened.path)}")


if __name__ == "__main__":
    run_command(main)
