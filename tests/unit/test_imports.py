"""The import rules: which room may import which, and which module alone imports a heavy library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cloudseg.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "core": (),
    "data": ("core",),
    "nets": ("core", "data"),
    "training": ("core", "data", "nets"),
    "geo": ("core", "data"),
    "results": ("core", "data", "nets", "training", "geo"),
    "showcase": ("core", "data", "nets", "training", "results"),
    "slurm": ("core",),
    "monitor": ("core", "slurm"),
    "job": ("core", "slurm"),
    "performance": ("core", "data", "nets", "training", "slurm", "monitor"),
    "chain": ("core", "data", "nets", "training", "slurm", "monitor", "job"),
    "checks": ("core", "nets", "training", "slurm", "job", "performance", "chain"),
    "fetching": ("core", "data"),
    "preprocess": ("core", "data"),
}
"""Folder of cloudseg (and preprocess) -> the folders that it may import. Commands import any."""
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
    assert importers("submitit") == {"cloudseg/chain/submission.py"}


def test_streamlit_is_behind_the_showcase():
    assert importers("streamlit") != set()
    assert {path for path in importers("streamlit") if not path.startswith("cloudseg/showcase/")} == set()


@pytest.mark.parametrize("library", ["rasterio", "xarray", "geopandas", "shapely", "pyproj"])
def test_libraries_of_geography_are_behind_geo_and_imported_in_functions(library):
    assert importers(library) != set()
    assert {path for path in importers(library) if not path.startswith("cloudseg/geo/")} == set()
    for path in (ROOT / "cloudseg" / "geo").glob("*.py"):
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert library not in ast.unparse(ast.Module(tops, [])), path


@pytest.mark.parametrize("library", ["tensorflow", "segmentation_models", "horovod"])
def test_tensorflow_stays_in_nets_training_results_the_feed_and_doctors_ranks(library):
    rooms = ("cloudseg/nets/", "cloudseg/training/", "cloudseg/results/")
    allowed = (*rooms, "cloudseg/data/feed.py", "cloudseg/checks/rank.py")
    assert {path for path in importers(library) if not path.startswith(allowed)} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_the_table_allows(room):
    folder = ROOT / room if room == "preprocess" else ROOT / "cloudseg" / room
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        if path.is_relative_to(folder) and path.name != "__main__.py"
        for name in imports(path)
        if name.startswith("cloudseg.") and name.split(".")[1] not in (room, *ROOMS[room])
    }
    assert wrong == set()


def test_every_folder_is_a_room():
    folders = {path.name for path in (ROOT / "cloudseg").iterdir() if (path / "__init__.py").exists()}
    assert {*ROOMS, "preprocess"} == {*folders, "preprocess"}


def test_no_rooms_import_each_other():
    pairs = {(room, other) for room, allowed in ROOMS.items() for other in allowed if room in ROOMS.get(other, ())}
    assert pairs == set()


def test_contributing_shows_the_same_table():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = re.search(r"^## Which room imports which$.*?(?=^## )", text, re.M | re.S)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.M)
    assert {room: tuple(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows} == ROOMS


def test_the_top_holds_commands_only():
    assert {path.name for path in (ROOT / "cloudseg").glob("*.py") if "run_command(main)" not in path.read_text()} == {
        "__init__.py"
    }


def test_python_m_cloudseg_lists_every_command():
    listed = {command.removeprefix("cloudseg.") for group in COMMANDS.values() for command in group}
    files = {path.stem for path in (ROOT / "cloudseg").glob("*.py")} - {"__init__", "__main__"}
    assert listed == {*files, "preprocess"}


def test_no_drawer_for_odds_and_ends():
    assert {path.name for path in MODULES} & {"utils.py", "common.py", "helpers.py"} == set()
