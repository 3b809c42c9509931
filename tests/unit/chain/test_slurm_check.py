"""`launch --check` and doctor: what Slurm says of jobs that are not submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseg import launch
from cloudseg.checks import login_node
from cloudseg.checks.findings import FAULT, FINE
from cloudseg.core.errors import UsageError
from cloudseg.slurm import refusals, sites


@pytest.fixture(autouse=True)
def shell(monkeypatch, slurm):
    for name in ("SBATCH_ACCOUNT", "CLOUDSEG_SITE", "CLOUDSEG_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(slurm)


def check(*options: str) -> None:
    launch.main(["--run", "r", "--data", "shards", "--check", *options])


PREPROCESS = ("--stages", "preprocess,all", "--csv", "train.csv", "--images", "DIR")


@pytest.fixture
def source(slurm):
    (slurm / "train.csv").touch()
    (slurm / "DIR").mkdir()


def test_each_kind_of_job_has_a_line_and_nothing_is_written(source, slurm, capsys):
    before = sorted(path for path in slurm.rglob("*") if path.name != "script")
    check(*PREPROCESS)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["jobs", "request", "Slurm"]
    assert [line.split("  ")[0] for line in lines] == ["preprocess", "frozen, partial, full", "evaluate"]
    assert all(line.endswith("accepted; could start at 2026-11-28T10:00:00") for line in lines)
    assert sorted(path for path in slurm.rglob("*") if path.name != "script") == before
    assert (slurm / "calls").read_text() == ""
    asked = (slurm / "asked").read_text()
    assert asked.count("#!/usr/bin/env bash") == 3
    assert "--dependency" not in asked
    assert "#SBATCH --array=0-31\n" in asked


def test_a_refused_kind_is_named_with_what_to_change(source, slurm, capsys):
    (slurm / "refused").write_text("cpu_short Invalid partition name specified\n")
    with pytest.raises(UsageError) as refused:
        check(*PREPROCESS)
    assert "refused: Invalid partition name specified" in capsys.readouterr().out
    file = sites.file("ruche")
    assert str(refused.value) == (
        f"Slurm refuses 1 of 3 kinds of jobs; preprocess: change partition under [preprocess] in {file}"
    )


def test_the_option_that_changes_it_is_named(slurm):
    (slurm / "refused").write_text("gpu Requested time limit is invalid (missing or exceeds some limit)\n")
    with pytest.raises(UsageError, match=r"change time under \[train\] in .*, or type another --time; evaluate"):
        check("--stages", "all")


def test_what_the_cluster_takes_at_most_is_told_before_the_queue(source, slurm):
    (slurm / "config").write_text("MaxArraySize            = 16\n")
    with pytest.raises(UsageError, match="type: --shards 16"):
        check(*PREPROCESS)
    check(*PREPROCESS, "--shards", "16")
    with pytest.raises(UsageError, match="type: --shards 16"):
        launch.main(["--run", "r", "--data", "shards", "--set", "weights=none", *PREPROCESS])
    assert (slurm / "calls").read_text() == ""
    (slurm / "associations").write_text("clouds|10\n")
    with pytest.raises(UsageError, match="these are 20 jobs, .* your account takes 10 .*; type: --shards 6"):
        check(*PREPROCESS, "--shards", "16")


NOT_AVAILABLE = "gpu Requested node configuration is not available\n"


def test_a_job_for_nodes_that_are_down_is_accepted_as_sbatch_does(slurm, capsys):
    (slurm / "refused").write_text(NOT_AVAILABLE)
    (slurm / "nodes").write_text("1 idle\n1 down*\n8 drained\n")
    check("--stages", "frozen")
    assert "accepted; starts when 2 nodes are up: 1 of 10 are now (sinfo -R says why)" in capsys.readouterr().out


@pytest.mark.parametrize("nodes", ["2 mixed\n8 down*\n", "1 idle\n", ""])
def test_a_job_for_nodes_that_there_are_not_is_refused_however_many_are_down(slurm, nodes):
    (slurm / "refused").write_text(NOT_AVAILABLE)
    (slurm / "nodes").write_text(nodes)
    with pytest.raises(UsageError, match="type another --nodes"):
        check("--stages", "frozen")


def test_folds_and_studies_are_asked_for_too(slurm, capsys):
    check("--stages", "all", "--folds", "0-2")
    assert "#SBATCH --array=0,1,2\n" in (slurm / "asked").read_text()
    (slurm / "asked").write_text("")
    check("--study", "lr", "--values", "1e-2,1e-3")
    assert "#SBATCH --array=0,1\n" in (slurm / "asked").read_text()
    assert capsys.readouterr().out.count("study-table") == 1


def test_without_slurm_there_is_nobody_to_ask(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for options in (["--stages", "all"], ["--study", "lr", "--values", "1e-2"]):
        with pytest.raises(UsageError, match="leave out --check"):
            check(*options)


def test_doctor_asks_for_each_table_of_the_site(slurm):
    (slurm / "refused").write_text("cpu_short Invalid qos specification\n")
    found = {each.what: each for each in login_node.check(sites.load("ruche"), "FILE", {}, slurm_needed=True)}
    assert [found[f"{kind} job"].state for kind in ("train", "evaluate", "preprocess")] == [FINE, FINE, FAULT]
    assert found["preprocess job"].todo == "change --qos in sbatch under [preprocess] in FILE"
    assert found["train job"].found == "Slurm would accept it in gpu; could start at 2026-11-28T10:00:00"


# Messages of src/common/slurm_errno.c.
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Invalid account or account/partition combination specified", "export SBATCH_ACCOUNT=PROJECT"),
        ("Invalid feature specification", "change --constraint in sbatch under [train]"),
        ("Requested node configuration is not available", "type another --nodes"),
        ("Invalid generic resource (gres) specification", "gpu_type"),
        ("Memory required by task is not available", "change mem under"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "of your account"),
        ("Requested reservation is invalid", "type another --reservation"),
        ("Invalid node name specified", "--exclude"),
        ("Invalid --begin specification", "type another --begin"),
        ("Unable to contact slurm controller (connect failure)", "when sinfo does"),
        ("Something of a plugin", "change its values under [train] in FILE"),
    ],
)  # fmt: skip
def test_what_to_change_depends_on_what_slurm_said(said, words):
    assert words in refusals.advice(said, "train", "FILE")


def test_a_cluster_that_refuses_says_why_in_its_last_line(slurm):
    bin_ = Path("bin/sbatch")
    bin_.write_text("#!/bin/sh\necho 'sbatch: IDRIS: hello' >&2\necho 'sbatch: error: No more hours' >&2\nexit 1\n")
    with pytest.raises(UsageError, match="Slurm refuses 2 of 2 kinds"):
        check("--stages", "all")
