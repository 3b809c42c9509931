from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cloudseg.chain import snapshot
from cloudseg.core import provenance
from cloudseg.core.errors import UsageError


def test_a_snapshot_runs_by_itself(tmp_path):
    code = snapshot.take(tmp_path / "code")
    process = subprocess.run(
        [sys.executable, "-c", "import cloudseg.launch; print(cloudseg.launch.__file__)"],
        cwd=code,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == str(code / "cloudseg" / "launch.py")
    assert (code / "env" / "activate.sh").exists()
    assert json.loads((code / "SNAPSHOT.json").read_text())["sha256"].startswith(code.name)


def test_equal_code_is_kept_once_and_edited_code_beside_it(tmp_path, monkeypatch):
    first = snapshot.take(tmp_path / "code")
    assert snapshot.take(tmp_path / "code") == first
    monkeypatch.setattr(snapshot, "CODE", ("cloudseg", "env"))
    assert snapshot.take(tmp_path / "code") != first
    assert sorted(p.name[0] == "." for p in (tmp_path / "code").iterdir()) == [False, False]


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A project of one file in git, edited since."""
    root = tmp_path / "project"
    (root / "cloudseg").mkdir(parents=True)
    file = root / "cloudseg" / "net.py"
    file.write_text("depth = 4\n")
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    file.write_text("depth = 5\n")
    for module in (snapshot, provenance):
        monkeypatch.setattr(module, "ROOT", root)
        monkeypatch.setattr(module, "CODE", ("cloudseg",))
    return file


def test_edits_since_the_git_revision_are_kept_as_a_diff(edited, tmp_path):
    code = snapshot.take(tmp_path / "code")
    assert json.loads((code / "SNAPSHOT.json").read_text())["edited"] is True
    assert "-depth = 4\n+depth = 5\n" in (code / "CHANGES.diff").read_text()


def test_code_among_which_data_lies_is_refused_and_the_largest_file_is_named(edited, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_BYTES", 5)
    with pytest.raises(UsageError, match=r"net.py .*--no-snapshot"):
        snapshot.take(tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_without_a_snapshot_jobs_run_the_code_as_it_lies(edited, tmp_path):
    assert snapshot.code(tmp_path / "run", live=True) == str(snapshot.ROOT)
    assert not (tmp_path / "run").exists()
