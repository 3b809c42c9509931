"""Sites: what they give, what is refused before sbatch, and the very scripts that come out."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from cloudseg import launch
from cloudseg.core.errors import UsageError
from cloudseg.slurm import sites

GOLDEN = Path(__file__).with_name("golden")
RUCHE = sites.load("ruche")


def scripts(site: str, capsys, monkeypatch, *options: str) -> str:
    """What `launch --dry-run` prints, with this machine's folders called by what they are."""
    monkeypatch.setattr("sys.prefix", "/VENV")
    launch.main(["--stages", "all", "--dry-run", "--site", site, "--run", "/RUNS/night", "--data", "/DATA", *options])
    return capsys.readouterr().out.replace(str(sites.FOLDER), "/SITES")


@pytest.mark.parametrize(("site", "options"), [("ruche", ("--nodes", "2")), ("jeanzay", ())])
def test_the_scripts_are_what_they_were_when_somebody_last_read_them(site, options, capsys, monkeypatch):
    """CLOUDSEG_GOLDEN=write makes them anew, to be read again."""
    file, found = GOLDEN / f"{site}.txt", scripts(site, capsys, monkeypatch, *options)
    if os.environ.get("CLOUDSEG_GOLDEN") == "write":
        file.write_text(found)
    assert found == file.read_text()


@pytest.mark.parametrize("site", ["ruche", "jeanzay", "local", "template"])
def test_what_a_site_asks_for_is_within_its_own_limits(site):
    loaded = sites.load(site)
    for need in (loaded.train, loaded.evaluate, loaded.preprocess):
        sites.check_limits(loaded, need)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nodes", "3"), "3 nodes x 4 GPUs are 12 GPUs, and this site limits a user to 8 at a time; type: --nodes 2"),
        (
            ("--time", "30:00:00"),
            "partition gpu limits a job to 24:00:00, and 30:00:00 is requested; type: --time 24:00:00",
        ),
        (("--partition", "gpu_test"), "partition gpu_test limits a job to 01:00:00"),
        (("--tasks-per-node", "5", "--nodes", "1"), "partition gpu has 4 GPUs per node, and 5 are requested"),
    ],
)
def test_what_ruche_would_refuse_is_refused_before(options, said, capsys, monkeypatch):
    with pytest.raises(UsageError, match=re.escape(said)):
        scripts("ruche", capsys, monkeypatch, *options)


def test_more_nodes_or_cpus_than_there_are_are_refused():
    for changes, said in ({"nodes": 11, "gpus_per_node": 0}, "10 nodes"), ({"cpus_per_task": 11}, "40 CPUs per node"):
        with pytest.raises(UsageError, match=f"partition gpu has {said}"):
            sites.check_limits(RUCHE, dataclasses.replace(RUCHE.train, **changes))


def test_a_partition_of_which_nothing_is_known_is_not_refused():
    sites.check_limits(RUCHE, dataclasses.replace(RUCHE.train, partition="gpua100", time="99:00:00"))


def test_where_jobs_are_charged_to_a_project_it_must_be_named(monkeypatch):
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    with pytest.raises(UsageError, match="export SBATCH_ACCOUNT=PROJECT@v100"):
        sites.require_account(sites.load("jeanzay"))
    monkeypatch.setenv("SBATCH_ACCOUNT", "abc@v100")
    sites.require_account(sites.load("jeanzay"))
    sites.require_account(RUCHE)
