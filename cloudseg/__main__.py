"""List the commands."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError, run_command

COMMANDS = {
    "data": {
        "cloudseg.fetch": "download satellite pictures of NASA, or the competition's files, on the login node",
        "preprocess": "make shards from train.csv and its JPEGs",
        "cloudseg.demo": "write a small generated data set",
        "cloudseg.weights": "download ImageNet encoder weights on the login node",
    },
    "train": {
        "cloudseg.doctor": (
            "check the site: submits a short job that tests GPUs, allreduce, shared disk, signals and requeue"
        ),
        "cloudseg.launch": "queue all stages as Slurm jobs, or run them on this machine",
        "cloudseg.resume": "resume a chain from the first stage that is not done",
        "cloudseg.cancel": "cancel all jobs of a run",
        "cloudseg.train": "train one stage, as one rank of srun, mpirun or horovodrun",
        "cloudseg.study": "print the table of a learning-rate study",
    },
    "watch": {
        "cloudseg.status": "show the state of each stage and what to type next",
        "cloudseg.logs": "print or follow the log of a stage",
    },
    "results": {
        "cloudseg.evaluate": "tune the rules for masks on the validation images, and score them",
        "cloudseg.predict": "segment new images, or check a submission",
        "cloudseg.atlas": "map how often each pattern occurs, by place and season",
        "cloudseg.app": "browse a run in the browser",
    },
    "choose": {
        "cloudseg.models": "list networks and their parameters",
        "cloudseg.recipes": "list recipes and their learning rates",
        "cloudseg.scaling": "predict throughput and duration on more GPUs",
    },
}
"""Group -> command -> its one-line help."""


def lines() -> Iterator[str]:
    """The lines of the list of commands."""
    yield "Usage: python -m COMMAND [OPTION ...]; every command has --help.\n"
    width = max(len(command) for group in COMMANDS.values() for command in group)
    for group, commands in COMMANDS.items():
        yield f"{group}:"
        yield from (f"  {command:<{width}}  {purpose}" for command, purpose in commands.items())
        yield ""
    yield "Start with:"
    yield "  python -m preprocess --csv train.csv --images train_images --out DATA"
    yield "  python -m cloudseg.launch --stages all --data DATA"


def main() -> None:
    if words := [word for word in sys.argv[1:] if word not in ("-h", "--help")]:
        names = [command.rpartition(".")[2] for group in COMMANDS.values() for command in group]
        module = words[0] if words[0] == "preprocess" else f"cloudseg.{words[0]}"
        if words[0] in names and importlib.util.find_spec(module):
            raise UsageError(f"type: python -m {module} {' '.join(words[1:])}".rstrip())
        raise UsageError(f"there is no command {words[0]!r}{nearest(words[0], names)}")
    print("\n".join(lines()))


if __name__ == "__main__":
    run_command(main)
