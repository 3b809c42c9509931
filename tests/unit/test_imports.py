"""The import rules of the house: data flows one way, and heavy libraries stay behind one seam each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for part in ("cloudseg", "preprocess") for path in (ROOT / part).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that `path` imports when it runs, at its top or inside a function."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(library: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if any(name == library or name.startswith(f"{library}.") for name in imports(path))
    }


def test_there_is_code_to_hold_the_rules():
    assert "cloudseg/launch.py" in {path.relative_to(ROOT).as_posix() for path in MODULES}


def test_horovods_collectives_are_behind_comm():
    assert importers("horovod.tensorflow") == {"cloudseg/training/comm.py"}
    # Its rendezvous server needs no TensorFlow and is started before comm's own import.
    assert importers("horovod") == {"cloudseg/training/comm.py", "cloudseg/training/rendezvous.py"}


def test_submitit_is_behind_jobs():
    assert importers("submitit") == {"cloudseg/cluster/jobs.py"}


def test_streamlit_is_behind_the_showcase():
    assert importers("streamlit") != set()
    assert {path for path in importers("streamlit") if not path.startswith("cloudseg/showcase/")} == set()


@pytest.mark.parametrize("library", ["tensorflow", "segmentation_models", "horovod"])
def test_tensorflow_stays_in_nets_training_results_and_the_feed(library):
    allowed = ("cloudseg/nets/", "cloudseg/training/", "cloudseg/results/", "cloudseg/data/feed.py")
    assert {path for path in importers(library) if not path.startswith(allowed)} == set()


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("preprocess", ("nets", "training", "results", "cluster")),
        ("cloudseg/data", ("nets", "training", "results", "cluster", "launch")),
        ("cloudseg/nets", ("training", "results", "cluster")),
        ("cloudseg/training", ("results", "cluster")),
        ("cloudseg/results", ("cluster", "showcase")),
        ("cloudseg/showcase", ("cluster",)),
        ("cloudseg/cluster", ("nets", "data", "results", "training.loop", "training.comm")),
    ],
)
def test_data_flows_one_way(folder, never):
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        if path.is_relative_to(ROOT / folder)
        for name in imports(path)
        if name.startswith(tuple(f"cloudseg.{part}" for part in never))
    }
    assert wrong == set()


def test_no_drawer_for_odds_and_ends():
    assert {path.name for path in MODULES} & {"utils.py", "common.py", "helpers.py"} == set()
