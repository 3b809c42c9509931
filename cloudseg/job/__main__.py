"""Run one stage as a batch job: starts the ranks of the stage, and requeues the job if they stopped with work left.

  python -m cloudseg.job --run runs/NAME --stage frozen

The scripts in jobs/ call it. In a Slurm job the ranks are its tasks, elsewhere they are processes of this machine.
"""

from __future__ import annotations

from cloudseg.chain import begin
from cloudseg.core import config, run
from cloudseg.core.errors import run_command
from cloudseg.job import batch


def main() -> None:
    parser = run.parser("job", __doc__)
    parser.add_argument("--stage", required=True, help="a stage of the run, by name or number, or evaluate")
    parser.add_argument("--ranks", type=int, help="number of ranks on this machine, outside Slurm (default 1)")
    config.add_arguments(parser)
    args = parser.parse_args()
    prepared = begin.run(args.run, config.from_arguments(args))
    batch.run_stage(prepared.path, prepared.find(args.stage), args.ranks)


if __name__ == "__main__":
    run_command(main)
