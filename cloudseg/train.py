"""Train one stage of a run, as one rank: srun, mpirun or horovodrun starts one process per GPU.

  python -m cloudseg.train --run runs/NAME --stage frozen              one rank on this machine
  srun --ntasks-per-node=4 python -m cloudseg.train --run runs/NAME --stage frozen
  mpirun -np 4 python -m cloudseg.train --run runs/NAME --stage frozen

The same command resumes from the last checkpoint of the stage. If the run does not exist, it is created with the given
settings. To train all stages: python -m cloudseg.launch --stages all
"""

from __future__ import annotations

from cloudseg.chain import begin
from cloudseg.core import config, run
from cloudseg.core.errors import run_command
from cloudseg.core.signals import stop
from cloudseg.training import rank


def main() -> None:
    parser = run.parser("train", __doc__)
    parser.add_argument("--stage", required=True, help="a stage of the run, by name or number")
    config.add_arguments(parser)
    args = parser.parse_args()
    prepared = begin.run(args.run, config.from_arguments(args))

    stage = prepared.find(args.stage)
    with rank.started(prepared, stop) as own:
        from cloudseg.training.loop import train_stage

        def prepare() -> None:
            if prepared.settings.labels_pictures(stage):
                from cloudseg.results import pseudo_labelling  # imports OpenCV, which other stages do not need

                pseudo_labelling.prepare(prepared, stage, own)

        train_stage(prepared, stage, own, prepare)


if __name__ == "__main__":
    run_command(main)
