from __future__ import annotations

import json
import subprocess
import sys

from cloudseg.cluster import snapshot


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
