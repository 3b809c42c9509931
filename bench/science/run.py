"""The benchmark `science`."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.contender import say
from bench.report import Report, figure
from bench.science import matrix, table, trainings
from bench.science.trainings import Result
from cloudseg.core.atomic import write
from cloudseg.core.errors import UsageError
from cloudseg.data.shards import Manifest


def run(
    matrix_file: Path, data: Path, weights: str, out: Path, results: Path | None, only: str, ranks: int, rounds: int
) -> Report:
    """Do the missing trainings of the first `rounds` seeds, and write OUT/table.md and OUT/figure.png after each."""
    plan = matrix.read(matrix_file, weights, rounds)
    chosen = set(only.split(",")) if only else {training.name for training in plan.trainings}
    if unknown := chosen - {training.name for training in plan.trainings}:
        raise UsageError(f"--only {','.join(sorted(unknown))}: {matrix_file} has no such run")
    digest, found = Manifest.load(data).digest, dict[str, list[Result]]()
    wanted = [training for training in plan.trainings if training.name in chosen]
    for number, training in enumerate(wanted, 1):
        say(f"{training.id}, {number} of {len(wanted)}")
        done = trainings.result(training, data, digest, ranks, out, results or out / "results")
        found.setdefault(training.name, []).append(done)
        text = table.markdown(found, plan.compare)
        write(out / "table.md", f"{plan.about}\n\n{text}\n".encode())
        table.draw(found, out / "figure.png")
    print(text, file=sys.stderr)
    report = Report()
    report.figures = {
        name: figure([list(each.tuned.values())[-1] for each in of_run], "tuned Dice") for name, of_run in found.items()
    }
    report.notes.append(
        f"validation images: {len(next(iter(done.dice.values())))}; tables and figure: {out}/table.md, figure.png"
    )
    return report
