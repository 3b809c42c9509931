"""A learning-rate study on a real cluster: an array job, and a table when all of it has ended."""

from __future__ import annotations

import re

from tests.cluster.lab import SMALL, wait_for_end


def test_a_study_trains_its_rates_as_one_array_and_compares_them_though_one_fails(shell, project, data):
    settings = " ".join(f"--set {setting}" for setting in SMALL.split())
    said = shell(
        f"python -m cloudseg.launch --study lr --values 1e-3,3e38 --epochs 1 --run runs/study --data {data} "
        f"--nodes 1 --tasks-per-node 1 {settings}"
    ).stdout
    array, table = re.findall(r"^\w+ +job (\d+):", said, re.MULTILINE)
    again = shell("python -m cloudseg.launch --study lr --values 1e-3,3e38 --run runs/study").stdout
    assert again.count("is queued already") == 2
    rows = {row["JobID"]: row for row in wait_for_end(f"{array}_0", f"{array}_1", table)}
    assert [rows[job]["State"] for job in (f"{array}_0", f"{array}_1", table)] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert max(rows[f"{array}_{task}"]["End"] for task in (0, 1)) <= rows[table]["Start"]
    study = project / "runs" / "study"
    trained, failed = (line.split() for line in (study / "jobs/table.log").read_text().splitlines() if line[0] == " ")
    assert (trained[0], trained[2], len(trained)) == ("0.001", "1", 4)
    assert (failed[0], failed[4], failed[-1]) == ("3e+38", "failed,", f"{study}/jobs/trial-1.log")
    assert (study / "lr-0.001" / "1-frozen" / "DONE.json").exists()
    assert (study / "study.png").exists()
