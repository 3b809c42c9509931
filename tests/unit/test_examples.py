"""The commands shown in help texts, README.md and docs/ have the options that they are shown with."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tests import processes

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"python -m ((?:cloudseg\.|preprocess\b)[\w.]*)((?:[^\n`|;#(]|\\\n)*)")
NOT_OURS = {"cloudseg.nets.count_cost", "cloudseg.job", "cloudseg.COMMAND"}
"""Commands without an option parser of their own that help could be asked of."""


@cache
def help_text(module: str) -> str:
    return processes.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, libraries=processes.LIGHT
    ).stdout


def shown(text: str) -> list[tuple[str, str]]:
    return [(match[1].rstrip("."), match[2]) for match in COMMAND.finditer(text)]


def examples() -> list[tuple[str, str, str]]:
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    files += [*sorted((ROOT / "cloudseg").glob("*.py")), ROOT / "preprocess" / "__main__.py"]
    return [
        (file.relative_to(ROOT).as_posix(), module, words)
        for file in files
        for module, words in shown(file.read_text())
        if module not in NOT_OURS
    ]


def test_there_are_examples():
    assert len(examples()) > 40


@pytest.mark.parametrize(("file", "module", "words"), sorted(set(examples())))
def test_an_example_names_options_that_its_command_has(file, module, words):
    known = set(re.findall(r"--[a-z][a-z-]+|(?<![\w-])-[a-z]\b", help_text(module)))
    assert known, f"{file}: {module} is no command"
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", words))
    assert named <= known
