"""What was measured, fetched or made before is taken up only where it is of the same."""

from __future__ import annotations

import json
import os
import re

from tests.cases.conftest import ONE_EPOCH, ROOT, TINY, settings

SITE = "ruche"


def test_links_that_cpus_measured_do_not_slow_gpus_down_in_the_model(type_, tmp_path):
    # As doctor left it, over Gloo: 64 MB in 6.4 s. The site's file says 10 GB/s.
    seen = {"nodes": 2, "per_node": 1, "size": 64_000_000, "seconds": 6.4, "day": "2026-11-26"}
    (tmp_path / f"links-{SITE}-2x1.json").write_text(json.dumps(seen))
    options = ["--site", SITE, "--measured", tmp_path, "--gpus", 1, 8]
    text = type_("cloudseg.scaling", *options, *settings("network=vanilla", "weights=none")).stdout
    assert "12 GB/s inside a node, 10 GB/s between" in text
    assert "measured between CPUs, not between GPUs" in text


def test_a_damaged_measurement_is_named_and_no_traceback(type_, tmp_path):
    (tmp_path / f"links-{SITE}-2x1.json").write_text('{"nodes": 2')
    options = ["--site", SITE, "--measured", tmp_path, *settings("network=vanilla", "weights=none")]
    process = type_("cloudseg.scaling", *options, expect=2)
    assert process.stderr.startswith("error: ") and len(process.stderr.splitlines()) == 1
    assert f"links-{SITE}-2x1.json is no measurement of doctor; type: rm" in process.stderr


def test_the_pace_of_a_run_on_this_machines_cpus_is_not_taken_for_that_of_gpus(type_, run, data):
    options = ["--stages", "all", "--plan", "--site", SITE, "--run", run.parent / "next", "--data", data]
    text = type_("cloudseg.launch", *options, *settings(*TINY, *ONE_EPOCH)).stdout
    # By the model, ">", as nothing has run on that site's GPUs; and with the longest time that it gives.
    assert len(re.findall(r"^(?:frozen|partial|full) .* 24:00:00 +> ", text, re.MULTILINE)) == 3, text


def test_weights_that_came_by_half_are_found_before_jobs_are_queued(type_, data, tmp_path):
    cache = tmp_path / "cache" / "weights"
    cache.mkdir(parents=True)
    (cache / "resnet18_imagenet_1000_no_top.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    (tmp_path / "bin").mkdir()
    sbatch = f"echo called >>{tmp_path}/calls; echo Submitted batch job 41"
    for name, text in {"sbatch": sbatch, "squeue": "exit 0"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environ = {"CLOUDSEG_CACHE": str(tmp_path / "cache"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    options = ["--stages", "all", "--cluster", "slurm", "--site", SITE, "--run", tmp_path / "run", "--data", data]
    process = type_("cloudseg.launch", *options, "--set", "network=unet-resnet18", expect=1, **environ)
    assert "is damaged, or of another encoder; on the login node: python -m cloudseg.weights fetch" in process.stderr
    assert not (tmp_path / "calls").exists() and not (tmp_path / "run").exists()


def test_a_plan_needs_no_tensorflow(type_, tmp_path):
    """Seventeen seconds of loading it, for the cost of layers, which does not change."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, atexit\natexit.register(lambda: print('LOADED', 'tensorflow' in sys.modules, file=sys.stderr))\n"
    )
    options = ["--stages", "all", "--plan", "--site", SITE, "--run", tmp_path / "run", "--data", "DATA"]
    paths = f"{tmp_path}:{ROOT}"
    process = type_("cloudseg.launch", *options, "--set", "weights=none", fresh=True, PYTHONPATH=paths)
    assert len(re.findall(r"> \d+ min ", process.stdout)) == 3, process.stdout
    assert process.stderr == "LOADED False\n"
