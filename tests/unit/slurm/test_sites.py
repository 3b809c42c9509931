"""Sites: what they give, what is refused before sbatch, and the very scripts that come out."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from cloudseg import launch
from cloudseg.chain import preprocessing
from cloudseg.core.errors import UsageError
from cloudseg.slurm import script, sites
from cloudseg.slurm.sites import Resources, Site

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


def own_site(tmp_path: Path, common: str, **of_kinds: str) -> Site:
    """Ruche's file with other sbatch options: `common` ones, and further lines in the tables of kinds of jobs."""
    text = (sites.FOLDER / "ruche.toml").read_text().replace("sbatch = []", f"sbatch = {common}")
    for kind, line in of_kinds.items():
        text = text.replace(f"[{kind}]\n", f"[{kind}]\n{line}\n")
    file = tmp_path / "own.toml"
    file.write_text(text)
    return sites.load(str(file))


@pytest.mark.parametrize("site", ["ruche", "jeanzay", "local", "template"])
def test_preprocessing_asks_for_no_gpu_nowhere(site):
    text = script.script(script.preprocess_job(sites.load(site), "0-3"))
    assert not re.search(r"#SBATCH --(constraint|qos|gres)", text)


def test_options_for_gpus_in_a_file_of_before_do_not_reach_jobs_without_them(tmp_path):
    common = ["--constraint=v100-32g", "-Cv100", "--hint=nomultithread", "--qos=qos_gpu-t3", "--account=a", "-qlong"]
    site = own_site(tmp_path, str(common))
    assert site.options(site.train) == site.options(site.evaluate) == tuple(common)
    assert site.options(site.preprocess) == ("--hint=nomultithread", "--account=a")
    assert "note: preprocess: --constraint=v100-32g -Cv100 --qos=" in preprocessing.left_out_note(site)
    assert preprocessing.left_out_note(RUCHE) == ""


def test_on_a_site_without_gpus_all_jobs_get_all_options(tmp_path):
    site = dataclasses.replace(own_site(tmp_path, '["--qos=normal"]'), train=Resources("cpu", "1:00:00"))
    assert site.options(site.preprocess) == ("--qos=normal",)


def test_each_kind_of_job_has_options_of_its_own(tmp_path):
    site = own_site(
        tmp_path, '["--hint=nomultithread"]', train='sbatch = ["--qos=long"]\nmem = "160G"\ngpu_type = "v100"',
        preprocess="sbatch = []",
    )  # fmt: skip
    train, evaluate = (script.script(script.stage_job(stage, site, "r", "log")) for stage in ("full", "evaluate"))
    assert "#SBATCH --gres=gpu:v100:4\n#SBATCH --mem=160G\n" in train
    assert "--qos=long" in train and "--hint" not in train
    assert "--hint=nomultithread" in evaluate and "--gres=gpu:4\n" in evaluate and "--mem" not in evaluate
    assert "--hint" not in script.script(script.preprocess_job(site, "0-3"))
    assert preprocessing.left_out_note(site) == ""


def test_a_partition_of_which_nothing_is_known_is_not_refused():
    sites.check_limits(RUCHE, dataclasses.replace(RUCHE.train, partition="gpua100", time="99:00:00"))


def test_where_jobs_are_charged_to_a_project_it_must_be_named(monkeypatch):
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    with pytest.raises(UsageError, match="export SBATCH_ACCOUNT=PROJECT@v100"):
        sites.require_account(sites.load("jeanzay"))
    monkeypatch.setenv("SBATCH_ACCOUNT", "abc@v100")
    sites.require_account(sites.load("jeanzay"))
    sites.require_account(RUCHE)
