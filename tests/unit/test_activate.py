from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def activate(then: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Source env/activate.sh as a job does, with a `module` command that says what it loads, then run `then`."""
    script = f"set -euo pipefail\nmodule() {{ echo module $*; }}\ncd {ROOT}\nsource env/activate.sh\n{then}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CLOUDSEG_")}
    return subprocess.run(["bash", "-c", script], env={**clean, **environ}, capture_output=True, text=True, check=False)


def test_a_job_finds_the_environments_python():
    process = activate("command -v python", CLOUDSEG_VENV=sys.prefix)
    assert process.stdout == f"{sys.prefix}/bin/python\n"


def test_modules_and_variables_come_from_the_site_file(tmp_path):
    site = tmp_path / "mine.toml"
    site.write_text(
        'modules = ["python/3.11", "cuda/12"]\n[environment]\nCLOUDSEG_CACHE = "$SCRATCH/cache"\n[train]\ntime = "1"\n'
    )
    process = activate(
        'echo "$CLOUDSEG_CACHE ${time:-}"', CLOUDSEG_VENV=sys.prefix, CLOUDSEG_SITE=str(site), SCRATCH="/fast"
    )
    assert process.stdout == "module load python/3.11\nmodule load cuda/12\n/fast/cache \n"


def test_a_site_that_is_not_there_stops_the_job_and_names_those_that_are():
    process = activate("echo went on", CLOUDSEG_VENV=sys.prefix, CLOUDSEG_SITE="rouche")
    assert process.returncode == 2
    assert "rouche.toml is not there" in process.stderr
    assert "ruche.toml" in process.stderr
    assert process.stdout == ""


def test_a_missing_environment_says_what_to_type():
    process = activate("echo went on", CLOUDSEG_VENV="/nowhere")
    assert process.returncode == 2
    assert "env/setup.sh --gpu" in process.stderr
